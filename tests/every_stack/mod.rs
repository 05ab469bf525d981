//! The example stacks on simulated machines: what is claimed of one is claimed of all.

use std::path::{Path, PathBuf};

use travertine::config::{Overrides, StackFile};
use travertine::standard;
use travertine_engine::conformance::kit::StackFixture;
use travertine_engine::conformance::sim::{Class, Plan};

fn stacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks")
}

/// An example stack on a simulated machine.
pub(crate) fn simulated(stack: &str, seed: u64) -> StackFixture {
    let file = StackFile::load(stacks().join(stack), &standard(), &Overrides::none()).unwrap();
    let disk = Plan::draw(seed, Class::Crash);
    StackFixture::simulated(file.spec(), &standard(), seed, disk).unwrap()
}

/// How many runs there are of each.
pub(crate) fn seeds() -> u64 {
    let seeds = std::env::var("TRAVERTINE_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(3)
}

/// Panics unless these are all that there are.
pub(crate) fn left_out(listed: &[&str]) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test looks at the repository"
    )]
    let found = std::fs::read_dir(stacks()).unwrap();
    let names = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".toml")).collect();
    names.sort();
    assert_eq!(
        names, listed,
        "give the new stack a line in `on_every_stack`"
    );
}

/// One test for each example stack, of what is done with its name.
macro_rules! on_every_stack {
    ($name:ident, $run:expr) => {
        on_every_stack! { $name, $run,
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
    ($name:ident, $run:expr, $($stack:ident $file:literal,)*) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $stack() {
                    let run: fn(&str) = $run;
                    run($file);
                }
            )*

            #[test]
            fn no_example_stack_is_left_out() {
                every_stack::left_out(&[$($file),*]);
            }
        }
    };
}
