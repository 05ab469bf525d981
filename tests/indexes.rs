//! Every index on every example stack: random transactions against a model, through crashes where the
//! stack keeps anything. Ours, and those of the examples.
//!
//! `TRAVERTINE_SEEDS=n` says how many runs there are of each; each prints what it did.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

use travertine::interfaces::conformance::crash::{self, Tally};
use travertine::interfaces::{Btree, Index, Journal, Skiplist};
use travertine_engine::conformance::kit::Fixture;
use travertine_engine::stack::Property;

#[macro_use]
mod every_stack;
#[path = "../examples/index.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod index;
#[path = "../examples/radix.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod radix;
#[path = "../examples/words.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod words;

/// Runs of one index on one stack.
fn runs<I: Index>(index: &I, name: &str, stack: &str) {
    const TRANSACTIONS: usize = 60;
    let mut tally = Tally::default();
    let mut lasts = false;
    for seed in 0..every_stack::seeds() {
        let fixture = every_stack::simulated(stack, seed);
        lasts = fixture.promises().properties.has(Property::Persists);
        tally += crash::run(index, &fixture, seed, TRANSACTIONS);
    }
    println!("{name} on {stack}: {tally:?}");
    assert!(tally.commits > 0 && tally.looked_back > 0, "{tally:?}");
    // What keeps nothing is never opened again.
    assert!(!lasts || tally.crashes > 0, "{tally:?}");
}

/// One test of an index for each example stack.
macro_rules! index_on_every_stack {
    ($name:ident, $index:expr) => {
        on_every_stack!($name, |stack| runs(&$index, stringify!($name), stack));
    };
}

index_on_every_stack!(btree, Btree::default());
// Merges all the time.
index_on_every_stack!(
    journal,
    Journal {
        bytes_max: 4096,
        merge_min: 4,
        ..Journal::over(Btree::default())
    }
);
index_on_every_stack!(skiplist, Skiplist::default());
index_on_every_stack!(pages, index::Pages);
index_on_every_stack!(radix_tree, radix::Radix);
index_on_every_stack!(word_index, words::Words);
