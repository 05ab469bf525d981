//! Who reads a chain, how far each got, and taking away what is done.

use clap::Args;
use serde::Serialize;

use super::super::{Failure, Outcome, Run, Terminal, text};
use super::{ChainArg, absent};
use crate::interfaces::chain;
use crate::stack::Registry;

/// Print the next entries of a consumer, then note that they are done
///
/// A consumer that is not there yet begins with the oldest entry. The note is committed after the last
/// entry is printed: where that is cut short the entries come again, so each is seen once or more.
#[derive(Debug, Args)]
pub(super) struct Consume {
    #[command(flatten)]
    chain: ChainArg,
    #[command(flatten)]
    who: WhoArg,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Print the consumers, where each stands and how many entries it has before it
#[derive(Debug, Args)]
pub(super) struct Consumers {
    #[command(flatten)]
    chain: ChainArg,
}

/// End a consumer: it holds no entries any more
#[derive(Debug, Args)]
pub(super) struct Forget {
    #[command(flatten)]
    chain: ChainArg,
    #[command(flatten)]
    who: WhoArg,
}

/// Take the oldest entries away, and print how many went
#[derive(Debug, Args)]
pub(super) struct Trim {
    #[command(flatten)]
    chain: ChainArg,
    #[command(flatten)]
    what: TrimArg,
}

#[derive(Debug, Args)]
struct WhoArg {
    /// The name of the consumer
    #[arg(long = "as", value_name = "WHO")]
    who: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TrimArg {
    /// Those before this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Those that every consumer has done
    #[arg(long)]
    consumed: bool,
}

#[derive(Serialize)]
struct ConsumerFacts {
    consumer: String,
    position: Option<u64>,
    behind: u64,
}

impl Run for Consume {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let chain = self.chain.chain(chain::Options::default())?;
        let who = &self.who.who;
        let consumer = chain.consumer(who)?;
        self.chain.stack.write(registry, |engine| {
            let mut session = engine.session()?;
            if session.base().root(chain.name()).is_none() {
                return Err(absent(session.base(), chain.name())?);
            }
            if consumer.position(session.base())?.is_none() {
                let mut turn = chain.writer(&session)?;
                let first = turn.first();
                turn.add_consumer(who, first)?;
                turn.commit(None)?.wait()?;
                session = engine.session()?;
            }
            let mut cursor = consumer.cursor(session.base())?;
            let began = cursor.position();
            let mut line = Vec::new();
            for _ in 0..self.limit.unwrap_or(u64::MAX) {
                let Some((number, entry)) = cursor.next()? else {
                    break;
                };
                text::numbered(terminal, &mut line, number, &entry)?;
            }
            terminal.flush()?;
            if cursor.position() > began {
                let done = consumer.advance(&session, cursor.position())?;
                session.commit(&[done], None).wait()?;
            }
            Ok(Outcome::Fine)
        })
    }
}

impl Run for Consumers {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let chain = self.chain.chain(chain::Options::default())?;
        let opened = self.chain.stack.open_to_read(registry, terminal)?;
        let snapshot = opened.engine.snapshot();
        let reader = self.chain.reader(&chain, &snapshot)?;
        for who in reader.consumers()? {
            let position = chain.consumer(&who)?.position(&snapshot)?;
            let from = position.unwrap_or_default().max(reader.first());
            terminal.json(&ConsumerFacts {
                consumer: who,
                position,
                behind: reader.end().saturating_sub(from),
            })?;
        }
        Ok(Outcome::Fine)
    }
}

impl Run for Forget {
    fn run(self, registry: &Registry, _terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let chain = self.chain.chain(chain::Options::default())?;
        let who = &self.who.who;
        self.chain.stack.write(registry, |engine| {
            let session = engine.session()?;
            let there = self.chain.reader(&chain, session.base())?.consumers()?;
            if !there.contains(who) {
                return Err(Failure::fault(format!("there is no consumer {who}")));
            }
            let mut turn = chain.writer(&session)?;
            turn.remove_consumer(who)?;
            turn.commit(None)?.wait()?;
            Ok(Outcome::Fine)
        })
    }
}

impl Run for Trim {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let went = self.chain.turn(registry, |turn| match self.what.before {
            Some(number) => Ok(turn.trim(number)?),
            None => Ok(turn.trim_consumed()?),
        })?;
        terminal.say(went)?;
        Ok(Outcome::Fine)
    }
}
