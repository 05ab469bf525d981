//! `chain`: entries one behind the other, for shells.

mod consumers;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Args, Subcommand};

use self::consumers::{Consume, Consumers, Forget, Trim};
use super::put::standard_input;
use super::text::{self, CommitFacts};
use super::tree::AtArg;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::Name;
use crate::front::Snapshot;
use crate::interfaces::Direction;
use crate::interfaces::chain::{self, CHAIN_ROOT, Reader, Turn};
use crate::stack::Registry;

/// Push, pop, shift, print and consume entries of a chain, or check its links
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine chain push stack.toml --chain jobs 'boil water'
  travertine chain shift stack.toml --chain jobs         the oldest entry, taken away
  travertine chain scan stack.toml --chain jobs --reverse --limit 10
  travertine chain consume stack.toml --chain jobs --as mailer --limit 10
  travertine chain trim stack.toml --chain jobs --consumed
  travertine chain verify stack.toml --chain jobs")]
pub(super) struct Chain {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Push(Push),
    Pop(Pop),
    Shift(Shift),
    Scan(Scan),
    Consume(Consume),
    Consumers(Consumers),
    Forget(Forget),
    Trim(Trim),
    Verify(Verify),
}

#[derive(Debug, Args)]
struct ChainArg {
    #[command(flatten)]
    stack: StackArg,
    /// The name of the chain
    #[arg(long, value_name = "NAME")]
    chain: String,
}

/// Add an entry behind the last, in a commit of its own, and print its number
#[derive(Debug, Args)]
struct Push {
    #[command(flatten)]
    chain: ChainArg,
    /// The entry; `-` takes the bytes of the standard input
    #[arg(value_name = "ENTRY", allow_hyphen_values = true)]
    entry: OsString,
    /// Begin a linked chain, if there is none of that name: each entry is covered by a SHA-256
    #[arg(long)]
    linked: bool,
    /// Print number and commit as JSON
    #[arg(long)]
    json: bool,
}

/// Print the newest entry and take it away
///
/// It is taken away once it is printed: where that is cut short the entry is still there.
#[derive(Debug, Args)]
struct Pop {
    #[command(flatten)]
    chain: ChainArg,
}

/// Print the oldest entry and take it away
///
/// It is taken away once it is printed: where that is cut short the entry is still there.
#[derive(Debug, Args)]
struct Shift {
    #[command(flatten)]
    chain: ChainArg,
}

/// Print entries with their numbers, as lines of JSON
#[derive(Debug, Args)]
struct Scan {
    #[command(flatten)]
    chain: ChainArg,
    /// Begin at this entry
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the newest entry down
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    at: AtArg,
}

/// Look at every entry and every link, and print the link behind the last entry
///
/// Kept elsewhere, that link tells later whether anybody changed what lies before it.
#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    chain: ChainArg,
    #[command(flatten)]
    at: AtArg,
}

impl Run for Chain {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        match self.what {
            What::Push(push) => push.run(registry, terminal),
            What::Pop(pop) => pop.chain.take(registry, terminal, |turn| turn.pop()),
            What::Shift(shift) => shift.chain.take(registry, terminal, |turn| turn.shift()),
            What::Scan(scan) => scan.run(registry, terminal),
            What::Consume(consume) => consume.run(registry, terminal),
            What::Consumers(consumers) => consumers.run(registry, terminal),
            What::Forget(forget) => forget.run(registry, terminal),
            What::Trim(trim) => trim.run(registry, terminal),
            What::Verify(verify) => verify.run(registry, terminal),
        }
    }
}

impl Run for Push {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let entry = match self.entry.as_bytes() {
            b"-" => standard_input()?,
            entry => entry.to_vec(),
        };
        let linked = self.linked;
        let options = chain::Options {
            linked,
            ..chain::Options::default()
        };
        let chain = self.chain.chain(options)?;
        let (number, committed) = self.chain.stack.write(registry, |engine| {
            let session = engine.session()?;
            let mut turn = chain.writer(&session)?;
            let number = turn.push(&entry)?;
            Ok((number, turn.commit(None)?.wait()?))
        })?;
        if self.json {
            let commit = CommitFacts::from(committed);
            terminal.json(&serde_json::json!({ "number": number, "commit": commit }))?;
        } else {
            terminal.say(number)?;
        }
        Ok(Outcome::Fine)
    }
}

