//! Random traces of an engine on a sequence on a simulated disk that dies at any call.

use travertine_engine::conformance::rng::Rng;
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan, SimDisk};
use travertine_engine::conformance::trace::{Fixture, Tally, TracePlan, run};
use travertine_engine::contract::{Env, Level, Result, Status, Store};
use travertine_engine::front::Options;
use travertine_engine::stack::Spec;

use super::*;

/// What the sequences of a set of runs went through.
#[derive(Debug, Default)]
struct Seen {
    rolls: u64,
    parts: u64,
    sealed: u64,
    most_unsealed: u64,
}

#[derive(Debug)]
struct Crashing {
    on: OnDisk,
    store: Option<Arc<dyn Store>>,
    seen: Seen,
}

impl Crashing {
    fn new(seed: u64, spec: &Spec) -> Self {
        let disk = SimDisk::new(seed, DiskPlan::draw(seed, Class::Crash));
        Self {
            on: OnDisk::new(disk, spec),
            store: None,
            seen: Seen::default(),
        }
    }

    fn look(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        let Status { figures, .. } = store.status();
        let figure = |name: &str| {
            let found = figures.iter().find(|(of, _)| *of == name);
            found.map_or(0, |(_, value)| *value)
        };
        let parts = figure("parts");
        self.seen.rolls += figure("rolls");
        self.seen.parts = self.seen.parts.max(parts);
        let unsealed = figure("parts_unsealed");
        self.seen.most_unsealed = self.seen.most_unsealed.max(unsealed);
        self.seen.sealed = self.seen.sealed.max(parts.saturating_sub(unsealed + 1));
    }
}

impl Fixture for Crashing {
    fn open(&mut self, env: &Env) -> Result<Arc<dyn Store>> {
        self.look();
        let store = self.on.open_as(env, false)?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn arm(&mut self, rng: &mut Rng) {
        self.on.disk.crash_in(1 + rng.below(60));
    }

    fn disarm(&mut self) {
        self.on.disk.crash_never();
    }

    fn crash(&mut self, rng: &mut Rng) -> Level {
        self.look();
        if rng.chance(1, 2) {
            self.on.disk.kill();
            Level::Os
        } else {
            self.on.disk.power_cut();
            Level::Disk
        }
    }
}

fn trace_plan() -> TracePlan {
    TracePlan {
        steps: 260,
        options: Options {
            flush_bytes: 8 << 10,
            tail_max: 32 << 10,
            recent_max: 8 << 10,
            ..Options::default()
        },
        body_max: 12_000,
        names: 6,
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("TRAVERTINE_FIRST_SEED").unwrap_or(0);
            first..first + number("TRAVERTINE_SEEDS").unwrap_or(default)
        }
    }
}

fn over_one() -> Spec {
    Spec::linear([sequence("64 KiB"), file("/data")])
}

fn run_all(spec: &Spec, default: u64) -> (Tally, Seen) {
    let (mut tally, mut seen) = (Tally::default(), Seen::default());
    let mut failures = Vec::new();
    for seed in seeds(default) {
        let mut fixture = Crashing::new(seed, spec);
        match run(seed, &mut fixture, &trace_plan()) {
            Ok(one) => tally += one,
            Err(failure) => failures.push(failure.to_string()),
        }
        fixture.look();
        seen.rolls += fixture.seen.rolls;
        seen.parts = seen.parts.max(fixture.seen.parts);
        seen.sealed = seen.sealed.max(fixture.seen.sealed);
        seen.most_unsealed = seen.most_unsealed.max(fixture.seen.most_unsealed);
        if let Some(what) = fixture.on.disk.violations().first() {
            failures.push(format!("SEED={seed}: the medium was misused: {what}"));
        }
    }
    println!("{tally:?}\n{seen:?}");
    assert!(
        failures.is_empty(),
        "{} of {} runs failed:\n{}",
        failures.len(),
        seeds(default).count(),
        failures[..failures.len().min(5)].join("\n")
    );
    (tally, seen)
}

#[test]
fn crashes_through_every_roll_lose_nothing_acknowledged() {
    let (tally, seen) = run_all(&over_one(), 200);
    if number("SEED").is_none() {
        assert!(seen.rolls > 200 && seen.sealed > 3, "{seen:?}");
        assert!(tally.crashes > 1_000 && tally.closes > 100, "{tally:?}");
    }
}

/// The first seed whose run finds the planted bug.
fn found_by(wrong: wrong::Wrong) -> Option<(u64, String)> {
    (0..500).find_map(|seed| {
        let mut fixture = Crashing::new(seed, &over_one());
        fixture.on.wrong = Some(wrong);
        let failure = run(seed, &mut fixture, &trace_plan()).err()?;
        Some((seed, failure.to_string()))
    })
}

#[test]
fn a_forgotten_sync_of_a_directory_is_found() {
    use wrong::Wrong;
    for wrong in [Wrong::PartEntered, Wrong::SegmentOfLaterPart, Wrong::Footer] {
        let found = found_by(wrong);
        println!("{wrong:?}: {found:?}");
        assert!(found.is_some(), "{wrong:?} was not found");
    }
}
