//! What a power cut leaves of a disk.
//!
//! An image takes every liberty: what was not synced is there, or not, by page or by write, with the
//! length that it had at any moment since, and torn. It never takes what was synced, but for the rest
//! of a page that was being written again, if the disk may ruin those.

use std::collections::BTreeMap;
use std::path::Path;

use travertine_engine::conformance::rng::Rng;

use crate::disk::{Disk, Node, TOP};
use crate::file::{Change, Content, put};
use crate::names::{Names, Number, Rule, Table};

/// Bytes that the page cache writes back together.
const PAGE: u64 = 4096;

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is gone.
    Lose,
    /// Some of it is there: whole pages, or whole writes.
    Subset,
    /// Some of it is there, and where it was being written it is torn.
    Torn,
}

impl Cut {
    pub(crate) const ALL: [Self; 3] = [Self::Lose, Self::Subset, Self::Torn];
}

/// Files with their bytes and directories without, by path, a directory before what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Option<Vec<u8>>>);

impl Image {
    /// With this file too.
    pub(crate) fn with(mut self, path: &str, bytes: &[u8]) -> Self {
        self.0.insert(path.to_owned(), Some(bytes.to_vec()));
        self
    }

    /// A file.
    pub(crate) fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path)?.as_deref()
    }

    /// Puts it into an empty directory.
    pub(crate) fn lay_out(&self, into: &Path) {
        for (path, content) in &self.0 {
            let path = into.join(path);
            match content {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => std::fs::create_dir(path).unwrap(),
            }
        }
    }

    /// Whether a directory holds this and nothing else.
    pub(crate) fn is_laid_out(&self, there: &Path) -> bool {
        let mut found = Self::default();
        let mut left = vec![String::new()];
        while let Some(within) = left.pop() {
            for entry in std::fs::read_dir(there.join(&within)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let path = join(&within, &name);
                let content = if entry.file_type().unwrap().is_dir() {
                    left.push(path.clone());
                    None
                } else {
                    Some(std::fs::read(entry.path()).unwrap())
                };
                found.0.insert(path, content);
            }
        }
        *self == found
    }
}

fn join(within: &str, name: &str) -> String {
    match within {
        "" => name.to_owned(),
        within => format!("{within}/{name}"),
    }
}

impl Disk {
    /// What is left if the power goes now. Files of these names on top are no part of it. `ruins`: a
    /// page that is being written may come to hold anything.
    pub(crate) fn draw(&self, cut: Cut, ruins: bool, without: &[&str], rng: &mut Rng) -> Image {
        let names = self.surviving_names(cut, rng);
        let mut image = Image::default();
        let mut left = vec![(String::new(), TOP)];
        while let Some((within, directory)) = left.pop() {
            for (name, number) in Names::within(&names, directory) {
                let path = join(&within, name);
                match self.nodes.get(&number) {
                    Some(Node::File(_)) if without.contains(&path.as_str()) => {}
                    Some(Node::File(content)) => {
                        let bytes = content.surviving(cut, ruins, rng);
                        image.0.insert(path, Some(bytes));
                    }
                    Some(Node::Directory) => {
                        image.0.insert(path.clone(), None);
                        left.push((path, number));
                    }
                    None => {}
                }
            }
        }
        image
    }

    fn surviving_names(&self, cut: Cut, rng: &mut Rng) -> Table {
        let mut names = self.names.durable.clone();
        if cut == Cut::Lose {
            return names;
        }
        let pending = &self.names.pending;
        let first = rng.below_usize(pending.len() + 1);
        let each = [0, 500, 1000][rng.below_usize(3)];
        for (index, change) in pending.iter().enumerate() {
            let survives = match self.rule {
                Rule::Strict => rng.chance(each, 1000),
                Rule::Journalled => index < first,
            };
            if survives {
                change.apply(&mut names);
            }
        }
        names
    }
}

impl Content {
    fn surviving(&self, cut: Cut, ruins: bool, rng: &mut Rng) -> Vec<u8> {
        match cut {
            _ if self.pending.is_empty() => self.durable.clone(),
            Cut::Lose => self.durable.clone(),
            Cut::Subset if rng.chance(1, 3) => self.some_writes(rng),
            Cut::Subset => self.some_sectors(PAGE, 0, false, rng),
            Cut::Torn => {
                let sector = [512, PAGE][rng.below_usize(2)];
                self.some_sectors(sector, 500, ruins, rng)
            }
        }
    }

