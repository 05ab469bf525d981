//! `inspect`: a stack as it lies, or one record of it.

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::progress::Progress;
use super::roots::time;
use super::text::{count, hex};
use super::{Failure, Outcome, Run, StackArg, Terminal, space, wrote};
use crate::contract::codec;
use crate::contract::marker::decode_directory;
use crate::contract::{Kind, Oid, PartStatus, Record, Reference, Result, RootMarker, Status};
use crate::interfaces::btree::{self, Described};
use crate::interfaces::chain::{
    self, CHAIN_BLOCK, CHAIN_CONSUMERS, CHAIN_NODE, CHAIN_POSITION, CHAIN_ROOT,
};
use crate::interfaces::journal;
use crate::interfaces::records::{
    BTREE_NODE, BTREE_ROOT, JOURNAL_DELTA, JOURNAL_LIST, JOURNAL_ROOT, SKIPLIST_NODE,
};
use crate::stack::{ByteSize, Registry};

/// Show the floors, streams and parts of a stack, one record, or what lies in a directory
///
/// Of a directory instead of a stack file: which stack wrote what lies there, whose it is, whether it
/// was closed, what is damaged, and what it takes to open it. Nothing is opened or written for that.
///
/// Of a record: its kind, its references, what it says of itself if its kind is known here, and the
/// first bytes of its body, as text or as hex.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine inspect stack.toml
  travertine inspect stack.toml --space
  travertine inspect stack.toml oid:v1:b0:o2048 --body 1000
  travertine inspect data/orders                           which stack wrote this?")]
pub(super) struct Inspect {
    #[command(flatten)]
    stack: StackArg,
    /// The address of a record
    #[arg(value_name = "OID")]
    oid: Option<Oid>,
    /// Show how much space each name takes: reads all records that lie behind it
    #[arg(long, conflicts_with = "oid")]
    space: bool,
    /// With --space: walk over no more records than this
    #[arg(
        long,
        value_name = "RECORDS",
        default_value_t = 100_000_000,
        requires = "space"
    )]
    most: u64,
    /// Show at most so many bytes of the body
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    body: usize,
    /// Print bare facts as JSON
    #[arg(long)]
    json: bool,
}

/// Lines for the parts of one floor.
const PARTS_MAX: usize = 200;

#[derive(Serialize)]
struct RecordFacts {
    oid: String,
    kind: u16,
    kind_name: &'static str,
    epoch: u32,
    /// Bytes, header and padding included.
    bytes: usize,
    check: String,
    codecs: Vec<&'static str>,
    references: Vec<ReferenceFacts>,
    /// What it says of itself.
    says: Value,
    body_bytes: usize,
    body: Body,
}

#[derive(Serialize)]
struct ReferenceFacts {
    oid: String,
    bytes: u32,
    check: String,
    weak: bool,
    leaf: bool,
}

/// The first bytes of a body.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    Text(String),
    Hex(String),
}

