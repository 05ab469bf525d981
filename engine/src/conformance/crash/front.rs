//! An engine as a run writes through it.

use std::sync::Arc;
use std::time::Duration;

use super::subject::{Ask, Subject};
use crate::contract::{
    Env, Error, Level, Names, NewRecord, Op, Record, Reference, Result, RootAt, Store,
};
use crate::front::{Change, Engine, Expect, Hint, Options, Session};

#[derive(Debug)]
pub(super) struct Front {
    engine: Engine,
    /// A session that began some commits ago, sometimes.
    session: Option<Session>,
}

impl Front {
    pub(super) fn open(
        store: Arc<dyn Store>,
        env: &Env,
        flush: usize,
        read_only: bool,
    ) -> Result<Self> {
        let options = Options {
            flush_bytes: flush,
            recent_max: flush,
            flush_age: Duration::from_secs(1),
            read_only,
            ..Options::default()
        };
        Ok(Self {
            engine: Engine::open(store, env, options)?,
            session: None,
        })
    }

    fn session(&mut self) -> Result<&Session> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.engine.session()?,
        };
        Ok(self.session.insert(session))
    }
}

impl Subject for Front {
    fn store(&mut self, record: &NewRecord<'_>) -> Result<Reference> {
        self.session()?.store(record, Hint::default())
    }

    fn commit(&mut self, asks: &[Ask], level: Level) -> Op<u64> {
        let changes: Vec<_> = asks
            .iter()
            .map(|ask| Change {
                name: ask.name.clone(),
                expect: ask.expect.map_or(Expect::Any, Expect::Is),
                to: ask.to,
            })
            .collect();
        let ticket = match self.session() {
            Ok(session) => session.commit(&changes, Some(level)),
            Err(error) => return Op::err(error),
        };
        self.session = None;
        ticket.and_then(move |committed| {
            if committed.level < level {
                return Err(Error::invalid(format!(
                    "a commit asked for {level} and was told of {}",
                    committed.level
                )));
            }
            Ok(committed.sequence)
        })
    }

    fn submitted(&self) -> Result<Names> {
        Ok(self.engine.session()?.base().names().clone())
    }

    fn shown(&self) -> Result<Names> {
        Ok(self.engine.snapshot().names().clone())
    }

    fn at(&self, sequence: u64) -> Result<Option<Names>> {
        let found = self.engine.at(RootAt::Sequence(sequence))?;
        Ok(found.map(|snapshot| snapshot.names().clone()))
    }

    fn read(&self, reference: &Reference) -> Result<Record> {
        self.engine.snapshot().read(reference).wait()
    }

    fn prove(&mut self) -> Result<()> {
        self.engine.prove()
    }

    fn close(&mut self) -> Result<()> {
        self.engine.close()
    }
}
