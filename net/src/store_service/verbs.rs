//! The verbs, as calls that came over the wire: each is begun, and its answer shaped.

use std::sync::Arc;

use tokio::time::Instant;
use travertine_engine::contract::{Batches, Error, Oid, Op, Result, RootAt, RootMarker, Store};

use super::Shared;
use super::budget::Permit;
use super::rights::{looks, may};
use super::seat::Sitting;
use super::serving::Client;
use crate::hop::{self, Hop};
use crate::proto::answer::Answer;
use crate::proto::call::Verb;
use crate::proto::{Absent, AdoptAnswer, CloseAnswer};
use crate::rights::Right;
use crate::wire::{convert, status};

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) reads_only: bool,
    /// Its place among those who may come to write, if it is one.
    pub(super) sitting: Option<Arc<Sitting>>,
    /// What it may; none, where nobody guards the door.
    pub(super) rights: Option<crate::rights::Caller>,
}

impl Caller {
    /// Parts are of calls that write: no other is as long.
    pub(super) fn may_send_parts(&self) -> Result<()> {
        let writes = |right: &Right| self.rights.as_ref().is_none_or(|it| right.is_of(it));
        let mut rights = [Right::Append, Right::Commit, Right::Admin].iter();
        if self.reads_only || !rights.any(writes) {
            return Err(Error::invalid(
                "calls come in parts from who may write only",
            ));
        }
        Ok(())
    }
}

/// Whether a verb takes long, and whoever may read can call it: only some of these run at once.
pub(super) fn takes_long(verb: &Verb) -> bool {
    match verb {
        Verb::Root(_) | Verb::Scan(_) => true,
        Verb::Fence(call) => looks(call),
        Verb::Read(_) | Verb::Store(_) | Verb::Commit(_) | Verb::Adopt(_) => false,
        Verb::Reclaim(_) | Verb::Status(_) | Verb::Close(_) => false,
    }
}

/// Whether the answer to a verb may be long.
pub(super) fn brings_much(verb: &Verb) -> bool {
    matches!(verb, Verb::Read(_) | Verb::Scan(_))
}

impl Shared {
    /// Begins a call. What takes no time is ready; what may take long goes to a driver.
    /// For one that [takes long](takes_long) its permit is had before.
    pub(super) fn begin(
        self: &Arc<Self>,
        caller: &Caller,
        hop: Hop,
        verb: Verb,
        permit: Option<Permit>,
    ) -> Op<Answer> {
        let begun = hop::under(hop, || self.begin_here(caller, hop, verb, permit));
        begun.unwrap_or_else(Op::err)
    }

    fn begin_here(
        self: &Arc<Self>,
        caller: &Caller,
        hop: Hop,
        verb: Verb,
        permit: Option<Permit>,
    ) -> Result<Op<Answer>> {
        may(caller.rights.as_ref(), &verb)?;
        let (client, reads_only) = (caller.client, caller.reads_only);
        Ok(match verb {
            Verb::Read(oid) => {
                let found = self.serving.store()?.read(convert::oid(oid)?);
                found.map(|found| match found {
                    Some(record) => Answer::Record(record.encoded().clone()),
                    None => Answer::Absent(Absent {}),
                })
            }
            Verb::Store(call) => {
                let sender = convert::to_epoch(call.sender);
                let batch = convert::to_store(call.batch)?;
                let tail = self.writable(caller)?.store(sender, batch);
                tail.map(|tail| Answer::Stored(convert::tail(tail)))
            }
            Verb::Commit(call) => {
                let commit = convert::to_commit(call)?;
                let level = self.writable(caller)?.commit(commit);
                level.map(|level| Answer::Committed(level.into()))
            }
            Verb::Root(call) => self.later(hop, permit, move |shared| {
                let found = shared.root(reads_only, convert::to_root_at(&call))?;
                Ok(Answer::Root(convert::root(found)))
            }),
            Verb::Fence(call) => {
                let epoch = convert::to_epoch(call.epoch);
                if !looks(&call) {
                    self.may_write(caller)?;
                }
                let sitting = caller.sitting.clone();
                self.later(hop, permit, move |shared| {
                    let states = shared.serving.fence(client, sitting.as_ref(), epoch)?;
                    Ok(Answer::Fenced(convert::streams(&states)))
                })
            }
            Verb::Adopt(call) => {
                let (epoch, vector) = convert::to_adopt(&call)?;
                let store = self.writable(caller)?;
                self.later(hop, permit, move |_| {
                    store.adopt(epoch, vector).wait()?;
                    Ok(Answer::Adopted(AdoptAnswer {}))
                })
            }
            Verb::Scan(call) => {
                let stream = convert::stream(call.stream)?;
                let from = convert::position(call.from)?;
                self.later(hop, permit, move |shared| {
                    let found = shared.serving.store()?.scan(stream, from).wait()?;
                    Ok(Answer::Scanned(convert::batches(&bounded(found)).into()))
                })
            }
            Verb::Reclaim(call) => {
                let decision = convert::to_reclaim(*call)?;
                let store = self.writable(caller)?;
                self.later(hop, permit, move |_| {
                    let freed = store.reclaim(decision).wait()?;
                    Ok(Answer::Reclaimed(convert::freed(freed)))
                })
            }
            Verb::Status(_) => {
                let status = status::to_proto(&self.serving.store()?.status())?;
                Op::ok(Answer::Status(status.into()))
            }
            Verb::Close(_) => {
                let sitting = caller.sitting.clone();
                self.later(hop, permit, move |shared| {
                    shared.serving.leave(client, sitting.as_ref())?;
                    Ok(Answer::Closed(CloseAnswer {}))
                })
            }
        })
    }

