//! Seeded runs: children fail, vanish, come back, and everything loses its power, while numbers are
//! committed. Nothing that was acknowledged is lost as long as no more children are bad at once than
//! the arithmetic bears; where more are, the answer is unknown, and never another one.

use super::*;
use std::time::Duration;
use travertine_engine::conformance::rng::Rng;

const STEPS: usize = 60;

struct Run {
    rig: Rig,
    rng: Rng,
    engine: Option<Engine>,
    /// The newest number that was acknowledged, and the newest that was tried.
    acked: u64,
    tried: u64,
    references: Vec<(u64, Reference)>,
    /// The one child that is bad now.
    bad: Option<usize>,
    story: Vec<String>,
}

impl Run {
    fn new(seed: u64, children: usize) -> Self {
        let mut rig = Rig::new(children);
        rig.env = SimEnv::new(seed);
        let disk = |number: usize| {
            let plan = DiskPlan::draw(
                seed * 31 + number as u64,
                travertine_engine::conformance::sim::Class::Crash,
            );
            SimDisk::new(seed * 31 + number as u64, plan)
        };
        rig.disks = (0..children).map(disk).collect();
        Self {
            rig,
            rng: Rng::new(seed),
            engine: None,
            acked: 0,
            tried: 0,
            references: Vec::new(),
            bad: None,
            story: Vec::new(),
        }
    }

    fn say(&mut self, line: String) {
        self.story.push(line);
    }

    fn open(&mut self) {
        if self.engine.is_some() {
            return;
        }
        let engine = match self.rig.write() {
            Ok(engine) => engine,
            Err(error) => panic!(
                "with at most one bad child it opens: {error}\n{:#?}",
                self.story
            ),
        };
        let found = newest(&engine).unwrap().unwrap_or(0);
        self.say(format!("opened at {found}"));
        assert!(
            (self.acked..=self.tried).contains(&found),
            "{found} is newest, {} was acknowledged and {} tried\n{:#?}",
            self.acked,
            self.tried,
            self.story
        );
        for (number, reference) in &self.references {
            let read = number_at(&engine, reference);
            assert_eq!(
                read.as_ref().ok(),
                Some(number),
                "{read:?}\n{:#?}",
                self.story
            );
        }
        self.acked = found;
        self.engine = Some(engine);
    }

    fn commit(&mut self) {
        self.open();
        self.tried += 1;
        let number = self.tried;
        let Some(engine) = &self.engine else { return };
        match commit(engine, number) {
            Ok(reference) => {
                self.acked = number;
                self.references.push((number, reference));
                self.say(format!("committed {number}"));
            }
            Err(error) => {
                self.say(format!("commit {number}: {error}"));
                self.engine = None;
            }
        }
    }

    /// Makes one child bad, or the bad one good.
    fn trouble(&mut self) {
        if let Some(bad) = self.bad.take() {
            self.say(format!("child {} is good again", bad + 1));
            self.mend(bad);
            return;
        }
        // As long as another one lacks something, this would be two.
        if let Some(engine) = &self.engine
            && told(engine, "children_in_line") < self.rig.disks.len() as u64
        {
            return;
        }
        if self.engine.is_none() {
            return;
        }
        let bad = self.rng.below(self.rig.disks.len() as u64) as usize;
        self.bad = Some(bad);
        match self.rng.below(3) {
            0 => {
                self.say(format!("child {} fails its syncs", bad + 1));
                self.rig.disks[bad].fail_sync_after(self.rng.below(3));
            }
            1 => {
                self.say(format!("child {} is killed", bad + 1));
                self.rig.disks[bad].crash_in(self.rng.below(30) + 1);
            }
            _ => {
                self.say(format!("child {} is held by another", bad + 1));
                self.rig.hold(bad + 1);
            }
        }
    }

    fn mend(&self, child: usize) {
        let disk = &self.rig.disks[child];
        disk.fail_no_sync();
        disk.crash_never();
        self.rig.release(child + 1);
        if disk.is_down() {
            disk.kill();
        }
    }

    fn crash(&mut self) {
        if let Some(bad) = self.bad.take() {
            self.mend(bad);
        }
        let power = self.rng.chance(1, 2);
        self.say(format!("everything is gone, power {power}"));
        self.engine = None;
        for disk in &self.rig.disks {
            match power {
                true => disk.power_cut(),
                false => disk.kill(),
            }
        }
    }

    fn step(&mut self) {
        self.rig
            .env
            .advance(Duration::from_millis(self.rng.below(400)));
        match self.rng.below(20) {
            0..=12 => self.commit(),
            13..=15 => self.trouble(),
            16 => self.crash(),
            17 => {
                if let Some(engine) = self.engine.take() {
                    let closed = engine.close().map_err(|error| error.to_string());
                    self.say(format!("closed: {closed:?}"));
                }
            }
            _ => self.rig.env.advance(Duration::from_secs(2)),
        }
    }
}

pub(super) fn seeds(most: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(most),
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_one_bad_child_at_a_time() {
    for seed in seeds(150) {
        println!("SEED={seed}");
        run(seed);
    }
}

pub(super) fn run(seed: u64) {
    let children = if seed % 4 == 3 { 5 } else { 3 };
    let mut run = Run::new(seed, children);
    for _ in 0..STEPS {
        run.step();
    }
    // In the end all is good, and the children are alike.
    for child in 0..run.rig.disks.len() {
        run.mend(child);
    }
    run.bad = None;
    for _ in 0..30 {
        run.rig.env.advance(Duration::from_secs(10));
        run.commit();
    }
    let engine = run.engine.take().unwrap();
    assert_eq!(
        told(&engine, "children_in_line"),
        children as u64,
        "SEED={seed}\n{:#?}",
        run.story
    );
    engine.close().unwrap();
    run.rig.are_alike();
}
