//! What the calls and the drivers of one cluster share, and the lanes: one queue for each child, worked
//! on by one thread at a time, so that a child that takes its time holds up nobody but itself. Nobody
//! waits in a lane: whoever brings the answer to its oldest call goes on with it.
//!
//! The lock of the state is taken to look and to note, never while a child is called.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use travertine_engine::contract::env::side_by_side;
use travertine_engine::contract::{
    Commit, Env, Epoch, Error, ErrorKind, Level, Op, Result, Stream,
};

use super::child::Child;
use super::config::Reading;
use super::note::{Note, Standing};
use super::quorum::Quorum;
use super::state::{Answers, Call, Item, Reply, Role, Rules, State, is_refusal};

/// How often children that are out of line are looked after.
const PAUSE: Duration = Duration::from_millis(10);
/// Calls that are on their way to one child at once.
const DEPTH: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Reads that another child answered than the one that was asked first.
    pub(super) failovers: AtomicU64,
    /// Records that a child answered with damage.
    pub(super) damaged: AtomicU64,
    /// Reads for which a second child was asked because the first was slow.
    pub(super) hedged: AtomicU64,
    /// Reads where children did not agree.
    pub(super) disagreed: AtomicU64,
    /// Batches brought to children that lacked them.
    pub(super) caught_up: AtomicU64,
    /// Children that came back into line.
    pub(super) returned: AtomicU64,
    /// Children that left the line.
    pub(super) left: AtomicU64,
}

