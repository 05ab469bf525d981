//! Clients that share collections on every example stack, through crashes where the stack keeps anything.
//!
//! `TRAVERTINE_SEEDS=n` says how many runs there are of each; each prints what it did.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

use travertine::interfaces::conformance::clients::{Tally, run};
use travertine_engine::conformance::kit::Fixture;
use travertine_engine::stack::Property;

#[macro_use]
mod every_stack;

/// Steps of one run.
const STEPS: usize = 300;

fn runs(stack: &str) {
    let mut tally = Tally::default();
    let mut lasts = false;
    for seed in 0..every_stack::seeds() {
        let fixture = every_stack::simulated(stack, seed);
        lasts = fixture.promises().properties.has(Property::Persists);
        tally += run(&fixture, seed, STEPS);
    }
    println!("{stack}: {tally:?}");
    assert!(tally.synced > 0 && tally.transactions > 0, "{tally:?}");
    assert!(!lasts || tally.crashes > 0, "{tally:?}");
}

on_every_stack!(clients, runs);
