//! A chain under a name, and a turn on it: what a map has, for chains.

use std::sync::Arc;

use travertine_engine::contract::{Error, Level, Name, Op, Reference, Result};
use travertine_engine::front::{Change, Committed, Expect, Session, Snapshot};

use super::Options;
use super::consumers::Consumer;
use super::faces::{Log, Queue, Stack};
use super::reader::Reader;
use super::writer::Writer;
use crate::records::Source;

/// A chain under a name.
#[derive(Debug, Clone)]
pub struct Chain {
    name: Name,
    options: Options,
}

impl Chain {
    /// The chain of this name. Nothing is looked at yet.
    #[must_use]
    pub fn new(name: Name, options: Options) -> Self {
        Self { name, options }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The chain as `snapshot` has it; empty if there is no such name.
    pub fn reader(&self, snapshot: &Snapshot) -> Op<Reader> {
        let source: Arc<dyn Source> = Arc::new(snapshot.clone());
        Reader::open(source, snapshot.root(&self.name))
    }

    /// Begins a turn on the chain as `session` saw it. Blocks where a record must be fetched.
    pub fn writer<'s>(&self, session: &'s Session) -> Result<Turn<'s>> {
        let root = session.base().root(&self.name);
        let mut writer = Writer::new(self.options, session, root)?;
        let mut consumers = Vec::new();
        for who in writer.consumers()? {
            let consumer = Consumer::new(&self.name, &who)?;
            let position = consumer.position(session.base())?.unwrap_or_default();
            writer.pin(position);
            consumers.push((who, consumer, position));
        }
        Ok(Turn {
            session,
            name: self.name.clone(),
            root,
            writer,
            consumers,
            changes: Vec::new(),
        })
    }

    /// As [`Chain::writer`], with the verbs of a stack.
    pub fn stack<'s>(&self, session: &'s Session) -> Result<Stack<'s>> {
        self.writer(session).map(Stack::new)
    }

    /// As [`Chain::writer`], with the verbs of a queue.
    pub fn queue<'s>(&self, session: &'s Session) -> Result<Queue<'s>> {
        self.writer(session).map(Queue::new)
    }

    /// As [`Chain::writer`], with the verbs of a log.
    pub fn log<'s>(&self, session: &'s Session) -> Result<Log<'s>> {
        self.writer(session).map(Log::new)
    }

    /// The consumer of this name, whether it is there or not.
    pub fn consumer(&self, who: &str) -> Result<Consumer> {
        Consumer::new(&self.name, who)
    }
}

/// A [`Writer`] on a chain of a session; all of the writer's methods are its own.
#[derive(Debug)]
pub struct Turn<'s> {
    session: &'s Session,
    name: Name,
    root: Option<Reference>,
    writer: Writer<'s>,
    /// Who there was when the turn began, and where.
    consumers: Vec<(String, Consumer, u64)>,
    changes: Vec<Change>,
}

impl Turn<'_> {
    /// Begins a consumer at a number: entries before it are none of its business. From the next commit
    /// on it holds [`Turn::trim_consumed`]. Refuses one that is there, and a number past the end. One of
    /// which the chain knows the name alone, as under another name than it had, begins anew.
    pub fn add_consumer(&mut self, who: &str, at: u64) -> Result<()> {
        let consumer = Consumer::new(&self.name, who)?;
        if at > self.end() {
            return Err(Error::invalid(format!(
                "{who} cannot begin at {at}: the chain ends at {}",
                self.end()
            )));
        }
        let mut names = self.writer.consumers()?;
        let place = names.binary_search_by(|name| name.as_str().cmp(who));
        let begun = |change: &Change| change.name == *consumer.name();
        if place.is_ok() && (consumer.is_there(self.session) || self.changes.iter().any(begun)) {
            return Err(Error::invalid(format!("there is a consumer {who} already")));
        }
        let change = consumer.change(self.session, Some(at))?;
        if let Err(place) = place {
            names.insert(place, who.to_owned());
            self.writer.set_consumers(&names)?;
        }
        self.writer.pin(at);
        self.changes.push(change);
        Ok(())
    }

    /// Ends a consumer. Refuses one that was not there when the turn began.
    pub fn remove_consumer(&mut self, who: &str) -> Result<()> {
        let found = self.consumers.iter().position(|(name, ..)| name == who);
        let Some(index) = found else {
            return Err(Error::invalid(format!("there is no consumer {who}")));
        };
        let mut names = self.writer.consumers()?;
        names.retain(|name| name != who);
        let consumer = &self.consumers[index].1;
        if consumer.is_there(self.session) {
            self.changes.push(consumer.change(self.session, None)?);
        }
        self.writer.set_consumers(&names)?;
        self.consumers.remove(index);
        Ok(())
    }

    /// Takes away what every consumer has behind it, as the session saw them, and tells how many entries
    /// that were. Without a consumer nothing goes.
    pub fn trim_consumed(&mut self) -> Result<u64> {
        if !self.changes.is_empty() {
            return Err(Error::invalid(
                "consumers came or went in this turn: commit it, then trim in the next",
            ));
        }
        let positions = self.consumers.iter().map(|(.., position)| *position);
        match positions.min() {
            Some(least) => self.writer.trim(least.min(self.end())),
            None => Ok(0),
        }
    }

    /// Stores what is new and returns the changes to commit, with those of others if need be: all of them
    /// or none. Without one there is nothing to commit.
    pub fn finish(self) -> Result<Vec<Change>> {
        let popped = self.writer.has_popped();
        let root = self.writer.finish()?;
        let mut changes = self.changes;
        if root != self.root {
            changes.push(Change {
                name: self.name,
                expect: Expect::Is(self.root.map(|root| root.oid)),
                to: root,
            });
        }
        if popped {
            // Nobody may have consumed meanwhile what was popped.
            let consumers = self.consumers.iter().map(|(_, consumer, _)| consumer);
            let there = consumers.filter(|consumer| consumer.is_there(self.session));
            changes.extend(there.map(|consumer| consumer.guard(self.session)));
        }
        Ok(changes)
    }

    /// Stores what is new and commits it. A turn that changed nothing is a commit all the same, so that
    /// an answer says what level everything before has reached.
    pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
        let session = self.session;
        Ok(session.commit(&self.finish()?, level))
    }
}

impl<'s> std::ops::Deref for Turn<'s> {
    type Target = Writer<'s>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl std::ops::DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}
