//! Taking a cluster over: the children are fenced, what they report becomes one report, and the cut
//! that the engine decided on is brought to enough of them before anything is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use travertine_engine::contract::{
    Commit, End, Epoch, Error, ErrorKind, Level, Position, Result, Store, StreamState, Vector,
};

use super::catchup::{START, wiped};
use super::join::{Report, join, own};
use super::note::{Seen, Standing};
use super::shared::{Figures, Shared, give, is_lost};
use super::state::{Lane, Looked, Role, State};

impl Shared {
    pub(super) fn fence(self: &Arc<Self>, epoch: Epoch) -> Result<StreamState> {
        if epoch.number == 0 {
            // Beside a writer nobody waits for a moment without calls, which may not come.
            if !self.lock().adopted {
                self.rest();
            }
            return self.look(epoch).map(|looked| looked.joined);
        }
        let before = {
            let mut state = self.lock();
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            if self.read_only {
                return Err(Error::closed("the cluster is open for reading only"));
            }
            if epoch < state.epoch {
                return Err(Error::fenced(format!(
                    "epoch {epoch} is not newer than epoch {}, which wrote here",
                    state.epoch
                )));
            }
            // Older senders are refused before anybody looks, and nobody is brought into line.
            let before = (std::mem::replace(&mut state.epoch, epoch), state.adopted);
            state.adopted &= before.0 == epoch;
            before
        };
        if before.0 == epoch {
            self.rest();
            return self.look(epoch).map(|looked| looked.joined);
        }
        self.drop_rounds(epoch);
        self.rest();
        self.open_absent();
        let looked = self.look(epoch);
        let mut state = self.lock();
        if looked.is_err() {
            (state.epoch, state.adopted) = before;
        } else {
            self.vouched.store(false, Ordering::Release);
            for lane in &mut state.lanes {
                lane.adopted = false;
                if lane.in_line() {
                    lane.role = Role::Behind;
                }
            }
        }
        looked.map(|looked| looked.joined)
    }

    /// Ends what an older writer still waits for.
    fn drop_rounds(&self, epoch: Epoch) {
        let rounds = {
            let mut state = self.lock();
            state.lanes.iter_mut().for_each(Lane::forget);
            std::mem::take(&mut state.rounds)
        };
        let fenced = || Error::fenced(format!("epoch {epoch} took over"));
        give(
            rounds
                .into_iter()
                .map(|round| (round.slot, Err(fenced())))
                .collect(),
        );
    }

    /// Tries once more to open what could not be opened.
    fn open_absent(self: &Arc<Self>) {
        let absent: Vec<_> = {
            let state = self.lock();
            let lanes = state.lanes.iter().enumerate();
            let out = |lane: &Lane| lane.role == Role::Out && !lane.lost && !lane.stuck;
            let absent = lanes.filter(|(_, lane)| out(lane));
            absent.map(|(index, _)| index).collect()
        };
        for (index, opened) in self.each(absent, |shared, index| shared.open_again(index)) {
            let mut state = self.lock();
            let lane = &mut state.lanes[index];
            match opened {
                Ok(()) => lane.role = Role::Behind,
                Err(error) => lane.trouble = Some(error),
            }
        }
    }

    /// Asks every child how it lies, and joins what they say.
    pub(super) fn look(self: &Arc<Self>, epoch: Epoch) -> Result<Looked> {
        let open = (0..self.children.len()).filter(|&index| self.children[index].store().is_some());
        let asked = self.each(open, move |shared, index| {
            let epoch = match index == 0 && planted!(FencingSkipped) {
                true => Epoch::default(),
                false => epoch,
            };
            let report = shared.report_of(&*shared.children[index].open_store()?, epoch)?;
            if epoch.number != 0 {
                shared.note_again(index)?;
            }
            Ok(report)
        });
        let mut reports = Vec::new();
        let mut troubles = Vec::new();
        for (index, answer) in asked {
            match answer {
                Ok(state) => reports.push((index, state)),
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                Err(error) => troubles.push((index, error)),
            }
        }
        let mut state = self.lock();
        for (index, error) in troubles {
            let lane = &mut state.lanes[index];
            lane.lost = is_lost(&error);
            lane.drop_out(Role::Out, error);
        }
        let looked = self.join(&mut state, reports);
        if !state.adopted {
            state.looked = looked.clone();
            if let Ok(looked) = &looked {
                self.take_note(&mut state, looked);
            }
        }
        // Nobody waits for those that left.
        let answers = self.settle(&mut state);
        drop(state);
        give(answers);
        looked
    }

