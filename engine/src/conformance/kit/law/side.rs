//! One side of a trace: an engine, and which reference each record's number stands for here.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::step::{Ask, Step, Want};
use crate::contract::{
    Env, Epoch, Error, ErrorKind, Kind, Level, Name, NewRecord, Oid, Position, Reclaim, Reference,
    Result, RootAt, Status, Store, Stream,
};
use crate::front::{Change, Engine, Expect, Hint, Options, Session, Snapshot};

/// What a step answered, in words that are the same on both sides.
pub(super) type Answer = std::result::Result<String, ErrorKind>;

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    store: Arc<dyn Store>,
    engine: Engine,
    session: Option<Session>,
    /// Whether something was committed since it was opened: before that nobody may write or decide.
    began: bool,
    pub(super) records: Vec<Reference>,
    /// The time of each commit, by its number.
    times: Vec<u64>,
    /// What the last error said.
    pub(super) said: String,
}

impl Side {
    /// Opens an engine on `store`, which sends its tail at so many bytes. What `before` knew is known
    /// here too.
    pub(super) fn open(
        store: Arc<dyn Store>,
        env: &Env,
        level: Level,
        flush_bytes: usize,
        before: Option<&Self>,
    ) -> Result<Self> {
        let options = Options {
            level,
            flush_bytes,
            recent_max: 0,
            ..Options::default()
        };
        let engine = Engine::open(store.clone(), env, options)?;
        let mut times = before.map_or(vec![0], |before| before.times.clone());
        let newest = engine.snapshot();
        times.truncate(newest.sequence() as usize + 1);
        if newest.sequence() as usize == times.len() {
            // Nobody acknowledged it, and it survived.
            times.push(newest.time());
        }
        Ok(Self {
            store,
            engine,
            session: None,
            began: false,
            records: before.map_or_else(Vec::new, |before| before.records.clone()),
            times,
            said: String::new(),
        })
    }

    /// Number of the newest commit.
    pub(super) fn newest(&self) -> u64 {
        self.engine.snapshot().sequence()
    }

    /// How many calls the floors below have failed on purpose: the largest figure called `faults`.
    /// `None`: no floor says that it would.
    pub(super) fn faults(&self) -> Option<u64> {
        fn most(status: &Status) -> Option<u64> {
            let own = status.figures.iter().filter(|(name, _)| *name == "faults");
            let below = status.below.iter().filter_map(most);
            own.map(|(_, count)| *count).chain(below).max()
        }
        most(&self.store.status())
    }

    /// Whether writing has ended here.
    pub(super) fn refuses(&self) -> bool {
        self.engine.status().refusing.is_some()
    }

    /// Carries out a step. Reopening is not for here: it needs what the store lies on.
    pub(super) fn apply(&mut self, step: &Step) -> Answer {
        let answer = self.answer(step);
        self.began |= answer.is_ok() && matches!(step, Step::Commit { .. } | Step::Rename { .. });
        let snapshot = self.engine.snapshot();
        if snapshot.sequence() as usize == self.times.len() {
            self.times.push(snapshot.time());
        }
        answer.map_err(|error| {
            self.said = error.to_string();
            error.kind()
        })
    }

    fn answer(&mut self, step: &Step) -> Result<String> {
        match step {
            Step::Session => {
                let session = self.engine.session()?;
                let told = self.show(session.base());
                self.session = Some(session);
                told
            }
            Step::Store { body, child } => {
                let references: Vec<_> = child.iter().map(|at| self.records[*at]).collect();
                let record = NewRecord {
                    kind: Kind::BLOB,
                    references: &references,
                    body: &[body],
                };
                let reference = self.session()?.store(&record, Hint::default())?;
                self.records.push(reference);
                Ok(format!("record {}", self.records.len() - 1))
            }
            Step::Commit { asks, level } => {
                let changes = self.changes(asks)?;
                let done = self.session()?.commit(&changes, Some(*level)).wait()?;
                if done.level < *level {
                    return Err(Error::invalid("a commit reached less than was asked"));
                }
                Ok(format!("commit {}", done.sequence))
            }
            Step::Rename { from, to } => {
                let (from, to) = (name(*from)?, name(*to)?);
                let done = self.session()?.rename(&from, &to).wait()?;
                Ok(format!("commit {}", done.sequence))
            }
            Step::Read(at) => self.read(*at),
            Step::Above(far) => {
                let status = self.store.status();
                let root = status
                    .streams
                    .iter()
                    .find(|known| known.stream == status.root_stream);
                let end = root.map_or(0, |root| root.end.max(root.ceiling));
                let oid = Oid::new(Stream(status.root_stream), Position(end + far));
                let found = oid.map(|oid| self.engine.read(oid).wait()).transpose()?;
                Ok(format!("above: {:?}", found.flatten().is_some()))
            }
            Step::Newest => self.show(&self.engine.snapshot()),
            Step::Sequence(sequence) => self.at(RootAt::Sequence(*sequence)),
            Step::Time(of) => {
                let time = self.times.get(*of as usize).copied().unwrap_or_default();
                self.at(RootAt::Time(time))
            }
            Step::History => {
                let all = self.engine.history().collect::<Result<Vec<_>>>()?;
                let numbers: Vec<_> = all.iter().map(|(_, marker)| marker.sequence).collect();
                Ok(format!("{numbers:?}"))
            }
            Step::Prove => self.engine.prove().map(|()| "proved".to_owned()),
            Step::Reopen => self.engine.close().map(|()| "closed".to_owned()),
        }
    }