impl Figures {
    pub(super) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) stream: Stream,
    pub(super) name: Option<String>,
    pub(super) read_only: bool,
    pub(super) identity: [u8; 16],
    pub(super) quorum: Quorum,
    /// The highest level that a commit reaches.
    pub(super) level: Level,
    pub(super) reading: Reading,
    pub(super) verify: usize,
    pub(super) queue_max: u64,
    /// So long a write waits for children to come back.
    pub(super) wait_ns: u64,
    pub(super) children: Vec<Child>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Where the line ends, with all that was sent.
    pub(super) tail: AtomicU64,
    /// Whether nothing lies above the tail for certain.
    pub(super) vouched: AtomicBool,
    pub(super) figures: Figures,
    /// Whether a thread looks after those that are out of line.
    pub(super) watching: AtomicBool,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the rounds whose outcome is certain.
    pub(super) fn settle(&self, state: &mut State) -> Answers {
        state.settle(&self.rules())
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            quorum: self.quorum,
            queue_max: self.queue_max,
            wait_ns: self.wait_ns,
            now_ns: self.env.clock.monotonic_ns(),
        }
    }

    /// Where nobody else looks after the children, whoever waits for them does, as long as a round
    /// cannot end without one that comes back.
    pub(super) fn look_after(self: &Arc<Self>) {
        while self.env.drivers.inline() {
            let pause = {
                let state = self.lock();
                let Some(since) = state.stalled_ns.filter(|_| state.stalled) else {
                    return;
                };
                let now = self.env.clock.monotonic_ns();
                let strays = state
                    .lanes
                    .iter()
                    .filter(|lane| !lane.in_line() && !lane.lost);
                let next = strays.map(|lane| lane.retry_ns).min().unwrap_or(u64::MAX);
                let next = next.min(since.saturating_add(self.wait_ns));
                Duration::from_nanos(next.saturating_sub(now)).max(PAUSE)
            };
            self.env.clock.sleep(pause);
            self.kick();
        }
    }

    /// Works on the lanes that nobody works on, and has drivers look after those that are out of line.
    pub(super) fn kick(self: &Arc<Self>) {
        let (mut lanes, mut strays) = (Vec::new(), Vec::new());
        let mut answers = Answers::new();
        let astray = {
            let now = self.env.clock.monotonic_ns();
            let mut state = self.lock();
            let tend = state.adopted && state.closed.is_none();
            if state.stalled {
                answers = self.settle(&mut state);
            }
            if tend {
                state.invite(self.level.min(Level::Disk));
            }
            for (index, lane) in state.lanes.iter_mut().enumerate() {
                if !lane.queue.is_empty() && !lane.active {
                    lane.active = true;
                    lanes.push(index);
                }
                let stray = matches!(lane.role, Role::Out | Role::Behind) && !lane.lost;
                if tend && stray && lane.busy == 0 && !lane.active && now >= lane.retry_ns {
                    lane.busy += 1;
                    strays.push((index, lane.generation));
                }
            }
            let stray = |lane: &super::state::Lane| lane.role != Role::Votes && !lane.lost;
            tend && state.lanes.iter().any(stray)
        };
        give(answers);
        self.watch(astray);
        for index in lanes {
            self.work(index, Flying::new());
        }
        for (index, generation) in strays {
            let shared = self.clone();
            let job = move || shared.revive(index, generation);
            self.env.drivers.run(Box::new(job));
        }
    }

    /// Sees to it that children which are out of line are tried again, also while nobody calls.
    fn watch(self: &Arc<Self>, strays: bool) {
        if !strays || self.env.drivers.inline() || self.watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let (weak, clock) = (Arc::downgrade(self), self.env.clock.clone());
        let body = move || {
            loop {
                clock.sleep(PAUSE);
                let Some(shared) = weak.upgrade() else {
                    return;
                };
                let state = shared.lock();
                let stray = |lane: &super::state::Lane| lane.role != Role::Votes && !lane.lost;
                let on = state.closed.is_none() && state.lanes.iter().any(stray);
                drop(state);
                if !on {
                    shared.watching.store(false, Ordering::Release);
                    // One that left just now found that somebody was watching.
                    shared.kick();
                    return;
                }
                shared.kick();
            }
        };
        let started = self
            .env
            .drivers
            .thread("travertine-cluster", Box::new(body));
        if started.is_err() {
            // Then it is looked after whenever something is written.
            self.watching.store(false, Ordering::Release);
        }
    }

    /// Works on a lane until its queue is empty, and never waits: a call that is on its way goes on
    /// with the lane when its answer comes.
    fn work(self: &Arc<Self>, index: usize, mut flying: Flying) {
        loop {
            while flying.len() < DEPTH {
                let Some(item) = self.lock().lanes[index].queue.pop_front() else {
                    break;
                };
                let op = side_by_side(|| self.call(index, &item));
                let ready = op.is_ready();
                flying.push_back((item, op));
                if ready {
                    break;
                }
            }
            if let Some((item, op)) = flying.pop_front() {
                match op.try_ready() {
                    Ok(answer) => self.heard(index, item, answer),
                    Err(op) => {
                        flying.push_front((item, op));
                        match Parked::park(self, index, flying) {
                            Some(woken) => flying = woken,
                            None => return,
                        }
                    }
                }
                continue;
            }
            let mut state = self.lock();
            if state.lanes[index].queue.is_empty() {
                state.lanes[index].idle();
                drop(state);
                self.changed.notify_all();
                return;
            }
        }
    }

    fn call(&self, index: usize, item: &Item) -> Op<Reply> {
        let child = &self.children[index];
        {
            let state = self.lock();
            let lane = &state.lanes[index];
            if let Some((to, error)) = &lane.refused
                && item.round <= *to
            {
                return Op::err(error.clone());
            }
            if lane.generation != item.generation {
                return Op::err(Error::unavailable("the child has left the line"));
            }
        }
        let Some(store) = child.store() else {
            return Op::err(Error::unavailable("the child is not open"));
        };
        match &item.call {
            Call::Store(batch) => store.store(item.sender, batch.clone()).map(Reply::Tail),
            Call::Commit { level, last } => {
                let commit = Commit {
                    sender: item.sender,
                    level: *level,
                    last: last.clone(),
                };
                store.commit(commit).map(Reply::Level)
            }
        }
    }

    /// Takes note of what a child answered.
    fn heard(self: &Arc<Self>, index: usize, item: Item, answer: Result<Reply>) {
        let child = &self.children[index];
        child.moved();
        let (mut enlist, mut left) = (false, false);
        let quiet;
        let answers: Answers = {
            let mut state = self.lock();
            let newest = state.next_round - 1;
            let lane = &mut state.lanes[index];
            if lane.generation != item.generation {
                return;
            }
            lane.bytes = lane.bytes.saturating_sub(item.bytes);
            lane.joining &= !item.joins;
            let votes = lane.role == Role::Votes;
            let follows = lane.role == Role::Follows;
            match &answer {
                Ok(reply) => {
                    if item.end > child.applied() {
                        child.set_applied(item.end);
                    }
                    if matches!(reply, Reply::Level(level) if *level >= Level::Disk) {
                        lane.durable = lane.durable.max(item.end);
                    }
                    enlist = item.joins && follows;
                }
                Err(error) if is_refusal(error) && votes => {
                    // What was sent after it does not follow on.
                    lane.refused.get_or_insert((newest, error.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, child = child.title, "a child has left the line");
                    Figures::add(&self.figures.left);
                    left = true;
                    let role = match is_refusal(error) {
                        true => Role::Behind,
                        false => Role::Out,
                    };
                    lane.drop_out(role, error.clone());
                    // What failed is opened again at once, then less and less often.
                    lane.retry_ns = self.env.clock.monotonic_ns();
                }
            }
            if lane
                .refused
                .as_ref()
                .is_some_and(|(to, _)| *to <= item.round)
            {
                lane.refused = None;
            }
            let round = state
                .rounds
                .iter_mut()
                .find(|round| round.number == item.round);
            // Of one that follows only what it has counts, and that it has it durably once it is noted.
            let counts = votes || follows && answer.is_ok() && !enlist;
            if let Some(round) = round.filter(|_| counts) {
                round.replies[index] = Some(answer.clone());
            }
            let answers = self.settle(&mut state);
            quiet = state.rounds.is_empty() && state.count(Role::Follows) > 0;
            answers
        };
        give(answers);
        if enlist {
            self.enlist(index, item, answer);
        }
        if quiet {
            self.kick();
        }
        self.watch(left);
    }

    /// A child that has everything, durably, is noted as such, and its answers count from this one on.
    fn enlist(self: &Arc<Self>, index: usize, item: Item, answer: Result<Reply>) {
        let noted = match planted!(VotesUnnoted) {
            true => Ok(()),
            false => self.note_member(index, item.sender),
        };
        let answers = {
            let mut state = self.lock();
            let lane = &mut state.lanes[index];
            if lane.generation != item.generation {
                return;
            }
            match noted {
                Ok(()) => {
                    lane.role = Role::Votes;
                    lane.trouble = None;
                    lane.counts = true;
                    lane.tries = 0;
                    Figures::add(&self.figures.returned);
                    tracing::info!(
                        child = self.children[index].title,
                        "a child is back in line"
                    );
                    let mut rounds = state.rounds.iter_mut();
                    if let Some(round) = rounds.find(|round| round.number == item.round) {
                        round.replies[index] = Some(answer);
                    }
                }
                Err(error) => lane.drop_out(Role::Out, error),
            }
            self.settle(&mut state)
        };
        give(answers);
        self.changed.notify_all();
    }

    /// Notes on a child that it holds the line of this epoch.
    pub(super) fn note_member(&self, index: usize, epoch: Epoch) -> Result<()> {
        let child = &self.children[index];
        let roster = self.lock().roster.clone();
        let note = child.note().ok_or_else(|| {
            Error::unavailable("the child has lost the note of what it belongs to")
        })?;
        let note = Note {
            standing: Standing::Member,
            normal: epoch,
            seen: reseated(&note, &roster.seats),
            roster,
            ..note
        };
        child.put_note(note)
    }
}

