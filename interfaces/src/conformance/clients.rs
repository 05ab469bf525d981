//! Clients that share collections on a stack that crashes.
//!
//! ```text
//!   act, update, sync, transactions     by several clients, some of which pend and commit in two steps
//!   ── crash, between calls, in them, while opening ──> open again: is every action that was acknowledged
//!                                       there, once, in the order that was known, and no other?
//! ```
//!
//! [`run`] has two trees and a diary. Each action has a number; the log of a collection tells in which
//! order they landed, and the rows must be what that order makes of them. What a transaction did in two
//! trees is there in both or in none, and of two that each read what the other wrote one lands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use travertine_engine::conformance::kit::{Between, Fixture, Machine, Nothing, Promises};
use travertine_engine::contract::{Error, Name, Op, Result, block_on};
use travertine_engine::front::Engine;

use super::crash::end;
use super::model::Chance;
use crate::block::{BlockId, Value};
use crate::collection::{Collection, Diary, Kind, Replace, Retry, SyncError, Tree, row};
use crate::index::Direction;
use crate::structure::tree::{Pairs, Tree as Blocks};
use crate::transaction::{Actions, Schema, Session, TransactionError, World};
use crate::transactor::{
    ActionId, ActionRev, Answers, Commit, Committed, Context, Local, Options, Pend, Pended, Status,
    Transactor,
};

const CLIENTS: usize = 3;
/// Two trees, and the diary.
const NAMES: [&str; 3] = ["one", "two", "diary"];

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Actions that were done by a client.
    pub actions: u64,
    /// Calls that committed, and were acknowledged.
    pub synced: u64,
    /// Transactions that landed.
    pub transactions: u64,
    /// Transactions that were too late.
    pub stale: u64,
    /// Entries of logs that were held against the model.
    pub compared: u64,
    /// Ends of a process, between calls or in one.
    pub crashes: u64,
    /// Those of them in the midst of a call.
    pub in_calls: u64,
    /// Those of them while the stack was opened.
    pub in_recovery: u64,
    /// Actions of which nobody had said that they landed, and that were there after a crash.
    pub survived: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.actions += other.actions;
        self.synced += other.synced;
        self.transactions += other.transactions;
        self.stale += other.stale;
        self.compared += other.compared;
        self.crashes += other.crashes;
        self.in_calls += other.in_calls;
        self.in_recovery += other.in_recovery;
        self.survived += other.survived;
    }
}

/// So many steps of clients that share collections on a stack. The same seed on the same fixture does the
/// same.
///
/// # Panics
///
/// If what is there is not what it has to be.
pub fn run(fixture: &dyn Fixture, seed: u64, steps: usize) -> Tally {
    let mut run = Run {
        fixture,
        promises: fixture.promises(),
        chance: Chance::new(seed),
        tally: Tally::default(),
        story: format!("seed {seed} on {fixture:?}"),
        next: 0,
        truth: Default::default(),
        pairs: Vec::new(),
    };
    let mut open = run.open().expect("a new stack opens");
    for step in 0..steps {
        run.story = format!("seed {seed}, step {step}, on {fixture:?}");
        open = run.step(open);
    }
    run.judge(&open.engine, true);
    open.engine.close().expect("an engine closes");
    run.tally
}

/// What is known of one collection.
#[derive(Debug, Default)]
struct Truth {
    /// In the order of the log.
    known: Vec<u64>,
    acknowledged: BTreeSet<u64>,
    /// Nobody said whether they landed.
    unknown: BTreeSet<u64>,
}

/// A store that does nothing at once: what lies between its steps can be cut off.
struct Stepwise(Local);

impl Transactor for Stepwise {
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        self.0.get(blocks, context)
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        self.0.pend(pend)
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        self.0.commit(commit)
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        self.0.cancel(action, blocks)
    }

    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        self.0.status(by, blocks)
    }
}

struct Client {
    trees: [Collection<Tree>; 2],
    diary: Collection<Diary>,
    /// Numbers of what is noted.
    noted: [Vec<u64>; 3],
}

struct Open {
    engine: Arc<Engine>,
    world: World,
    clients: Vec<Client>,
}

