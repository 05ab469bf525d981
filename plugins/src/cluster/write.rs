//! Writing: what comes is checked once, put into the queue of every child in line, and answered when
//! enough of them have it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use travertine_engine::contract::{
    Batch, Commit, End, Epoch, Error, Level, Op, Position, Result, Tail,
};

use super::catchup::given_up;
use super::shared::{Figures, Shared, give};
use super::slot::Slot;
use super::state::{Asked, Call, Item, Reply, Role, Round, State};

/// Bytes of acknowledged batches that are kept at hand, so that a child that has almost caught up with a
/// busy writer gets into line.
const KEEP: u64 = 1 << 20;

impl Shared {
    pub(super) fn store(self: &Arc<Self>, sender: Epoch, batch: Batch) -> Op<Tail> {
        let asked = self.submit(sender, std::slice::from_ref(&batch), None);
        answer(asked, |reply| match reply {
            Reply::Tail(tail) => Ok(tail),
            Reply::Level(_) => Err(Error::invalid("a store was answered with a level")),
        })
    }

    pub(super) fn commit(self: &Arc<Self>, commit: &Commit) -> Op<Level> {
        if commit.level > self.level {
            return Op::err(Error::invalid(format!(
                "this cluster reaches {} at most, {} was asked",
                self.level, commit.level
            )));
        }
        if commit.is_keep() {
            self.keep();
            return Op::ok(commit.level);
        }
        let asked = self.submit(commit.sender, &commit.last, Some(commit.level));
        answer(asked, |reply| match reply {
            Reply::Level(level) => Ok(level),
            Reply::Tail(_) => Err(Error::invalid("a commit was answered with a tail")),
        })
    }

    /// Has each child keep what was found in it. One that cannot says so to whoever asks how far it is safe.
    fn keep(self: &Arc<Self>) {
        let open = (0..self.children.len()).filter(|&index| self.children[index].store().is_some());
        let kept = self.each(open, |shared, index| {
            let store = shared.children[index].open_store()?;
            store.commit(Commit::keep(store.status().level)).wait()
        });
        for (index, answer) in kept {
            if let Err(error) = answer {
                let child = &self.children[index].title;
                tracing::warn!(%error, child, "what was found is not known to be durable");
            }
        }
    }

    fn submit(
        self: &Arc<Self>,
        sender: Epoch,
        batches: &[Batch],
        commit: Option<Level>,
    ) -> Result<Arc<Slot<Reply>>> {
        if self.read_only {
            return Err(Error::closed("the cluster is open for reading only"));
        }
        let slot = Arc::new(Slot::default());
        let answers = {
            let mut guard = self.lock();
            let state = &mut *guard;
            state.admit(sender)?;
            let needed = match commit {
                Some(Level::Replicated(copies)) => self.quorum.ack.max(usize::from(copies)),
                _ => self.quorum.ack,
            };
            let needed = needed - usize::from(planted!(AckTooFew));
            let wanted = needed.max(self.quorum.write);
            let short = state.in_line() < wanted;
            if short && state.is_hopeless(needed, &self.rules()) {
                let error = state.too_few(wanted, &self.quorum);
                drop(guard);
                // Perhaps one of them is back by the next call.
                self.kick();
                return Err(error);
            }
            let from = state.end.position;
            let before = self.take(state, batches)?;
            let end = state.end.position;
            if commit.is_some() {
                state.boundary = end;
            }
            let number = state.next_round;
            state.next_round += 1;
            let round = Round {
                number,
                needed,
                asked: Asked {
                    sender,
                    batches: batches.to_vec(),
                    commit,
                },
                short,
                before,
                from,
                end,
                replies: vec![None; state.lanes.len()],
                slot: slot.clone(),
            };
            self.tail.store(end.0, Ordering::Release);
            self.send(state, &round);
            state.rounds.push_back(round);
            self.settle(state)
        };
        give(answers);
        self.kick();
        self.look_after();
        Ok(slot)
    }

