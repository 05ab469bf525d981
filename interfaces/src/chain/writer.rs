//! Writing a chain: entries are gathered in memory until a block is full, and read back from there.
//!
//! ```text
//!   full blocks (directory)  │ part │ part │  fresh, in memory
//!   0 …                 tail ^             ^ stored             end
//! ```
//!
//! A block is stored when it is full and one more entry comes, and opened again when an entry of it is
//! popped and none comes after it: so a stack that goes up and down over the end of a block does not
//! write it each time. What a call did not do whole it did not do: after an error the writer goes on.

use bytes::Bytes;
use travertine_engine::contract::{Error, Reference, Result};

use super::block::{self, Block, Head, Item};
use super::directory::Directory;
use super::link::{self, Digest};
use super::root::{NUMBERS, Part, Root};
use super::{Options, consumers, lost};
use crate::apart;
use crate::index::Found;
use crate::records::Sink;

/// Changes to one chain, not yet committed. Dropped, it leaves nothing behind but unnamed records.
#[derive(Debug)]
pub struct Writer<'s> {
    sink: &'s dyn Sink,
    inline_max: usize,
    base: Option<(Reference, Root)>,
    /// What is committed next, without the fresh entries and the directory.
    root: Root,
    directory: Directory,
    fresh: Vec<Fresh>,
    /// What consumers have behind them, which must not be popped.
    pinned: u64,
    popped: bool,
    /// The block of the entry that was shifted last.
    front: Option<Block>,
}

#[derive(Debug)]
struct Fresh {
    item: Item,
    before: Option<Digest>,
}

impl<'s> Writer<'s> {
    /// A writer on the chain at `root`, which `sink` can read. Refuses with `Invalid` if a chain that is there is asked to be linked
    /// and is not; the size of its blocks it keeps.
    pub fn new(options: Options, sink: &'s dyn Sink, root: Option<Reference>) -> Result<Self> {
        let options = options.within_limits();
        let base = match root {
            Some(reference) => Some((reference, Root::decode(&sink.read(&reference).wait()?)?)),
            None => None,
        };
        let root = match &base {
            Some((_, root)) => root.clone(),
            None => Root::new(
                u64::from(options.block_entries),
                options.linked.then_some(link::START),
            ),
        };
        if options.linked && root.link.is_none() {
            return Err(Error::invalid(
                "the chain was begun without links; copy it to one that is linked",
            ));
        }
        Ok(Self {
            sink,
            inline_max: options.inline_max,
            base,
            directory: Directory::new(root.full(), &root.open),
            root,
            fresh: Vec::new(),
            pinned: 0,
            popped: false,
            front: None,
        })
    }