    fn later(
        self: &Arc<Self>,
        hop: Hop,
        permit: Option<Permit>,
        work: impl FnOnce(&Self) -> Result<Answer> + Send + 'static,
    ) -> Op<Answer> {
        let shared = self.clone();
        self.env.offload(move || {
            // It is the work's, not the waiting's: who gives up waiting has not given it back.
            let _permit = permit;
            if hop.deadline.is_some_and(|until| until <= Instant::now()) {
                return Err(Error::unavailable("its time was over before it was begun"));
            }
            hop::under(hop, || work(&shared))
        })
    }

    fn may_write(&self, caller: &Caller) -> Result<()> {
        if caller.reads_only {
            return Err(Error::closed("this client said that it only reads"));
        }
        Ok(())
    }

    fn writable(&self, caller: &Caller) -> Result<Arc<dyn Store>> {
        self.may_write(caller)?;
        self.serving
            .writable(caller.client, caller.sitting.as_ref())
    }

    /// A root marker. Who only reads is shown what is named as proven, and nothing newer: what is durable
    /// here may lack what it depends on elsewhere, or lie with too few others, and be lost yet.
    fn root(&self, reads_only: bool, at: RootAt) -> Result<Option<(Oid, RootMarker)>> {
        let store = self.serving.store()?;
        if !reads_only {
            return store.root(at).wait();
        }
        let Some(proven) = store.root(RootAt::Proven).wait()? else {
            return Ok(None);
        };
        let newest = proven.1.sequence;
        match at {
            RootAt::Newest | RootAt::Proven => Ok(Some(proven)),
            RootAt::Sequence(sequence) if sequence > newest => Ok(None),
            RootAt::Sequence(_) => store.root(at).wait(),
            RootAt::Time(_) => {
                let found = store.root(at).wait()?;
                let newer = |(_, marker): &(Oid, RootMarker)| marker.sequence > newest;
                Ok(if found.as_ref().is_some_and(newer) {
                    Some(proven)
                } else {
                    found
                })
            }
        }
    }
}

/// Bytes of batches that one answer holds, if one batch alone is not more.
const SCAN: usize = 4 << 20;

/// The first of them, as many as fit into one answer.
fn bounded(mut found: Batches) -> Batches {
    let mut bytes = 0;
    let fits = found.batches.iter().position(|batch| {
        bytes += batch.bytes().len();
        bytes > SCAN
    });
    if let Some(at) = fits
        .map(|at| at.max(1))
        .filter(|at| *at < found.batches.len())
    {
        found.next = Some(found.batches[at].header().base);
        found.batches.truncate(at);
        found.sparse = None;
    }
    found
}
