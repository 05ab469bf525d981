//! Reading: found on any child in line is found; absent needs a child that must know.
//!
//! A child in line holds a beginning of the one line. It can prove that nothing lies at a position
//! below the end that it had when it was asked, and above it only if nothing was sent that it has not got yet. Whoever cannot
//! answer is passed over, and counted. That a gap below a child's end, or the room above it, holds
//! nothing is proof because one process holds every child at a time: where two can, only what lies below
//! the ceiling that `ack` children have announced may be called absent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use travertine_engine::contract::op::block_on;
use travertine_engine::contract::{
    Batches, Error, ErrorKind, Oid, Op, Pending, Position, Record, Result, RootAt, RootMarker,
    Sparse, Store,
};

use super::config::Reading;
use super::shared::{Figures, Shared};

type Found = Op<Option<Record>>;

impl Shared {
    pub(super) fn read(self: &Arc<Self>, oid: Oid) -> Found {
        if oid.stream() != self.stream {
            return Op::err(Error::invalid(format!(
                "{oid} lies in stream {}, this cluster holds {}",
                oid.stream(),
                self.stream
            )));
        }
        match self.reading {
            Reading::Nearest => self.nearest(oid, 0, None),
            Reading::Hedged => self.hedged(oid),
            Reading::Verify => {
                let shared = self.clone();
                self.env.offload(move || shared.verified(oid))
            }
        }
    }

    /// Asks the children in turn, from `first` on.
    fn nearest(self: &Arc<Self>, oid: Oid, first: usize, mut trouble: Option<Error>) -> Found {
        for index in first..self.children.len() {
            let Some(store) = self.children[index].in_line() else {
                continue;
            };
            let applied = self.children[index].applied();
            match store.read(oid).try_ready() {
                Ok(answer) => match self.judge((index, applied), oid, answer, &mut trouble) {
                    Some(answer) => return Op::ready(answer),
                    None => continue,
                },
                Err(op) => {
                    let shared = self.clone();
                    return op.shape(Ok).then(move |answer| {
                        let mut trouble = trouble;
                        match shared.judge((index, applied), oid, answer, &mut trouble) {
                            Some(answer) => Op::ready(answer),
                            None => shared.nearest(oid, index + 1, trouble),
                        }
                    });
                }
            }
        }
        Op::err(trouble.unwrap_or_else(|| nobody(oid)))
    }

    /// The answer, if this child can give one: where it ended is from before it was asked, for what it
    /// did not have then it may have taken since.
    fn judge(
        &self,
        (index, applied): (usize, Position),
        oid: Oid,
        answer: Result<Option<Record>>,
        trouble: &mut Option<Error>,
    ) -> Option<Result<Option<Record>>> {
        let child = &self.children[index];
        let error = match answer {
            Ok(Some(record)) => {
                if trouble.is_some() {
                    Figures::add(&self.figures.failovers);
                }
                return Some(Ok(Some(record)));
            }
            Ok(None) => {
                let tail = Position(self.tail.load(Ordering::Acquire));
                let knows = oid.position() < applied
                    || applied >= tail && self.vouched.load(Ordering::Acquire);
                if knows {
                    return Some(Ok(None));
                }
                Error::unavailable(format!("{} ends at {applied}, short of {oid}", child.title))
            }
            Err(error) => {
                if error.kind() == ErrorKind::Corrupt {
                    Figures::add(&self.figures.damaged);
                    tracing::warn!(%error, %oid, child = child.title, "a record is damaged");
                }
                error.at(child.title.clone())
            }
        };
        // Damage is the graver word.
        if trouble
            .as_ref()
            .is_none_or(|other| other.kind() != ErrorKind::Corrupt)
        {
            *trouble = Some(error);
        }
        None
    }

    /// As the nearest, and a second one beside the first if that has to wait.
    fn hedged(self: &Arc<Self>, oid: Oid) -> Found {
        let mut asked = Vec::new();
        let mut trouble = None;
        for index in 0..self.children.len() {
            let Some(store) = self.children[index].in_line() else {
                continue;
            };
            let from = (index, self.children[index].applied());
            match store.read(oid).try_ready() {
                Ok(answer) => {
                    if let Some(answer) = self.judge(from, oid, answer, &mut trouble) {
                        return Op::ready(answer);
                    }
                }
                Err(op) => asked.push((from, op)),
            }
            if asked.len() == 2 {
                Figures::add(&self.figures.hedged);
                break;
            }
        }
        let Some(((last, _), _)) = asked.last() else {
            return Op::err(trouble.unwrap_or_else(|| nobody(oid)));
        };
        Op::pending(Race {
            last: *last,
            shared: self.clone(),
            oid,
            asked,
            trouble,
            rest: None,
        })
    }