    /// Where notes are shared, what another writer noted until this one fenced it counts.
    fn note_again(&self, index: usize) -> Result<()> {
        let child = &self.children[index];
        let known = child.note().filter(|_| child.is_shared());
        let Some(known) = known else { return Ok(()) };
        let now = child.read_note()?.ok_or_else(wiped)?;
        if (now.store, now.seat) != (known.store, known.seat) {
            return Err(Error::invalid(
                "somebody else has made a cluster of this child since it was opened here",
            ));
        }
        self.lock().lanes[index].counts |= now.standing != Standing::Joining;
        child.found_note(Some(now));
        Ok(())
    }

    fn join(&self, state: &mut State, states: Vec<(usize, StreamState)>) -> Result<Looked> {
        // One that was opened since may know better who counts.
        let notes = self.children.iter().filter_map(|child| child.note());
        let newest = notes.filter(|note| note.store == self.identity);
        let newest = newest
            .map(|note| note.roster)
            .max_by_key(|roster| roster.version);
        if let Some(newest) = newest.filter(|newest| newest.version > state.roster.version) {
            state.roster = newest;
        }
        let reports: Vec<_> = states
            .into_iter()
            .map(|(child, of)| {
                let normal = self.children[child]
                    .note()
                    .map_or(Epoch::default(), |note| note.normal);
                let note = self.children[child].note();
                let seated = note.is_some_and(|note| state.roster.index(&note.seat).is_some());
                let counts = state.lanes[child].counts
                    && seated
                    && !self.is_rolled_back(child, (normal, of.end.position));
                Report {
                    child,
                    counts,
                    normal,
                    state: of,
                }
            })
            .collect();
        // The first writer of all needs every child: from then on an empty one has lost something.
        let needed = match state.forming {
            true => self.quorum.children,
            false => self.quorum.fence(),
        };
        match join(&reports, needed, self.quorum.ack)? {
            Some((best, joined)) => Ok(Looked {
                reports,
                best,
                joined,
            }),
            None => {
                let counted = reports.iter().filter(|report| report.counts).count();
                let troubles = state.lanes.iter().enumerate().filter_map(|(index, lane)| {
                    let error = lane.trouble.as_ref()?;
                    Some(format!("; child {}: {error}", index + 1))
                });
                let text = format!(
                    "{counted} of {} children know what they had acknowledged, and {needed} are \
                     needed to tell what was; nothing was cut{}",
                    self.quorum.children,
                    troubles.collect::<String>()
                );
                let mut kinds = state.lanes.iter().filter_map(|lane| lane.trouble.as_ref());
                Err(
                    match kinds.all(|error| error.kind() == ErrorKind::Corrupt) && counted == 0 {
                        true => Error::corrupt(text),
                        false => Error::unavailable(text),
                    },
                )
            }
        }
    }

    /// Whether another child has seen this one further on than it is.
    fn is_rolled_back(&self, child: usize, is: Seen) -> bool {
        let Some(seat) = self.children[child].note().map(|note| note.seat) else {
            return true;
        };
        let seen = self.children.iter().filter_map(|other| {
            let note = other.note()?;
            note.seen.get(note.roster.index(&seat)?).copied()
        });
        seen.max().is_some_and(|seen| seen > is)
    }

    /// What a report says of reading, as long as nothing was adopted.
    fn take_note(&self, state: &mut State, looked: &Looked) {
        let normal = looked
            .reports
            .iter()
            .find(|report| report.child == looked.best);
        let normal = normal.map(|report| report.normal);
        for report in &looked.reports {
            let child = &self.children[report.child];
            child.set_applied(report.state.end.position);
            let on_line = report.counts && Some(report.normal) == normal;
            child.set_readable(on_line || planted!(VoidTailRead));
            let lane = &mut state.lanes[report.child];
            if lane.role == Role::Out {
                lane.role = Role::Behind;
                lane.trouble = None;
            }
        }
        let joined = &looked.joined;
        state.end = joined.end;
        state.last = None;
        state.acked = joined.end.position;
        let markers = joined
            .chain
            .iter()
            .filter_map(|link| Some(link.marker.as_ref()?.0));
        state.newest = markers.max().or(own(self.stream, joined.proven));
        self.tail.store(joined.end.position.0, Ordering::Release);
        self.vouched
            .store(joined.clean && !self.read_only, Ordering::Release);
    }

