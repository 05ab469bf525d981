//! The copies that clusters keep: each child read on its own, and compared with the others.
//!
//! ```text
//!   child 1   ── a ── b ── c ── d          the longest: what the others are compared with
//!   child 2   ── a ── b ── c               behind, which is no damage
//!   child 3   ── a ── x                    other bytes: their running checksums tell
//! ```
//!
//! A record that a child cannot read is read from another one by whoever reads through the cluster, so
//! damage shows here alone. Memory: a few words for each batch of a child.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::super::verify::batches::behind;
use crate::contract::{End, ErrorKind, Oid, Position, Record, Result, Status, Store, Stream};
use crate::stack::{Floor, Plan, Probe};

/// Most places of one child that are told.
const TROUBLES_MAX: usize = 100;

/// The children of some clusters, taken hold of as they are opened.
#[derive(Debug)]
pub(in super::super) struct Copies {
    /// What each cluster is called, and its children.
    clusters: Vec<(String, Vec<Arc<Floor>>)>,
    gather: Arc<Gather>,
}

/// What was found of one child.
#[derive(Debug, Serialize)]
pub(in super::super) struct Copy {
    #[serde(skip)]
    pub(in super::super) cluster: String,
    pub(in super::super) child: usize,
    pub(in super::super) floor: String,
    pub(in super::super) batches: u64,
    /// Where it ends, in steps of eight bytes.
    pub(in super::super) end: u64,
    /// How many batches it lacks that another one has.
    #[serde(skip)]
    pub(in super::super) lacks: u64,
    /// What is wrong with it.
    pub(in super::super) trouble: Option<String>,
    /// All that is, the first of it above.
    #[serde(skip)]
    pub(in super::super) troubles: Vec<String>,
}

impl Copies {
    /// Those of these clusters.
    pub(in super::super) fn of<'a>(clusters: impl Iterator<Item = &'a Floor>) -> Self {
        let clusters: Vec<_> = clusters
            .map(|floor| {
                let name = floor.name().unwrap_or(floor.kind().name);
                (name.to_owned(), floor.below().to_vec())
            })
            .collect();
        let wanted: Vec<_> = clusters.iter().flat_map(|(_, below)| below).collect();
        let gather = Arc::new(Gather {
            found: Mutex::new(vec![None; wanted.len()]),
            wanted: wanted.into_iter().cloned().collect(),
        });
        Self { clusters, gather }
    }

    /// Those of every cluster of a stack.
    pub(in super::super) fn all(plan: &Plan) -> Self {
        Self::of(super::clusters(plan))
    }

    /// What has to be there while the stack is opened.
    pub(in super::super) fn probes(&self) -> Vec<Arc<dyn Probe>> {
        vec![self.gather.clone()]
    }

    /// How many bytes there are to be read.
    pub(in super::super) fn bytes(&self) -> u64 {
        let found = self.gather.lock();
        let ends = found.iter().flatten().map(|store| end(&**store) * 8);
        ends.sum()
    }

    /// Reads them all. `status` is what the stack says of itself, `tick` is told of bytes that were read.
    pub(in super::super) fn look(&self, status: &Status, mut tick: impl FnMut(u64)) -> Vec<Copy> {
        let stores = self.gather.lock().clone();
        let mut stores = stores.iter();
        let mut said = Vec::new();
        said_of(status, &mut said);
        if said.len() != self.clusters.len() {
            said.clear();
        }
        let mut copies = Vec::new();
        for (nth, (name, below)) in self.clusters.iter().enumerate() {
            let walked: Vec<_> = stores
                .by_ref()
                .take(below.len())
                .map(|store| walk(store.as_deref(), &mut tick))
                .collect();
            let nothing = Walked::default();
            let longest = walked.iter().max_by_key(|child| child.end());
            let longest = longest.unwrap_or(&nothing);
            for (index, child) in walked.iter().enumerate() {
                let mut troubles = child.troubles.clone();
                if !child.is_there {
                    let why = said.get(nth).and_then(|status| {
                        let child = status.below.get(index)?;
                        child.refusing.clone()
                    });
                    troubles.push(why.unwrap_or_else(|| {
                        "it does not belong to the cluster, or cannot be opened".to_owned()
                    }));
                }
                if troubles.is_empty() {
                    troubles.extend(differs(child, longest));
                }
                let after = |end: &&End| end.position > child.end();
                copies.push(Copy {
                    cluster: name.clone(),
                    child: index + 1,
                    floor: below[index].kind().name.to_owned(),
                    batches: child.ends.len() as u64,
                    end: child.ends.last().map_or(0, |end| end.position.0),
                    lacks: longest.ends.iter().filter(after).count() as u64,
                    trouble: troubles.first().cloned(),
                    troubles,
                });
            }
        }
        copies
    }
}