    /// What so many children agree on.
    fn verified(self: &Arc<Self>, oid: Oid) -> Result<Option<Record>> {
        // What is there; whether somebody says that nothing is; whether it was freed somewhere. One that
        // was freed here may not be freed yet elsewhere.
        let (mut agreed, mut there, mut absent, mut freed) = (0, None::<Record>, false, false);
        let mut trouble = None;
        for index in 0..self.children.len() {
            let Some(store) = self.children[index].in_line() else {
                continue;
            };
            let from = (index, self.children[index].applied());
            let answer = store.read(oid).wait();
            let Some(Ok(found)) = self.judge(from, oid, answer, &mut trouble) else {
                continue;
            };
            let same = match found {
                Some(found) => {
                    let there = there.get_or_insert_with(|| found.clone());
                    !absent && there.encoded() == found.encoded()
                }
                None if self.is_freed(&*store, oid)? => {
                    freed = true;
                    true
                }
                None => {
                    absent = true;
                    there.is_none()
                }
            };
            if !same {
                Figures::add(&self.figures.disagreed);
                return Err(Error::corrupt(format!("children do not agree on {oid}")));
            }
            agreed += 1;
            if agreed == self.verify {
                return Ok(there.filter(|_| !freed));
            }
        }
        Err(trouble.unwrap_or_else(|| {
            Error::unavailable(format!(
                "{agreed} children answered for {oid}, and {} must agree",
                self.verify
            ))
        }))
    }

    /// Whether a reclaim freed what lay there, as far as a child tells.
    fn is_freed(&self, store: &dyn Store, oid: Oid) -> Result<bool> {
        let left = store.scan(self.stream, oid.position()).wait()?.sparse;
        let over = |left: Sparse| (left.from..left.to).contains(&oid.position());
        Ok(left.is_some_and(over))
    }

    /// Children that may be read, the one that has most first.
    fn by_progress(&self) -> Vec<Arc<dyn Store>> {
        let mut found: Vec<_> = self
            .children
            .iter()
            .filter_map(|child| Some((child.applied(), child.in_line()?)))
            .collect();
        found.sort_by_key(|(applied, _)| std::cmp::Reverse(*applied));
        found.into_iter().map(|(_, store)| store).collect()
    }

    pub(super) fn root(&self, at: RootAt) -> Result<Option<(Oid, RootMarker)>> {
        let mut best: Option<Result<Option<(Oid, RootMarker)>>> = None;
        if !self.read_only
            && let Err(error) = &self.lock().looked
        {
            return Err(error.clone());
        }
        for store in self.by_progress() {
            let answer = store.root(at).wait();
            let settled = answer.is_ok()
                && !(self.read_only && matches!(at, RootAt::Newest | RootAt::Proven));
            let oid = |answer: &Result<Option<(Oid, RootMarker)>>| match answer {
                Ok(found) => Some(found.as_ref().map(|(oid, _)| *oid)),
                Err(_) => None,
            };
            if best.as_ref().is_none_or(|best| oid(best) < oid(&answer)) {
                best = Some(answer);
            }
            if settled {
                break;
            }
        }
        best.unwrap_or_else(|| match &self.lock().looked {
            Err(error) => Err(error.clone()),
            Ok(_) => Err(Error::unavailable(
                "no child can be asked for a root marker",
            )),
        })
    }

    pub(super) fn scan(self: &Arc<Self>, from: Position) -> Result<Batches> {
        let mut trouble = None;
        for store in self.by_progress() {
            match store.scan(self.stream, from).wait() {
                Ok(batches) => return Ok(batches),
                Err(error) => {
                    Figures::add(&self.figures.failovers);
                    trouble.get_or_insert(error);
                }
            }
        }
        Err(trouble.unwrap_or_else(|| Error::unavailable("no child can be asked for its batches")))
    }
}

fn nobody(oid: Oid) -> Error {
    Error::unavailable(format!("no child can be asked for {oid}"))
}

/// Two reads, of which the first good answer counts.
struct Race {
    shared: Arc<Shared>,
    oid: Oid,
    /// Which child, where it ended, and its answer.
    asked: Vec<((usize, Position), Found)>,
    /// The last child that was asked.
    last: usize,
    trouble: Option<Error>,
    /// Where neither could answer: the children after them.
    rest: Option<Found>,
}

impl Race {
    fn look(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Record>>> {
        if let Some(rest) = &mut self.rest {
            return Pin::new(rest).poll(context);
        }
        let mut at = 0;
        while at < self.asked.len() {
            let (_, op) = &mut self.asked[at];
            match Pin::new(op).poll(context) {
                Poll::Pending => at += 1,
                Poll::Ready(answer) => {
                    let (from, _) = self.asked.remove(at);
                    let judged = self.shared.judge(from, self.oid, answer, &mut self.trouble);
                    if let Some(answer) = judged {
                        return Poll::Ready(answer);
                    }
                }
            }
        }
        if !self.asked.is_empty() {
            return Poll::Pending;
        }
        let rest = self
            .shared
            .nearest(self.oid, self.last + 1, self.trouble.take());
        Pin::new(self.rest.insert(rest)).poll(context)
    }
}

impl Pending<Option<Record>> for Race {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Record>>> {
        self.look(context)
    }

    fn wait(mut self: Box<Self>) -> Result<Option<Record>> {
        block_on(std::future::poll_fn(|context| self.look(context)))
    }
}