    pub(super) fn adopt(self: &Arc<Self>, epoch: Epoch, vector: &Vector) -> Result<()> {
        self.rest();
        let asked = vector.iter().find(|(stream, _)| *stream == self.stream);
        let asked = asked.map(|(_, end)| *end);
        let (looked, forming) = {
            let mut state = self.lock();
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            if state.epoch != epoch || epoch.number == 0 {
                return Err(Error::fenced(format!(
                    "epoch {epoch} has not fenced this cluster"
                )));
            }
            if state.adopted && state.end() != state.cut {
                if asked.is_none_or(|end| end == state.cut) {
                    return Ok(());
                }
                return Err(Error::invalid(format!(
                    "epoch {epoch} has written since it decided that the older ones end at {}",
                    state.cut.position
                )));
            }
            (state.looked.clone()?, state.forming)
        };
        let joined = &looked.joined;
        let cut = asked.unwrap_or(joined.end);
        if cut.position < joined.durable {
            return Err(Error::invalid(format!(
                "a cut at {} would lose bytes known durable up to {}",
                cut.position, joined.durable
            )));
        }
        let known =
            cut == joined.end || cut == START || joined.chain.iter().any(|link| link.end == cut);
        if !known {
            return Err(Error::invalid(format!(
                "no batch of this cluster ends at {} with the running checksum given",
                cut.position
            )));
        }
        let needed = if forming {
            self.quorum.children
        } else {
            self.quorum.ack
        };
        // Where too few are left of those that know, who does not know is brought everything first.
        let new = self.lock().replacing.map(|(index, ..)| index);
        let unknowing = looked.reports.iter().filter(|report| !report.counts);
        let unknowing = unknowing.map(|report| report.child).chain(new);
        let unknowing: Vec<_> = unknowing.collect();
        let least = match unknowing.is_empty() {
            true => needed,
            false => needed.min(self.quorum.notes()),
        };
        if planted!(NotedTooEarly) {
            let counted = looked.reports.iter().filter(|report| report.counts);
            let counted: Vec<_> = counted.map(|report| report.child).collect();
            self.note_all(epoch, &counted, cut.position, 0)?;
        }
        let ready = self.bring(epoch, &looked, cut, least)?;
        let mut noted = self.note_all(epoch, &ready, cut.position, least)?;
        for index in unknowing {
            if noted.len() >= needed {
                break;
            }
            let sources = noted.clone();
            let bring =
                move |shared: &Arc<Self>, index| shared.bring_new(epoch, index, &sources, cut);
            match self.ask(index, bring) {
                Ok(()) => {
                    self.votes(index, true);
                    noted.push(index);
                }
                Err(error) => self.left(index, error),
            }
        }
        if noted.len() < needed {
            return Err(self.lock().too_few(needed, &self.quorum));
        }
        self.reign(epoch, cut);
        self.kick();
        Ok(())
    }

    /// Makes the cut true on the children that hold it, and on as many more as are needed.
    fn bring(
        self: &Arc<Self>,
        epoch: Epoch,
        looked: &Looked,
        cut: End,
        needed: usize,
    ) -> Result<Vec<usize>> {
        let clean = looked.joined.clean;
        let adopt = move |shared: &Arc<Self>, report: &Report, end| {
            let index = report.child;
            let mut store = shared.children[index].open_store()?;
            if clean && !report.state.clean {
                // The writer begins where the others ended, not above what this one had announced.
                drop(store);
                (store, _) = shared.unbind(index, epoch)?;
            }
            store.adopt(epoch, vec![(shared.stream, end)]).wait()?;
            shared.children[index].set_applied(end.position);
            shared.lock().lanes[index].adopted = true;
            Ok(store)
        };
        let counted = || looked.reports.iter().filter(|report| report.counts);
        let holds = |state: &StreamState| {
            state.end == cut
                || cut == START && state.durable == Position::START
                || state.chain.iter().any(|link| link.end == cut)
        };
        let holders = counted().filter(|report| holds(&report.state));
        let holders: Vec<_> = holders.map(|report| report.child).collect();
        let reports = looked.reports.clone();
        let mut ready = Vec::new();
        let done = self.each(holders, move |shared, index| {
            let report = reports.iter().find(|report| report.child == index);
            let report = report.ok_or_else(|| Error::unavailable("the child was not asked"))?;
            adopt(shared, report, cut).map(drop)
        });
        for (index, done) in done {
            match done {
                Ok(()) => ready.push(index),
                Err(error) => self.left(index, error),
            }
        }
        if ready.is_empty() {
            return Err(self.lock().too_few(needed, &self.quorum));
        }
        for report in counted() {
            if ready.len() >= needed {
                break;
            }
            if ready.contains(&report.child) || self.lock().lanes[report.child].role == Role::Out {
                continue;
            }
            let index = report.child;
            let (report, sources) = (report.clone(), ready.clone());
            let brought = self.ask(index, move |shared, index| {
                let own = shared.own_cut(index, &report.state, &sources, cut.position)?;
                let (own, source) = (own.0, shared.children[own.1].open_store()?);
                let store = adopt(shared, &report, own)?;
                shared.copy(&*source, index, own, cut.position, epoch)?;
                shared.sync(&*store, epoch)
            });
            match brought {
                Ok(()) => {
                    self.children[index].set_applied(cut.position);
                    ready.push(index);
                }
                Err(error) => self.left(index, error),
            }
        }
        match ready.len() >= needed {
            true => Ok(ready),
            false => Err(self.lock().too_few(needed, &self.quorum)),
        }
    }

