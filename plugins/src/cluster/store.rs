//! The ten verbs of a cluster.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use travertine_engine::contract::{
    Batch, Batches, Codecs, Commit, Epoch, Error, Freed, Level, Oid, Op, Placement, Position,
    Reclaim, Record, Result, RootAt, RootMarker, Status, Store, Stream, StreamState, StreamStatus,
    Tail, Vector,
};

use super::note::{Note, Seen};
use super::shared::{Shared, give, reseated};
use super::state::{Lane, Role, State};

/// An open cluster.
pub(super) struct Cluster(pub(super) Arc<Shared>);

impl Shared {
    fn status(&self) -> Status {
        // One that is stuck would not answer this either.
        let stuck: Vec<_> = self.lock().lanes.iter().map(|lane| lane.stuck).collect();
        let open = self.children.iter().zip(&stuck);
        let open: Vec<_> = open
            .map(|(child, stuck)| child.store().filter(|_| !stuck))
            .collect();
        let below: Vec<_> = open
            .into_iter()
            .map(|store| store.map(|store| store.status()))
            .collect();
        let own = |status: &Status| {
            let mine = status.streams.iter().find(|of| of.stream == self.stream.0);
            mine.cloned()
        };
        let streams: Vec<_> = below.iter().flatten().filter_map(own).collect();
        let state = self.lock();
        let mut durable: Vec<_> = match state.adopted {
            true => state.lanes.iter().map(|lane| lane.durable.0).collect(),
            false => streams.iter().map(|of| of.durable).collect(),
        };
        durable.sort_unstable_by(|a, b| b.cmp(a));
        let durable = durable
            .get(self.quorum.ack - 1)
            .copied()
            .unwrap_or_default();
        let stream = StreamStatus {
            stream: self.stream.0,
            end: state.end.position.0,
            durable: durable.min(state.end.position.0),
            ceiling: state.ceiling.max(state.end.position).0,
            bytes: streams.iter().map(|of| of.bytes).sum(),
            segments: streams.iter().map(|of| of.segments).sum(),
        };
        let behind = state.lanes.iter().zip(&self.children);
        let lag = |end: Position| state.end.position.bytes_since(end.min(state.end.position));
        let behind = behind.filter(|(lane, _)| lane.role != Role::Votes);
        let behind = behind.map(|(_, child)| lag(child.applied())).max();
        let out = state.count(Role::Out);
        let lost = state.lanes.iter().filter(|lane| lane.lost).count();
        let stuck = stuck.into_iter().filter(|stuck| *stuck).count();
        let called = |lane: &&Lane| lane.active || lane.busy > 0;
        let called = state.lanes.iter().filter(called).count();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let figures = &self.figures;
        Status {
            kind: "cluster",
            name: self.name.clone(),
            identity: Status::identity_text(&self.identity),
            level: self.level,
            root_stream: self.stream.0,
            placement: Placement::One(self.stream.0),
            codecs: Codecs::default(),
            unit: state.roster.unit,
            refusing: self.refusing(&state),
            streams: vec![stream],
            parts: Vec::new(),
            gate: None,
            figures: vec![
                ("children", self.children.len() as u64),
                ("children_in_line", state.count(Role::Votes) as u64),
                ("children_out", out as u64),
                ("children_lost", lost as u64),
                ("children_called", called as u64),
                ("children_stuck", stuck as u64),
                ("bytes_behind", behind.unwrap_or_default()),
                ("batches_caught_up", read(&figures.caught_up)),
                ("children_left", read(&figures.left)),
                ("children_returned", read(&figures.returned)),
                ("reads_failed_over", read(&figures.failovers)),
                ("reads_hedged", read(&figures.hedged)),
                ("reads_damaged", read(&figures.damaged)),
                ("reads_disagreed", read(&figures.disagreed)),
            ],
            below: self.below(below, &state),
        }
    }

    /// What the children say of themselves, and the cluster of those that are not in line.
    fn below(&self, told: Vec<Option<Status>>, state: &State) -> Vec<Status> {
        let children = told.into_iter().zip(&self.children).zip(&state.lanes);
        let each = children.map(|((status, child), lane)| {
            let floor = child.below.floor();
            let mut status = status.unwrap_or_else(|| Status {
                kind: floor.kind().name,
                name: floor.name().map(str::to_owned),
                identity: String::new(),
                level: floor.gives().level,
                root_stream: self.stream.0,
                placement: Placement::One(self.stream.0),
                codecs: Codecs::default(),
                unit: state.roster.unit,
                refusing: Some("not open".to_owned()),
                streams: Vec::new(),
                parts: Vec::new(),
                figures: Vec::new(),
                gate: None,
                below: Vec::new(),
            });
            if let Some(trouble) = &lane.trouble {
                status.refusing = Some(trouble.to_string());
            }
            status
        });
        each.collect()
    }

