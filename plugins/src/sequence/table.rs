//! Which part holds a position, and the parts that are open for reading.
//!
//! Parts that have ended are opened when somebody reads from them and closed again when too many are
//! open: the one that was not read for longest, by a clock that ticks at each opening.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use travertine_engine::contract::{Error, Position, Result, Store};

use super::footer::Footer;

/// A part that holds something.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: u32,
    pub(super) start: Position,
    /// Where it ends, once that is known for good.
    pub(super) end: OnceLock<Position>,
    /// What was written down of it, once that was read.
    pub(super) footer: OnceLock<Footer>,
    /// It could not be opened when somebody wanted to read it.
    pub(super) lost: AtomicBool,
    /// It has not been sealed, so it stays open.
    live: AtomicBool,
    store: RwLock<Option<Arc<dyn Store>>>,
    used: AtomicU64,
}

impl Part {
    /// One that is open and not sealed.
    pub(super) fn live(number: u32, start: Position, store: Arc<dyn Store>) -> Arc<Self> {
        Self::new(number, start, Some(store))
    }

    /// One that has ended and is not open.
    pub(super) fn sealed(number: u32, start: Position) -> Arc<Self> {
        Self::new(number, start, None)
    }

    fn new(number: u32, start: Position, store: Option<Arc<dyn Store>>) -> Arc<Self> {
        Arc::new(Self {
            number,
            start,
            end: OnceLock::new(),
            footer: OnceLock::new(),
            lost: AtomicBool::new(false),
            live: AtomicBool::new(store.is_some()),
            store: RwLock::new(store),
            used: AtomicU64::new(0),
        })
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// It was sealed: from now on it may be closed when others are read more.
    pub(super) fn settle(&self, footer: &Footer) {
        self.know(footer);
        self.live.store(false, Ordering::Release);
    }

    pub(super) fn know(&self, footer: &Footer) {
        let _ = self.end.set(footer.end.position);
        let _ = self.footer.set(*footer);
    }

    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        self.store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_store(&self, store: Option<Arc<dyn Store>>) -> Option<Arc<dyn Store>> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, store)
    }
}

/// All parts that hold something, by where they start.
#[derive(Debug, Default)]
pub(super) struct Table {
    parts: RwLock<Vec<Arc<Part>>>,
    clock: AtomicU64,
}

/// Where a position was found.
#[derive(Debug)]
pub(super) enum Place {
    /// In a part that is open.
    Open(Arc<dyn Store>),
    /// In a part that must be opened first.
    Closed(Arc<Part>),
    /// Past the end of the last part that holds something.
    Past,
}

impl Table {
    /// Looks for the part that holds `position`.
    ///
    /// Errors: `Unavailable`, if the part that would hold it is missing.
    pub(super) fn find(&self, position: Position) -> Result<Place> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let after = parts.partition_point(|part| part.start <= position);
        let next = parts.get(after).map(|part| part.number);
        let Some(part) = after.checked_sub(1).map(|index| &parts[index]) else {
            return match next {
                None => Ok(Place::Past),
                some => Err(missing(1, some)),
            };
        };
        if part.end.get().is_some_and(|end| position >= *end) {
            match next {
                None => return Ok(Place::Past),
                Some(next) if next == part.number + 1 => {}
                some => return Err(missing(part.number + 1, some)),
            }
        }
        part.used
            .store(self.clock.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(match part.store() {
            Some(store) => Place::Open(store),
            None => Place::Closed(part.clone()),
        })
    }

    /// Where to go on behind the part that holds `position`: where the next one starts, or, if parts
    /// are missing in between, where they would.
    pub(super) fn after(&self, position: Position) -> Option<Position> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let after = parts.partition_point(|part| part.start <= position);
        let next = parts.get(after)?;
        let here = after.checked_sub(1).map(|index| &parts[index]);
        let apart = here.filter(|here| here.number + 1 != next.number);
        let end = apart.and_then(|here| here.end.get());
        Some(end.copied().unwrap_or(next.start))
    }

    /// All parts, in order.
    pub(super) fn all(&self) -> Vec<Arc<Part>> {
        self.parts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts these in the place of all that are not sealed.
    pub(super) fn set_live(&self, live: impl IntoIterator<Item = Arc<Part>>) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        parts.retain(|part| !part.is_live());
        parts.extend(live);
        parts.sort_by_key(|part| (part.start, part.number));
    }

    pub(super) fn push(&self, part: Arc<Part>) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        parts.push(part);
        parts.sort_by_key(|part| (part.start, part.number));
    }

    /// Notes that a part was opened for reading, and closes others while more than `most` are open.
    pub(super) fn opened(&self, part: &Part, store: Arc<dyn Store>, most: usize) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        part.used.store(now, Ordering::Relaxed);
        part.set_store(Some(store));
        let mut open: Vec<_> = self.all();
        open.retain(|part| !part.is_live() && part.store().is_some());
        open.sort_by_key(|part| part.used.load(Ordering::Relaxed));
        let excess = open.len().saturating_sub(most);
        for part in &open[..excess] {
            // Reads under way keep their own hold of it.
            drop(part.set_store(None));
        }
    }

    /// How many parts there are, and how many of them are open.
    pub(super) fn count(&self) -> (u64, u64) {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        let open = parts.iter().filter(|part| part.store().is_some()).count();
        (parts.len() as u64, open as u64)
    }
}

fn missing(from: u32, next: Option<u32>) -> Error {
    let to = next.map_or(from, |next| next.saturating_sub(1).max(from));
    let which = if to == from {
        format!("part {from} of the sequence is missing")
    } else {
        format!("parts {from} to {to} of the sequence are missing")
    };
    Error::unavailable(format!("{which}: nobody knows what lies there"))
}