struct Run<'f> {
    fixture: &'f dyn Fixture,
    promises: Promises,
    chance: Chance,
    tally: Tally,
    story: String,
    next: u64,
    truth: [Truth; 3],
    /// What one transaction did in both trees.
    pairs: Vec<(u64, u64)>,
}

fn id(nth: usize) -> BlockId {
    BlockId::new(NAMES[nth]).expect("a legal name")
}

fn put(key: usize, number: u64) -> Replace {
    Replace::put(format!("{key}").as_bytes(), &number).expect("a number is a value")
}

impl Run<'_> {
    fn machine(&self) -> Option<&Machine> {
        self.fixture.machine().filter(|_| self.promises.kill)
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        let nothing: Arc<dyn Between> = Arc::new(Nothing);
        let options = travertine_engine::front::Options {
            level: self.promises.level,
            flush_bytes: 16 << 10,
            recent_max: 0,
            ..Default::default()
        };
        let store = self.fixture.open(&nothing)?;
        Engine::open(store, self.fixture.env(), options).map(Arc::new)
    }

    fn local(&self, engine: &Arc<Engine>) -> Local {
        let options = Options {
            // Whoever pended has gone.
            patience: Duration::from_millis(1),
            ..Options::default()
        };
        let name = Name::new("blocks").expect("a legal name");
        Local::new(engine.clone(), self.fixture.env(), name, options)
    }

    fn open(&self) -> Result<Open> {
        let engine = self.engine()?;
        let local = self.local(&engine);
        let env = self.fixture.env();
        let (one, two) = (local.clone(), local.clone());
        let at_once: Arc<dyn Transactor> = Arc::new(one);
        let stepwise: Arc<dyn Transactor> = Arc::new(Stepwise(two));
        let mut clients = Vec::new();
        for nth in 0..CLIENTS {
            let store = if nth == 1 { &stepwise } else { &at_once };
            let tree = |nth| Collection::create_or_open(store.clone(), env, id(nth), Tree);
            clients.push(Client {
                trees: [block_on(tree(0))?, block_on(tree(1))?],
                diary: block_on(Collection::create_or_open(store.clone(), env, id(2), Diary))?,
                noted: Default::default(),
            });
        }
        let schema = Schema::new().with(id(0), Tree).with(id(1), Tree);
        Ok(Open {
            world: World::new(env, "client", at_once, schema),
            engine,
            clients,
        })
    }

    fn step(&mut self, mut open: Open) -> Open {
        if self.chance.below(60) == 0 && self.machine().is_some() {
            return self.crash(open);
        }
        let armed = self.chance.below(14) == 0;
        let calls = 1 + self.chance.below(5) as u64;
        if let Some(machine) = self.machine().filter(|_| armed) {
            machine.disk().crash_in(calls);
        }
        let done = match self.chance.below(8) {
            0 => self.transactions(&open),
            1 | 2 => self.sync(&mut open),
            3 => self.update(&mut open),
            _ => self.act(&mut open),
        };
        let down = self
            .machine()
            .is_some_and(|machine| machine.disk().is_down());
        if let Err(error) = done {
            assert!(down, "{error}; {}", self.story);
        }
        match armed && self.machine().is_some() {
            true => {
                self.tally.in_calls += u64::from(down);
                self.crash(open)
            }
            false => open,
        }
    }

    fn act(&mut self, open: &mut Open) -> Result<()> {
        let client = &mut open.clients[self.chance.below(CLIENTS)];
        let nth = self.chance.below(3);
        self.next += 1;
        let number = self.next;
        // What is done here needs blocks that may have to be read.
        match nth {
            2 => block_on(client.diary.act([Value::of(&number)?]))?,
            nth => {
                let mut action = put(self.chance.below(40), number);
                if self.chance.below(4) == 0 {
                    action = action.and_delete(format!("{}", self.chance.below(40)).as_bytes());
                }
                block_on(client.trees[nth].act([action]))?;
            }
        }
        client.noted[nth].push(number);
        self.tally.actions += 1;
        Ok(())
    }

    fn update(&mut self, open: &mut Open) -> Result<()> {
        let client = &mut open.clients[self.chance.below(CLIENTS)];
        block_on(client.trees[0].update())?;
        block_on(client.trees[1].update())?;
        block_on(client.diary.update())
    }

    fn sync(&mut self, open: &mut Open) -> Result<()> {
        let client = &mut open.clients[self.chance.below(CLIENTS)];
        let nth = self.chance.below(3);
        let done = match nth {
            2 => sync(&mut client.diary),
            nth => sync(&mut client.trees[nth]),
        };
        let noted = std::mem::take(&mut client.noted[nth]);
        match done {
            Ok(()) => {
                self.tally.synced += u64::from(!noted.is_empty());
                self.truth[nth].acknowledged.extend(noted);
                Ok(())
            }
            Err(error) => {
                self.truth[nth].unknown.extend(noted);
                Err(error)
            }
        }
    }

    /// One transaction over both trees, or two that each read what the other writes.
    fn transactions(&mut self, open: &Open) -> Result<()> {
        let key = self.chance.below(40);
        let question = Value::bytes(format!("{key}").as_bytes());
        if self.chance.below(2) == 0 {
            let mut session = open.world.begin("actions@1.0.0")?;
            let pair = (self.next + 1, self.next + 2);
            self.next += 2;
            execute(&mut session, 0, key, pair.0)?;
            execute(&mut session, 1, key, pair.1)?;
            self.pairs.push(pair);
            return self.land(session, &[(0, pair.0), (1, pair.1)]).map(drop);
        }
        let mut sessions = Vec::new();
        for read in [0, 1] {
            let mut session = open.world.begin("actions@1.0.0")?;
            block_on(session.ask(&id(read), &question))?;
            self.next += 1;
            execute(&mut session, 1 - read, key, self.next)?;
            sessions.push((session, 1 - read, self.next));
        }
        let mut landed = 0;
        for (session, nth, number) in sessions {
            landed += u64::from(self.land(session, &[(nth, number)])?);
        }
        assert!(landed < 2, "both landed; {}", self.story);
        Ok(())
    }

    fn land(&mut self, mut session: Session, numbers: &[(usize, u64)]) -> Result<bool> {
        let done = block_on(session.commit());
        for (nth, number) in numbers {
            let truth = &mut self.truth[*nth];
            match &done {
                Ok(_) => drop(truth.acknowledged.insert(*number)),
                Err(TransactionError::Failed(_)) => drop(truth.unknown.insert(*number)),
                Err(_) => {}
            }
        }
        match done {
            Ok(_) => {
                self.tally.transactions += 1;
                Ok(true)
            }
            Err(TransactionError::Failed(error)) => Err(error),
            Err(TransactionError::Stale(_)) => {
                self.tally.stale += 1;
                Ok(false)
            }
            Err(other) => panic!("{other}; {}", self.story),
        }
    }

    fn crash(&mut self, open: Open) -> Open {
        let mut chance = self.chance.clone();
        let ended = end(self.fixture, &mut chance, &self.story, || self.open());
        self.chance = chance;
        self.tally.crashes += ended.crashes;
        self.tally.in_recovery += ended.crashes - 1;
        drop(open);
        let kept = self.promises.level >= ended.worst;
        self.judge(&ended.next.engine, kept);
        ended.next
    }

    /// Holds what is there against what has to be.
    fn judge(&mut self, engine: &Arc<Engine>, kept: bool) {
        let store: Arc<dyn Transactor> = Arc::new(self.local(engine));
        let env = self.fixture.env();
        let wrong = |error: Error| -> ! { panic!("{error}; {}", self.story) };
        let mut found: [Vec<u64>; 3] = Default::default();
        for nth in [0, 1] {
            let opened = block_on(Collection::open(store.clone(), env, id(nth), Tree));
            if let Some(tree) = opened.unwrap_or_else(|error| wrong(error)) {
                found[nth] = self.tree(nth, &tree);
            }
        }
        let opened = block_on(Collection::open(store, env, id(2), Diary));
        if let Some(diary) = opened.unwrap_or_else(|error| wrong(error)) {
            let entries = block_on(diary.entries(Direction::Forward));
            let entries = entries.unwrap_or_else(|error| wrong(error));
            let numbers = entries.iter().map(|entry| entry.to().expect("a number"));
            found[2] = numbers.collect();
            self.links(&diary);
        }
        for (one, two) in &self.pairs {
            let there = (found[0].contains(one), found[1].contains(two));
            assert!(there.0 == there.1, "half a transaction; {}", self.story);
        }
        self.pairs.clear();
        for (truth, found) in self.truth.iter_mut().zip(found) {
            let all: BTreeSet<u64> = found.iter().copied().collect();
            assert_eq!(all.len(), found.len(), "twice; {}", self.story);
            if kept {
                assert!(
                    found.starts_with(&truth.known),
                    "another order; {}",
                    self.story
                );
                let lost: Vec<_> = truth.acknowledged.difference(&all).collect();
                assert!(lost.is_empty(), "lost {lost:?}; {}", self.story);
            }
            let known = |number: &&u64| {
                !truth.acknowledged.contains(number) && !truth.unknown.contains(number)
            };
            let strange: Vec<_> = all.iter().filter(known).collect();
            assert!(
                strange.is_empty(),
                "never synchronised: {strange:?}; {}",
                self.story
            );
            self.tally.survived += truth.unknown.intersection(&all).count() as u64;
            self.tally.compared += found.len() as u64;
            truth.acknowledged = all;
            truth.unknown.clear();
            truth.known = found;
        }
    }

    /// The numbers of a tree's log, whose rows must be what they make.
    fn tree(&self, nth: usize, tree: &Collection<Tree>) -> Vec<u64> {
        let (mut numbers, mut rows) = (Vec::new(), BTreeMap::new());
        let mut log = tree.log().walk(tree.blocks(), Direction::Forward);
        while let Some(entry) = block_on(log.next()).expect("a log that can be read") {
            for action in entry.actions() {
                for (key, value) in action.to::<Replace>().expect("an action").0 {
                    match value {
                        Some(value) => {
                            let number: u64 = value.to().expect("a number");
                            numbers.push(number);
                            rows.insert(key.0, number);
                        }
                        None => drop(rows.remove(&key.0)),
                    }
                }
            }
        }
        let mut cursor = tree.cursor();
        block_on(cursor.seek(&[])).expect("a tree that can be read");
        let mut found = BTreeMap::new();
        while let Some(entry) = block_on(cursor.next()).expect("a tree that can be read") {
            let (key, value) = row(&entry).expect("a row");
            found.insert(key, value.to::<u64>().expect("a number"));
        }
        assert_eq!(found, rows, "{}; {}", NAMES[nth], self.story);
        let blocks = Blocks::new(id(nth), id(nth), Pairs);
        let verified = block_on(blocks.verify(tree.blocks()));
        let verified = verified.unwrap_or_else(|error| panic!("{error}; {}", self.story));
        assert_eq!(verified.entries, rows.len() as u64, "{}", self.story);
        self.links(tree);
        numbers
    }

    fn links<K: Kind>(&self, collection: &Collection<K>) {
        let verified = block_on(collection.log().verify(collection.blocks()));
        verified.unwrap_or_else(|error| panic!("{error}; {}", self.story));
    }
}