/// Calls that are on their way to one child, oldest first.
type Flying = VecDeque<(Item, Op<Reply>)>;

/// A lane that waits for the answer to its oldest call.
struct Parked {
    shared: Arc<Shared>,
    index: usize,
    lies: Mutex<(Flying, Woken)>,
}

#[derive(PartialEq)]
enum Woken {
    /// The answer came before the calls were put down.
    Early,
    /// The calls are not put down yet.
    NotYet,
    /// Whoever wakes it goes on with the lane.
    Parked,
}

impl Parked {
    /// Asks for the oldest answer. `None`: whoever brings it goes on with the lane.
    fn park(shared: &Arc<Shared>, index: usize, mut flying: Flying) -> Option<Flying> {
        let parked = Arc::new(Self {
            shared: shared.clone(),
            index,
            lies: Mutex::new((Flying::new(), Woken::NotYet)),
        });
        let waker = Waker::from(parked.clone());
        if let Some((_, op)) = flying.front_mut()
            && let Poll::Ready(answer) = Pin::new(&mut *op).poll(&mut Context::from_waker(&waker))
        {
            *op = Op::ready(answer);
            return Some(flying);
        }
        let mut lies = parked.lies.lock().unwrap_or_else(PoisonError::into_inner);
        if lies.1 == Woken::Early {
            return Some(flying);
        }
        *lies = (flying, Woken::Parked);
        None
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        let mut lies = self.lies.lock().unwrap_or_else(PoisonError::into_inner);
        if lies.1 == Woken::Parked {
            let flying = std::mem::take(&mut lies.0);
            lies.1 = Woken::Early;
            drop(lies);
            self.shared.work(self.index, flying);
        } else {
            lies.1 = Woken::Early;
        }
    }
}

/// What a note has seen of each of these seats.
pub(super) fn reseated(note: &Note, seats: &[super::note::SeatId]) -> Vec<super::note::Seen> {
    let seen = |seat| {
        let index = note.roster.index(seat)?;
        note.seen.get(index).copied()
    };
    seats
        .iter()
        .map(|seat| seen(seat).unwrap_or_default())
        .collect()
}

/// Gives answers, with no lock held.
pub(super) fn give(answers: Answers) {
    for (slot, answer) in answers {
        slot.fulfil(answer);
    }
}

/// Whether opening the child again may help.
pub(super) fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid)
}