    /// Brings a child that does not know what it had acknowledged everything, before anything else is
    /// done.
    fn bring_new(&self, epoch: Epoch, index: usize, sources: &[usize], cut: End) -> Result<()> {
        let replacing = self.lock().replacing;
        if let Some((_, _, seat)) = replacing.filter(|(new, ..)| *new == index) {
            self.seat_anew(index, seat)?;
        }
        let child = &self.children[index];
        let (store, report) = self.unbind(index, epoch)?;
        let (own, source) = self.own_cut(index, &report, sources, cut.position)?;
        let source = self.children[source].open_store()?;
        store.adopt(epoch, vec![(self.stream, own)]).wait()?;
        self.copy(&*source, index, own, cut.position, epoch)?;
        self.sync(&*store, epoch)?;
        self.note_member(index, epoch)?;
        child.set_applied(cut.position);
        Ok(())
    }

    fn votes(&self, index: usize, adopted: bool) {
        let mut state = self.lock();
        let lane = &mut state.lanes[index];
        lane.role = Role::Votes;
        lane.trouble = None;
        lane.tries = 0;
        lane.counts = true;
        (lane.lost, lane.astray) = (false, false);
        lane.adopted |= adopted;
        drop(state);
        self.children[index].set_readable(true);
    }

    fn sync(&self, store: &dyn Store, epoch: Epoch) -> Result<()> {
        let commit = Commit {
            sender: epoch,
            level: self.level.min(Level::Disk),
            last: Vec::new(),
        };
        store.commit(commit).wait().map(drop)
    }

    fn left(&self, index: usize, error: Error) {
        tracing::warn!(%error, child = self.children[index].title, "a child is left out");
        Figures::add(&self.figures.left);
        let mut state = self.lock();
        let lane = &mut state.lanes[index];
        lane.lost = is_lost(&error);
        lane.drop_out(Role::Out, error);
    }

    /// Notes on the children that hold the cut that they do, and who counts from now on.
    fn note_all(
        self: &Arc<Self>,
        epoch: Epoch,
        ready: &[usize],
        cut: Position,
        needed: usize,
    ) -> Result<Vec<usize>> {
        let mut roster = self.lock().roster.clone();
        roster.version = epoch;
        if let Some((_, seat, id)) = self.lock().replacing {
            roster.seats[seat] = id;
        }
        // Of the others only what was durable before: their notes are not written yet.
        let mut seen: Vec<Seen> = vec![Seen::default(); roster.seats.len()];
        for &index in ready {
            if let Some(note) = self.children[index].note()
                && let Some(seat) = roster.index(&note.seat)
            {
                seen[seat] = (note.normal, cut);
            }
        }
        let known = roster.clone();
        let done = self.each(ready.to_vec(), move |shared, index| {
            shared.note_adopted(index, epoch, &known, &seen)
        });
        let mut noted = Vec::new();
        for (index, done) in done {
            match done {
                Ok(()) => {
                    noted.push(index);
                    self.votes(index, false);
                }
                Err(error) => self.left(index, error),
            }
        }
        if noted.len() < needed {
            return Err(self.lock().too_few(needed, &self.quorum));
        }
        self.lock().roster = roster;
        Ok(noted)
    }

    /// From here on the epoch writes.
    fn reign(&self, epoch: Epoch, cut: End) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.epoch = epoch;
        state.adopted = true;
        state.forming = false;
        state.cut = cut;
        state.end = cut;
        state.last = None;
        state.acked = cut.position;
        state.boundary = cut.position;
        state.ceiling = cut.position;
        state.recent.clear();
        state.recent_bytes = 0;
        state.rounds.clear();
        (state.stalled, state.stalled_ns) = (false, None);
        if let Ok(looked) = &state.looked {
            let links = looked.joined.chain.iter();
            let below = links.filter(|link| link.end.position <= cut.position);
            let newest = below.filter_map(|link| Some(link.marker.as_ref()?.0)).max();
            state.newest = newest.or(own(self.stream, looked.joined.proven));
        }
        for (index, lane) in state.lanes.iter_mut().enumerate() {
            lane.durable = if lane.role == Role::Votes {
                cut.position
            } else {
                Position::START
            };
            lane.retry_ns = 0;
            if lane.role != Role::Votes && !planted!(VoidTailRead) {
                self.children[index].set_readable(false);
            }
        }
        self.tail.store(cut.position.0, Ordering::Release);
        self.vouched.store(true, Ordering::Release);
    }
}