impl std::fmt::Display for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            child,
            floor,
            batches,
            end,
            ..
        } = self;
        write!(
            f,
            "child {child} ({floor}): {batches} batches up to o{end}: "
        )?;
        match (&self.trouble, self.lacks) {
            (Some(trouble), _) => f.write_str(trouble),
            (None, 0) => f.write_str("whole"),
            (None, lacks) => write!(f, "{lacks} batches behind"),
        }
    }
}

/// What each cluster says of itself, in the order of the floors.
fn said_of<'a>(status: &'a Status, said: &mut Vec<&'a Status>) {
    if status.kind == super::CLUSTER {
        said.push(status);
    }
    for below in &status.below {
        said_of(below, said);
    }
}

/// Takes hold of the stores of these floors as they are opened.
#[derive(Debug)]
struct Gather {
    wanted: Vec<Arc<Floor>>,
    found: Mutex<Vec<Option<Arc<dyn Store>>>>,
}

impl Gather {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Arc<dyn Store>>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Gather {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let index = self
            .wanted
            .iter()
            .position(|wanted| std::ptr::eq(&**wanted, floor));
        if let Some(index) = index {
            self.lock()[index] = Some(store.clone());
        }
        store
    }
}

#[derive(Debug, Default)]
struct Walked {
    is_there: bool,
    /// The ends of all batches, up to where it is damaged.
    ends: Vec<End>,
    /// Runs of which a reclaim left something, and the records that stayed: where, and their checksums.
    freed: Vec<(Position, Position)>,
    stayed: Vec<(Position, u32)>,
    troubles: Vec<String>,
}

impl Walked {
    fn end(&self) -> Position {
        let last = self.ends.last();
        last.map_or(Position::START, |end| end.position)
    }

    fn trouble(&mut self, what: impl std::fmt::Display) {
        if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(what.to_string());
        }
    }

    fn record(&mut self, oid: Oid, record: &Record) {
        if let Err(error) = record.verify(oid) {
            self.trouble(error);
        }
    }

    /// What lies behind damage is looked at, and compared with nothing.
    fn end_at(&mut self, end: End) {
        if self.troubles.is_empty() {
            self.ends.push(end);
        }
    }
}

/// Where a store ends, in steps of eight bytes.
fn end(store: &dyn Store) -> u64 {
    let status = store.status();
    let root = status.root_stream;
    let mut streams = status.streams.iter();
    let found = streams.find(|stream| stream.stream == root);
    found.map_or(0, |stream| stream.end)
}

fn walk(store: Option<&dyn Store>, tick: &mut impl FnMut(u64)) -> Walked {
    let mut walked = Walked::default();
    if let Some(store) = store {
        walked.is_there = true;
        if let Err(error) = read(store, &mut walked, tick) {
            walked.trouble(error);
        }
    }
    walked
}

fn read(store: &dyn Store, walked: &mut Walked, tick: &mut impl FnMut(u64)) -> Result<()> {
    // Under a partition it need not be the stream of the roots.
    let stream = Stream(store.status().root_stream);
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let found = match store.scan(stream, at).wait() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                walked.trouble(error);
                from = behind(store, stream, at, Position(end(store)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut bytes = 0;
        if let Some(left) = &found.sparse {
            for (oid, record) in &left.records {
                walked.record(*oid, record);
                walked.stayed.push((oid.position(), record.check()));
                bytes += record.stored_len() as u64;
            }
            walked.freed.push((left.from, left.to));
            if let Some(after) = left.after {
                walked.end_at(after);
            }
        }
        for batch in &found.batches {
            for (oid, record) in batch.records() {
                walked.record(oid, &record);
            }
            walked.end_at(End {
                position: batch.header().end,
                running: batch.running(),
            });
            bytes += batch.header().length();
        }
        tick(bytes);
        from = found.next;
    }
    Ok(())
}

/// Where a child has other bytes than the longest one. What one of them has given back, the other may have.
fn differs(child: &Walked, longest: &Walked) -> Option<String> {
    let mut both = ends_apart_from(&child.ends, &longest.freed)
        .zip(ends_apart_from(&longest.ends, &child.freed));
    let ends = both.find(|(one, other)| one != other);
    let ends = ends.map(|(one, other)| one.position.min(other.position));
    let differs = |(at, check): &&(Position, u32)| {
        let found = longest.stayed.binary_search_by_key(at, |(at, _)| *at);
        found.is_ok_and(|found| longest.stayed[found].1 != *check)
    };
    let stayed = child.stayed.iter().find(differs).map(|(at, _)| *at);
    let at = ends.into_iter().chain(stayed).min()?;
    Some(format!("it has other bytes than the others before {at}"))
}

/// The ends of batches that lie in none of these runs.
fn ends_apart_from<'a>(
    ends: &'a [End],
    runs: &'a [(Position, Position)],
) -> impl Iterator<Item = End> + 'a {
    let inside = |end: &&End| {
        let after = runs.partition_point(|(from, _)| *from < end.position);
        let run = after.checked_sub(1).map(|index| runs[index]);
        run.is_none_or(|(_, to)| end.position >= to)
    };
    ends.iter().filter(inside).copied()
}
