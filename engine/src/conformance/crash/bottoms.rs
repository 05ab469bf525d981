//! Stores that our own runs write to: one log, or two logs side by side as two streams.

use std::sync::Arc;

use super::{Bottom, Trial, Writer};
use crate::conformance::sim::SimMedium;
use crate::contract::{
    Batch, Batches, Commit, Env, Epoch, Error, Freed, Level, Oid, Op, Placement, Position, Reclaim,
    Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use crate::log::{Grow, Log, LogOptions};
use crate::medium::Handles;

/// Logs with small segments, so that a run has several; by some seeds two of them.
pub(super) struct SmallLogs;

impl Bottom for SmallLogs {
    fn open(
        &self,
        medium: &SimMedium,
        env: &Env,
        read_only: bool,
        trial: Trial,
    ) -> Result<Arc<dyn Store>> {
        let seed = trial.seed;
        // A window shorter than a segment runs out before the segment is synced.
        let (segment, window) = [
            (64 << 10, 1 << 20),
            (128 << 10, 8 << 20),
            (1 << 20, 128 << 10),
            (64 << 10, 64 << 10),
            (1 << 20, 128 << 10),
            (1 << 20, 1 << 20),
        ][(seed / 3 % 6) as usize];
        let log = |medium: SimMedium, stream| {
            let options = LogOptions {
                stream,
                segment,
                window,
                grow: [Grow::Adaptive, Grow::Plain][(seed / 18 % 2) as usize],
                read_only,
                // So few that files are closed and opened again all the time.
                handles: Arc::new(Handles::new([1, 3, 256][(seed / 36 % 3) as usize])),
                ..LogOptions::default()
            };
            Log::open("file", Arc::new(medium), env, options)
        };
        if trial.writer == Writer::Front && seed % 4 == 3 {
            return Ok(Arc::new(TwoLogs([
                log(medium.within("root"), Stream(0))?,
                log(medium.within("other"), Stream(1))?,
            ])));
        }
        Ok(Arc::new(log(medium.clone(), Stream(0))?))
    }
}

/// Stream 0 in one log, stream 1 in the other; records in turn, markers in stream 0.
#[derive(Debug)]
pub(super) struct TwoLogs(pub(super) [Log; 2]);

impl TwoLogs {
    fn log(&self, stream: Stream) -> &Log {
        &self.0[usize::from(stream.0 != 0)]
    }
}

impl Store for TwoLogs {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.log(batch.header().stream).store(sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.log(oid.stream()).read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        // The markers go first: where the vector is not looked at, that shows.
        let calls = [Stream(0), Stream(1)].map(|stream| {
            let mut last = commit.last.clone();
            last.retain(|batch| batch.header().stream == stream);
            let (sender, level) = (commit.sender, commit.level);
            self.log(stream).commit(Commit {
                sender,
                level,
                last,
            })
        });
        let [root, other] = calls.map(Op::wait);
        Op::ready(root.and_then(|root| Ok(root.min(other?))))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.0[0].root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        let states = self.0.iter().map(|log| log.fence(epoch).wait());
        Op::ready(states.collect::<Result<Vec<_>>>().map(|all| all.concat()))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        let mut logs = self.0.iter();
        Op::ready(logs.try_for_each(|log| log.adopt(epoch, vector.clone()).wait()))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.log(stream).scan(stream, from)
    }

    fn reclaim(&self, _decision: Reclaim) -> Op<Freed> {
        Op::err(Error::unsupported("two logs give no space back"))
    }

    fn status(&self) -> Status {
        let mut status = self.0[0].status();
        status.streams.extend(self.0[1].status().streams);
        status.placement = Placement::RoundRobin(vec![0, 1]);
        status
    }

    fn close(&self) -> Op<()> {
        let [root, other] = self.0.each_ref().map(|log| log.close().wait());
        Op::ready(root.and(other))
    }
}
