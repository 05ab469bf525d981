//! The probe at one boundary.

use std::sync::Arc;

use travertine_engine::contract::{
    Batch, Batches, Commit, Env, Epoch, Freed, Level, Oid, Op, Position, Reclaim, Record, RootAt,
    RootMarker, Status, Store, Stream, StreamState, Tail, Vector,
};
use travertine_engine::stack::{Arity, Floor, Probe};

use super::seen::{Seen, Verb};
use super::slow::SlowLog;

/// Puts a probe at every boundary of a stack, each known before the stack is opened.
#[derive(Debug)]
pub(super) struct Watch {
    spots: Vec<Spot>,
}

/// A boundary: what was seen on top of one floor of the plan, however often it is opened. The parts
/// of a sequence share it, so the room that a watch takes does not grow.
#[derive(Debug)]
pub(super) struct Spot {
    floor: usize,
    /// Which one it is, counted from the top, for telling apart those of one kind.
    pub(super) index: usize,
    /// How many of the others it lies below.
    pub(super) depth: usize,
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) bottom: bool,
    pub(super) seen: Arc<Seen>,
}

impl Watch {
    /// Watches `top` and all below it. Times one call in `sample`, rounded up to a power of two: a
    /// remainder by anything else takes longer than all the rest of the counting.
    pub(super) fn new(env: &Env, top: &Floor, sample: u32, slow: Option<&Arc<SlowLog>>) -> Self {
        let mask = u64::from(sample.max(1)).next_power_of_two() - 1;
        let spot = |(index, (depth, floor)): (usize, (usize, &Floor))| {
            let title = floor.title().to_owned();
            Spot {
                floor: address(floor),
                index,
                depth,
                kind: floor.kind().name,
                name: floor.name().map(str::to_owned),
                bottom: floor.kind().arity == Arity::Bottom,
                seen: Arc::new(Seen::new(title, env.clock.clone(), mask, slow.cloned())),
            }
        };
        Self {
            spots: top.walk().enumerate().map(spot).collect(),
        }
    }

    /// The boundaries, from the top.
    pub(super) fn spots(&self) -> &[Spot] {
        &self.spots
    }

    /// The status of the floor below each boundary, where `top` is that of the first one's; `None` for one
    /// that a floor above it does not tell of.
    pub(super) fn states<'a>(&self, top: &'a Status) -> Vec<Option<&'a Status>> {
        let mut states = vec![None; self.spots.len()];
        if !states.is_empty() {
            align(&self.spots, 0, top, &mut states);
        }
        states
    }
}

/// Finds the status of a floor and of all below it. The newest part of a sequence stands for all of its
/// parts.
fn align<'a>(spots: &[Spot], at: usize, status: &'a Status, states: &mut [Option<&'a Status>]) {
    states[at] = Some(status);
    let end = end_of(spots, at);
    let within = |spot: usize| (spot < end).then_some(spot);
    let children = std::iter::successors(within(at + 1), |spot| within(end_of(spots, *spot)));
    let children: Vec<_> = children.collect();
    for (index, child) in children.iter().enumerate() {
        let of = match children.len() {
            1 => status.below.last(),
            several if several == status.below.len() => status.below.get(index),
            _ => None,
        };
        if let Some(of) = of {
            align(spots, *child, of, states);
        }
    }
}

/// The first boundary that does not lie below this one.
fn end_of(spots: &[Spot], at: usize) -> usize {
    let depth = spots[at].depth;
    let below = spots[at + 1..].iter();
    at + 1 + below.take_while(|spot| spot.depth > depth).count()
}

/// Floors are told apart by where the plan holds them: it outlives what is opened from it.
fn address(floor: &Floor) -> usize {
    std::ptr::from_ref(floor).addr()
}

impl Probe for Watch {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let mut spots = self.spots.iter();
        match spots.find(|spot| spot.floor == address(floor)) {
            Some(spot) => Arc::new(Watched {
                below: store,
                seen: spot.seen.clone(),
            }),
            None => store,
        }
    }
}

/// A floor with a probe on it.
#[derive(Debug)]
struct Watched {
    below: Arc<dyn Store>,
    seen: Arc<Seen>,
}

/// The raw address of a place in a stream.
fn at(stream: Stream, position: Position) -> u64 {
    Oid::new(stream, position).map_or(0, Oid::raw)
}

impl Store for Watched {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let bytes = batch.bytes().len() as u64;
        let about = at(batch.header().stream, batch.header().base);
        self.seen.watch(Verb::Store, bytes, about, || {
            self.below.store(sender, batch)
        })
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.seen
            .watch(Verb::Read, 0, oid.raw(), || self.below.read(oid))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let lengths = commit.last.iter().map(|batch| batch.bytes().len() as u64);
        let bytes = lengths.sum();
        let mut markers = commit.last.iter().filter_map(|batch| batch.header().marker);
        let about = markers.next().map_or(0, Oid::raw);
        self.seen.brought(commit.last.len());
        self.seen
            .watch(Verb::Commit, bytes, about, || self.below.commit(commit))
    }

    fn root(&self, wanted: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        self.seen
            .watch(Verb::Root, 0, 0, || self.below.root(wanted))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.seen
            .watch(Verb::Fence, 0, 0, || self.below.fence(epoch))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        self.seen
            .watch(Verb::Adopt, 0, 0, || self.below.adopt(epoch, vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        self.seen.watch(Verb::Scan, 0, at(stream, from), || {
            self.below.scan(stream, from)
        })
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        let about = at(decision.stream, decision.from);
        self.seen
            .watch(Verb::Reclaim, 0, about, || self.below.reclaim(decision))
    }

    fn status(&self) -> Status {
        let mut status = self.below.status();
        status.figures.extend(self.seen.figures());
        status
    }

    fn close(&self) -> Op<()> {
        self.seen.watch(Verb::Close, 0, 0, || self.below.close())
    }
}
