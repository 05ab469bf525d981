//! What the calls, the drivers and the reads under way of one cache share.
//!
//! Invariant: a read that is under way is kept only if it is still in the table when it lands, and
//! forgetting empties the table before it looks through what is kept. Both happen under the lock of the
//! table's part, so nothing that was read before a cut is kept after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use travertine_engine::contract::{
    Env, ErrorKind, Oid, Op, Reclaim, Record, Result, Store, Vector,
};

use crate::shards::Shards;

use super::flight::Flight;
use super::frontier::Frontier;
use super::pool::{Hashing, Kept};

/// Parts of the table of reads under way, each with a lock of its own.
const PARTS: usize = 16;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    /// Answered from what is kept.
    Hit,
    /// Asked below.
    Miss,
    /// Waited for somebody else's read.
    Joined,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) below: Arc<dyn Store>,
    pub(super) env: Env,
    pub(super) kept: Kept,
    pub(super) frontier: Frontier,
    counts: Shards<3>,
    flights: [Mutex<Flights>; PARTS],
    #[cfg(test)]
    pub(super) wrong: Option<super::tests::Wrong>,
}

type Flights = HashMap<Oid, Arc<Flight>, Hashing>;

impl Shared {
    pub(super) fn new(below: Arc<dyn Store>, env: &Env, kept: Kept) -> Self {
        Self {
            frontier: Frontier::new(&below.status()),
            below,
            env: env.clone(),
            kept,
            counts: Shards::new(),
            flights: std::array::from_fn(|_| Mutex::default()),
            #[cfg(test)]
            wrong: None,
        }
    }

    pub(super) fn count(&self, what: Count) {
        self.counts.mine().add(what as usize, 1);
    }

    pub(super) fn counted(&self, what: Count) -> u64 {
        self.counts.sum(what as usize)
    }

    /// Reads below what is not kept, together with whoever does so already.
    #[cold]
    pub(super) fn miss(self: &Arc<Self>, oid: Oid) -> Op<Option<Record>> {
        let flight = {
            let mut flights = self.flights(oid);
            if let Some(flight) = flights.get(&oid) {
                self.count(Count::Joined);
                return flight.join();
            }
            // It may have landed since the look at what is kept.
            if let Some(found) = self.kept.look(oid) {
                self.count(Count::Hit);
                return Op::ok(found);
            }
            let flight = Arc::new(Flight::new(
                oid,
                self.frontier.now(oid.stream()),
                Arc::downgrade(self),
                self.env.drivers.clone(),
            ));
            flights.insert(oid, flight.clone());
            flight
        };
        self.count(Count::Miss);
        flight.begin(|| self.below.read(oid))
    }

    /// What to tell those who wait for a read: the answer, in the bytes that are kept if it is.
    pub(super) fn landed(
        &self,
        flight: &Arc<Flight>,
        answer: Result<Option<Record>>,
    ) -> Result<Option<Record>> {
        let oid = flight.oid;
        let kept = self
            .lasting(flight, &answer)
            .filter(|_| flight.is_wanted())
            .and_then(|found| self.kept.fit(found));
        let mut flights = self.flights(oid);
        let there = flights
            .get(&oid)
            .is_some_and(|there| Arc::ptr_eq(there, flight));
        if !there {
            // Something was forgotten since it was asked, and this may be a part of that.
            return answer;
        }
        flights.remove(&oid);
        match kept {
            Some(found) => {
                // The first clone of bytes allocates what later ones share: not on a hit.
                self.kept.keep(oid, found.clone());
                Ok(found)
            }
            None => answer,
        }
    }

    /// The part of an answer that may be kept.
    fn lasting<'a>(
        &self,
        flight: &Flight,
        answer: &'a Result<Option<Record>>,
    ) -> Option<&'a Option<Record>> {
        #[cfg(test)]
        if let Some(kept) = self.wrong.and_then(|wrong| wrong.lasting(answer)) {
            return Some(kept);
        }
        let found = answer.as_ref().ok()?;
        let lasts = flight.known.covers(flight.oid, found.as_ref());
        lasts.then_some(found)
    }

    // ---- forgetting ----------------------------------------------------------------------------

    /// An adoption was answered. Whether it did all, some or nothing of what it was to do is told by
    /// the answer only where that is good.
    pub(super) fn adopted<T>(&self, vector: &Vector, answer: &Result<T>) {
        if answer.is_err() {
            self.disown();
            return;
        }
        #[cfg(test)]
        if self.wrong == Some(super::tests::Wrong::KeepsWhatIsVoid) {
            self.frontier.own(true);
            return;
        }
        let stays = |oid: Oid| {
            let cut = vector.iter().find(|(stream, _)| *stream == oid.stream());
            cut.is_some_and(|(_, end)| oid.position() < end.position)
        };
        self.frontier.cut(vector);
        self.forget_unless(stays);
        self.frontier.own(true);
    }

    /// What this decision does not keep may be given back.
    pub(super) fn reclaimed(&self, decision: &Reclaim) {
        let run = decision.from..decision.to;
        self.forget_unless(|oid| {
            let position = oid.position();
            oid.stream() != decision.stream
                || !run.contains(&position)
                || decision.alive.binary_search(&position).is_ok()
        });
    }

    /// Whoever was answered like this may have been taken over.
    pub(super) fn heed<T>(&self, answer: &Result<T>) {
        if let Err(error) = answer
            && error.kind() == ErrorKind::Fenced
        {
            self.disown();
        }
    }

    /// Others may cut from now on: what is not certain to stay is forgotten.
    fn disown(&self) {
        self.frontier.own(false);
        self.forget_unless(|_| false);
    }

    fn forget_unless(&self, stays: impl Fn(Oid) -> bool) {
        for flights in &self.flights {
            lock(flights).clear();
        }
        self.kept.retain(stays);
    }

    /// Lets go of everything.
    pub(super) fn empty(&self) {
        for flights in &self.flights {
            lock(flights).clear();
        }
        self.kept.clear();
    }

    fn flights(&self, oid: Oid) -> MutexGuard<'_, Flights> {
        use std::hash::BuildHasher;
        let hash = Hashing::default().hash_one(oid);
        lock(&self.flights[(hash >> 8) as usize % PARTS])
    }
}

fn lock(flights: &Mutex<Flights>) -> MutexGuard<'_, Flights> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
