//! What sessions take of the server: counted for each caller and for all of them, and given back by the
//! drop of whoever took it.
//!
//! ```text
//!   session ──> its caller's share ──> all there is      a place, room for a call in parts, a slow verb's job
//!                 └ waits its turn       └ waits its turn   (a place is not waited for: refused)
//! ```
//!
//! A caller is whom its rights name, else an address, or a network of the sixth version: whoever opens
//! many sessions has no more for that, and who took all of its share holds up itself alone. Bytes that
//! lie here are only counted, for how many an answer has is known when it is there: who has some waits
//! while too many lie here, and who has next to none never does. So each goes on, slowly, whatever
//! others do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Request;

use super::Limits;
use crate::accept::Peer;
use crate::limits::whose;
use crate::rights;

/// Bytes of a session that are not counted, and how finely the others are.
const FREE: usize = 256 << 10;
const BLOCK: usize = 64 << 10;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// For all together.
    pub all: usize,
    /// For one caller.
    pub each: usize,
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// Room for so many KiB of a call in parts.
    Parts,
    /// Slow verbs at once.
    Jobs,
}

/// What all take from.
pub(super) struct Budget {
    limits: Limits,
    all: Arc<Pool>,
    callers: Mutex<HashMap<String, Weak<Account>>>,
}

/// One caller's share.
#[derive(Debug)]
pub(super) struct Account {
    mine: Pool,
    all: Arc<Pool>,
}

#[derive(Debug)]
struct Pool {
    sessions: Arc<Semaphore>,
    parts: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    bytes: AtomicUsize,
    bytes_most: usize,
}

/// What was taken, of the caller's share and of all. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _taken: [Option<OwnedSemaphorePermit>; 2],
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            all: Arc::new(Pool::new(&limits, |share| share.all)),
            limits,
            callers: Mutex::default(),
        }
    }

    /// The share of whoever makes a request.
    pub(super) fn account<T>(&self, request: &Request<T>) -> Arc<Account> {
        let extensions = request.extensions();
        let name = match extensions.get::<rights::Caller>() {
            Some(caller) => caller.name().to_owned(),
            None => {
                let address = extensions.get::<Peer>().map(Peer::address);
                let address = address.or_else(|| request.remote_addr());
                address.map_or_else(String::new, |address| whose(address.ip()).to_string())
            }
        };
        self.of(name)
    }

    fn of(&self, name: String) -> Arc<Account> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = callers.get(&name).and_then(Weak::upgrade) {
            return account;
        }
        // No more are known than have something under way.
        callers.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account {
            mine: Pool::new(&self.limits, |share| share.each),
            all: self.all.clone(),
        });
        callers.insert(name, Arc::downgrade(&account));
        account
    }
}

impl Pool {
    fn new(limits: &Limits, much: impl Fn(Share) -> usize) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(much(limits.sessions))),
            parts: Arc::new(Semaphore::new(much(limits.parts) >> 10)),
            jobs: Arc::new(Semaphore::new(much(limits.jobs))),
            bytes: AtomicUsize::new(0),
            bytes_most: much(limits.held),
        }
    }

    fn of(&self, of: Of) -> Arc<Semaphore> {
        match of {
            Of::Parts => self.parts.clone(),
            Of::Jobs => self.jobs.clone(),
        }
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < self.bytes_most
    }
}

impl Account {
    /// A place for a session, if there is one.
    pub(super) fn session(&self) -> Option<Permit> {
        let place = |pool: &Pool| pool.sessions.clone().try_acquire_owned().ok();
        let mine = place(&self.mine)?;
        let all = place(&self.all)?;
        Some(Permit {
            _taken: [Some(mine), Some(all)],
        })
    }

    /// Waits its turn for so much. What is more than there ever is must have been refused before.
    pub(super) async fn take(self: Arc<Self>, of: Of, much: u32) -> Permit {
        // Nobody closes these, so both are got.
        let mine = self.mine.of(of).acquire_many_owned(much).await.ok();
        let all = self.all.of(of).acquire_many_owned(much).await.ok();
        Permit {
            _taken: [mine, all],
        }
    }

    /// A count of bytes that lie here.
    pub(super) fn held(self: &Arc<Self>) -> Held {
        Held {
            account: self.clone(),
            counted: 0,
        }
    }
}

/// Bytes that lie here because of one session, or one request.
#[derive(Debug)]
pub(super) struct Held {
    account: Arc<Account>,
    counted: usize,
}

impl Held {
    /// It is so many now. Small changes cost nothing, and neither does what is little.
    pub(super) fn set(&mut self, bytes: usize) {
        let counts = bytes.saturating_sub(FREE).next_multiple_of(BLOCK);
        if counts == self.counted {
            return;
        }
        for pool in [&self.account.mine, &*self.account.all] {
            if counts > self.counted {
                pool.bytes
                    .fetch_add(counts - self.counted, Ordering::Relaxed);
            } else {
                pool.bytes
                    .fetch_sub(self.counted - counts, Ordering::Relaxed);
            }
        }
        self.counted = counts;
    }

    /// Whether more may be begun.
    pub(super) fn has_room(&self) -> bool {
        self.counted == 0 || self.account.mine.has_room() && self.account.all.has_room()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        let share = |all, each| Share { all, each };
        Budget::new(Limits {
            sessions: share(5, 3),
            held: share(4 << 20, 2 << 20),
            parts: share(4 << 20, 2 << 20),
            jobs: share(3, 2),
            ..Limits::default()
        })
    }

    #[test]
    fn a_caller_gets_its_share_and_leaves_the_rest_to_others() {
        let budget = budget();
        let (greedy, other) = (budget.of("a".into()), budget.of("b".into()));
        let mut taken: Vec<_> = std::iter::from_fn(|| budget.of("a".into()).session()).collect();
        assert_eq!(taken.len(), 3);
        taken.extend(std::iter::from_fn(|| other.session()));
        assert_eq!(taken.len(), 5);
        drop(taken);
        assert!(greedy.session().is_some());
    }

    #[test]
    fn who_has_much_here_waits_and_who_has_little_does_not() {
        let budget = budget();
        let (mut greedy, mut small) = (budget.of("a".into()).held(), budget.of("a".into()).held());
        greedy.set(3 << 20);
        small.set(FREE);
        assert!(!greedy.has_room() && small.has_room());
        small.set(FREE + 1);
        assert!(!small.has_room());
        // Another caller goes on, until all of it is taken.
        let mut other = budget.of("b".into()).held();
        other.set(1 << 20);
        assert!(other.has_room());
        greedy.set(5 << 20);
        assert!(!other.has_room());
        drop(greedy);
        assert!(small.has_room() && other.has_room());
        drop((small, other));
        assert_eq!(budget.all.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_its_turn_when_something_is_given_back() {
        let budget = budget();
        let account = budget.of("a".into());
        let first = account.clone().take(Of::Parts, 1_500).await;
        let mut next = Box::pin(account.clone().take(Of::Parts, 1_500));
        let poll = std::future::poll_fn(|context| {
            std::task::Poll::Ready(next.as_mut().poll(context).is_pending())
        });
        assert!(poll.await);
        drop(first);
        drop(next.await);
        // Callers that are gone are not known any more.
        drop(account);
        drop(budget.of("b".into()));
        assert!(budget.callers.lock().unwrap().len() <= 1);
    }
}
