//! Three faces of a turn, each with the verbs of one use and no others.

use bytes::Bytes;
use travertine_engine::contract::{Level, Op, Result};
use travertine_engine::front::{Change, Committed};

use super::turn::Turn;

/// What is pushed last is popped first.
#[derive(Debug)]
pub struct Stack<'s>(Turn<'s>);

/// What is pushed first is shifted first.
#[derive(Debug)]
pub struct Queue<'s>(Turn<'s>);

/// What is pushed stays, under its number, until it is trimmed.
#[derive(Debug)]
pub struct Log<'s>(Turn<'s>);

macro_rules! face {
    ($face:ident) => {
        impl<'s> $face<'s> {
            pub(super) fn new(turn: Turn<'s>) -> Self {
                Self(turn)
            }

            /// Adds an entry and returns its number.
            pub fn push(&mut self, entry: &[u8]) -> Result<u64> {
                self.0.push(entry)
            }

            /// How many entries there are.
            #[must_use]
            pub fn len(&self) -> u64 {
                self.0.len()
            }

            /// Whether there is none.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// See [`Turn::finish`].
            pub fn finish(self) -> Result<Vec<Change>> {
                self.0.finish()
            }

            /// See [`Turn::commit`].
            pub fn commit(self, level: Option<Level>) -> Result<Op<Committed>> {
                self.0.commit(level)
            }
        }
    };
}

face!(Stack);
face!(Queue);
face!(Log);

impl Stack<'_> {
    /// Takes the entry that was pushed last; `None`, if there is none.
    pub fn pop(&mut self) -> Result<Option<Bytes>> {
        self.0.pop()
    }

    /// The entry that was pushed last; `None`, if there is none.
    pub fn top(&mut self) -> Result<Option<Bytes>> {
        match self.0.end().checked_sub(1) {
            Some(last) => self.0.get(last),
            None => Ok(None),
        }
    }
}

impl Queue<'_> {
    /// Takes the entry that was pushed first; `None`, if there is none.
    pub fn shift(&mut self) -> Result<Option<Bytes>> {
        self.0.shift()
    }

    /// The entry that was pushed first; `None`, if there is none.
    pub fn front(&mut self) -> Result<Option<Bytes>> {
        let first = self.0.first();
        self.0.get(first)
    }
}

impl Log<'_> {
    /// The entry of a number; `None`, if it is not there.
    pub fn get(&mut self, number: u64) -> Result<Option<Bytes>> {
        self.0.get(number)
    }

    /// The number of the first entry there is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.0.first()
    }

    /// The number that the next entry gets.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.end()
    }

    /// See [`Writer::trim`](super::Writer::trim).
    pub fn trim(&mut self, number: u64) -> Result<u64> {
        self.0.trim(number)
    }

    /// See [`Turn::add_consumer`].
    pub fn add_consumer(&mut self, who: &str, at: u64) -> Result<()> {
        self.0.add_consumer(who, at)
    }

    /// See [`Turn::remove_consumer`].
    pub fn remove_consumer(&mut self, who: &str) -> Result<()> {
        self.0.remove_consumer(who)
    }

    /// See [`Turn::trim_consumed`].
    pub fn trim_consumed(&mut self) -> Result<u64> {
        self.0.trim_consumed()
    }
}