impl Run for Scan {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let reader = self.chain.read(registry, &self.at, terminal)?;
        let mut cursor = reader.cursor();
        let direction = match self.reverse {
            true => Direction::Back,
            false => Direction::Forward,
        };
        match (self.from, self.reverse) {
            (Some(number), false) => cursor.seek(number),
            (Some(number), true) => cursor.seek(number.saturating_add(1)),
            (None, false) => {}
            (None, true) => cursor.seek_end(),
        }
        let mut line = Vec::new();
        for _ in 0..self.limit.unwrap_or(u64::MAX) {
            let Some((number, entry)) = cursor.move_on(direction)? else {
                break;
            };
            text::numbered(terminal, &mut line, number, &entry)?;
        }
        Ok(Outcome::Fine)
    }
}

impl Run for Verify {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let reader = self.chain.read(registry, &self.at, terminal)?;
        let report = reader.verify();
        terminal.say(format_args!(
            "entries {} to {}: {report}",
            reader.first(),
            reader.end()
        ))?;
        if let Some(link) = reader.link() {
            terminal.say(format_args!("link {}", text::hex(&link)))?;
        }
        match report.is_clean() {
            true => Ok(Outcome::Fine),
            false => Ok(Outcome::Fault),
        }
    }
}

impl ChainArg {
    fn chain(&self, options: chain::Options) -> Result<crate::interfaces::Chain, Failure> {
        let name = super::tree::name(self.chain.clone())?;
        Ok(crate::interfaces::Chain::new(name, options))
    }

    /// The chain at the newest commit, or at another one.
    fn read(
        &self,
        registry: &Registry,
        at: &AtArg,
        terminal: &mut Terminal<'_>,
    ) -> Result<Reader, Failure> {
        let chain = self.chain(chain::Options::default())?;
        let opened = self.stack.open_to_read(registry, terminal)?;
        self.reader(&chain, &at.snapshot(&opened.engine)?)
    }

    /// The chain in a snapshot, which must hold it.
    fn reader(
        &self,
        chain: &crate::interfaces::Chain,
        snapshot: &Snapshot,
    ) -> Result<Reader, Failure> {
        if snapshot.root(chain.name()).is_none() {
            return Err(absent(snapshot, chain.name())?);
        }
        Ok(chain.reader(snapshot).wait()?)
    }

    /// Changes a chain that is there, in a commit of its own.
    fn turn<T>(
        &self,
        registry: &Registry,
        change: impl FnOnce(&mut Turn<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let chain = self.chain(chain::Options::default())?;
        self.stack.write(registry, |engine| {
            let session = engine.session()?;
            if session.base().root(chain.name()).is_none() {
                return Err(absent(session.base(), chain.name())?);
            }
            let mut turn = chain.writer(&session)?;
            let changed = change(&mut turn)?;
            turn.commit(None)?.wait()?;
            Ok(changed)
        })
    }

    /// Prints one entry, then takes it away: what cannot be printed is not lost.
    fn take<B: AsRef<[u8]>>(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
        take: impl FnOnce(&mut Turn<'_>) -> crate::contract::Result<Option<B>>,
    ) -> Result<Outcome, Failure> {
        self.turn(registry, |turn| {
            let Some(entry) = take(turn)? else {
                return Err(Failure::fault(format!("{} is empty", self.chain)));
            };
            terminal.bytes(entry.as_ref())?;
            terminal.flush()
        })?;
        Ok(Outcome::Fine)
    }
}

/// What to say of a chain that is not there.
fn absent(snapshot: &Snapshot, name: &Name) -> crate::contract::Result<Failure> {
    let mut there = Vec::new();
    for (name, reference) in snapshot.names() {
        if snapshot.read(reference).wait()?.kind() == CHAIN_ROOT {
            there.push(name.to_string());
        }
    }
    let there = match there.as_slice() {
        [] => "there is none yet: `chain push` makes one".to_owned(),
        some => format!("there are: {}", some.join(", ")),
    };
    Ok(Failure::fault(format!("there is no chain {name}; {there}")))
}
