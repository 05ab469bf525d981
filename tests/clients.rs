//! Clients that share collections on every example stack, through crashes where the stack keeps anything.
//!
//! `TRAVERTINE_SEEDS=n` says how many runs there are of each; each prints what it did.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::interfaces::conformance::clients::{Tally, run};
use travertine::standard;
use travertine_engine::conformance::kit::{Fixture, StackFixture};
use travertine_engine::conformance::sim::{Class, Plan};
use travertine_engine::stack::Property;

/// Steps of one run.
const STEPS: usize = 300;

fn runs(stack: &str) {
    let seeds = std::env::var("TRAVERTINE_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(3);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    let mut tally = Tally::default();
    let mut lasts = false;
    for seed in 0..seeds {
        let file = StackFile::load(path.join(stack), &standard(), &Overrides::none()).unwrap();
        let disk = Plan::draw(seed, Class::Crash);
        let fixture = StackFixture::simulated(file.spec(), &standard(), seed, disk).unwrap();
        lasts = fixture.promises().properties.has(Property::Persists);
        tally += run(&fixture, seed, STEPS);
    }
    println!("{stack}: {tally:?}");
    assert!(tally.synced > 0 && tally.transactions > 0, "{tally:?}");
    assert!(!lasts || tally.crashes > 0, "{tally:?}");
}

macro_rules! on {
    ($($stack:ident $file:literal,)*) => {$(
        #[test]
        fn $stack() {
            runs($file);
        }
    )*};
}

on! {
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