    /// The number of the first entry there is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.root.first
    }

    /// The number that the next entry gets.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.root.end
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.root.end - self.root.first
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry behind the last and returns its number. A long one is stored at once.
    pub fn push(&mut self, entry: &[u8]) -> Result<u64> {
        let number = self.root.end;
        if number >= NUMBERS {
            return Err(Error::full("the chain has no number left"));
        }
        let hash = self.root.link.map(|_| link::hash(entry));
        let value = match entry.len() > self.inline_max {
            true => Found::Apart(apart::store(self.sink, entry)?),
            false => block::inline(entry),
        };
        if number - self.root.tail == self.root.block {
            self.seal()?;
        }
        let before = self.root.link;
        if let (Some(before), Some(hash)) = (before, hash) {
            self.root.link = Some(link::behind(&before, number, &hash));
        }
        let hash = hash.filter(|_| matches!(value, Found::Apart(_)));
        let item = Item { value, hash };
        self.fresh.push(Fresh { item, before });
        self.root.end += 1;
        Ok(number)
    }

    /// Takes the last entry away; `None`, if there is none. Its number is given again. Refuses with
    /// `Invalid` to take what a consumer has behind it: that would miss the next one. Blocks where a
    /// record must be fetched.
    pub fn pop(&mut self) -> Result<Option<Bytes>> {
        if self.is_empty() {
            return Ok(None);
        }
        let number = self.root.end - 1;
        if number < self.pinned {
            return Err(Error::invalid(format!(
                "entry {number} was consumed and cannot be popped: its number would be given again"
            )));
        }
        if let Some(fresh) = self.fresh.last() {
            let bytes = self.bytes(&fresh.item.value)?;
            self.root.link = fresh.before;
            self.fresh.pop();
            self.root.end = number;
            return Ok(Some(bytes));
        }
        if self.root.end == self.root.tail {
            self.unseal()?;
        }
        let block = self.part(number)?;
        let bytes = self.bytes(&block.found(number)?)?;
        if self.root.link.is_some() {
            let before = block.link_before(number)?;
            self.root.link = Some(before.ok_or_else(|| unlinked(number))?);
        }
        self.root.end = number;
        self.root.parts.retain(|part| part.first < number);
        self.popped = true;
        Ok(Some(bytes))
    }

    /// Takes the first entry away; `None`, if there is none. Blocks where a record must be fetched.
    pub fn shift(&mut self) -> Result<Option<Bytes>> {
        let bytes = self.get(self.root.first)?;
        if bytes.is_some() {
            self.root.first += 1;
        }
        Ok(bytes)
    }

    /// Takes all entries before a number away and tells how many there were. Refuses a number past the
    /// end.
    pub fn trim(&mut self, number: u64) -> Result<u64> {
        let end = self.root.end;
        if number > end {
            return Err(Error::invalid(format!(
                "entries before {number} cannot go: the chain ends before entry {end}"
            )));
        }
        let gone = number.saturating_sub(self.root.first);
        self.root.first += gone;
        Ok(gone)
    }

    /// The entry of a number as this turn has it; `None`, if it is not there. Blocks where a record must
    /// be fetched.
    pub fn get(&mut self, number: u64) -> Result<Option<Bytes>> {
        if !(self.root.first..self.root.end).contains(&number) {
            return Ok(None);
        }
        if let Some(index) = number.checked_sub(self.stored()) {
            let fresh = self.fresh.get(index as usize).ok_or_else(|| lost(number))?;
            return self.bytes(&fresh.item.value).map(Some);
        }
        let block = match self.front.take().filter(|front| front.holds(number)) {
            Some(front) => front,
            None if number >= self.root.tail => self.part(number)?,
            None => {
                let index = number / self.root.block;
                let reference = self.directory.find(self.sink, index)?;
                let from = index * self.root.block;
                let record = self.sink.read(&reference).wait()?;
                Block::open(record, from..number + 1, from + self.root.block)?
            }
        };
        let bytes = self.bytes(&block.found(number)?)?;
        self.front = (number < self.root.tail).then_some(block);
        Ok(Some(bytes))
    }

    /// Stores what is not yet stored and returns the new root, not yet committed; the old one, if
    /// nothing changed.
    pub fn finish(mut self) -> Result<Option<Reference>> {
        self.settle()?;
        let base = self.base.as_ref();
        let same = match base {
            Some((_, base)) => *base == self.root,
            None => self.root.end == 0 && self.root.consumers.is_none(),
        };
        match base {
            Some((reference, _)) if same => Ok(Some(*reference)),
            None if same => Ok(None),
            _ => self.root.store(self.sink).map(Some),
        }
    }

    /// Whether an entry was popped that was there before.
    pub(super) fn has_popped(&self) -> bool {
        self.popped
    }

    /// Lets nothing be popped that lies before a number.
    pub(super) fn pin(&mut self, number: u64) {
        self.pinned = self.pinned.max(number);
    }

    pub(super) fn consumers(&self) -> Result<Vec<String>> {
        consumers::read(self.sink, self.root.consumers.as_ref())
    }

    pub(super) fn set_consumers(&mut self, names: &[String]) -> Result<()> {
        self.root.consumers = consumers::store(self.sink, names)?;
        Ok(())
    }

    /// Leaves nothing in memory: the fresh entries become a part, the directory is stored.
    fn settle(&mut self) -> Result<()> {
        let Root {
            first, tail, block, ..
        } = self.root;
        let dead = first.saturating_sub(self.stored());
        self.fresh.drain(..dead as usize);
        let stored = self.stored();
        let live = self.root.parts.iter().skip(1).map(|part| part.first);
        let live = live.chain([stored]).take_while(|end| *end <= first);
        let dead = live.count().min(self.root.parts.len());
        self.root.parts.drain(..dead);
        if !self.fresh.is_empty() {
            let head = self.head(stored, self.fresh[0].before)?;
            let items: Vec<_> = self.fresh.iter().map(|fresh| fresh.item.clone()).collect();
            let reference = block::store(self.sink, &head, &items)?;
            let first = stored;
            self.root.parts.push(Part { first, reference });
            self.fresh.clear();
        }
        let before = self.base.as_ref().map_or(0, |(_, base)| base.first / block);
        if first / block > before {
            self.directory
                .trim(self.sink, (first / block).min(tail / block))?;
        }
        self.root.open = self.directory.store(self.sink)?;
        Ok(())
    }

    /// Makes the tail, which is full, a block of the directory.
    fn seal(&mut self) -> Result<()> {
        let mut directory = self.directory.clone();
        let full = match self.root.first >= self.root.end {
            true => None,
            false => Some(self.whole()?),
        };
        directory.push(self.sink, full)?;
        self.directory = directory;
        self.root.tail = self.root.end;
        self.root.parts.clear();
        self.fresh.clear();
        Ok(())
    }

    /// The entries of the full tail in one block.
    fn whole(&mut self) -> Result<Reference> {
        let mut items = Vec::with_capacity(self.root.block as usize);
        let mut head = None;
        for index in 0..self.root.parts.len() {
            let part = self.root.parts[index];
            let block = self.part(part.first)?;
            let alone = self.root.parts.len() == 1 && self.fresh.is_empty();
            if alone && block.is_whole() && part.first == self.root.tail {
                return Ok(part.reference);
            }
            if index == 0 {
                head = Some(self.head(part.first, block.link())?);
            }
            for item in block.items() {
                items.push(item?);
            }
        }
        let head = match (head, self.fresh.first()) {
            (Some(head), _) => head,
            (None, Some(fresh)) => self.head(self.stored(), fresh.before)?,
            (None, None) => return Err(lost(self.root.tail)),
        };
        items.extend(self.fresh.iter().map(|fresh| fresh.item.clone()));
        block::store(self.sink, &head, &items)
    }

    /// Makes the last block of the directory the tail, which is empty.
    fn unseal(&mut self) -> Result<()> {
        let mut directory = self.directory.clone();
        let missing = || lost(self.root.end.saturating_sub(1));
        let reference = directory.pop(self.sink)?.ok_or_else(missing)?;
        let record = self.sink.read(&reference).wait()?;
        let tail = self.root.tail - self.root.block;
        let block = Block::open(record, tail..self.root.tail, self.root.tail)?;
        self.directory = directory;
        self.front = None;
        self.root.tail = tail;
        self.root.parts = vec![Part {
            first: block.first(),
            reference,
        }];
        Ok(())
    }

    /// What a block of the tail is told that begins with this entry.
    fn head(&self, first: u64, link: Option<Digest>) -> Result<Head> {
        let predecessor = match link {
            Some(_) if first == self.root.tail => self.directory.last(self.sink)?,
            _ => None,
        };
        Ok(Head {
            first,
            link,
            predecessor,
        })
    }

    /// The block of the tail that holds an entry which is not fresh.
    fn part(&self, number: u64) -> Result<Block> {
        let parts = &self.root.parts;
        let after = parts.partition_point(|part| part.first <= number);
        let index = after.checked_sub(1).ok_or_else(|| lost(number))?;
        let part = parts[index];
        let until = parts.get(after).map_or(self.stored(), |next| next.first);
        let record = self.sink.read(&part.reference).wait()?;
        Block::open(record, part.first..part.first + 1, until)
    }

    /// The number of the first fresh entry.
    fn stored(&self) -> u64 {
        self.root.end - self.fresh.len() as u64
    }

    fn bytes(&self, found: &Found) -> Result<Bytes> {
        match found {
            Found::Inline(bytes) => Ok(bytes.clone()),
            Found::Apart(apart) => apart::read_blocking(self.sink, apart),
        }
    }
}

fn unlinked(number: u64) -> Error {
    Error::corrupt(format!("the block of entry {number} lacks its link"))
}
