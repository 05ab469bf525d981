//! One child: the stack below, what it keeps of the cluster, and whether it may be read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use travertine_engine::contract::{Error, Position, Result, Store};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::stack::{Below, Beside, Shelf};

use super::note::Note;

#[derive(Debug)]
pub(super) struct Child {
    /// Its number in the list and the name of its topmost floor, for people.
    pub(super) title: String,
    pub(super) below: Below,
    /// Where its note lies, if nothing of it outlives the process; else beside its log.
    fleeting: Option<MemoryMedium>,
    store: RwLock<Option<Arc<dyn Store>>>,
    note: Mutex<Option<Note>>,
    /// Where the line that it holds ends.
    applied: AtomicU64,
    /// Whether what it holds is a beginning of the one line.
    readable: AtomicBool,
    /// How often it was seen to get on.
    moves: AtomicU64,
}

impl Child {
    /// `lasts`: whether it is to be found again when the cluster is opened again.
    pub(super) fn new(index: usize, below: Below, lasts: bool) -> Self {
        Self {
            title: format!("child {} ({})", index + 1, below.floor().title()),
            below,
            fleeting: (!lasts).then(MemoryMedium::new),
            store: RwLock::default(),
            note: Mutex::default(),
            applied: AtomicU64::default(),
            readable: AtomicBool::default(),
            moves: AtomicU64::default(),
        }
    }

    /// Where its note lies: the first place below. Reached anew each time, as its floors are.
    fn shelf(&self) -> Result<Arc<dyn Shelf>> {
        if let Some(medium) = &self.fleeting {
            return Ok(Arc::new(Beside(Arc::new(medium.clone()))));
        }
        self.below.shelves().into_iter().next().ok_or_else(|| {
            Error::unsupported(format!(
                "`cluster` keeps a note beside each child, and `{}` has no place for one",
                self.below.floor().title()
            ))
        })
    }

    /// Whether others may write its note, which no lock keeps off.
    pub(super) fn is_shared(&self) -> bool {
        self.shelf().is_ok_and(|shelf| shelf.is_shared())
    }

    /// The note that lies there; `None`: there is none.
    pub(super) fn read_note(&self) -> Result<Option<Note>> {
        Note::read(&*self.shelf()?)
    }

    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    /// The store, or the error that there is none.
    pub(super) fn open_store(&self) -> Result<Arc<dyn Store>> {
        self.store()
            .ok_or_else(|| Error::unavailable("the child is not open"))
    }

    /// Whether it keeps nothing when it is closed.
    pub(super) fn is_fleeting(&self) -> bool {
        self.fleeting.is_some()
    }

    pub(super) fn set_store(&self, store: Option<Arc<dyn Store>>) {
        let mut place = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, store);
        // It may take a while to go, and readers wait for the lock.
        drop(place);
        drop(old);
    }

    /// The store, if it may be read.
    pub(super) fn in_line(&self) -> Option<Arc<dyn Store>> {
        let readable = self.readable.load(Ordering::Acquire);
        readable.then(|| self.store()).flatten()
    }

    pub(super) fn set_readable(&self, readable: bool) {
        self.readable.store(readable, Ordering::Release);
    }

    pub(super) fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    pub(super) fn set_applied(&self, end: Position) {
        self.applied.store(end.0, Ordering::Release);
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    /// It gets on with what it was asked.
    pub(super) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(&self) -> Option<Note> {
        let note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        note.clone()
    }

    /// Takes note of what lies there already.
    pub(super) fn found_note(&self, note: Option<Note>) {
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = note;
    }

    /// Writes a note, durably.
    pub(super) fn put_note(&self, note: Note) -> Result<()> {
        self.shelf()
            .and_then(|shelf| note.write(&*shelf, self.note().as_ref()))
            .map_err(|error| error.at(self.title.clone()))?;
        self.found_note(Some(note));
        Ok(())
    }
}
