//! Every index on every example stack: random transactions against a model, through crashes where the
//! stack keeps anything. Ours, and those of the examples.
//!
//! `TRAVERTINE_SEEDS=n` says how many runs there are of each; each prints what it did.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::interfaces::conformance::crash::{self, Tally};
use travertine::interfaces::{Btree, Index, Journal, Skiplist};
use travertine::standard;
use travertine_engine::conformance::kit::{Fixture, StackFixture};
use travertine_engine::conformance::sim::{Class, Plan};
use travertine_engine::stack::Property;

#[path = "../examples/index.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod index;
#[path = "../examples/radix.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod radix;
#[path = "../examples/words.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod words;

const STACKS: &str = "examples/stacks";

/// An example stack on a simulated machine.
fn simulated(stack: &str, seed: u64) -> StackFixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(STACKS)
        .join(stack);
    let file = StackFile::load(path, &standard(), &Overrides::none()).unwrap();
    let disk = Plan::draw(seed, Class::Crash);
    StackFixture::simulated(file.spec(), &standard(), seed, disk).unwrap()
}

/// Runs of one index on one stack.
fn runs<I: Index>(index: &I, name: &str, stack: &str) {
    const TRANSACTIONS: usize = 60;
    let seeds = std::env::var("TRAVERTINE_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    let mut tally = Tally::default();
    let mut lasts = false;
    for seed in 0..seeds {
        let fixture = simulated(stack, seed);
        lasts = fixture.promises().properties.has(Property::Persists);
        tally += crash::run(index, &fixture, seed, TRANSACTIONS);
    }
    println!("{name} on {stack}: {tally:?}");
    assert!(tally.commits > 0 && tally.looked_back > 0, "{tally:?}");
    // What keeps nothing is never opened again.
    assert!(!lasts || tally.crashes > 0, "{tally:?}");
}

/// One test for each example stack, of one index.
macro_rules! on_every_stack {
    ($name:ident, $index:expr) => {
        on_every_stack! { $name, $index,
            cached "cached.toml",
            disks "disks.toml",
            durable_laptop "durable-laptop.toml",
            embedded "embedded.toml",
            memory "memory.toml",
            monitored "monitored.toml",
            replicated "replicated.toml",
            scale_up "scale-up.toml",
            sealed "sealed.toml",
            sequence "sequence.toml",
            solo "solo.toml",
        }
    };
    ($name:ident, $index:expr, $($stack:ident $file:literal,)*) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $stack() {
                    runs(&$index, stringify!($name), $file);
                }
            )*

            #[test]
            fn no_example_stack_is_left_out() {
                left_out(&[$($file),*]);
            }
        }
    };
}

fn left_out(listed: &[&str]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(STACKS);
    #[expect(
        clippy::disallowed_methods,
        reason = "the test looks at the repository"
    )]
    let found = std::fs::read_dir(directory).unwrap();
    let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".toml")).collect();
    names.sort();
    assert_eq!(
        names, listed,
        "give the new stack a line in `on_every_stack`"
    );
}

on_every_stack!(btree, Btree::default());
// Merges all the time.
on_every_stack!(
    journal,
    Journal {
        bytes_max: 4096,
        merge_min: 4,
        ..Journal::over(Btree::default())
    }
);
on_every_stack!(skiplist, Skiplist::default());
on_every_stack!(pages, index::Pages);
on_every_stack!(radix_tree, radix::Radix);
on_every_stack!(word_index, words::Words);
