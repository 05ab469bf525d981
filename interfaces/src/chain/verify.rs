//! Looking at everything in a chain.
//!
//! Blocks are looked at in order, with memory for one path of the directory. What is damaged is reported
//! with the record it was found in, and the walk goes on behind it. A node of the directory and a block
//! say where they belong, so nothing is walked twice however often it is named.

use std::io;
use std::sync::Arc;

use travertine_engine::contract::{Error, Oid, Record, Reference, Result};
use travertine_engine::front::chunk;

use super::block::Block;
use super::consumers;
use super::directory::{FAN_OUT, LEVELS, Seen};
use super::link::{self, Digest, Hasher};
use super::root::Root;
use crate::apart;
use crate::index::{Apart, Value};
use crate::records::{Source, check_edge};
use crate::report::Report;

pub(super) fn verify(source: &Arc<dyn Source>, root: &Root) -> Report {
    let mut walk = Walk {
        source: &**source,
        root,
        report: Report::new(),
        behind: None,
    };
    let top = root.open.iter().rposition(Option::is_some);
    walk.report.height = top.map_or(0, |top| top as u64 + 1);
    for level in (0..LEVELS).rev() {
        if let Some(node) = root.open[level] {
            let below = u32::try_from(level + 1).unwrap_or(u32::MAX);
            let index = root.full() / FAN_OUT.pow(below);
            walk.node(&node, level, index);
        }
    }
    for (index, part) in root.parts.iter().enumerate() {
        walk.block(
            &part.reference,
            part.first..part.first + 1,
            root.part_end(index),
        );
    }
    walk.end();
    walk.report
}

struct Walk<'a> {
    source: &'a dyn Source,
    root: &'a Root,
    report: Report,
    behind: Option<Behind>,
}

/// What the last block says of what comes after it.
struct Behind {
    until: u64,
    oid: Oid,
    link: Option<Digest>,
}

