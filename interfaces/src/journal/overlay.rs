//! What deltas lay over a base: for every key that one of them names, what was done to it last.
//!
//! ```text
//!   generation   slots   0   1   2   3   4   5       deltas, as they came
//!                        ──────────────┘             a lay: the edits up to a slot, without the dead
//!                        ──────────╳───────┘         another: slot 3 was somebody else's attempt
//! ```
//!
//! A generation keeps every version of every key that its deltas hold, so it serves every root that
//! they lead to, also when it has grown since: a [`Lay`] is one of them. Two who write from the same
//! root get a slot each, and what comes after says which of the two it is built on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::delta::Delta;
use super::shelf::Shelf;
use super::slots::{SLOTS, Slots};
use super::table::{Newest, Table};
use super::tree::{Item, Place, Tree};
use crate::edits::Edit;
use crate::index::Found;

/// Most slots within its reach that a lay does not see.
const DEAD_MAX: usize = 64;

/// Deltas that came one after the other.
#[derive(Debug, Default)]
pub(super) struct Generation {
    slots: Slots,
    state: Mutex<State>,
    /// In memory.
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    /// The newest edit to each key.
    newest: Arc<Table>,
    /// Items that came since the tree was asked for.
    more: Vec<Item>,
    next: u32,
    shelf: Shelf,
    /// Bytes in memory, without the table.
    bytes: u64,
}

/// The edits of some deltas of a generation.
#[derive(Debug, Clone)]
pub(super) struct Lay {
    generation: Arc<Generation>,
    newest: Arc<Table>,
    /// Once it was asked for.
    tree: OnceLock<Tree>,
    reach: Reach,
}

/// Which slots of a generation are seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// Those below this one,
    upto: u32,
    /// but for these, in ascending order.
    dead: Option<Arc<[u32]>>,
}

impl Reach {
    fn sees(&self, slot: u32) -> bool {
        let dead = self.dead.as_deref().unwrap_or_default();
        slot < self.upto && dead.binary_search(&slot).is_err()
    }

    fn is_empty(&self) -> bool {
        self.upto == 0
    }
}

impl Generation {
    /// A generation of deltas that were read.
    pub(super) fn of(deltas: Vec<Delta>) -> (Arc<Self>, Reach) {
        let generation = Self::default();
        let (mut items, mut bytes, mut next) = (Vec::new(), 0, 0);
        for delta in deltas {
            bytes += cost(&delta);
            let item = |at: u32| Item::new(delta.key(at), next, at);
            items.extend(delta.places().map(item));
            generation.slots.set(next, delta);
            next += 1;
        }
        let mut newest = Arc::new(Table::with_room(items.len()));
        for item in &items {
            note(&mut newest, *item, &generation.slots);
        }
        let all = bytes + newest.bytes();
        generation.bytes.store(all, Ordering::Relaxed);
        *generation.lock() = State {
            newest,
            more: items,
            next,
            bytes,
            ..State::default()
        };
        let reach = Reach {
            upto: next,
            dead: None,
        };
        (Arc::new(generation), reach)
    }

