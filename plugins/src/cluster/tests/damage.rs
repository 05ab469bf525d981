//! Seeded runs: one child is wiped, filled, flipped, swapped with another or put back to an old image,
//! in the middle of the work or at rest. The others know all that was acknowledged, so nothing is lost,
//! nothing reads as something else, and once it is mended the children are alike.

use super::*;
use std::time::Duration;
use travertine_engine::conformance::rng::Rng;

/// What happens to the one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Full,
    Flipped,
    Wiped,
    Swapped,
    PutBack,
}

const TROUBLES: [Trouble; 5] = [
    Trouble::Full,
    Trouble::Flipped,
    Trouble::Wiped,
    Trouble::Swapped,
    Trouble::PutBack,
];

struct Run {
    rig: Rig,
    rng: Rng,
    seed: u64,
    trouble: Trouble,
    bad: usize,
    references: Vec<Reference>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rig = Rig::new(3);
        rig.env = SimEnv::new(seed);
        let mut rng = Rng::new(seed);
        Self {
            bad: rng.below(3) as usize,
            rig,
            rng,
            seed,
            trouble: TROUBLES[seed as usize % TROUBLES.len()],
            references: Vec::new(),
        }
    }

    fn commit(&mut self, engine: &Engine, most: u64) {
        for _ in 0..=self.rng.below(most) {
            self.rig.env.advance(Duration::from_millis(50));
            let number = self.references.len() as u64;
            let committed = commit(engine, number);
            let reference = committed.unwrap_or_else(|error| {
                panic!("SEED={} {:?}: {number}: {error}", self.seed, self.trouble)
            });
            self.references.push(reference);
        }
    }

    /// What was acknowledged is newest and reads as it was.
    fn check(&self, engine: &Engine) {
        let last = self.references.len() as u64 - 1;
        let (seed, trouble) = (self.seed, self.trouble);
        let found = newest(engine).unwrap();
        assert_eq!(found, Some(last), "SEED={seed} {trouble:?}");
        for (number, reference) in (0..).zip(&self.references) {
            let read = number_at(engine, reference);
            let read = read.unwrap_or_else(|error| panic!("SEED={seed} {trouble:?}: {error}"));
            assert_eq!(read, number, "SEED={seed} {trouble:?}");
        }
    }

    fn end(&mut self, engine: Engine) {
        match self.rng.below(3) {
            // A full or damaged child may spoil the close: then it was none.
            0 => drop(engine.close()),
            1 => drop(engine),
            _ => {
                drop(engine);
                self.rig.disks.iter().for_each(SimDisk::power_cut);
            }
        }
    }

    fn flip(&mut self) {
        let disk = &self.rig.disks[self.bad];
        let files = disk.files();
        let full: Vec<_> = files
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
        let (name, bytes) = full[self.rng.below(full.len() as u64) as usize];
        disk.flip(name, self.rng.below(bytes.len() as u64 * 8));
    }

    /// Opens with the bad child, and where that is possible works.
    fn work(&mut self) {
        match self.rig.write() {
            Ok(engine) => {
                self.check(&engine);
                self.commit(&engine, 8);
                self.check(&engine);
                self.end(engine);
            }
            // Two children stand in the wrong places.
            Err(error) if self.trouble == Trouble::Swapped => drop(error),
            Err(error) => panic!("SEED={} {:?}: {error}", self.seed, self.trouble),
        }
    }

    fn mend(&mut self) -> Engine {
        match self.trouble {
            Trouble::Full => self.rig.disks[self.bad].set_capacity(None),
            Trouble::Swapped => self.rig.disks.swap(self.bad, (self.bad + 1) % 3),
            // Too old to count, it is still a beginning of the line, which may be gone on with.
            Trouble::PutBack if self.rng.chance(1, 2) => {}
            _ => self.rig.wipe(self.bad + 1),
        }
        let layer = cluster().with("replace", self.bad as i64 + 1);
        self.rig.with(layer).write().unwrap()
    }
}

#[test]
fn nothing_is_lost_with_one_damaged_child() {
    for seed in storm::seeds(100) {
        println!("SEED={seed}");
        run(seed);
    }
}

pub(super) fn run(seed: u64) {
    let mut run = Run::new(seed);
    let engine = run.rig.write().unwrap();
    run.commit(&engine, 12);
    let image = run.rig.disks[run.bad].image(seed);
    // The engine that is open here holds no lock on the image.
    image.kill();
    let engine = if run.rng.chance(1, 2) {
        run.end(engine);
        run.rig.write().unwrap()
    } else {
        engine
    };
    run.commit(&engine, 12);
    match run.trouble {
        Trouble::Full => {
            let disk = &run.rig.disks[run.bad];
            disk.set_capacity(Some(disk.used() + run.rng.below(8_000)));
        }
        Trouble::Flipped => run.flip(),
        _ => {}
    }
    run.commit(&engine, 12);
    run.check(&engine);
    run.end(engine);
    match run.trouble {
        Trouble::Wiped => run.rig.wipe(run.bad + 1),
        Trouble::Swapped => run.rig.disks.swap(run.bad, (run.bad + 1) % 3),
        Trouble::PutBack => run.rig.disks[run.bad] = image,
        Trouble::Full | Trouble::Flipped => {}
    }
    run.work();
    let engine = run.mend();
    run.check(&engine);
    for _ in 0..40 {
        run.rig.env.advance(Duration::from_secs(5));
        run.commit(&engine, 1);
    }
    let in_line = told(&engine, "children_in_line");
    assert_eq!(in_line, 3, "SEED={seed} {:?}", run.trouble);
    run.check(&engine);
    engine.close().unwrap();
    run.rig.are_alike();
    // Who was brought in belongs to it from now on.
    let engine = run.rig.write().unwrap();
    run.commit(&engine, 1);
    let in_line = told(&engine, "children_in_line");
    assert_eq!(in_line, 3, "SEED={seed} {:?}", run.trouble);
}
