//! One file of the simulated disk: what is on the disk, what the page cache shows, and what lies
//! between the two.
//!
//! ```text
//!  write ──> live  ──────────────── read
//!             │ pending (dirty)
//!           sync ──> durable ────── what a power cut leaves, plus whatever it likes of pending
//! ```
//!
//! Bytes of a failed sync are in neither pending nor durable, yet live shows them.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Fault, Fill, Plan};
use crate::conformance::rng::Rng;

/// Room is given out in blocks of this many bytes.
pub(super) const BLOCK: u64 = 4096;

/// A change that no sync has made durable yet.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Change {
    /// Length of the file after this change, if it was `length` before.
    fn length(&self, length: u64) -> u64 {
        match self {
            Self::Write { offset, bytes } => length.max(offset + bytes.len() as u64),
            Self::Length(to) => *to,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimFile {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<Change>,
    /// Blocks from the beginning that have room on the disk, and others that have.
    claimed: u64,
    scattered: BTreeSet<u64>,
    /// Sectors that cannot be read.
    pub(super) latent: BTreeSet<u64>,
    /// Sectors as they were before their last durable write.
    before: BTreeMap<u64, Vec<u8>>,
    /// How many bytes somebody has mapped.
    pub(super) mapped: u64,
}

/// What the disk does wrong while it carries out a sync.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mishap {
    /// This sector is not written.
    Lost(u64),
    /// This sector is written at the place of the other one.
    Misdirected(u64, u64),
}

impl SimFile {
    /// Blocks that a write or claim of this range needs and that have no room yet.
    pub(super) fn missing_blocks(&self, start: u64, end: u64) -> u64 {
        let from = (start / BLOCK).max(self.claimed);
        let to = end.div_ceil(BLOCK);
        if from >= to {
            return 0;
        }
        (to - from) - self.scattered.range(from..to).count() as u64
    }

    pub(super) fn take_blocks(&mut self, start: u64, end: u64) {
        if end <= start {
            return;
        }
        let (from, to) = (start / BLOCK, end.div_ceil(BLOCK));
        if from <= self.claimed {
            self.claimed = self.claimed.max(to);
            self.scattered = self.scattered.split_off(&self.claimed);
        } else {
            self.scattered.extend(from..to);
        }
    }

    /// Lets go of the room above this length.
    pub(super) fn trim_blocks(&mut self, length: u64) {
        let end = length.div_ceil(BLOCK);
        self.claimed = self.claimed.min(end);
        self.scattered.split_off(&end);
    }

    /// How many blocks have room.
    pub(super) fn blocks(&self) -> u64 {
        self.claimed + self.scattered.len() as u64
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], sector: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        self.take_blocks(offset, end);
        self.change(
            Change::Write {
                offset,
                bytes: bytes.to_vec(),
            },
            sector,
        );
    }

    pub(super) fn set_length(&mut self, length: u64, sector: u64) {
        // What was claimed past the end goes as well, also where the length stays.
        if length <= self.live.len() as u64 {
            self.trim_blocks(length);
        }
        self.change(Change::Length(length), sector);
    }

    fn change(&mut self, change: Change, sector: u64) {
        if let Change::Write { offset, bytes } = &change {
            // A write makes the disk take another sector for the bad one.
            let last = (offset + bytes.len() as u64 - 1) / sector;
            self.latent
                .retain(|at| !(offset / sector..=last).contains(at));
        }
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    /// Sectors that a sync would write.
    pub(super) fn dirty(&self, sector: u64) -> Vec<u64> {
        let mut dirty = BTreeSet::new();
        for change in &self.pending {
            if let Change::Write { offset, bytes } = change {
                dirty.extend(offset / sector..(offset + bytes.len() as u64).div_ceil(sector));
            }
        }
        dirty.into_iter().collect()
    }

    /// Makes everything pending durable, but for a mishap.
    pub(super) fn sync(&mut self, sector: u64, mishap: Option<Mishap>) {
        for change in std::mem::take(&mut self.pending) {
            if let Change::Write { offset, bytes } = &change {
                self.remember(*offset, bytes.len(), sector);
            }
            let hit = match (mishap, &change) {
                (Some(mishap), Change::Write { offset, bytes }) => {
                    Some((mishap, *offset, bytes.len() as u64))
                }
                _ => None,
            };
            match hit {
                Some((mishap, offset, length)) => {
                    let (from, to) = match mishap {
                        Mishap::Lost(from) => (from, None),
                        Mishap::Misdirected(from, to) => (from, Some(to)),
                    };
                    let kept = slice_of(&self.durable, from, sector);
                    apply(&mut self.durable, &change);
                    if !(offset / sector..=(offset + length - 1) / sector).contains(&from) {
                        continue;
                    }
                    let written = slice_of(&self.durable, from, sector);
                    put(&mut self.durable, from, sector, &kept);
                    if let Some(to) = to {
                        put(&mut self.durable, to, sector, &written);
                    }
                }
                None => apply(&mut self.durable, &change),
            }
        }
    }

    /// Leaves pending what lies in this range of whole sectors and takes out the rest, but for lengths:
    /// those go along with whatever is made durable, and all that came before them.
    pub(super) fn set_aside(&mut self, start: u64, end: u64, sector: u64) -> Vec<Change> {
        let length = |change: &Change| matches!(change, Change::Length(_));
        if self.pending.iter().any(length) {
            return Vec::new();
        }
        let (mut inside, mut rest) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending) {
            let Change::Write { offset, bytes } = change else {
                continue;
            };
            for (offset, part) in pieces(offset, &bytes, sector) {
                let bytes = part.to_vec();
                let within = (start..end).contains(&offset);
                let part = Change::Write { offset, bytes };
                if within { &mut inside } else { &mut rest }.push(part);
            }
        }
        self.pending = inside;
        rest
    }

    /// A failed sync: each dirty sector is dropped with this likelihood, the rest is durable, and
    /// nothing is dirty any more. Says whether any was dropped.
    pub(super) fn drop_pending(&mut self, sector: u64, dropped: u64, rng: &mut Rng) -> bool {
        let mut fates = BTreeMap::new();
        let mut lost = false;
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { offset, bytes } => {
                    for (at, part) in pieces(offset, &bytes, sector) {
                        let drop = *fates
                            .entry(at / sector)
                            .or_insert_with(|| rng.chance(dropped, 1000));
                        if drop {
                            lost = true;
                        } else {
                            apply_at(&mut self.durable, at, part);
                        }
                    }
                }
                // Lengths go through a journal: they are durable, or the file system stops.
                Change::Length(to) => self.durable.resize(to as usize, 0),
            }
        }
        lost
    }

    /// Drops the clean pages: what was never made durable and is not dirty is seen as it is.
    pub(super) fn evict(&mut self) {
        self.live.clone_from(&self.durable);
        for change in &self.pending {
            apply(&mut self.live, change);
        }
    }

    fn remember(&mut self, offset: u64, length: usize, sector: u64) {
        let last = (offset + length as u64).div_ceil(sector);
        for at in offset / sector..last {
            if at * sector < self.durable.len() as u64 {
                let old = slice_of(&self.durable, at, sector);
                self.before.insert(at, old);
            }
        }
    }

    /// The sector as it was before its last write; zeros if nothing is known of that.
    pub(super) fn stale(&self, at: u64, sector: u64) -> Vec<u8> {
        let mut old = self.before.get(&at).cloned().unwrap_or_default();
        old.resize(sector as usize, 0);
        old
    }

    /// The power goes.
    pub(super) fn power_cut(
        &mut self,
        plan: &Plan,
        rng: &mut Rng,
        stale: &[u8],
        fired: &mut dyn FnMut(Fault),
    ) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.settle(&pending, plan, rng, stale, fired);
        }
        self.live.clone_from(&self.durable);
        self.mapped = 0;
    }

    fn settle(
        &mut self,
        pending: &[Change],
        plan: &Plan,
        rng: &mut Rng,
        stale: &[u8],
        fired: &mut dyn FnMut(Fault),
    ) {
        let before = self.durable.len() as u64;
        let length = self.surviving_length(pending, plan, rng, fired);
        // How often each sector was written, then how many of those writes it will show.
        let mut touched: BTreeMap<u64, u32> = BTreeMap::new();
        let mut at_length = before;
        let mut longest = before;
        for change in pending {
            for (at, _) in parts_of(change, at_length, plan.sector) {
                *touched.entry(at / plan.sector).or_default() += 1;
            }
            at_length = change.length(at_length);
            longest = longest.max(at_length);
        }
        let fates: BTreeMap<u64, (u32, Tear)> = touched
            .iter()
            .map(|(&sector, &writes)| (sector, fate(writes, plan, rng)))
            .collect();

        let mut covered = BTreeSet::new();
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        self.durable.resize(longest.max(length) as usize, 0);
        let mut at_length = before;
        for change in pending {
            for (at, part) in parts_of(change, at_length, plan.sector) {
                let sector = at / plan.sector;
                let count = seen.entry(sector).or_default();
                *count += 1;
                let (shown, tear) = fates.get(&sector).copied().unwrap_or((0, Tear::None));
                if *count <= shown {
                    apply_at(&mut self.durable, at, &part);
                    covered.insert(sector);
                } else if *count == shown + 1 {
                    match tear {
                        Tear::None => fired(Fault::LostSector),
                        Tear::Split => {
                            fired(Fault::TornSector);
                            self.split(at, &part, rng);
                            covered.insert(sector);
                        }
                        Tear::Garbage => {
                            fired(Fault::GarbageSector);
                            let garbage = rng.bytes(plan.sector as usize);
                            put(&mut self.durable, sector, plan.sector, &garbage);
                            covered.insert(sector);
                        }
                    }
                }
            }
            at_length = change.length(at_length);
        }
        self.durable.resize(length as usize, 0);
        if length > before {
            self.fill(before, length, &covered, plan, rng, stale, fired);
        }
    }

    fn surviving_length(
        &self,
        pending: &[Change],
        plan: &Plan,
        rng: &mut Rng,
        fired: &mut dyn FnMut(Fault),
    ) -> u64 {
        let mut lengths = vec![self.durable.len() as u64];
        for change in pending {
            let last = lengths[lengths.len() - 1];
            lengths.push(change.length(last));
        }
        lengths.dedup();
        if lengths.len() == 1 || rng.chance(plan.persist_length, 1000) {
            return lengths[lengths.len() - 1];
        }
        fired(Fault::LostLength);
        // The newest was lost: mostly all of them, else some later ones.
        if rng.chance(600, 1000) {
            lengths[0]
        } else {
            lengths[rng.below(lengths.len() as u64 - 1) as usize]
        }
    }

    /// Writes the front, the back, or some grains of a torn sector.
    fn split(&mut self, at: u64, part: &[u8], rng: &mut Rng) {
        const GRAIN: usize = 8;
        let grains = part.len().div_ceil(GRAIN) as u64;
        let (kind, cut) = (rng.below(3), rng.below(grains + 1));
        for (index, grain) in part.chunks(GRAIN).enumerate() {
            let written = match kind {
                0 => (index as u64) < cut,
                1 => (index as u64) >= cut,
                _ => rng.chance(500, 1000),
            };
            if written {
                apply_at(&mut self.durable, at + (index * GRAIN) as u64, grain);
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of a power cut, split off for length"
    )]
    fn fill(
        &mut self,
        before: u64,
        length: u64,
        covered: &BTreeSet<u64>,
        plan: &Plan,
        rng: &mut Rng,
        stale: &[u8],
        fired: &mut dyn FnMut(Fault),
    ) {
        for sector in before / plan.sector..length.div_ceil(plan.sector) {
            if covered.contains(&sector) {
                continue;
            }
            let start = (sector * plan.sector).max(before) as usize;
            let end = ((sector + 1) * plan.sector).min(length) as usize;
            let place = &mut self.durable[start..end];
            match plan.fill {
                Fill::Zeros => {
                    fired(Fault::ZeroTail);
                    place.fill(0);
                }
                Fill::Garbage => {
                    fired(Fault::GarbageTail);
                    place.copy_from_slice(&rng.bytes(end - start));
                }
                Fill::Stale => {
                    fired(Fault::GarbageTail);
                    place.fill(0);
                    if let Some(old) = stale.get(start..end.min(stale.len())) {
                        place[..old.len()].copy_from_slice(old);
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Tear {
    None,
    Split,
    Garbage,
}

/// How many of the writes to a sector it shows, and what became of the next one.
fn fate(writes: u32, plan: &Plan, rng: &mut Rng) -> (u32, Tear) {
    if rng.chance(plan.persist, 1000) {
        return (writes, Tear::None);
    }
    // Write-back may have come between any two of them.
    let shown = if plan.persist > 0 && rng.chance(300, 1000) {
        rng.below(u64::from(writes)) as u32
    } else {
        0
    };
    let tear = if !rng.chance(plan.torn, 1000) {
        Tear::None
    } else if plan.power_safe || rng.chance(500, 1000) {
        Tear::Split
    } else {
        Tear::Garbage
    };
    (shown, tear)
}

/// The change, cut at sector boundaries. A cut-off tail counts as zeros written over it.
fn parts_of(change: &Change, length: u64, sector: u64) -> Vec<(u64, Vec<u8>)> {
    match change {
        Change::Write { offset, bytes } => pieces(*offset, bytes, sector)
            .map(|(at, part)| (at, part.to_vec()))
            .collect(),
        Change::Length(to) if *to < length => {
            let zeros = vec![0; (length - to) as usize];
            pieces(*to, &zeros, sector)
                .map(|(at, part)| (at, part.to_vec()))
                .collect()
        }
        Change::Length(_) => Vec::new(),
    }
}

/// Bytes at an offset, cut at sector boundaries.
pub(super) fn pieces(offset: u64, bytes: &[u8], sector: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = (sector - at % sector) as usize;
        let (part, after) = rest.split_at(room.min(rest.len()));
        let start = at;
        at += part.len() as u64;
        rest = after;
        Some((start, part))
    })
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, bytes } => apply_at(content, *offset, bytes),
        Change::Length(to) => content.resize(*to as usize, 0),
    }
}

fn apply_at(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

/// As much of a sector as the content holds.
fn slice_of(content: &[u8], at: u64, sector: u64) -> Vec<u8> {
    let start = (at * sector).min(content.len() as u64) as usize;
    let end = ((at + 1) * sector).min(content.len() as u64) as usize;
    content[start..end].to_vec()
}

/// Puts bytes over a sector, never beyond the end. Too few are followed by zeros.
fn put(content: &mut [u8], at: u64, sector: u64, bytes: &[u8]) {
    let start = (at * sector).min(content.len() as u64) as usize;
    let end = ((at + 1) * sector).min(content.len() as u64) as usize;
    let place = &mut content[start..end];
    let common = bytes.len().min(place.len());
    place[..common].copy_from_slice(&bytes[..common]);
    place[common..].fill(0);
}
