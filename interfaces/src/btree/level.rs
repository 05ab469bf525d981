//! One level of a tree under construction: what is to go into its next nodes.
//!
//! Entries are appended at the right, in key order, and leave at the left as whole nodes, each
//! encoded from where the entries lie. Memory: little more than two nodes.

use std::ops::Range;

use travertine_engine::contract::{Error, NewRecord, Reference, Result};
use travertine_engine::front::Hint;

use super::node::{FORMAT, HEADER, KEYS_MAX, Key, slot};
use crate::edits::common_prefix;
use crate::records::{BTREE_NODE, Sink};

/// What an entry of a leaf takes beside its key and value: a slot.
const LEAF_ENTRY: usize = 8;
/// What a child takes beside its key: a slot, a sum, a reference, and what a short key does not use
/// of its head.
const CHILD: usize = 8 + 8 + 16 + 2;

/// How large the nodes of a level are to be, in bytes after the shared prefix of their keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill {
    /// A node is cut at this.
    pub(super) target: usize,
    /// A node below this is joined with a neighbour when a commit touches it.
    pub(super) least: usize,
}

impl Fill {
    pub(super) fn new(target: usize) -> Self {
        Self {
            target,
            least: target / 3,
        }
    }

    /// A node that grew by a little stays one up to this: else the first entry that comes to a tree
    /// of full leaves would split one, and the second another.
    fn most(self) -> usize {
        self.target + self.target / 4
    }

    /// What stays behind when a node is cut off, so that the last one of a row is never sparse.
    fn hold(self) -> usize {
        self.target / 2
    }
}

/// Something that an entry names: a child with the entries in it, or a value with its bytes.
pub(super) type Link = (Reference, u64);

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: usize,
    key: u32,
    value: u32,
    link: Option<Link>,
}

/// A node that was stored, and the entries in and below it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) reference: Reference,
    pub(super) count: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Level {
    level: u8,
    fill: Fill,
    data: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes that the keys of `entries` share, of those that a node would hold.
    shared: usize,
    /// Keys, values and what goes with them, before the shared prefix is taken off.
    gross: usize,
    index: Vec<u8>,
    references: Vec<Reference>,
}