    /// Adds a delta to what `reach` sees. It comes back where there is no room for it here.
    pub(super) fn push(&self, reach: &Reach, delta: Delta) -> Result<Reach, Delta> {
        let mut state = self.lock();
        let slot = state.next;
        let mut dead: Vec<u32> = reach.dead.as_deref().unwrap_or_default().to_vec();
        let others = reach.upto..slot;
        if slot >= SLOTS || dead.len() + others.len() > DEAD_MAX {
            return Err(delta);
        }
        dead.extend(others);
        state.next += 1;
        state.bytes += cost(&delta);
        self.slots.set(slot, delta.put_on(&mut state.shelf));
        let added = self.slots.get(slot).into_iter();
        for (delta, at) in added.flat_map(|delta| delta.places().map(move |at| (delta, at))) {
            let item = Item::new(delta.key(at), slot, at);
            state.more.push(item);
            note(&mut state.newest, item, &self.slots);
        }
        let bytes = state.bytes + state.newest.bytes() + state.shelf.spare();
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(Reach {
            upto: slot + 1,
            dead: (!dead.is_empty()).then(|| dead.into()),
        })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// All items in order.
    fn tree(&self) -> Tree {
        let mut state = self.lock();
        let mut more = std::mem::take(&mut state.more);
        let slots = &self.slots;
        more.sort_unstable_by(|a, b| a.cmp_in(b, slots));
        if more.len() >= state.tree.len() as usize / 8 {
            let mut all = Vec::with_capacity(state.tree.len() as usize + more.len());
            let mut more = more.into_iter().peekable();
            state.tree.each(|item| {
                while let Some(first) = more.next_if(|first| first.cmp_in(&item, slots).is_lt()) {
                    all.push(first);
                }
                all.push(item);
            });
            all.extend(more);
            state.tree = Tree::of(&all);
        } else {
            for item in more {
                state.tree.insert(item, slots);
            }
        }
        state.tree.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts an edit into a table, or into a larger one.
fn note(newest: &mut Arc<Table>, item: Item, slots: &Slots) {
    if newest.is_full() {
        *newest = Arc::new(newest.grown(slots));
    }
    newest.put(item.slot, item.at, slots);
}

/// Bytes that a delta takes in memory, with its items.
fn cost(delta: &Delta) -> u64 {
    // Leaves are three quarters full, or two thirds.
    let items = u64::from(delta.edits()) * size_of::<Item>() as u64 * 3 / 2;
    delta.bytes() + size_of::<Delta>() as u64 + items
}

impl Lay {
    /// What `reach` sees; `None` if that is nothing.
    pub(super) fn of(generation: &Arc<Generation>, reach: &Reach) -> Option<Self> {
        (!reach.is_empty()).then(|| Self {
            generation: generation.clone(),
            newest: generation.lock().newest.clone(),
            tree: OnceLock::new(),
            reach: reach.clone(),
        })
    }

    /// The same with the newest edit to each key and no other.
    pub(super) fn newest(&self) -> Self {
        let mut items = Vec::new();
        self.each(|item| items.push(item));
        let all = self.tree();
        let tree = match items.len() == all.len() as usize {
            true => all.clone(),
            false => Tree::of(&items),
        };
        Self {
            tree: tree.into(),
            ..self.clone()
        }
    }

    /// How many items there are, of whatever version and whether seen or not.
    pub(super) fn items(&self) -> u32 {
        self.tree().len()
    }

    fn tree(&self) -> &Tree {
        self.tree.get_or_init(|| self.generation.tree())
    }

    /// The newest edit to `key`.
    pub(super) fn find(&self, key: &[u8]) -> Option<Item> {
        let slots = &self.generation.slots;
        match self.newest.find(key, slots) {
            Newest::None => return None,
            Newest::At(slot, at) if self.reach.sees(slot) => return Some(Item::new(key, slot, at)),
            Newest::At(..) | Newest::Unknown => {}
        }
        let mut before = self.reach.upto;
        loop {
            let item = self.tree().after(&Place::below(key, before), slots)?;
            if slots.key(item) != key {
                return None;
            }
            if self.reach.sees(item.slot) {
                return Some(item);
            }
            before = item.slot;
        }
    }

    /// The newest edit to the first key from a place on.
    pub(super) fn after<'a>(&'a self, mut place: Place<'a>) -> Option<Item> {
        let slots = &self.generation.slots;
        loop {
            let item = self.tree().after(&place, slots)?;
            if self.reach.sees(item.slot) {
                return Some(item);
            }
            let key = slots.key(item);
            if let Some(item) = self.find(key) {
                return Some(item);
            }
            place = Place::end(key);
        }
    }

    /// The newest edit to the last key in front of a place, or of all.
    pub(super) fn before<'a>(&'a self, mut place: Option<Place<'a>>) -> Option<Item> {
        let slots = &self.generation.slots;
        loop {
            let key = slots.key(self.tree().before(place.as_ref(), slots)?);
            if let Some(item) = self.find(key) {
                return Some(item);
            }
            place = Some(Place::start(key));
        }
    }

    /// Tells the newest edit to every key, in order of the keys.
    pub(super) fn each(&self, mut tell: impl FnMut(Item)) {
        let slots = &self.generation.slots;
        let mut last: Option<Item> = None;
        self.tree().each(|item| {
            let again = last.is_some_and(|last| slots.key(last) == slots.key(item));
            if !again && self.reach.sees(item.slot) {
                tell(item);
                last = Some(item);
            }
        });
    }

    /// All deltas that are seen, as they came.
    pub(super) fn deltas(&self) -> impl Iterator<Item = &Delta> {
        let seen = (0..self.reach.upto).filter(|slot| self.reach.sees(*slot));
        seen.filter_map(|slot| self.generation.slots.get(slot))
    }

    pub(super) fn key(&self, item: Item) -> &[u8] {
        self.generation.slots.key(item)
    }

    pub(super) fn edit(&self, item: Item) -> Edit<'_> {
        let delta = self.generation.slots.get(item.slot);
        delta.map_or(Edit::Delete, |delta| delta.edit(item.at))
    }

    /// The value that is there now; `None` if it was deleted.
    pub(super) fn found(&self, item: Item) -> Option<Found> {
        self.generation.slots.get(item.slot)?.found(item.at)
    }
}
