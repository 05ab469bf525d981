//! The ten verbs over the children.

use std::fmt;

use travertine_engine::contract::env::side_by_side;
use travertine_engine::contract::{
    Batch, Batches, Codecs, Commit, Epoch, Error, Freed, Level, Oid, Op, Placement, Position,
    Reclaim, Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};

use super::child::Child;
use super::join::all;

/// The stream that root markers go to: the first child's.
pub(super) const ROOT: Stream = Stream(0);

/// An open partition.
pub(super) struct Parted {
    pub(super) name: Option<String>,
    pub(super) identity: [u8; 16],
    pub(super) level: Level,
    pub(super) placement: Placement,
    pub(super) read_only: bool,
    /// By stream, from 0 on; an error for each that is lost.
    pub(super) children: Vec<Result<Child>>,
}

impl Parted {
    fn child(&self, stream: Stream) -> Result<&Child> {
        match self.children.get(usize::from(stream.0)) {
            Some(Ok(child)) => Ok(child),
            Some(Err(lost)) => Err(lost.clone()),
            None => Err(Error::invalid(format!(
                "stream {stream} does not lie here: there are {}",
                self.children.len()
            ))),
        }
    }

    /// Those that are there.
    fn here(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().filter_map(|child| child.as_ref().ok())
    }

    /// All of them, or why one is not there.
    fn everyone(&self) -> Result<Vec<&Child>> {
        let children = self.children.iter();
        children
            .map(|child| child.as_ref().map_err(Error::clone))
            .collect()
    }

    /// One round: every child that has something to bring to its level, side by side. A marker that is
    /// durable before what it commits is no harm: its vector tells what it depends on.
    fn commit(&self, commit: Commit) -> Result<Op<Level>> {
        if commit.level > self.level {
            return Err(Error::invalid(format!(
                "this partition reaches {} at most, {} was asked",
                self.level, commit.level
            )));
        }
        if commit.is_keep() {
            let children = self.everyone()?.into_iter();
            let kept = children.map(|child| child.store.commit(commit.clone()));
            let least = |levels: Vec<Level>| levels.into_iter().min().unwrap_or(Level::Memory);
            return Ok(all(kept.collect()).map(least));
        }
        let mut shares: Vec<(&Child, Vec<Batch>)> = Vec::new();
        for batch in commit.last {
            let child = self.child(batch.header().stream)?;
            match shares.iter_mut().find(|(of, _)| of.stream == child.stream) {
                Some((_, last)) => last.push(batch),
                None => shares.push((child, vec![batch])),
            }
        }
        for child in self.everyone()? {
            let shared = shares.iter().any(|(of, _)| of.stream == child.stream);
            if child.is_dirty() && !shared {
                shares.push((child, Vec::new()));
            }
        }
        if shares.is_empty() {
            // Nothing is to be done; whether the sender may still ask for it, the root stream tells.
            shares.push((self.child(ROOT)?, Vec::new()));
        }
        let ask = |(child, last): (&Child, Vec<Batch>)| {
            child.commit(Commit {
                sender: commit.sender,
                level: commit.level,
                last,
            })
        };
        let Some(own) = shares.pop() else {
            return Ok(Op::ok(self.level));
        };
        if shares.is_empty() {
            return Ok(ask(own));
        }
        let mut asked: Vec<_> = side_by_side(|| shares.into_iter().map(ask).collect());
        // The last one is for this thread, if it would do nothing but wait for the others.
        asked.push(ask(own));
        let least = |levels: Vec<Level>| levels.into_iter().min().unwrap_or(Level::Memory);
        Ok(all(asked).map(least))
    }

    /// The root stream's cut comes last: what its markers depend on is durable by then, however far a
    /// crash lets this get.
    fn adopt(&self, epoch: Epoch, vector: &Vector) -> Result<Op<()>> {
        let of = |stream: Stream| -> Vector {
            let ends = vector.iter().copied();
            ends.filter(|(other, _)| *other == stream).collect()
        };
        let mut others = Vec::new();
        for child in self.everyone()? {
            if child.stream != ROOT {
                others.push(child.store.adopt(epoch, of(child.stream)));
            }
        }
        let (root, own) = (self.child(ROOT)?.store.clone(), of(ROOT));
        Ok(all(others).then(move |_| root.adopt(epoch, own)))
    }

    fn fence(&self, epoch: Epoch) -> Result<Op<Vec<StreamState>>> {
        let children = self.everyone()?;
        let calls = children.into_iter().map(|child| child.store.fence(epoch));
        Ok(all(calls.collect()).map(|states| states.concat()))
    }

    fn status(&self) -> Status {
        let below: Vec<_> = self.here().map(|child| child.store.status()).collect();
        let refusals = || below.iter().find_map(|child| child.refusing.clone());
        let lost = self.children.len() - below.len();
        Status {
            kind: "partition",
            name: self.name.clone(),
            identity: Status::identity_text(&self.identity),
            level: self.level,
            root_stream: ROOT.0,
            placement: self.placement.clone(),
            codecs: Codecs::default(),
            gate: None,
            // Units are powers of two: what is a multiple of the largest is one of each.
            unit: below.iter().map(|child| child.unit).max().unwrap_or(8),
            refusing: match self.read_only {
                true => Some("open for reading only".to_owned()),
                false => refusals(),
            },
            streams: below
                .iter()
                .flat_map(|child| child.streams.clone())
                .collect(),
            parts: Vec::new(),
            figures: vec![
                ("children", self.children.len() as u64),
                ("children_lost", lost as u64),
            ],
            below,
        }
    }
}

/// The op, or the error that came instead of one.
fn flat<T>(op: Result<Op<T>>) -> Op<T> {
    op.unwrap_or_else(Op::err)
}

impl Store for Parted {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let child = self.child(batch.header().stream);
        flat(child.map(|child| child.store(sender, batch)))
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        flat(self.child(oid.stream()).map(|child| child.store.read(oid)))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        flat(Self::commit(self, commit))
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        flat(self.child(ROOT).map(|child| child.store.root(at)))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        flat(Self::fence(self, epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        flat(Self::adopt(self, epoch, &vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        flat(
            self.child(stream)
                .map(|child| child.store.scan(stream, from)),
        )
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        flat(
            self.child(decision.stream)
                .map(|child| child.store.reclaim(decision)),
        )
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn close(&self) -> Op<()> {
        all(self.here().map(|child| child.store.close()).collect()).map(|_| ())
    }
}

impl fmt::Debug for Parted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({} children)", self.children.len())
    }
}
