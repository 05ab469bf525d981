//! Counters that cost a nanosecond: each thread adds to cells of its own.
//!
//! A thread takes a number when it first counts and gives it back when it ends. As long as numbers
//! below [`OWNED`] are to be had, its shard is its alone, and adding is a load and a store; the threads
//! beyond share the last shard, and add atomically. Invariant: a cell of an owned shard is written by
//! the one thread that holds the number, so nothing is lost.

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

struct Mine(usize);

impl Mine {
    fn take() -> Self {
        let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        Self(numbers.given_back.pop().unwrap_or_else(|| {
            if numbers.next == OWNED {
                return OWNED;
            }
            numbers.next += 1;
            numbers.next - 1
        }))
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if self.0 < OWNED {
            let mut numbers = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.given_back.push(self.0);
        }
    }
}

thread_local! {
    static MINE: Mine = Mine::take();
}

/// `N` counters for each thread.
#[derive(Debug)]
pub(super) struct Shards<const N: usize> {
    shards: Box<[Shard<N>]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Shards<N> {
    pub(super) fn new() -> Self {
        let shard = |_| Shard(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            shards: (0..=OWNED).map(shard).collect(),
        }
    }

    /// Adds to a counter, and answers what this thread's own cell held before.
    #[inline]
    pub(super) fn add(&self, counter: usize, more: u64) -> u64 {
        // A thread that is ending has no number any more: it shares.
        let mine = MINE.try_with(|mine| mine.0).unwrap_or(OWNED);
        let cell = &self.shards[mine].0[counter];
        if mine < OWNED {
            let before = cell.load(Ordering::Relaxed);
            cell.store(before.wrapping_add(more), Ordering::Relaxed);
            before
        } else {
            cell.fetch_add(more, Ordering::Relaxed)
        }
    }

    /// The sum over all threads.
    pub(super) fn sum(&self, counter: usize) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.0[counter].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
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
                            shards.add(0, 1);
                            shards.add(1, 3);
                        }
                    });
                }
            });
            assert_eq!(shards.sum(0), round * 100_000);
            assert_eq!(shards.sum(1), round * 300_000);
        }
    }
}