impl Run for Inspect {
    fn run(
        self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> std::result::Result<Outcome, Failure> {
        if self.stack.path.is_dir() {
            if self.oid.is_some() {
                return Err(Failure::wrong(
                    "a record is read through a stack: name the stack file",
                ));
            }
            return wrote::tell(&self.stack.path, self.json, registry, terminal);
        }
        let opened = self.stack.open_to_read(registry, terminal)?;
        let Some(oid) = self.oid else {
            let status = opened.engine.status();
            if self.space {
                let length = status.streams.iter().map(|stream| 8 * stream.end).sum();
                let progress = Progress::bytes("measuring", length, 0);
                progress.show(terminal);
                let measured =
                    space::measure(&opened.engine.snapshot(), length, self.most, &progress);
                progress.finish();
                let facts = measured?;
                if self.json {
                    terminal.json(&facts)?;
                } else {
                    facts.tell(terminal)?;
                }
                return Ok(Outcome::Fine);
            }
            if self.json {
                terminal.json(&status)?;
            } else {
                let newest = opened.engine.snapshot();
                terminal.say(format_args!("store {}", status.identity))?;
                terminal.say(format_args!(
                    "newest commit {}, {}",
                    newest.sequence(),
                    count(newest.names().len() as u64, "name")
                ))?;
                for floor in &status.below {
                    tell_floor(floor, 0, terminal)?;
                }
            }
            return Ok(Outcome::Fine);
        };
        let Some(record) = opened.engine.read(oid).wait()? else {
            return Err(Failure::fault(format!("there is no record at {oid}")));
        };
        let facts = RecordFacts::new(oid, &record, self.body);
        if self.json {
            terminal.json(&facts)?;
        } else {
            facts.tell(terminal)?;
        }
        Ok(Outcome::Fine)
    }
}

fn tell_floor(
    status: &Status,
    depth: usize,
    terminal: &mut Terminal<'_>,
) -> std::result::Result<(), Failure> {
    let indent = "  ".repeat(depth);
    let name = status
        .name
        .as_deref()
        .map_or(String::new(), |name| format!(" {name}"));
    terminal.say(format_args!("{indent}{}{name}", status.kind))?;
    for (figure, value) in &status.figures {
        terminal.say(format_args!("{indent}  {figure} {value}"))?;
    }
    tell_parts(&status.parts, &indent, terminal)?;
    if status.below.is_empty() {
        for stream in &status.streams {
            terminal.say(format_args!(
                "{indent}  stream b{}: {}, end o{}, durable to o{}, ceiling o{}",
                stream.stream,
                count(stream.segments, "segment"),
                stream.end,
                stream.durable,
                stream.ceiling
            ))?;
        }
    }
    for below in &status.below {
        tell_floor(below, depth + 1, terminal)?;
    }
    Ok(())
}

/// A line for each part. Of very many the newest.
fn tell_parts(
    parts: &[PartStatus],
    indent: &str,
    terminal: &mut Terminal<'_>,
) -> std::result::Result<(), Failure> {
    let older = parts.len().saturating_sub(PARTS_MAX);
    if older > 0 {
        let older = count(older as u64, "older part");
        terminal.say(format_args!("{indent}  {older}, which --json shows"))?;
    }
    let parts = &parts[older..];
    let width = parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
    for part in parts {
        let mut line = format!("{indent}  {:width$}  {:<6}", part.name, part.state);
        match (part.begins, part.ends) {
            (Some(begins), Some(ends)) => line += &format!("  o{begins}..o{ends}"),
            (Some(begins), None) => line += &format!("  o{begins}.."),
            _ => {}
        }
        if let Some(bytes) = part.bytes {
            line += &format!("  {}", ByteSize(bytes));
        }
        if let Some(epoch) = part.epoch {
            line += &format!("  epoch {epoch}");
        }
        if let Some(marker) = part.marker.and_then(Oid::from_raw) {
            line += &format!("  newest root {marker}");
        }
        terminal.say(line)?;
    }
    Ok(())
}

impl RecordFacts {
    fn new(oid: Oid, record: &Record, most: usize) -> Self {
        let body = &record.body()[..most.min(record.body().len())];
        Self {
            oid: oid.to_string(),
            kind: record.kind().0,
            kind_name: kind_name(record.kind()),
            epoch: record.epoch(),
            bytes: record.stored_len(),
            check: format!("{:08x}", record.check()),
            codecs: codec::names(record.codecs()),
            references: record.references().map(ReferenceFacts::from).collect(),
            says: says(oid, record).unwrap_or_else(|error| json!({ "damaged": error.to_string() })),
            body_bytes: record.body().len(),
            body: Body::of(body, body.len() < record.body().len()),
        }
    }

    fn tell(&self, terminal: &mut Terminal<'_>) -> std::result::Result<(), Failure> {
        terminal.say(format_args!("{}", self.oid))?;
        terminal.say(format_args!(
            "kind        {} ({})",
            self.kind, self.kind_name
        ))?;
        terminal.say(format_args!("epoch       {}", self.epoch))?;
        terminal.say(format_args!(
            "bytes       {}, check {}",
            self.bytes, self.check
        ))?;
        if !self.codecs.is_empty() {
            terminal.say(format_args!("codecs      {}", self.codecs.join(", ")))?;
        }
        terminal.say(format_args!("references  {}", self.references.len()))?;
        for reference in &self.references {
            let weak = if reference.weak { " weak" } else { "" };
            let leaf = if reference.leaf { " leaf" } else { "" };
            terminal.say(format_args!(
                "  {} {} bytes{weak}{leaf}",
                reference.oid, reference.bytes
            ))?;
        }
        if let Value::Object(says) = &self.says {
            for (name, value) in says {
                terminal.say(format_args!("{name:<11} {value}"))?;
            }
        }
        terminal.say(format_args!("body        {} bytes", self.body_bytes))?;
        match &self.body {
            Body::Text(text) => terminal.say(text),
            Body::Hex(hex) => terminal.say(hex),
        }
    }
}

impl From<Reference> for ReferenceFacts {
    fn from(reference: Reference) -> Self {
        Self {
            oid: reference.oid.to_string(),
            bytes: reference.length,
            check: format!("{:08x}", reference.check),
            weak: reference.weak,
            leaf: reference.leaf,
        }
    }
}

impl Body {
    fn of(bytes: &[u8], cut: bool) -> Self {
        let plain = |text: &str| {
            !text
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t')
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if plain(text) => Self::Text(text.to_owned()),
            // A cut may fall within a character.
            Err(error) if cut && error.error_len().is_none() => {
                Self::of(&bytes[..error.valid_up_to()], false)
            }
            _ => Self::Hex(hex(bytes)),
        }
    }
}

/// What a record of this kind is, in words.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::MARKER => "root marker",
        Kind::DIRECTORY => "directory of names",
        Kind::TAG => "tag",
        Kind::RECLAIM => "decision of a reclaim",
        Kind::CHUNK => "piece of a value",
        Kind::CHUNK_INDEX => "index of pieces",
        Kind::BLOB => "bytes as they were given",
        BTREE_ROOT => "root of a B-tree",
        BTREE_NODE => "node of a B-tree",
        JOURNAL_ROOT => "root of a journaled index",
        JOURNAL_DELTA => "edits of a commit",
        JOURNAL_LIST => "list of edits of commits",
        SKIPLIST_NODE => "run of a skip list",
        CHAIN_ROOT => "root of a chain",
        CHAIN_NODE => "node of a chain's directory",
        CHAIN_BLOCK => "block of a chain",
        CHAIN_CONSUMERS => "consumers of a chain",
        CHAIN_POSITION => "position of a chain's consumer",
        _ => "of a kind not known here",
    }
}

