//! `collection sync`: many actions from lines of JSON.

use std::io::BufRead as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{CollectionArg, KindArg, failure};
use crate::cli::{Failure, Outcome, Run, Terminal};
use crate::contract::{Error, block_on};
use crate::interfaces::block::Value;
use crate::interfaces::collection::{Collection, Diary, Kind, Replace, Retry, Tree};
use crate::stack::Registry;

/// Longest line.
const LINE_MAX: usize = 1 << 20;
/// Bytes of lines after which an entry ends, however few there are.
const ENTRY_BYTES: usize = 1 << 20;

/// Do what lines of JSON on the standard input say, and synchronise it
///
/// A line for a tree is {"key":"k","value":…} or {"key":"k","delete":true}, with `key_b64` where the key is
/// no text; a line for a diary is any JSON, one entry. So many lines as `--batch` says are one entry of the
/// log, or a mebibyte of them: all of them land, or none. What was synchronised before a bad line stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine collection scan old.toml --collection people |
      travertine collection sync new.toml --collection people")]
pub(super) struct Sync {
    #[command(flatten)]
    collection: CollectionArg,
    /// Lines of one entry of the log
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
}

/// A line for a tree.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<Json>,
    #[serde(default)]
    delete: bool,
}

impl Run for Sync {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let arg = &self.collection;
        let (lines, revision) = arg.stack.write(registry, |engine| {
            let local = arg.local(engine)?;
            match arg.kind(&local)?.ok_or_else(|| arg.absent())? {
                KindArg::Tree => all(arg.opened(&local, Tree)?, self.batch, replace),
                KindArg::Diary => all(arg.opened(&local, Diary)?, self.batch, entry),
            }
        })?;
        terminal.say(format_args!("{lines} lines, revision {revision}"))?;
        Ok(Outcome::Fine)
    }
}

fn replace(line: &str) -> Result<Replace, Error> {
    let unfit = |why: &str| Error::invalid(format!("{why}: {{\"key\":…,\"value\":…}} is wanted"));
    let row: Row = serde_json::from_str(line).map_err(|error| unfit(&error.to_string()))?;
    let key = match (row.key, row.key_b64) {
        (Some(key), None) => key.into_bytes(),
        (None, Some(key)) => STANDARD
            .decode(key)
            .map_err(|error| unfit(&error.to_string()))?,
        _ => return Err(unfit("a row has one key")),
    };
    match (row.value, row.delete) {
        (Some(value), false) => Replace::put(&key, &super::lines::from_json(&value)?),
        (None, true) => Ok(Replace::delete(&key)),
        _ => Err(unfit("a row has a value, or is deleted")),
    }
}

fn entry(line: &str) -> Result<Value, Error> {
    let json: Json = serde_json::from_str(line)
        .map_err(|error| Error::invalid(format!("an entry is no JSON: {error}")))?;
    super::lines::from_json(&json)
}

fn all<K: Kind>(
    mut collection: Collection<K>,
    batch: u32,
    read: impl Fn(&str) -> Result<K::Action, Error>,
) -> Result<(u64, u64), Failure> {
    let mut input = std::io::stdin().lock();
    let (mut lines, mut waiting, mut bytes, mut line) = (0, Vec::new(), 0, Vec::new());
    loop {
        line.clear();
        let source = |source| Error::io("reading the standard input", source);
        let mut some = std::io::Read::take(&mut input, LINE_MAX as u64 + 1);
        let length = some.read_until(b'\n', &mut line).map_err(source)?;
        let at = |error: Error| {
            Error::new(
                error.kind(),
                format!("line {}: {}", lines + 1, error.message()),
            )
        };
        if length > LINE_MAX {
            return Err(at(Error::invalid(format!("it has more than {LINE_MAX} bytes"))).into());
        }
        if length > 0 {
            let text = std::str::from_utf8(&line);
            let text = text.map_err(|_| at(Error::invalid("it is not UTF-8")))?;
            if !text.trim().is_empty() {
                waiting.push(read(text).map_err(at)?);
                bytes += length;
            }
            lines += 1;
        }
        let full = waiting.len() >= batch as usize || bytes >= ENTRY_BYTES;
        if full || (length == 0 && !waiting.is_empty()) {
            bytes = 0;
            block_on(collection.act(waiting.drain(..)))?;
            block_on(collection.sync(&Retry::default())).map_err(failure)?;
        }
        if length == 0 {
            return Ok((lines, collection.revision()));
        }
    }
}