    /// Some of the changes, whole.
    fn some_writes(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            if rng.chance(1, 2) {
                change.apply(&mut bytes);
            }
        }
        bytes
    }

    /// Each sector as it was at some moment since the last sync, and so is the length.
    fn some_sectors(&self, sector: u64, torn: u64, ruins: bool, rng: &mut Rng) -> Vec<u8> {
        let before = self.durable.len() as u64;
        let persist = [200, 500, 800][rng.below_usize(3)];
        let lengths = rng.below_usize(self.pending.len() + 1);
        let lengths = match rng.below(3) {
            0 => 0,
            1 => lengths,
            _ => self.pending.len(),
        };
        let mut writes: BTreeMap<u64, u64> = BTreeMap::new();
        for (at, _) in self.pending.iter().flat_map(|change| parts(change, sector)) {
            *writes.entry(at / sector).or_default() += 1;
        }
        // How many of its writes each sector shows.
        let shown: BTreeMap<u64, u64> = writes
            .into_iter()
            .map(|(at, writes)| match rng.chance(persist, 1000) {
                true => (at, writes),
                // Write-back came between two of them, or before all.
                false => (at, [0, rng.below(writes)][rng.below_usize(2)]),
            })
            .collect();
        let mut bytes = self.durable.clone();
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        let mut covered: BTreeMap<u64, ()> = BTreeMap::new();
        let mut length = before;
        for (index, change) in self.pending.iter().enumerate() {
            if index < lengths {
                length = change.length(length);
                if let Change::Length(to) = change {
                    bytes.truncate(*to as usize);
                }
            }
            for (at, part) in parts(change, sector) {
                let place = at / sector;
                let seen = seen.entry(place).or_default();
                *seen += 1;
                if *seen <= shown[&place] {
                    put(&mut bytes, at, part);
                    covered.insert(place, ());
                } else if *seen == shown[&place] + 1 && rng.chance(torn, 1000) {
                    tear(&mut bytes, at, part, sector, ruins, rng);
                    covered.insert(place, ());
                }
            }
        }
        bytes.resize(length as usize, 0);
        if length > before {
            fill(&mut bytes, before, sector, &covered, rng);
        }
        bytes
    }
}

/// The bytes of a change, cut at the bounds of sectors.
fn parts(change: &Change, sector: u64) -> Vec<(u64, &[u8])> {
    let Change::Write(at, bytes) = change else {
        return Vec::new();
    };
    let (mut at, mut rest) = (*at, bytes.as_slice());
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let room = (sector - at % sector) as usize;
        let (part, after) = rest.split_at(room.min(rest.len()));
        parts.push((at, part));
        at += part.len() as u64;
        rest = after;
    }
    parts
}

/// A sector was being written: its front is new, or its back, or all of it is ruined.
fn tear(bytes: &mut Vec<u8>, at: u64, part: &[u8], sector: u64, ruins: bool, rng: &mut Rng) {
    if ruins && rng.chance(1, 2) {
        let start = at / sector * sector;
        let end = (start + sector).min((bytes.len() as u64).max(at + part.len() as u64));
        let garbage = rng.bytes((end - start) as usize);
        put(bytes, start, &garbage);
        return;
    }
    // Eight bytes that belong together are never torn.
    let middle = (at + rng.below(part.len() as u64 + 1)) / 8 * 8;
    let middle = middle.saturating_sub(at) as usize;
    let (front, back) = part.split_at(middle);
    if rng.chance(1, 2) {
        put(bytes, at, front);
    } else {
        put(bytes, at + middle as u64, back);
    }
}

/// What a length promises and no write delivered: zeros, or whatever lay there.
fn fill(bytes: &mut [u8], from: u64, sector: u64, covered: &BTreeMap<u64, ()>, rng: &mut Rng) {
    if rng.chance(1, 2) {
        return;
    }
    let length = bytes.len() as u64;
    for place in from / sector..length.div_ceil(sector) {
        if !covered.contains_key(&place) {
            let start = (place * sector).max(from) as usize;
            let end = ((place + 1) * sector).min(length) as usize;
            let garbage = rng.bytes(end - start);
            bytes[start..end].copy_from_slice(&garbage);
        }
    }
}

/// The number of whatever stands under a path, as the users of a disk see it.
pub(crate) fn number_of(disk: &Disk, path: &str) -> Option<Number> {
    path.split('/')
        .try_fold(TOP, |within, name| disk.find(within, name).ok())
}