impl Level {
    pub(super) fn new(level: u8, fill: Fill) -> Self {
        Self {
            level,
            fill,
            data: Vec::new(),
            entries: Vec::new(),
            shared: 0,
            gross: 0,
            index: Vec::new(),
            references: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry at the right. The value of a leaf entry with a link is the link's number.
    pub(super) fn push(&mut self, key: Key<'_>, value: &[u8], link: Option<Link>) {
        if self.entries.is_empty() {
            self.data.reserve(self.fill.target + self.fill.target / 2);
            self.entries.reserve(self.fill.target / 64);
        }
        let at = self.data.len();
        key.append_to(&mut self.data);
        let length = self.data.len() - at;
        match link {
            Some((_, number)) if self.level == 0 => {
                self.data.extend_from_slice(&number.to_le_bytes());
            }
            _ => self.data.extend_from_slice(value),
        }
        let entry = Entry {
            at,
            key: length as u32,
            value: (self.data.len() - at - length) as u32,
            link,
        };
        self.gross += self.cost(&entry);
        self.entries.push(entry);
        let first = self.first_key();
        if self.entries.len() <= first + 1 {
            self.shared = if self.entries.len() == first + 1 {
                length
            } else {
                0
            };
        } else if self.shared > 0 {
            let first = self.entries[first];
            let most = &self.data[first.at..first.at + self.shared];
            self.shared = common_prefix(most, &self.data[at..at + length]);
        }
    }

    /// Puts what `other` holds before what this level holds.
    pub(super) fn prepend(&mut self, other: Self) {
        let mine = std::mem::replace(self, other);
        for index in 0..mine.entries.len() {
            let entry = mine.entries[index];
            let value = entry.at + entry.key as usize;
            let value = &mine.data[value..value + entry.value as usize];
            self.push(mine.key(index).into(), value, entry.link);
        }
    }

    /// Takes the entry at the right, which must be a child, with its key.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, Link)> {
        let entry = self.entries.pop()?;
        let key = self.data[entry.at..entry.at + entry.key as usize].to_vec();
        self.data.truncate(entry.at);
        self.gross -= self.cost(&entry);
        self.shared = self.shared_of(0..self.entries.len());
        entry.link.map(|link| (key, link))
    }

    /// The key of this entry.
    pub(super) fn key(&self, index: usize) -> &[u8] {
        let entry = self.entries[index];
        &self.data[entry.at..entry.at + entry.key as usize]
    }

    /// The only child, if there is just one.
    pub(super) fn only_child(&self) -> Option<Link> {
        match self.entries[..] {
            [entry] if self.level > 0 => entry.link,
            _ => None,
        }
    }

    /// Whether what is here would make a node too small to stand alone.
    pub(super) fn is_sparse(&self) -> bool {
        self.size() < self.fill.least || self.entries.len() < self.fewest()
    }

    /// How many entries go into the next node, if enough are here that one can go.
    pub(super) fn ripe(&self) -> Option<usize> {
        if self.size() < self.fill.target + self.fill.hold() && self.entries.len() < KEYS_MAX {
            return None;
        }
        let first = self.greedy();
        let left = first..self.entries.len();
        let enough = left.len() >= self.fewest() && self.size_of(left) >= self.fill.hold();
        enough.then_some(first)
    }

    /// How many entries go into the next node, if all that is here must go.
    pub(super) fn last(&self) -> usize {
        let all = self.entries.len();
        let fewest = self.fewest();
        if all < 2 * fewest || (self.size() <= self.fill.most() && all < KEYS_MAX) {
            return all;
        }
        let first = self.greedy();
        if all - first >= fewest && self.size_of(first..all) >= self.fill.least {
            return first;
        }
        let half = self.half();
        let least = self.size_of(0..half).min(self.size_of(half..all));
        // A giant beside a dwarf stays one large node: that is legal, a sparse one is a waste.
        if least >= self.fill.least || all >= KEYS_MAX {
            half
        } else {
            all
        }
    }

    /// Stores the first `count` entries as a node, and lets them go.
    pub(super) fn emit(&mut self, sink: &dyn Sink, count: usize) -> Result<Stored> {
        let stored = self.store(sink, count)?;
        let end = self
            .entries
            .get(count)
            .map_or(self.data.len(), |entry| entry.at);
        self.entries.drain(..count);
        self.data.drain(..end);
        self.gross = 0;
        for index in 0..self.entries.len() {
            self.entries[index].at -= end;
            self.gross += self.cost(&self.entries[index]);
        }
        self.shared = self.shared_of(0..self.entries.len());
        Ok(stored)
    }

    fn store(&mut self, sink: &dyn Sink, count: usize) -> Result<Stored> {
        let keys = self.first_key().min(count)..count;
        let shared = self.shared_of(0..count);
        let mut index = std::mem::take(&mut self.index);
        let mut references = std::mem::take(&mut self.references);
        index.clear();
        references.clear();
        index.extend_from_slice(&[FORMAT, self.level, 0, 0]);
        index.extend_from_slice(&(keys.len() as u32).to_le_bytes());
        index.extend_from_slice(&(shared as u32).to_le_bytes());
        index.resize(HEADER, 0);
        for at in keys.clone() {
            let (start, rest) = self.key(at).split_at(shared.min(self.key(at).len()));
            if start != &self.key(keys.start)[..shared] {
                // Keys that were read from a damaged node and are not in order.
                return Err(Error::corrupt("the keys of a B-tree node are out of order"));
            }
            match rest.first_chunk::<8>() {
                Some(head) => index.extend_from_slice(head),
                None => {
                    index.extend_from_slice(rest);
                    index.resize(index.len() + 8 - rest.len(), 0);
                }
            }
        }
        let mut end = 0;
        for entry in &self.entries[keys.clone()] {
            let rest = entry.key as usize - shared;
            end += rest.saturating_sub(8) + entry.value as usize;
            let apart = self.level == 0 && entry.link.is_some();
            index.extend_from_slice(&slot(end, rest, apart));
        }
        let mut total = 0u64;
        for entry in &self.entries[..count] {
            if let Some((reference, number)) = entry.link {
                references.push(reference);
                total = total
                    .checked_add(number)
                    .ok_or_else(|| Error::corrupt("the counts of a B-tree's nodes overflow"))?;
                if self.level > 0 {
                    index.extend_from_slice(&total.to_le_bytes());
                }
            }
        }
        if self.level == 0 {
            total = count as u64;
        }
        if !keys.is_empty() {
            index.extend_from_slice(&self.key(keys.start)[..shared]);
        }
        let mut body = Vec::with_capacity(1 + keys.len());
        body.push(&index[..]);
        for entry in &self.entries[keys] {
            let key = entry.key as usize;
            let piece = &self.data[entry.at + key.min(shared + 8)..][..];
            let length = key - key.min(shared + 8) + entry.value as usize;
            if length > 0 {
                body.push(&piece[..length]);
            }
        }
        let record = NewRecord {
            kind: BTREE_NODE,
            references: &references,
            body: &body,
        };
        let reference = sink.store(&record, Hint::default());
        drop(body);
        self.index = index;
        self.references = references;
        Ok(Stored {
            reference: reference?,
            count: total,
        })
    }

    fn size(&self) -> usize {
        self.gross.saturating_sub(self.entries.len() * self.shared)
    }

    fn size_of(&self, range: Range<usize>) -> usize {
        let gross: usize = self.entries[range.clone()]
            .iter()
            .map(|entry| self.cost(entry))
            .sum();
        gross.saturating_sub(range.len() * self.shared_of(range))
    }

    fn cost(&self, entry: &Entry) -> usize {
        let fixed = match (self.level, entry.link) {
            (0, None) => LEAF_ENTRY,
            (0, Some(_)) => LEAF_ENTRY + 16,
            _ => CHILD,
        };
        fixed + entry.key as usize + entry.value as usize
    }

    /// As many entries as make a full node, from the left.
    fn greedy(&self) -> usize {
        let mut gross = 0;
        let mut shared = 0;
        let mut before = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            gross += self.cost(entry);
            if index == self.first_key() {
                shared = entry.key as usize;
            } else if index > self.first_key() && shared > 0 {
                let first = &self.key(self.first_key())[..shared];
                shared = common_prefix(first, self.key(index));
            }
            let size = gross.saturating_sub((index + 1) * shared);
            let full = size > self.fill.target && before >= self.fill.least;
            if (full && index >= self.fewest()) || index + 1 == KEYS_MAX {
                return index;
            }
            before = size;
        }
        self.entries.len()
    }

    /// Where what is here falls into two parts of about the same size.
    fn half(&self) -> usize {
        let total: usize = self.entries.iter().map(|entry| self.cost(entry)).sum();
        let fewest = self.fewest();
        let mut left = 0;
        for (index, entry) in self.entries.iter().enumerate() {
            let with = left + self.cost(entry);
            if 2 * with > total {
                // Whichever side of this entry is nearer to the middle.
                let at = if 2 * with - total > total - 2 * left {
                    index
                } else {
                    index + 1
                };
                return at.clamp(fewest, self.entries.len() - fewest);
            }
            left = with;
        }
        self.entries.len() / 2
    }

    fn shared_of(&self, range: Range<usize>) -> usize {
        let first = range.start + self.first_key();
        match range.end.checked_sub(first) {
            None | Some(0) => 0,
            Some(_) => common_prefix(self.key(first), self.key(range.end - 1)),
        }
    }

    /// The first entry whose key a node would hold: not that of its first child.
    fn first_key(&self) -> usize {
        usize::from(self.level > 0)
    }

    /// Fewest entries of a node that does not stand at the top.
    fn fewest(&self) -> usize {
        1 + self.first_key()
    }
}