fn execute(session: &mut Session, nth: usize, key: usize, number: u64) -> Result<()> {
    let action = Value::of(&put(key, number))?;
    let statement = Actions::statement(&id(nth), &[action])?;
    block_on(session.execute(statement)).map(drop)
}

fn sync<K: Kind>(collection: &mut Collection<K>) -> Result<()> {
    let retry = Retry {
        attempts: 100,
        ..Retry::default()
    };
    block_on(collection.sync(&retry)).map_err(|error| match error {
        SyncError::Failed(error) => error,
        other => Error::invalid(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use travertine_engine::conformance::kit::LogFixture;
    use travertine_engine::conformance::sim::{Class, Plan};
    use travertine_engine::log::LogOptions;

    use super::*;

    #[test]
    fn what_clients_share_survives_crashes() {
        let seeds = std::env::var("TRAVERTINE_SEEDS").ok();
        let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
        let mut tally = Tally::default();
        for seed in 0..seeds {
            let options = LogOptions {
                segment: 256 << 10,
                ..LogOptions::default()
            };
            let fixture = LogFixture::simulated(seed, Plan::draw(seed, Class::Crash), options);
            tally += run(&fixture, seed, 500);
        }
        println!("{tally:?}");
        assert!(
            tally.in_calls > 0 && tally.transactions > 0 && tally.stale > 0 && tally.survived > 0,
            "{tally:?}"
        );
    }
}
