//! Seeded runs without mercy: any number of children is away, fails, is wiped, put back or stood in for
//! by a copy, at once. Then the cluster may say that it does not know; what it says is right all the same.

use super::*;
use std::time::Duration;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Oid, Op, Promise, Record};
use travertine_engine::stack::Floor;

const STEPS: usize = 90;

/// A number that was given an address.
struct Given {
    number: u64,
    reference: Reference,
    acked: bool,
    /// It was answered that nothing lies there: that stays so.
    absent: bool,
}

struct Run {
    rig: Rig,
    rng: Rng,
    engine: Option<Engine>,
    /// Whether the engine that is open has written.
    began: bool,
    acked: u64,
    given: Vec<Given>,
    held: Vec<bool>,
    /// Children that lost what they had acknowledged, since all were in line last.
    lost: Vec<usize>,
    ever_lost: bool,
    /// A child, an old image of it, and how often all began in line since.
    image: Option<(usize, SimDisk, u32)>,
    story: Vec<String>,
}

/// Children that answer later, if soon.
#[derive(Debug)]
struct Later;

impl Twist for Later {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let (promise, op) = Promise::new();
        promise.fulfil(below.read(oid).wait());
        op
    }
}

impl Probe for Later {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match floor.kind().name {
            "file" => Arc::new(Twisted::new(store, Arc::new(Self))),
            _ => store,
        }
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (children, ack) = [(3, 2), (3, 2), (2, 1), (5, 3), (4, 2)][rng.below(5) as usize];
        let read = ["nearest", "hedged"][rng.below(2) as usize];
        // Every other one waits for nobody.
        let wait = ["30 s", "0 s"][(seed % 2) as usize];
        let layer = cluster().with("ack", ack).with("read", read);
        let layer = layer.with("wait", wait);
        let mut rig = Rig::of(children, layer);
        rig.env = SimEnv::new(seed);
        rig.probe = rng.chance(1, 2).then(|| Arc::new(Later) as Arc<dyn Probe>);
        Self {
            rig,
            rng,
            engine: None,
            began: false,
            acked: 0,
            given: Vec::new(),
            held: vec![false; children],
            lost: Vec::new(),
            ever_lost: false,
            image: None,
            story: vec![format!(
                "{children} children, ack {ack}, {read}, waits {wait}"
            )],
        }
    }

    fn say(&mut self, line: String) {
        self.story.push(line);
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.held.len() as u64) as usize
    }

    fn open(&mut self) -> bool {
        if self.engine.is_some() {
            return true;
        }
        for disk in self.rig.disks.iter().filter(|disk| disk.is_down()) {
            disk.kill();
        }
        let layer = match self.lost.first() {
            Some(lost) => self.rig.layer.clone().with("replace", *lost as i64 + 1),
            None => self.rig.layer.clone(),
        };
        match self.rig.with(layer).write() {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => {
                self.say(format!("not opened: {error}"));
                return false;
            }
        }
        self.began = false;
        self.check();
        true
    }

    fn all_in_line(&mut self) -> bool {
        let Some(engine) = &self.engine else {
            return false;
        };
        let all = told(engine, "children_in_line") == self.held.len() as u64;
        if all {
            self.lost.clear();
        }
        all
    }

    /// Takes note of a writer that all children were with from the first: they know of each other.
    fn note_beginning(&mut self) {
        let Some(engine) = &self.engine else { return };
        let never = |name| told(engine, name) == 0;
        let from_the_first = never("children_returned") && never("children_left");
        if self.all_in_line()
            && from_the_first
            && !std::mem::replace(&mut self.began, true)
            && let Some((.., began)) = &mut self.image
        {
            *began += 1;
        }
        self.began = true;
    }

    fn check(&mut self) {
        let Some(engine) = &self.engine else { return };
        let found = match newest(engine) {
            Ok(found) => found.unwrap_or(0),
            Err(error) => {
                self.story.push(format!("newest: {error}"));
                return;
            }
        };
        let tried = self.given.len() as u64;
        let story = &self.story;
        assert!(
            (self.acked..=tried).contains(&found),
            "{found} is newest, {} was acknowledged and {tried} tried\n{story:#?}",
            self.acked
        );
        self.acked = found;
        for given in &mut self.given {
            let Ok(record) = engine.read(given.reference.oid).wait() else {
                continue;
            };
            let number = given.number;
            match record {
                Some(record) => {
                    assert_eq!(record.body()[..8], number.to_le_bytes(), "{story:#?}");
                    assert!(!given.absent, "{number} was absent, and is not\n{story:#?}");
                }
                None => {
                    assert!(!given.acked, "{number} is called absent\n{story:#?}");
                    given.absent = true;
                }
            }
        }
        self.story.push(format!("all is well at {found}"));
    }

    /// Stores a number of some size, and mostly commits it.
    fn write(&mut self) {
        if !self.open() {
            return;
        }
        let Some(engine) = &self.engine else { return };
        let number = self.given.len() as u64 + 1;
        let words = [40, 40, 700, 1500][self.rng.below(4) as usize];
        let body = number.to_le_bytes().repeat(words);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let stored = engine
            .session()
            .and_then(|session| session.store(&record, Hint::default()));
        let reference = match stored {
            Ok(reference) => reference,
            Err(error) => return self.end(format!("store {number}: {error}")),
        };
        self.given.push(Given {
            number,
            reference,
            acked: false,
            absent: false,
        });
        if self.rng.chance(1, 4) {
            return self.say(format!("stored {number}"));
        }
        let change = Change {
            name: Name::new("it").unwrap(),
            expect: Expect::Any,
            to: Some(reference),
        };
        let done = engine
            .session()
            .and_then(|session| session.commit(&[change], None).wait());
        match done {
            Ok(_) => {
                self.given.iter_mut().for_each(|given| {
                    given.acked |= !given.absent && given.number == number;
                });
                self.acked = number;
                self.say(format!("committed {number}"));
                self.note_beginning();
            }
            Err(error) => self.end(format!("commit {number}: {error}")),
        }
    }

    /// The engine goes, in one way or another.
    fn end(&mut self, why: String) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        let how = self.rng.below(3);
        self.say(format!("{why}; ends in way {how}"));
        match how {
            0 => drop(engine.close()),
            1 => drop(engine),
            _ => {
                drop(engine);
                let power = self.rng.chance(1, 2);
                for disk in &self.rig.disks {
                    match power {
                        true => disk.power_cut(),
                        false => disk.kill(),
                    }
                }
            }
        }
    }

    fn hold(&mut self, child: usize, held: bool) {
        self.held[child] = held;
        match held {
            true => self.rig.hold(child + 1),
            false => self.rig.release(child + 1),
        }
    }

    /// A child loses what it had, as long as another one has not.
    fn lose(&mut self) {
        self.end("on purpose".to_owned());
        let child = self.any();
        let mut lost = self.lost.clone();
        lost.push(child);
        lost.sort_unstable();
        lost.dedup();
        if lost.len() == self.held.len() {
            return;
        }
        self.ever_lost = true;
        self.hold(child, false);
        match self.rng.below(3) {
            0 if child > 0 => {
                let other = self.rng.below(child as u64) as usize;
                self.hold(other, false);
                self.say(format!("child {} is a copy of {}", child + 1, other + 1));
                self.rig.disks[child] = self.rig.disks[other].image(self.given.len() as u64);
                self.rig.disks[child].kill();
                self.open();
                self.write();
                self.end("the copy goes".to_owned());
                self.rig.wipe(child + 1);
            }
            1 if self.image.as_ref().is_some_and(|(.., began)| *began >= 2) => {
                let Some((child, image, _)) = self.image.take() else {
                    return;
                };
                if !lost.contains(&child) && lost.len() + 1 >= self.held.len() {
                    return;
                }
                self.say(format!("child {} is put back", child + 1));
                self.hold(child, false);
                self.rig.disks[child] = image;
                self.lost.push(child);
                return;
            }
            _ => {
                self.say(format!("child {} is wiped", child + 1));
                self.rig.wipe(child + 1);
                if self.rng.chance(1, 2) {
                    let calls = self.rng.below(60) + 10;
                    self.rig.disks[child].crash_in(calls);
                }
            }
        }
        self.lost = lost;
    }

    fn step(&mut self) {
        let pause = Duration::from_millis(self.rng.below(400));
        self.rig.env.advance(pause);
        let child = self.any();
        match self.rng.below(20) {
            0..=8 => self.write(),
            9..=12 => {
                let held = !self.held[child];
                self.say(format!("child {} is held: {held}", child + 1));
                self.hold(child, held);
            }
            13 => {
                self.say(format!("child {} will fail a sync", child + 1));
                self.rig.disks[child].fail_sync_after(self.rng.below(3));
            }
            14 | 15 => {
                self.say(format!("child {} will crash", child + 1));
                self.rig.disks[child].crash_in(self.rng.below(30) + 1);
            }
            16 => self.end("on purpose".to_owned()),
            17 => self.lose(),
            18 if self.rng.chance(1, 2) => {
                let room = self.rng.chance(2, 3).then(|| self.rng.below(20_000));
                let room = room.map(|room| self.rig.disks[child].used() + room);
                self.say(format!("child {} has room: {room:?}", child + 1));
                self.rig.disks[child].set_capacity(room);
            }
            18 if self.image.is_none() => {
                let image = self.rig.disks[child].image(self.given.len() as u64);
                // The engine that is open here holds no lock on the image.
                image.kill();
                self.image = Some((child, image, 0));
            }
            _ => {
                self.rig.env.advance(Duration::from_secs(5));
                self.check();
            }
        }
    }

    /// All is good again, and stays so.
    fn rest(&mut self) {
        for child in 0..self.held.len() {
            self.hold(child, false);
            self.rig.disks[child].fail_no_sync();
            self.rig.disks[child].crash_never();
            self.rig.disks[child].set_capacity(None);
        }
        for turn in 0..60 {
            self.rig.env.advance(Duration::from_secs(10));
            self.write();
            if self.all_in_line() {
                break;
            }
            if turn % 15 == 14 {
                let below = self.engine.as_ref().map(|engine| engine.status().below);
                let below = below.into_iter().flatten().flat_map(|status| status.below);
                let why: Vec<_> = below.filter_map(|child| child.refusing).collect();
                self.say(format!("not in line: {why:?}"));
                // The next one that is new takes its seat.
                self.end("for the next one".to_owned());
                if !self.lost.is_empty() {
                    self.lost.rotate_left(1);
                }
            }
        }
        // Of a child that lost what it had, another one may have gone on from there, or nobody knows.
        if !self.ever_lost {
            assert!(self.all_in_line(), "not all are back\n{:#?}", self.story);
            let engine = self.engine.take().unwrap();
            engine.close().unwrap();
            self.rig.are_alike();
        }
    }
}

pub(super) fn run(seed: u64) {
    let mut run = Run::new(seed);
    while run.acked == 0 {
        run.write();
    }
    assert!(run.all_in_line(), "all begin in line\n{:#?}", run.story);
    for _ in 0..STEPS {
        run.step();
    }
    run.rest();
}

#[test]
fn whatever_happens_to_the_children_an_answer_is_right_or_there_is_none() {
    for seed in storm::seeds(150) {
        println!("SEED={seed}");
        run(seed);
    }
}