    /// Checks that the batches follow on, or lie here already, and takes note of the new ones. What
    /// the first new one follows on is the answer.
    fn take(&self, state: &mut State, batches: &[Batch]) -> Result<Option<End>> {
        let mut end = state.end();
        let mut new = Vec::new();
        for batch in batches {
            let header = batch.header();
            if header.stream != self.stream {
                return Err(Error::invalid(format!(
                    "a batch of stream {} does not belong in {}",
                    header.stream, self.stream
                )));
            }
            if header.end <= end.position {
                continue;
            }
            let before = End {
                position: header.before_end,
                running: header.before_running,
            };
            if before != end {
                return Err(Error::invalid(format!(
                    "the batch at {} follows on {}, the cluster ends at {}",
                    header.base, header.before_end, end.position
                )));
            }
            new.push(batch);
            end = End {
                position: header.end,
                running: batch.running(),
            };
        }
        let before = state.end();
        for batch in &new {
            state.push(batch, KEEP);
        }
        Ok((!new.is_empty()).then_some(before))
    }

    /// Asks every child in line, and leaves behind who is too slow.
    fn send(&self, state: &mut State, round: &Round) {
        let most = self.level.min(Level::Disk);
        for lane in state.lanes.iter_mut().filter(|lane| lane.in_line()) {
            State::ask(lane, round.number, &round.asked, round.end, most);
        }
        self.leave_behind(state);
    }

    fn leave_behind(&self, state: &mut State) {
        for index in 0..state.lanes.len() {
            let (votes, in_line) = (state.count(Role::Votes), state.in_line());
            let lane = &mut state.lanes[index];
            if !lane.in_line() || lane.bytes <= self.queue_max {
                continue;
            }
            let votes = votes - usize::from(lane.role == Role::Votes);
            if votes >= self.quorum.ack && in_line > self.quorum.write {
                let bytes = lane.bytes;
                lane.drop_out(
                    Role::Behind,
                    Error::unavailable(format!("{bytes} bytes waited for it, too many to keep")),
                );
                Figures::add(&self.figures.left);
            }
        }
    }

    /// Puts a child that has everything up to `end` into line, and asks it what is open. `false`: it
    /// lacks batches that were acknowledged meanwhile.
    pub(super) fn join_line(&self, index: usize, generation: u64, end: Position) -> Result<bool> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.lanes[index].generation != generation {
            return Err(given_up());
        }
        let mut recent = state.recent.iter();
        let from = recent.position(|batch| batch.header().before_end == end);
        let open = state
            .rounds
            .front()
            .map_or(state.end.position, |round| round.from);
        let missing: Vec<Batch> = match from {
            Some(from) => {
                let batches = state.recent.range(from..);
                let decided = batches.take_while(|batch| batch.header().end <= open);
                decided.cloned().collect()
            }
            None if end == state.end.position => Vec::new(),
            None => return Ok(false),
        };
        let sender = state.epoch;
        let lane = &mut state.lanes[index];
        lane.role = Role::Follows;
        lane.trouble = None;
        for batch in missing {
            let (bytes, end) = (batch.bytes().len() as u64, batch.header().end);
            lane.bytes += bytes;
            lane.queue.push_back(Item {
                round: 0,
                generation: lane.generation,
                sender,
                call: Call::Store(batch),
                bytes,
                end,
                joins: false,
            });
        }
        let most = self.level.min(Level::Disk);
        for round in &state.rounds {
            State::ask(lane, round.number, &round.asked, round.end, most);
        }
        let answers = self.settle(state);
        drop(guard);
        give(answers);
        Ok(true)
    }
}

fn answer<T: Send + 'static>(
    asked: Result<Arc<Slot<Reply>>>,
    shape: impl FnOnce(Reply) -> Result<T> + Send + 'static,
) -> Op<T> {
    match asked {
        Ok(slot) => slot.op().and_then(shape),
        Err(error) => Op::err(error),
    }
}