    /// Whether it wrote since it was opened.
    pub(super) fn began(&self) -> bool {
        self.began
    }

    /// The newest commit that is named as proven, as the one who writes knows.
    pub(super) fn proven(&self) -> Result<u64> {
        let found = self.store.root(RootAt::Proven).wait()?;
        Ok(found.map_or(0, |(_, marker)| marker.sequence))
    }

    /// Lets the store give back all that is durable but for what stays: everything that is there but
    /// these records. Answers how many bytes came free.
    pub(super) fn reclaim(&self, dead: &[usize]) -> Result<u64> {
        if !self.began {
            return Ok(0);
        }
        let dead: BTreeSet<Oid> = dead.iter().map(|at| self.records[*at].oid).collect();
        let mut bytes = 0;
        for state in self.store.fence(Epoch::default()).wait()? {
            let durable = self.durable(state.stream);
            let mut alive = Vec::new();
            let mut from = Some(Position::START);
            while let Some(at) = from {
                let some = self.store.scan(state.stream, at).wait()?;
                let whole = some.batches.iter().flat_map(|batch| batch.records());
                let left = some.sparse.iter().flat_map(|left| left.records.clone());
                let stays = whole.chain(left).map(|(oid, _)| oid);
                let stays = stays.filter(|oid| oid.position() < durable && !dead.contains(oid));
                alive.extend(stays.map(Oid::position));
                from = some.next.filter(|next| *next < durable);
            }
            // In a few runs, one after another.
            let mut most = 1 + alive.len() / (1 + dead.len() % 4);
            let mut from = Position::START;
            while from < durable {
                let at = alive.partition_point(|at| *at < from);
                let told = &alive[at..alive.len().min(at + most)];
                let to = alive.get(at + most).copied().unwrap_or(durable);
                let decision = Reclaim {
                    sender: state.epoch,
                    stream: state.stream,
                    from,
                    to,
                    alive: told.into(),
                    left: None,
                };
                let freed = self.store.reclaim(decision).wait()?;
                if freed.to > to {
                    return Err(Error::invalid(format!(
                        "{} was freed up to {}",
                        to, freed.to
                    )));
                }
                bytes += freed.bytes;
                (from, most) = match to == durable {
                    true => (to, most),
                    false => (
                        freed.to.max(from),
                        most + usize::from(freed.to <= from) * most,
                    ),
                };
            }
        }
        Ok(bytes)
    }

    fn durable(&self, stream: Stream) -> Position {
        let status = self.store.status();
        let known = status.streams.iter().find(|known| known.stream == stream.0);
        known.map_or(Position::START, |known| Position(known.durable))
    }

    fn session(&mut self) -> Result<&Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.engine.session()?,
        };
        Ok(self.session.insert(session))
    }

    fn changes(&mut self, asks: &[Ask]) -> Result<Vec<Change>> {
        let base = self.session()?.base().clone();
        asks.iter()
            .map(|ask| {
                let name = name(ask.name)?;
                let seen = base.root(&name).map(|reference| reference.oid);
                let expect = match ask.want {
                    Want::Anything => Expect::Any,
                    Want::Nothing => Expect::Is(None),
                    Want::Seen => Expect::Is(seen),
                    Want::Record(at) => Expect::Is(Some(self.records[at].oid)),
                };
                Ok(Change {
                    name,
                    expect,
                    to: ask.to.map(|at| self.records[at]),
                })
            })
            .collect()
    }

    /// A record as its bytes and the numbers of the records that it refers to.
    pub(super) fn read(&self, at: usize) -> Result<String> {
        match self.engine.read(self.records[at].oid).wait()? {
            None => Ok("absent".to_owned()),
            Some(record) => {
                let children: Vec<_> = record.references().map(|to| self.number(&to)).collect();
                Ok(format!("{:?} {children:?}", record.body()))
            }
        }
    }

    fn number(&self, reference: &Reference) -> Option<usize> {
        self.records
            .iter()
            .position(|known| known.oid == reference.oid)
    }

    fn at(&self, at: RootAt) -> Result<String> {
        match self.engine.at(at)? {
            Some(snapshot) => self.show(&snapshot),
            None => Ok("no such commit".to_owned()),
        }
    }

    /// A commit: its number, its names, and what each leads to.
    fn show(&self, snapshot: &Snapshot) -> Result<String> {
        let mut text = format!("commit {}", snapshot.sequence());
        for (name, reference) in snapshot.names() {
            let record = snapshot.read(reference).wait()?;
            let number = self.number(reference);
            text += &format!("; {name}: {number:?} of {} bytes", record.body().len());
        }
        Ok(text)
    }
}

fn name(number: u64) -> Result<Name> {
    Name::new(format!("name {number}"))
}
