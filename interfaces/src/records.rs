//! The seam below every index: the engine's [`Read`] and [`Write`], one verb each. Nothing else of the
//! engine is needed to grow a tree, so an index can be built and tested alone, over a [`Heap`].
//!
//! ```text
//!   Index ──> Source: read(reference) -> record        a snapshot, a session, a heap
//!        └──> Sink:   store(record) -> reference       a session, a heap
//! ```

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use travertine_engine::contract::{
    Error, Kind, NewRecord, Oid, Op, Pending, Position, Record, Reference, Result, Stream,
};
use travertine_engine::front::{Hint, Memo, Read, Write};

/// The root record of a B-tree.
pub const BTREE_ROOT: Kind = Kind(16);
/// A node of a B-tree, leaf or inner.
pub const BTREE_NODE: Kind = Kind(17);
/// A node of a skip list; the topmost is its root.
pub const SKIPLIST_NODE: Kind = Kind(20);
/// The root record of a journaled map.
pub const JOURNAL_ROOT: Kind = Kind(24);
/// The edits of one commit of a journaled map.
pub const JOURNAL_DELTA: Kind = Kind(25);
/// A list of deltas of a journaled map.
pub const JOURNAL_LIST: Kind = Kind(26);

/// Where records come from: a snapshot, a session, a heap. A record that is not there is an error:
/// a strong reference to nothing is damage.
pub trait Source: Read + Send + Sync + Debug {}

/// Where records go to: a session, a heap.
pub trait Sink: Source + Write {}

impl<R: Read + Send + Sync + Debug> Source for R {}

impl<W: Source + Write> Sink for W {}

/// What a sink reads, as a source that can outlive the sink, and keeps nothing open.
pub fn source_of(sink: &dyn Sink) -> Arc<dyn Source> {
    Arc::new(Through(sink.reader()))
}

struct Through(Arc<dyn Read + Send + Sync>);

impl Read for Through {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.0.read(reference)
    }
}

impl Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Through(a sink)")
    }
}

/// Refuses a record that is not what the reference to it says.
pub fn check_edge(reference: &Reference, record: &Record) -> Result<()> {
    let leaf = record.reference_count() == 0;
    if record.check() != reference.check
        || record.stored_len() != reference.length as usize
        || (reference.leaf && !leaf)
    {
        return Err(Error::corrupt(format!(
            "the record at {} has check {:08x}, {} bytes and {} references, \
             the reference to it says check {:08x}, {} bytes{}",
            reference.oid,
            record.check(),
            record.stored_len(),
            record.reference_count(),
            reference.check,
            reference.length,
            if reference.leaf { " and none" } else { "" },
        )));
    }
    Ok(())
}

/// Records in memory, for tests of an index and for trying one out. Not a store: nothing is
/// committed, nothing survives.
///
/// A heap can be told to answer some reads late, so that both paths of an [`Op`] are walked; such a
/// heap has no [`Memo`] either. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Heap(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stream: RwLock<Vec<u8>>,
    late: Option<AtomicU64>,
    memo: Memo,
    stored: AtomicU64,
    reads: AtomicU64,
}

impl Heap {
    /// An empty heap that answers at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty heap that answers about every other read late, by this seed.
    #[must_use]
    pub fn jittery(seed: u64) -> Self {
        Self(Arc::new(Shared {
            late: Some(AtomicU64::new(seed | 1)),
            ..Shared::default()
        }))
    }

    /// How many records were stored so far.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.0.stored.load(Ordering::Relaxed)
    }

    /// How many reads were asked for so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    fn find(&self, reference: &Reference) -> Result<Record> {
        let stream = self.0.stream.read().unwrap_or_else(PoisonError::into_inner);
        let start = reference.oid.position().bytes_since(Position(1)) as usize;
        let bytes = stream
            .get(start..start.saturating_add(reference.length as usize))
            .ok_or_else(|| Error::corrupt(format!("no record at {}", reference.oid)))?;
        let bytes = Bytes::copy_from_slice(bytes);
        drop(stream);
        let record = Record::decode(reference.oid, bytes)?;
        check_edge(reference, &record)?;
        Ok(record)
    }
}

impl Read for Heap {
    fn read(&self, reference: &Reference) -> Op<Record> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        let answer = self.find(reference);
        if let Some(state) = &self.0.late {
            let next = state
                .load(Ordering::Relaxed)
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.store(next, Ordering::Relaxed);
            if next >> 63 == 1 {
                return Op::pending(Late {
                    answer: Some(answer),
                    asked: false,
                });
            }
        }
        Op::ready(answer)
    }

    fn memo(&self) -> Option<&Memo> {
        self.0.late.is_none().then_some(&self.0.memo)
    }
}

impl Write for Heap {
    fn store(&self, record: &NewRecord<'_>, _: Hint) -> Result<Reference> {
        record.check_limits()?;
        let mut stream = self
            .0
            .stream
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let oid = Oid::new(Stream(0), Position(1).plus_bytes(stream.len() as u64))
            .ok_or_else(|| Error::full("the heap has no position left"))?;
        let reference = record.encode(oid, 1, &mut stream);
        drop(stream);
        self.0.stored.fetch_add(1, Ordering::Relaxed);
        Ok(reference)
    }

    fn reader(&self) -> Arc<dyn Read + Send + Sync> {
        Arc::new(Beside(Arc::downgrade(&self.0)))
    }
}

/// Reads from a heap as long as there is one.
struct Beside(Weak<Shared>);

impl Read for Beside {
    fn read(&self, reference: &Reference) -> Op<Record> {
        match self.0.upgrade() {
            Some(shared) => Heap(shared).read(reference),
            None => Op::err(Error::closed("the heap is gone")),
        }
    }
}

/// An answer that is only there the second time it is asked for.
struct Late {
    answer: Option<Result<Record>>,
    asked: bool,
}

impl Pending<Record> for Late {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Record>> {
        if !std::mem::replace(&mut self.asked, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.take())
    }

    fn wait(mut self: Box<Self>) -> Result<Record> {
        self.take()
    }
}

impl Late {
    fn take(&mut self) -> Result<Record> {
        self.answer
            .take()
            .unwrap_or_else(|| Err(Error::invalid("a late answer was taken twice")))
    }
}
