//! Random traces of an engine on a sequence on a simulated disk that dies at any call.

use travertine_engine::conformance::rng::Rng;
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan, SimDisk};
use travertine_engine::conformance::trace::{Fixture, Tally, TracePlan, run};
use travertine_engine::contract::{Env, Level, Result, Store};
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

/// What a set of runs stands on, and what happens to it.
struct Setting {
    spec: Spec,
    class: Class,
    /// Places with room of their own.
    volumes: &'static [&'static str],
}

impl Setting {
    fn new(spec: Spec) -> Self {
        Self {
            spec,
            class: Class::Crash,
            volumes: &[],
        }
    }

    fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }
}

#[derive(Debug)]
struct Crashing {
    on: OnDisk,
    faults: Option<DiskPlan>,
    faulty: bool,
    volumes: Vec<(&'static str, u64)>,
    opened: Option<u64>,
    store: Option<Arc<dyn Store>>,
    seen: Seen,
}

impl Crashing {
    fn new(seed: u64, setting: &Setting) -> Self {
        let plan = DiskPlan::draw(seed, setting.class);
        let disk = SimDisk::new(seed, plan.quiet());
        let mut rng = Rng::new(seed ^ 0x524F_4F4D);
        let room = |name: &&'static str| (*name, (200 << 10) + rng.below(700 << 10));
        let volumes: Vec<_> = setting.volumes.iter().map(room).collect();
        for (name, room) in &volumes {
            disk.set_volume(name, Some(*room));
        }
        Self {
            on: OnDisk::new(disk, &setting.spec),
            faults: (setting.class != Class::Crash).then_some(plan),
            faulty: false,
            volumes,
            opened: None,
            store: None,
            seen: Seen::default(),
        }
    }

    /// Gives each device its own room, or so much more than is taken.
    fn give_room(&self, more: Option<u64>) {
        for (name, room) in &self.volumes {
            let used = self.on.disk.used_within(name);
            let room = more.map_or(*room, |more| used + more);
            self.on.disk.set_volume(name, Some(room));
        }
    }

    fn look(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        let status = store.status();
        let figure = |name: &str| figure_of(&status, name);
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
        let now = env.clock.monotonic_ns();
        if self.opened == Some(now) {
            // Nothing happened since: there is no room for the next part, and somebody makes some.
            self.give_room(Some(4 << 20));
        }
        self.opened = Some(now);
        let store = self.on.open_as(env, false)?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn arm(&mut self, rng: &mut Rng) {
        self.give_room(None);
        match &self.faults {
            Some(faults) if rng.chance(1, 2) => {
                self.on.disk.set_plan(faults.clone());
                self.faulty = true;
            }
            _ => self.on.disk.crash_in(1 + rng.below(60)),
        }
    }

    fn disarm(&mut self) {
        self.on.disk.crash_never();
        self.on.disk.quiet();
    }

    fn crash(&mut self, rng: &mut Rng) -> Level {
        self.look();
        // A sync that fails takes along what only the page cache held, also for a kill.
        let faulty = std::mem::take(&mut self.faulty);
        if rng.chance(1, 2) {
            self.on.disk.kill();
            if faulty { Level::Disk } else { Level::Os }
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

fn run_all(setting: &Setting, default: u64) -> Option<(Tally, Seen)> {
    let (mut tally, mut seen) = (Tally::default(), Seen::default());
    let mut failures = Vec::new();
    for seed in seeds(default) {
        let mut fixture = Crashing::new(seed, setting);
        if std::env::var_os("STORY").is_some() {
            fixture.on.disk.tell();
        }
        match run(seed, &mut fixture, &trace_plan()) {
            Ok(one) => tally += one,
            Err(failure) => failures.push(failure.to_string()),
        }
        fixture.look();
        seen.rolls += fixture.seen.rolls;
        seen.parts = seen.parts.max(fixture.seen.parts);
        seen.sealed = seen.sealed.max(fixture.seen.sealed);
        seen.most_unsealed = seen.most_unsealed.max(fixture.seen.most_unsealed);
        for line in fixture.on.disk.story() {
            println!("{line}");
        }
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
    // What never happened was not tested; of one seed it need not.
    number("SEED").is_none().then_some((tally, seen))
}

const DEVICES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

#[test]
fn crashes_through_every_roll_lose_nothing_acknowledged() {
    if let Some((tally, seen)) = run_all(&Setting::new(over_one()), 80) {
        assert!(seen.rolls > 200 && seen.sealed > 3, "{seen:?}");
        assert!(tally.crashes > 1_000 && tally.closes > 100, "{tally:?}");
    }
}

#[test]
fn crashes_through_every_roll_of_a_list_lose_nothing_acknowledged() {
    let spec = over_these(sequence("64 KiB"), &DEVICES);
    if let Some((tally, seen)) = run_all(&Setting::new(spec), 50) {
        assert!(seen.rolls > 200 && seen.sealed > 3, "{seen:?}");
        assert!(tally.crashes > 1_000 && tally.closes > 100, "{tally:?}");
    }
}

#[test]
fn crashes_where_each_device_is_used_until_it_is_full_lose_nothing_acknowledged() {
    let setting = Setting {
        volumes: &DEVICES[..7],
        ..Setting::new(over_these(Layer::new("sequence"), &DEVICES))
    };
    if let Some((tally, seen)) = run_all(&setting, 50) {
        assert!(seen.rolls > 30 && tally.full > 10, "{seen:?} {tally:?}");
        assert!(tally.crashes > 1_000 && tally.closes > 100, "{tally:?}");
    }
}

#[test]
fn crashes_where_parts_grow_old_lose_nothing_acknowledged() {
    let young = Layer::new("sequence").with("age", "20 ms");
    let spec = over_these(young, &DEVICES);
    if let Some((tally, seen)) = run_all(&Setting::new(spec), 30) {
        assert!(seen.rolls > 100 && seen.sealed > 3, "{seen:?}");
        assert!(tally.crashes > 500, "{tally:?}");
    }
}

#[test]
fn calls_that_fail_in_the_midst_of_a_roll_lose_nothing_acknowledged() {
    let list = over_these(sequence("64 KiB"), &DEVICES);
    for spec in [over_one(), list] {
        if let Some((tally, seen)) = run_all(&Setting::new(spec).class(Class::Errors), 40) {
            assert!(
                seen.rolls > 100 && tally.failed_opens > 20,
                "{seen:?} {tally:?}"
            );
        }
    }
}

#[test]
fn a_disk_that_fills_up_in_the_midst_of_a_roll_loses_nothing_acknowledged() {
    let list = over_these(sequence("64 KiB"), &DEVICES);
    let list = Setting {
        volumes: &DEVICES[..7],
        ..Setting::new(list)
    };
    // A want of room that is over at once is made up for by asking for less.
    for (setting, least) in [(Setting::new(over_one()), 0), (list, 1)] {
        if let Some((tally, seen)) = run_all(&setting.class(Class::Full), 40) {
            assert!(
                seen.rolls > 100 && tally.full >= least,
                "{seen:?} {tally:?}"
            );
        }
    }
}

/// The first seed whose run finds the planted bug.
fn found_by(wrong: wrong::Wrong) -> Option<(u64, String)> {
    (0..500).find_map(|seed| {
        let mut fixture = Crashing::new(seed, &Setting::new(over_one()));
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