    fn refusing(&self, state: &State) -> Option<String> {
        if self.read_only {
            return Some("open for reading only".to_owned());
        }
        if let Some(closed) = &state.closed {
            return Some(closed.to_string());
        }
        if !state.adopted {
            return state.looked.as_ref().err().map(ToString::to_string);
        }
        let short =
            state.count(Role::Votes) < self.quorum.ack || state.in_line() < self.quorum.write;
        short.then(|| state.too_few(self.quorum.write, &self.quorum).to_string())
    }

    fn close(self: &Arc<Self>) -> Result<()> {
        let answers = {
            let mut state = self.lock();
            let closed = || Error::closed("the cluster was closed");
            state.closed.get_or_insert_with(closed);
            // Nobody comes back any more.
            self.settle(&mut state)
        };
        give(answers);
        self.rest();
        self.vouched.store(false, Ordering::Release);
        let leave: Vec<bool> = {
            let state = self.lock();
            let acked = state.acked;
            let left = |(lane, child): (&Lane, &super::child::Child)| {
                // A clean end that too few others have would be known durable on this one alone.
                state.adopted && (lane.role != Role::Votes || child.applied() > acked)
            };
            state.lanes.iter().zip(&self.children).map(left).collect()
        };
        self.note_seen();
        let open = (0..self.children.len()).filter(|&index| self.children[index].store().is_some());
        let closed = self.each(open, move |shared, index| {
            let child = &shared.children[index];
            if leave[index] {
                child.set_readable(false);
                child.set_store(None);
                return Ok(());
            }
            child.store().map_or(Ok(()), |store| store.close().wait())
        });
        let good = closed.iter().filter(|(_, done)| done.is_ok()).count();
        match closed.into_iter().find_map(|(_, done)| done.err()) {
            Some(error) if good < self.quorum.ack => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes where each child stands, so that one which is put back to an older state is known.
    fn note_seen(self: &Arc<Self>) {
        let (epoch, standing, roster) = {
            let state = self.lock();
            if !state.adopted || self.level < Level::Disk {
                return;
            }
            let end = state.end.position;
            let whole =
                |lane: &Lane| lane.role == Role::Votes && lane.durable >= end && state.acked >= end;
            // What lies above the last marker, a takeover may cut.
            let kept = state.newest.map_or(state.cut.position, Oid::position);
            let standing: Vec<_> = state
                .lanes
                .iter()
                .map(|lane| whole(lane).then_some(kept))
                .collect();
            (state.epoch, standing, state.roster.clone())
        };
        let mut seen = vec![Seen::default(); roster.seats.len()];
        for (child, end) in self.children.iter().zip(&standing) {
            let seat = child.note().and_then(|note| roster.index(&note.seat));
            if let (Some(seat), Some(end)) = (seat, end) {
                seen[seat] = (epoch, *end);
            }
        }
        let which: Vec<_> = (0..standing.len())
            .filter(|&index| standing[index].is_some())
            .collect();
        let noted = self.each(which, move |shared, index| {
            let child = &shared.children[index];
            let Some(note) = child.note() else {
                return Ok(());
            };
            let mut merged = reseated(&note, &roster.seats);
            for (old, new) in merged.iter_mut().zip(&seen) {
                *old = (*old).max(*new);
            }
            child.put_note(Note {
                roster: roster.clone(),
                seen: merged,
                ..note
            })
        });
        for (_, done) in noted {
            if let Err(error) = done {
                // It is a help to detection, never a promise.
                tracing::warn!(%error, "a note could not be written at the end");
            }
        }
    }
}

impl Store for Cluster {
    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.0.store(sender, batch)
    }

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.0.read(oid)
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        self.0.commit(&commit)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        Op::ready(self.0.root(at))
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        Op::ready(self.0.fence(epoch).map(|state| vec![state]))
    }

    fn adopt(&self, epoch: Epoch, vector: Vector) -> Op<()> {
        Op::ready(self.0.adopt(epoch, &vector))
    }

    fn scan(&self, stream: Stream, from: Position) -> Op<Batches> {
        if stream != self.0.stream {
            return Op::err(Error::invalid(format!("stream {stream} does not lie here")));
        }
        Op::ready(self.0.scan(from))
    }

    fn reclaim(&self, decision: Reclaim) -> Op<Freed> {
        self.0.reclaim(decision)
    }

    fn status(&self) -> Status {
        self.0.status()
    }

    fn close(&self) -> Op<()> {
        Op::ready(self.0.close())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} children)", self.0.children.len())
    }
}
