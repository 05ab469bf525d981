//! Counters that cost a nanosecond: each thread adds to cells of its own.
//!
//! A thread takes a number when it first counts and gives it back when it ends. As long as numbers
//! below [`OWNED`] are to be had, its shard is its alone, and adding is a load and a store; the threads
//! beyond share the last shard, and add atomically. Invariant: a cell of an owned shard is written by
//! the one thread that holds the number, so nothing is lost.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Threads that have a shard to themselves.
const OWNED: usize = 63;

static FREE: Mutex<Numbers> = Mutex::new(Numbers {
    given_back: Vec::new(),
    next: 0,
});

struct Numbers {
    given_back: Vec<usize>,
    next: usize,
}

/// Not asked for a number yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    // Without a destructor, so that reading it is one load.
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static GIVE_BACK: GiveBack = const { GiveBack };
}

/// Gives the thread's number back when the thread ends.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        let mine = MINE.replace(OWNED);
        if mine < OWNED {
            let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.given_back.push(mine);
        }
    }
}

#[inline]
fn mine() -> usize {
    match MINE.get() {
        UNKNOWN => take(),
        mine => mine,
    }
}

#[cold]
fn take() -> usize {
    // A thread that is ending already cannot give a number back: it shares.
    if GIVE_BACK.try_with(|_| ()).is_err() {
        return OWNED;
    }
    let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = numbers.given_back.pop().unwrap_or_else(|| {
        let next = numbers.next;
        numbers.next = (next + 1).min(OWNED);
        next
    });
    MINE.set(mine);
    mine
}

/// `N` counters for each thread.
#[derive(Debug)]
pub(crate) struct Shards<const N: usize> {
    shards: Box<[Shard<N>; OWNED + 1]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Shards<N> {
    pub(crate) fn new() -> Self {
        let shard = |_| Shard(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            shards: Box::new(std::array::from_fn(shard)),
        }
    }

    /// This thread's cells.
    #[inline]
    pub(crate) fn mine(&self) -> Cells<'_, N> {
        let mine = mine();
        Cells {
            shard: &self.shards[mine],
            owned: mine < OWNED,
            here: std::marker::PhantomData,
        }
    }

    /// The sum over all threads.
    pub(crate) fn sum(&self, counter: usize) -> u64 {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.0[counter].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

/// The cells of one thread, not to be taken to another.
pub(crate) struct Cells<'a, const N: usize> {
    shard: &'a Shard<N>,
    owned: bool,
    here: std::marker::PhantomData<*const ()>,
}

impl<const N: usize> Cells<'_, N> {
    /// Adds to a counter, and answers what the cell held before.
    #[inline]
    pub(crate) fn add(&self, counter: usize, more: u64) -> u64 {
        let cell = &self.shard.0[counter];
        if self.owned {
            let before = cell.load(Ordering::Relaxed);
            cell.store(before.wrapping_add(more), Ordering::Relaxed);
            before
        } else {
            cell.fetch_add(more, Ordering::Relaxed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_count() {
        let shards = Shards::<2>::new();
        for round in 1..=3 {
            std::thread::scope(|scope| {
                for _ in 0..100 {
                    scope.spawn(|| {
                        for _ in 0..1_000 {
                            shards.mine().add(0, 1);
                            shards.mine().add(1, 3);
                        }
                    });
                }
            });
            assert_eq!(shards.sum(0), round * 100_000);
            assert_eq!(shards.sum(1), round * 300_000);
        }
    }
}
