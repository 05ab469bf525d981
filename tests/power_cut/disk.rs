//! The disk: files and directories under names, and the faults it has.
//!
//! It does what a file system is asked for, and nothing more: a byte is durable after an fsync of its
//! file, a name after an fsync of its directory (see [`Rule`]), and what was not synced is anybody's
//! guess. [`Disk::draw`](crate::image) guesses.

use std::collections::BTreeMap;

use fuser::Errno;
use travertine_engine::conformance::rng::Rng;

use crate::file::{Change as Edit, Content};
use crate::image::Image;
use crate::names::{Change, Names, Number, Rule};

/// The directory on top.
pub(crate) const TOP: Number = 1;

/// What an operation says.
pub(crate) type Answer<T> = Result<T, Errno>;

/// What a number stands for.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Directory,
    File(Content),
}

/// Which calls fail, each once, and how much room there is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The write of this number, counted from one: nothing is written.
    pub(crate) write: Option<u64>,
    /// The fsync of this number, counted from one: some or all of the data is dropped, is shown all
    /// the same, and the next fsync is fine.
    pub(crate) sync: Option<u64>,
    /// As `sync`, and it is the first from there on that would have made some data durable.
    pub(crate) data_sync: Option<u64>,
    /// Bytes there is room for.
    pub(crate) room: Option<u64>,
}

/// What the disk was asked to do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
}

/// The disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) rule: Rule,
    pub(crate) names: Names,
    pub(crate) nodes: BTreeMap<Number, Node>,
    pub(crate) faults: Faults,
    pub(crate) tally: Tally,
    next: Number,
}

impl Disk {
    /// A disk on which there is what an image holds, all of it durable.
    pub(crate) fn new(rule: Rule, image: &Image) -> Self {
        let mut disk = Self {
            rule,
            names: Names::default(),
            nodes: BTreeMap::from([(TOP, Node::Directory)]),
            faults: Faults::default(),
            tally: Tally::default(),
            next: TOP + 1,
        };
        let mut table = BTreeMap::new();
        let mut numbers = BTreeMap::from([(String::new(), TOP)]);
        for (path, content) in &image.0 {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let node = match content {
                Some(bytes) => Node::File(Content::settled(bytes.clone())),
                None => Node::Directory,
            };
            let number = disk.add(node);
            // A directory stands before what it holds.
            table.insert((numbers[above], name.to_owned()), number);
            numbers.insert(path.clone(), number);
        }
        disk.names = Names::settled(table);
        disk
    }

    fn add(&mut self, node: Node) -> Number {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        number
    }

    pub(crate) fn find(&self, directory: Number, name: &str) -> Answer<Number> {
        let place = (directory, name.to_owned());
        self.names.live.get(&place).copied().ok_or(Errno::ENOENT)
    }

    pub(crate) fn node(&self, number: Number) -> Answer<&Node> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    pub(crate) fn file(&self, number: Number) -> Answer<&Content> {
        match self.node(number)? {
            Node::File(content) => Ok(content),
            Node::Directory => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, number: Number) -> Answer<&mut Content> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory) => Err(Errno::EISDIR),
            None => Err(Errno::ENOENT),
        }
    }

    fn is_directory(&self, number: Number) -> bool {
        matches!(self.nodes.get(&number), Some(Node::Directory))
    }

    /// Makes a file or a directory.
    pub(crate) fn make(&mut self, directory: Number, name: &str, node: Node) -> Answer<Number> {
        if !self.is_directory(directory) {
            return Err(Errno::ENOTDIR);
        }
        if self.find(directory, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.add(node);
        let place = (directory, name.to_owned());
        self.names.change(Change::Point(place, number));
        Ok(number)
    }

    pub(crate) fn remove(&mut self, directory: Number, name: &str) -> Answer<()> {
        let number = self.find(directory, name)?;
        if Names::within(&self.names.live, number).next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        // Whoever has it open goes on: the node stays.
        let place = (directory, name.to_owned());
        self.names.change(Change::Drop(place));
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (Number, &str), to: (Number, &str)) -> Answer<()> {
        let number = self.find(from.0, from.1)?;
        if let Ok(replaced) = self.find(to.0, to.1)
            && self.is_directory(replaced) != self.is_directory(number)
        {
            return Err(Errno::EISDIR);
        }
        let place = |(directory, name): (Number, &str)| (directory, name.to_owned());
        self.names
            .change(Change::Move(place(from), place(to), number));
        Ok(())
    }

    pub(crate) fn read(&self, number: Number, at: u64, length: usize) -> Answer<&[u8]> {
        let live = &self.file(number)?.live;
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(live.len());
        Ok(&live[start..start.saturating_add(length).min(live.len())])
    }

    pub(crate) fn write(&mut self, number: Number, at: u64, bytes: &[u8]) -> Answer<()> {
        self.tally.writes += 1;
        if self.faults.write == Some(self.tally.writes) {
            self.tally.failed += 1;
            return Err(Errno::EIO);
        }
        self.want(number, at + bytes.len() as u64)?;
        self.file_mut(number)?
            .change(Edit::Write(at, bytes.to_vec()));
        Ok(())
    }

    pub(crate) fn set_length(&mut self, number: Number, length: u64) -> Answer<()> {
        let content = self.file_mut(number)?;
        if content.live.len() as u64 != length {
            content.change(Edit::Length(length));
        }
        Ok(())
    }

    /// Sets room aside for a file up to `end`.
    pub(crate) fn claim(&mut self, number: Number, end: u64) -> Answer<()> {
        self.want(number, end)?;
        self.file_mut(number)?.claim(end);
        Ok(())
    }

    /// Refuses if there is no room for a file up to `end`.
    fn want(&mut self, number: Number, end: u64) -> Answer<()> {
        let Some(room) = self.faults.room else {
            return Ok(());
        };
        let content = self.file(number)?;
        let more = content.room(end) - content.room(0);
        let named = self.names.live.values().filter_map(|number| {
            let content = self.file(*number).ok()?;
            Some(content.room(0))
        });
        if more > 0 && named.sum::<u64>() + more > room {
            self.tally.refused += 1;
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// An fsync of a file or of a directory.
    pub(crate) fn sync(&mut self, number: Number, rng: &mut Rng) -> Answer<()> {
        self.tally.syncs += 1;
        let from = self.faults.data_sync;
        let due = from.is_some_and(|from| self.tally.syncs >= from)
            && self.file(number).is_ok_and(Content::has_data_pending);
        if due {
            self.faults.data_sync = None;
        }
        let fails = due || self.faults.sync == Some(self.tally.syncs);
        let rule = self.rule;
        match self.nodes.get_mut(&number) {
            None => return Err(Errno::ENOENT),
            Some(Node::File(content)) if fails => {
                // Everything is dropped, or some of it.
                let kept = if rng.chance(1, 3) { 500 } else { 0 };
                content.sync_and_drop(|| rng.chance(kept, 1000));
            }
            Some(Node::File(content)) => {
                content.sync();
                if rule == Rule::Journalled {
                    self.names.sync(None);
                }
            }
            Some(Node::Directory) if fails => {}
            Some(Node::Directory) => match rule {
                Rule::Strict => self.names.sync(Some(number)),
                Rule::Journalled => self.names.sync(None),
            },
        }
        if fails {
            self.tally.failed += 1;
            return Err(Errno::EIO);
        }
        Ok(())
    }
}
