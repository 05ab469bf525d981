//! Reading a chain: any entry by its number, or one after the other in both directions.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use travertine_engine::contract::{Op, Reference, Result};

use super::block::Block;
use super::link::Digest;
use super::root::Root;
use super::{consumers, directory, verify};
use crate::apart;
use crate::index::{Direction, Found, Step, Value};
use crate::records::Source;
use crate::report::Report;

/// A chain at one commit. Clones are cheap; a clone may be sent to another thread.
#[derive(Debug, Clone)]
pub struct Reader {
    source: Arc<dyn Source>,
    root: Arc<Root>,
}

impl Reader {
    /// The chain whose root record `root` names; `None` is a chain that never had an entry. Reads the
    /// root record and nothing else.
    pub fn open(source: Arc<dyn Source>, root: Option<Reference>) -> Op<Self> {
        let Some(root) = root else {
            return Op::ok(Self::of(source, Root::new(1, None)));
        };
        let record = source.read(&root);
        record.and_then(|record| Ok(Self::of(source, Root::decode(&record)?)))
    }

    pub(super) fn of(source: Arc<dyn Source>, root: Root) -> Self {
        let root = Arc::new(root);
        Self { source, root }
    }

    /// The number of the first entry there is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.root.first
    }

    /// One past the number of the last entry: the number that the next one gets.
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

    /// The link behind the last entry, which stands for all entries there ever were; `None`, if the
    /// chain is not linked. Kept elsewhere, it tells later whether anybody changed what lies before.
    #[must_use]
    pub fn link(&self) -> Option<Digest> {
        self.root.link
    }

    /// The link before an entry, or behind the last; `None`, if the chain is not linked, or has no such
    /// entry. Blocks where a record must be fetched.
    pub fn link_before(&self, number: u64) -> Result<Option<Digest>> {
        if number == self.root.end {
            return Ok(self.root.link);
        }
        if self.root.link.is_none() || !self.holds(number) {
            return Ok(None);
        }
        self.block(number).wait()?.link_before(number)
    }

    /// The entry of a number; `None`, if it is not there: yet, or any more. A short one is a slice of
    /// the record it lies in, not a copy.
    pub fn get(&self, number: u64) -> Op<Option<Bytes>> {
        if !self.holds(number) {
            return Op::ok(None);
        }
        let source = self.source.clone();
        self.block(number)
            .then(move |block| match block.found(number) {
                Ok(found) => bytes(&source, &found).map(Some),
                Err(error) => Op::err(error),
            })
    }

    /// A cursor before the first entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            gap: self.root.first,
            reader: self.clone(),
            block: None,
            shown: None,
            arriving: None,
        }
    }

    /// The bytes of an entry that a cursor shows.
    pub fn value(&self, value: Value<'_>) -> Op<Bytes> {
        match value {
            Value::Inline(bytes) => Op::ok(Bytes::copy_from_slice(bytes)),
            Value::Apart(apart) => apart::read(&self.source, &apart),
        }
    }

    /// Who consumes the chain, in order.
    pub fn consumers(&self) -> Result<Vec<String>> {
        consumers::read(&*self.source, self.root.consumers.as_ref())
    }

    /// Looks at everything. In a linked chain, the first place of damage that speaks of a link is the
    /// first link that is broken.
    #[must_use]
    pub fn verify(&self) -> Report {
        verify::verify(&self.source, &self.root)
    }

    fn holds(&self, number: u64) -> bool {
        (self.root.first..self.root.end).contains(&number)
    }

    /// The block of an entry that is there.
    pub(super) fn block(&self, number: u64) -> Op<Block> {
        let root = &self.root;
        if number >= root.tail {
            let after = root.parts.partition_point(|part| part.first <= number);
            // The parts hold all entries of the tail that are there.
            let Some(index) = after.checked_sub(1) else {
                return Op::err(super::lost(number));
            };
            let (part, until) = (root.parts[index], root.part_end(index));
            let record = self.source.read(&part.reference);
            return record
                .and_then(move |record| Block::open(record, part.first..part.first + 1, until));
        }
        let (index, size) = (number / root.block, root.block);
        let found = directory::find(&self.source, root.full(), &root.open, index);
        let source = self.source.clone();
        let record = found.then(move |reference| source.read(&reference));
        record.and_then(move |record| {
            let until = (index + 1) * size;
            Block::open(record, index * size..number + 1, until)
        })
    }
}