impl Walk<'_> {
    fn node(&mut self, reference: &Reference, level: usize, index: u64) {
        let Some(record) = self.read(reference) else {
            return;
        };
        let seen = match Seen::open(&record, level, index) {
            Ok(seen) => seen,
            Err(error) => return self.report.add_error(reference.oid, &error),
        };
        self.report.nodes += 1;
        self.report.node_bytes += record.stored_len() as u64;
        for (child, reference) in seen.children() {
            match level.checked_sub(1) {
                Some(below) => self.node(&reference, below, child),
                None => {
                    let from = child.saturating_mul(self.root.block);
                    let until = from.saturating_add(self.root.block);
                    self.block(&reference, from..until, until);
                }
            }
        }
    }

    fn block(&mut self, reference: &Reference, first: std::ops::Range<u64>, until: u64) {
        let oid = reference.oid;
        let Some(record) = self.read(reference) else {
            return;
        };
        let block = match Block::open(record, first, until) {
            Ok(block) => block,
            Err(error) => return self.report.add_error(oid, &error),
        };
        self.report.nodes += 1;
        self.report.leaves += 1;
        self.report.node_bytes += block.record().stored_len() as u64;
        if block.references() != block.record().reference_count() {
            let (found, wanted) = (block.record().reference_count(), block.references());
            self.report
                .add(oid, format!("{found} references, it has use for {wanted}"));
        }
        if block.link().is_some() != self.root.link.is_some() {
            self.report.add(
                oid,
                "the block is linked and the chain is not, or the other way",
            );
        }
        match self.behind.take() {
            Some(behind) => self.joins(oid, &block, &behind),
            None if block.first() > self.root.first => {
                let (first, from) = (block.first(), self.root.first);
                self.report.add(
                    oid,
                    format!("entries {from} to {first} are missing before it"),
                );
            }
            None => {}
        }
        let link = self.entries(oid, &block);
        self.behind = Some(Behind { until, oid, link });
    }

    /// Whether a block begins where the one before it ended.
    fn joins(&mut self, oid: Oid, block: &Block, behind: &Behind) {
        let (first, until) = (block.first(), behind.until);
        if first != until {
            let what = format!("it begins with entry {first}, the one before ends at {until}");
            return self.report.add(oid, what);
        }
        if let (Some(found), Some(wanted)) = (block.link(), behind.link)
            && found != wanted
        {
            self.report.add(
                oid,
                format!(
                    "the link before entry {first} is broken: it is {}, the entries up to there \
                     make it {}",
                    link::short(&found),
                    link::short(&wanted)
                ),
            );
        }
        if let Some(named) = block.predecessor()
            && (named.oid != behind.oid || !named.weak)
        {
            let what = format!("it follows {}, and names {named:?}", behind.oid);
            self.report.add(oid, what);
        }
    }

    /// Looks at each entry; answers the link behind the last.
    fn entries(&mut self, oid: Oid, block: &Block) -> Option<Digest> {
        let mut link = block.link();
        for number in block.first()..block.until() {
            if number >= self.root.first {
                self.report.entries += 1;
            }
            match block.entry(number) {
                Err(error) => self.report.add_error(oid, &error),
                Ok(Value::Inline(bytes)) => self.report.payload_bytes += bytes.len() as u64,
                Ok(Value::Apart(value)) => {
                    apart::verify(self.source, &value, &mut self.report);
                    if link.is_some() {
                        self.content(oid, block, number, &value);
                    }
                }
            }
            let hash = block.hash(number).ok();
            link = match (link, hash) {
                (Some(link), Some(hash)) => Some(link::behind(&link, number, &hash)),
                _ => None,
            };
        }
        link
    }

    /// Whether an entry that lies apart has the hash that its block notes.
    fn content(&mut self, oid: Oid, block: &Block, number: u64, value: &Apart) {
        let stated = block.hash(number);
        let found = hash_apart(self.source, value);
        // What cannot be read was reported already.
        if let (Ok(found), Ok(stated)) = (found, stated)
            && found != stated
        {
            self.report.add(
                oid,
                format!(
                    "the link behind entry {number} is broken: its bytes have hash {}, noted is {}",
                    link::short(&found),
                    link::short(&stated)
                ),
            );
        }
    }

    /// Whether what the root says of the end is so.
    fn end(&mut self) {
        let Root {
            first, end, link, ..
        } = *self.root;
        match &self.behind {
            Some(behind) if behind.until != end => {
                let until = behind.until;
                self.report
                    .add(None, format!("entries {until} to {end} are missing"));
            }
            Some(behind) => {
                if let (Some(found), Some(stated)) = (behind.link, link)
                    && found != stated
                {
                    let (oid, found, stated) =
                        (behind.oid, link::short(&found), link::short(&stated));
                    self.report.add(
                        oid,
                        format!(
                            "the link behind entry {} is broken: the root says {stated}, the entries \
                             make it {found}",
                            end.saturating_sub(1)
                        ),
                    );
                }
            }
            None if first < end => {
                self.report
                    .add(None, format!("entries {first} to {end} are missing"));
            }
            None => {}
        }
        if let Some(list) = &self.root.consumers
            && let Some(record) = self.read(list)
            && let Err(error) = consumers::decode(&record)
        {
            self.report.add_error(list.oid, &error);
        }
    }

    fn read(&mut self, reference: &Reference) -> Option<Record> {
        let record = self.source.read(reference).wait();
        let record = record.and_then(|record| {
            check_edge(reference, &record)?;
            Ok(record)
        });
        record
            .map_err(|error| self.report.add_error(reference.oid, &error))
            .ok()
    }
}

fn hash_apart(source: &dyn Source, value: &Apart) -> Result<Digest> {
    let mut hasher = Hasher::default();
    let mut reader = chunk::Reader::open(&source, &value.reference)?;
    io::copy(&mut reader, &mut hasher).map_err(|error| Error::io("reading an entry", error))?;
    Ok(hasher.finish())
}
