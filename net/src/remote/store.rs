//! The floor: each verb is a call to the other side.

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{
    Batch, Batches, Codecs, Commit, Epoch, Freed, Level, Oid, Op, Placement, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

use super::link::{Link, Note};
use super::slot::unfit;
use super::thread::NetThread;
use crate::proto::answer::Answer;
use crate::proto::call::Verb;
use crate::proto::{CloseCall, FenceCall, ScanCall, StoreCall};
use crate::wire::convert;

/// A stack in another process, as a floor.
pub struct RemoteStore {
    pub(super) link: Arc<Link>,
    pub(super) name: Option<String>,
    /// What drives the link, if this floor has a part in it.
    pub(super) _thread: Option<Arc<Result<NetThread>>>,
}

/// The kind of this floor.
pub(super) const REMOTE: &str = "remote";

impl Store for RemoteStore {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let call = StoreCall {
            sender: Some(sender.into()),
            batch: batch.bytes().clone(),
        };
        let stream = batch.header().stream;
        self.link.write(
            Verb::Store(call),
            |kept, most| {
                if kept.epoch() == Some(sender) {
                    kept.push(batch, most);
                }
                Some(Note::Stored(stream))
            },
            |answer, _| match answer {
                Answer::Stored(tail) => convert::to_tail(&tail),
                _ => unfit(),
            },
        )
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.link
            .call(Verb::Read(oid.raw()), Some(oid), |answer, oid| {
                match (answer, oid) {
                    (Answer::Record(record), Some(oid)) => Record::decode(oid, record).map(Some),
                    (Answer::Absent(_), _) => Ok(None),
                    _ => unfit(),
                }
            })
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        if commit.is_keep() {
            // The server there has done so, as it opened what it serves.
            return Op::ok(commit.level);
        }
        self.link.write(
            Verb::Commit(convert::commit(&commit)),
            |kept, most| {
                if kept.epoch() == Some(commit.sender) {
                    let last = commit.last.into_iter();
                    last.for_each(|batch| kept.push(batch, most));
                }
                None
            },
            |answer, _| match answer {
                Answer::Committed(level) => convert::to_level(Some(level)),
                _ => unfit(),
            },
        )
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.link.call(
            Verb::Root(convert::root_at(at)),
            None,
            |answer, _| match answer {
                Answer::Root(root) => convert::to_root(&root),
                _ => unfit(),
            },
        )
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        let verb = Verb::Fence(FenceCall {
            epoch: Some(epoch.into()),
        });
        if epoch.number == 0 {
            return self.link.call(verb, None, fenced);
        }
        self.link
            .write(verb, |_, _| None, |answer, _| fenced(answer, None))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.link.write(
            Verb::Adopt(convert::adopt(epoch, &vector)),
            |_, _| None,
            |answer, _| match answer {
                Answer::Adopted(_) => Ok(()),
                _ => unfit(),
            },
        )
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        let call = ScanCall {
            stream: u32::from(stream.0),
            from: from.0,
        };
        self.link
            .call(Verb::Scan(call), None, |answer, _| match answer {
                Answer::Scanned(found) => convert::to_found(*found),
                _ => unfit(),
            })
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.link.write(
            Verb::Reclaim(convert::reclaim(&decision).into()),
            |_, _| None,
            |answer, _| match answer {
                Answer::Reclaimed(freed) => convert::to_freed(&freed),
                _ => unfit(),
            },
        )
    }

    fn status(&self) -> Status {
        match self.link.status() {
            Some(below) => {
                let figures = self.link.figures();
                Status {
                    figures: vec![("calls", figures.calls), ("round_trips", figures.trips)],
                    ..Status::over(below, REMOTE, self.name.clone())
                }
            }
            None => self.unknown(),
        }
    }

    fn close(&self) -> Op<()> {
        if !self.link.close() {
            return Op::ok(());
        }
        let call = CloseCall {
            client: self.link.client.to_vec().into(),
        };
        self.link
            .call(Verb::Close(call), None, |answer, _| match answer {
                Answer::Closed(_) => Ok(()),
                _ => unfit(),
            })
    }
}

/// How the streams lie.
pub(super) fn fenced(answer: Answer, _: Option<Oid>) -> Result<Vec<StreamState>> {
    match answer {
        Answer::Fenced(states) => convert::to_streams(&states),
        _ => unfit(),
    }
}

impl RemoteStore {
    /// Before anything is known of the other side.
    fn unknown(&self) -> Status {
        Status {
            kind: REMOTE,
            name: self.name.clone(),
            identity: Status::identity_text(&[0; 16]),
            level: Level::Memory,
            root_stream: 0,
            placement: Placement::One(0),
            codecs: Codecs::default(),
            unit: 8,
            refusing: Some("there was no connection yet".to_owned()),
            streams: Vec::new(),
            parts: Vec::new(),
            figures: Vec::new(),
            gate: None,
            below: Vec::new(),
        }
    }
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteStore({})", self.link.settings.address)
    }
}

impl Drop for RemoteStore {
    fn drop(&mut self) {
        self.link.stop();
    }
}