/// A place *between* two entries. [`Cursor::step`] moves it over the next entry in either direction, and
/// [`Cursor::entry`] shows the entry it moved over last.
#[derive(Debug)]
pub struct Cursor {
    reader: Reader,
    /// The number of the entry behind the gap.
    gap: u64,
    block: Option<Block>,
    shown: Option<u64>,
    arriving: Option<Slot>,
}

type Slot = Arc<Mutex<Option<Block>>>;

impl Cursor {
    /// Goes to the gap before the entry of this number, or to the end that is nearest. Costs nothing
    /// yet.
    pub fn seek(&mut self, number: u64) {
        self.gap = number.clamp(self.reader.first(), self.reader.end());
        self.shown = None;
    }

    /// Goes to the gap behind the last entry. Costs nothing yet.
    pub fn seek_end(&mut self) {
        self.seek(self.reader.end());
    }

    /// The number of the entry behind the gap: what a consumer that took all before it notes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.gap
    }

    /// Moves over one entry. After [`Step::Wait`] or an error the cursor has not moved: wait, then
    /// call again. At an end it stays where it is.
    pub fn step(&mut self, direction: Direction) -> Result<Step> {
        self.shown = None;
        let (number, after) = match direction {
            Direction::Forward => (self.gap, self.gap + 1),
            Direction::Back => (self.gap.wrapping_sub(1), self.gap.wrapping_sub(1)),
        };
        if !self.reader.holds(number) {
            return Ok(Step::End);
        }
        if let Some(slot) = self.arriving.take() {
            let arrived = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.block = arrived.or(self.block.take());
        }
        if !self.block.as_ref().is_some_and(|block| block.holds(number)) {
            match self.reader.block(number).try_ready() {
                Ok(block) => self.block = Some(block?),
                Err(op) => {
                    let slot = Slot::default();
                    self.arriving = Some(slot.clone());
                    return Ok(Step::Wait(op.map(move |block| {
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(block);
                    })));
                }
            }
        }
        self.gap = after;
        self.shown = Some(number);
        Ok(Step::Entry)
    }

    /// The entry that the last step moved over, with its number; `None`, if it moved over none.
    pub fn entry(&self) -> Result<Option<(u64, Value<'_>)>> {
        match (self.shown, &self.block) {
            (Some(number), Some(block)) => Ok(Some((number, block.entry(number)?))),
            _ => Ok(None),
        }
    }

    /// Moves forward over one entry and answers it with its number; blocks where a record must be
    /// fetched.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry can be a failure, and the end is none"
    )]
    pub fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        self.move_on(Direction::Forward)
    }

    /// Moves back over one entry and answers it with its number; blocks where a record must be fetched.
    pub fn prev(&mut self) -> Result<Option<(u64, Bytes)>> {
        self.move_on(Direction::Back)
    }

    /// Moves over one entry and answers it with its number; blocks where a record must be fetched.
    /// After an error the cursor has not moved.
    pub fn move_on(&mut self, direction: Direction) -> Result<Option<(u64, Bytes)>> {
        let before = self.gap;
        loop {
            match self.step(direction)? {
                Step::Entry => break,
                Step::End => return Ok(None),
                Step::Wait(op) => op.wait()?,
            }
        }
        let shown = match (self.shown, &self.block) {
            (Some(number), Some(block)) => Some((number, block.found(number))),
            _ => None,
        };
        let Some((number, found)) = shown else {
            return Ok(None);
        };
        let read = found.and_then(|found| bytes(&self.reader.source, &found).wait());
        match read {
            Ok(bytes) => Ok(Some((number, bytes))),
            Err(error) => {
                self.gap = before;
                self.shown = None;
                Err(error)
            }
        }
    }
}

fn bytes(source: &Arc<dyn Source>, found: &Found) -> Op<Bytes> {
    match found {
        Found::Inline(bytes) => Op::ok(bytes.clone()),
        Found::Apart(apart) => apart::read(source, apart),
    }
}
