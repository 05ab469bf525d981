//! `store`, `read`, `commit`, `root`: the four verbs, as they are.

use std::io::{self, Read as _};

use clap::Args;
use serde::Serialize;

use super::text::CommitFacts;
use super::{Failure, Outcome, Run, StackArg, Terminal};
use crate::contract::limits::RECORD_BODY_MAX;
use crate::contract::{Error, Kind, Name, NewRecord, Oid};
use crate::front::{Change, Expect, Hint, chunk};
use crate::stack::Registry;

/// Store the bytes of the standard input, and print their address
///
/// Up to 16 MiB are one record, more are a tree of pieces; `read` gives either back. Nothing refers to
/// the address until it is committed under a name.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: travertine commit stack.toml notes $(travertine store stack.toml < notes.txt)"
)]
pub(super) struct Store {
    #[command(flatten)]
    stack: StackArg,
}

/// Print the bytes at an address
///
/// Exit code 1 if there is no record.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine read stack.toml oid:v1:b0:o2048 > notes.txt")]
pub(super) struct Read {
    #[command(flatten)]
    stack: StackArg,
    /// The address
    oid: Oid,
}

/// Point a name at an address, in a commit
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine commit stack.toml notes oid:v1:b0:o2048
  travertine commit stack.toml notes oid:v1:b0:o4096 --expect oid:v1:b0:o2048")]
pub(super) struct Commit {
    #[command(flatten)]
    stack: StackArg,
    /// The name
    name: String,
    /// The address
    oid: Oid,
    /// Only if the name points here now; `none`: only if there is no such name
    #[arg(long, value_name = "OID|none")]
    expect: Option<String>,
    /// Print the commit as JSON
    #[arg(long)]
    json: bool,
}

/// Print the address that a name points to, or all names
///
/// Exit code 1 if there is no such name.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine root stack.toml notes")]
pub(super) struct Root {
    #[command(flatten)]
    stack: StackArg,
    /// The name
    name: Option<String>,
    #[command(flatten)]
    at: super::tree::AtArg,
    /// Print one line of JSON for each name
    #[arg(long)]
    json: bool,
}

impl Run for Store {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let mut input = io::stdin().lock();
        let mut head = Vec::new();
        (&mut input)
            .take(RECORD_BODY_MAX as u64 + 1)
            .read_to_end(&mut head)
            .map_err(|source| Error::io("reading the standard input", source))?;
        let oid = self.stack.write(registry, |engine| {
            let session = engine.session()?;
            let reference = if head.len() <= RECORD_BODY_MAX {
                let record = NewRecord {
                    kind: Kind::BLOB,
                    references: &[],
                    body: &[&head],
                };
                session.store(&record, Hint::default())?
            } else {
                let mut all = head.as_slice().chain(input);
                chunk::store_from(&session, &mut all, Hint::default())?.0
            };
            Ok(reference.oid)
        })?;
        terminal.say(oid)?;
        Ok(Outcome::Fine)
    }
}

impl Run for Read {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let opened = self.stack.open_to_read(registry, terminal)?;
        let Some(record) = opened.engine.read(self.oid).wait()? else {
            return Err(Failure::fault(format!(
                "there is no record at {}",
                self.oid
            )));
        };
        if record.kind() != Kind::CHUNK_INDEX {
            terminal.bytes(record.body())?;
            return Ok(Outcome::Fine);
        }
        let snapshot = opened.engine.snapshot();
        let mut reader = chunk::Reader::open(&snapshot, &record.reference_to(self.oid))?;
        let mut piece = vec![0; chunk::PIECE];
        loop {
            let read = match reader.read(&mut piece) {
                Ok(0) => return Ok(Outcome::Fine),
                Ok(read) => read,
                Err(error) => {
                    let ours = error.downcast::<Error>();
                    return Err(ours
                        .unwrap_or_else(|error| Error::io("reading a value", error))
                        .into());
                }
            };
            terminal.bytes(&piece[..read])?;
        }
    }
}

impl Run for Commit {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let name = Name::new(self.name)?;
        let expect = match self.expect.as_deref() {
            None => Expect::Any,
            Some("none") => Expect::Is(None),
            Some(oid) => Expect::Is(Some(oid.parse()?)),
        };
        let committed = self.stack.write(registry, |engine| {
            let Some(record) = engine.read(self.oid).wait()? else {
                return Err(Failure::fault(format!(
                    "there is no record at {}",
                    self.oid
                )));
            };
            let change = Change {
                name,
                expect,
                to: Some(record.reference_to(self.oid)),
            };
            Ok(engine.session()?.commit(&[change], None).wait()?)
        })?;
        if self.json {
            terminal.json(&CommitFacts::from(committed))?;
        }
        Ok(Outcome::Fine)
    }
}

#[derive(Serialize)]
struct NameFacts<'a> {
    name: &'a str,
    oid: String,
}

impl Run for Root {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let wanted = self.name.map(Name::new).transpose()?;
        let opened = self.stack.open_to_read(registry, terminal)?;
        let snapshot = self.at.snapshot(&opened.engine)?;
        let mut found = false;
        for (name, reference) in snapshot.names() {
            if wanted.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            found = true;
            let oid = reference.oid;
            if self.json {
                terminal.json(&NameFacts {
                    name: name.as_str(),
                    oid: oid.to_string(),
                })?;
            } else if wanted.is_some() {
                terminal.say(oid)?;
            } else {
                terminal.say(format_args!("{oid} {name}"))?;
            }
        }
        match wanted {
            Some(name) if !found => Err(Failure::fault(format!("there is no name {name}"))),
            _ => Ok(Outcome::Fine),
        }
    }
}