/// What a record of a known kind says of itself.
fn says(oid: Oid, record: &Record) -> Result<Value> {
    match record.kind() {
        Kind::MARKER => {
            let marker = RootMarker::decode(oid, record)?;
            let to = |to: &Option<Reference>| to.map(|to| to.oid.to_string());
            let changes: serde_json::Map<_, _> = marker
                .changes
                .iter()
                .map(|(name, target)| (name.to_string(), json!(to(target))))
                .collect();
            Ok(json!({
                "sequence": marker.sequence,
                "time": time(marker.time),
                "writer": marker.epoch.to_string(),
                "previous": to(&marker.previous),
                "directory": to(&marker.directory),
                "changes": changes,
                "proven": marker.proven.map(|proven| proven.sequence),
            }))
        }
        Kind::DIRECTORY => {
            let names = decode_directory(oid, record)?;
            let name = |(name, to): (&crate::contract::Name, &Reference)| {
                (name.to_string(), json!(to.oid.to_string()))
            };
            Ok(json!({ "names": names.iter().map(name).collect::<serde_json::Map<_, _>>() }))
        }
        JOURNAL_ROOT | JOURNAL_DELTA | JOURNAL_LIST => Ok(match journal::describe(record)? {
            None => Value::Null,
            Some(journal::Described::Root {
                entries,
                deltas,
                old,
                bytes,
            }) => json!({
                "entries": entries,
                "deltas": deltas,
                "being_merged": old,
                "delta_bytes": bytes,
            }),
            Some(journal::Described::Delta { edits, bounds }) => json!({
                "edits": edits,
                "first": bounds.0.escape_ascii().to_string(),
                "last": bounds.1.escape_ascii().to_string(),
            }),
            Some(journal::Described::List { deltas }) => json!({ "deltas": deltas }),
        }),
        _ => match btree::describe(record)? {
            None => says_chain(record),
            Some(Described::Root { entries, height }) => {
                Ok(json!({ "entries": entries, "height": height }))
            }
            Some(Described::Node {
                level,
                keys,
                entries,
                bounds,
            }) => {
                let text = |key: &[u8]| key.escape_ascii().to_string();
                Ok(json!({
                    "level": level,
                    "keys": keys,
                    "entries": entries,
                    "first": bounds.as_ref().map(|(first, _)| text(first)),
                    "last": bounds.as_ref().map(|(_, last)| text(last)),
                }))
            }
        },
    }
}

/// What a record of a chain says of itself.
fn says_chain(record: &Record) -> Result<Value> {
    use chain::Described;
    let text = |link: Option<chain::Digest>| link.map(|link| hex(&link));
    Ok(match chain::describe(record)? {
        None => Value::Null,
        Some(Described::Root {
            first,
            end,
            block_entries,
            link,
        }) => json!({
            "first": first,
            "end": end,
            "block_entries": block_entries,
            "link": text(link),
        }),
        Some(Described::Node {
            level,
            from,
            children,
        }) => json!({ "level": level, "from": from, "children": children }),
        Some(Described::Block {
            first,
            end,
            apart,
            link,
        }) => json!({ "first": first, "end": end, "apart": apart, "link": text(link) }),
        Some(Described::Consumers(names)) => json!({ "consumers": names }),
        Some(Described::Position(number)) => json!({ "position": number }),
    })
}
