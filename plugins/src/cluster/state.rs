//! What the calls and the drivers of one cluster know together, and how a round of answers ends.
//!
//! ```text
//!   Out ──opened again──> Behind ──has every batch──> Follows ──synced, noted──> Votes
//!    ^                      ^                            │                         │
//!    └── it failed ─────────┴── its queue is too long ───┴─────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use travertine_engine::contract::{
    Batch, End, Epoch, Error, ErrorKind, Level, Oid, Position, Result, StreamState, Tail,
};

use super::catchup::START;
use super::join::Report;
use super::note::{Roster, SeatId};
use super::quorum::Quorum;
use super::slot::Slot;

/// What a child is to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It cannot be asked, or not be trusted.
    Out,
    /// It is brought what it lacks.
    Behind,
    /// It gets every batch as it comes; its answers do not count yet.
    Follows,
    /// Its answers count.
    Votes,
}

/// What a child is asked, in order.
#[derive(Debug)]
pub(super) enum Call {
    Store(Batch),
    Commit { level: Level, last: Vec<Batch> },
}

#[derive(Debug)]
pub(super) struct Item {
    /// The round that it belongs to; zero: none.
    pub(super) round: u64,
    pub(super) generation: u64,
    pub(super) sender: Epoch,
    pub(super) call: Call,
    pub(super) bytes: u64,
    /// Where the line ends after it.
    pub(super) end: Position,
    /// It ends at a commit, so the child may be synced here and vote from then on.
    pub(super) joins: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    Tail(Tail),
    Level(Level),
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) role: Role,
    /// Why it is not in line.
    pub(super) trouble: Option<Error>,
    /// Trying again is of no use: it has to be replaced.
    pub(super) lost: bool,
    /// What it holds has left the line of the others.
    pub(super) astray: bool,
    /// Whether its report counts when a writer takes over.
    pub(super) counts: bool,
    /// Whether the handle that is open has adopted the epoch.
    pub(super) adopted: bool,
    pub(super) queue: VecDeque<Item>,
    /// Bytes in the queue and on their way.
    pub(super) bytes: u64,
    /// Somebody works on the queue.
    pub(super) active: bool,
    /// So many open it, bring it what it lacks, or ask it something.
    pub(super) busy: u32,
    /// It was given up on while somebody worked on it, who still does.
    pub(super) stuck: bool,
    /// Items of older ones are of no interest any more.
    pub(super) generation: u64,
    /// It was asked to sync where it may begin to vote, and has not answered yet.
    pub(super) joining: bool,
    /// It took nothing since a batch that it refused, up to this round.
    pub(super) refused: Option<(u64, Error)>,
    /// Synced up to here under this epoch.
    pub(super) durable: Position,
    pub(super) retry_ns: u64,
    pub(super) tries: u32,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            role: Role::Out,
            trouble: None,
            lost: false,
            astray: false,
            counts: false,
            adopted: false,
            queue: VecDeque::new(),
            bytes: 0,
            active: false,
            busy: 0,
            stuck: false,
            joining: false,
            generation: 1,
            refused: None,
            durable: Position::START,
            retry_ns: 0,
            tries: 0,
        }
    }

    pub(super) fn in_line(&self) -> bool {
        matches!(self.role, Role::Follows | Role::Votes)
    }

    /// Nobody works on the queue any more.
    pub(super) fn idle(&mut self) {
        self.active = false;
        self.stuck &= self.busy > 0;
    }

    /// One of those who did something else with it is done.
    pub(super) fn done(&mut self) {
        self.busy -= 1;
        self.stuck &= self.busy > 0 || self.active;
    }

    /// Takes it out of line.
    pub(super) fn drop_out(&mut self, role: Role, trouble: Error) {
        self.role = role;
        self.trouble = Some(trouble);
        self.forget();
    }

    /// Nothing that it was asked is of interest any more.
    pub(super) fn forget(&mut self) {
        self.queue.clear();
        self.bytes = 0;
        self.joining = false;
        self.refused = None;
        self.generation += 1;
    }
}

/// What a round asks, kept until it is answered: for those that come back meanwhile.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sender: Epoch,
    pub(super) batches: Vec<Batch>,
    pub(super) commit: Option<Level>,
}

impl Asked {
    fn bytes(&self) -> u64 {
        let bytes = self.batches.iter().map(|batch| batch.bytes().len() as u64);
        bytes.sum()
    }

    /// What to ask a child whose answers count, or are to: so that it votes, what it has must be at `most`.
    fn call(&self, votes: bool, most: Level) -> Option<Call> {
        match (self.commit, self.batches.as_slice()) {
            (Some(level), last) => Some(Call::Commit {
                level: if votes { level.min(Level::Disk) } else { most },
                last: last.to_vec(),
            }),
            (None, [batch]) => Some(Call::Store(batch.clone())),
            (None, _) => None,
        }
    }
}

/// Something that all children in line were asked.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) needed: usize,
    pub(super) asked: Asked,
    /// It began while fewer children were in line than there must be.
    pub(super) short: bool,
    /// What the first new batch follows on, if there is one.
    pub(super) before: Option<End>,
    /// Where the line ended before it.
    pub(super) from: Position,
    pub(super) end: Position,
    pub(super) replies: Vec<Option<Result<Reply>>>,
    pub(super) slot: Arc<Slot<Reply>>,
}

/// What was found when the children were asked last.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) reports: Vec<Report>,
    pub(super) best: usize,
    pub(super) joined: StreamState,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) adopted: bool,
    /// Where the older epochs end.
    pub(super) cut: End,
    pub(super) closed: Option<Error>,
    /// Whether nobody has ever written to this cluster.
    pub(super) forming: bool,
    pub(super) roster: Roster,
    /// A child that takes the place of a seat, once the others have noted it.
    pub(super) replacing: Option<(usize, usize, SeatId)>,
    pub(super) looked: Result<Looked>,
    /// Where the line ends, with all that was sent.
    pub(super) end: End,
    /// The last batch, as long as its running checksum was not needed.
    pub(super) last: Option<Batch>,
    /// Acknowledged up to here.
    pub(super) acked: Position,
    /// The last commit ended here.
    pub(super) boundary: Position,
    pub(super) ceiling: Position,
    /// The newest marker that lies in this stream.
    pub(super) newest: Option<Oid>,
    /// The newest batches, for a child that has almost caught up.
    pub(super) recent: VecDeque<Batch>,
    pub(super) recent_bytes: u64,
    pub(super) rounds: VecDeque<Round>,
    pub(super) next_round: u64,
    /// Whether the oldest round cannot end unless a child comes back.
    pub(super) stalled: bool,
    /// Since when that is so, or was so last, if it has not ended since.
    pub(super) stalled_ns: Option<u64>,
    pub(super) lanes: Vec<Lane>,
}

/// What decides about the end of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) quorum: Quorum,
    pub(super) queue_max: u64,
    /// So long a round waits for children to come back.
    pub(super) wait_ns: u64,
    pub(super) now_ns: u64,
}

/// Answers to be given once the lock is free.
pub(super) type Answers = Vec<(Arc<Slot<Reply>>, Result<Reply>)>;

impl State {
    pub(super) fn new(
        forming: bool,
        roster: Roster,
        replacing: Option<(usize, usize, SeatId)>,
        lanes: Vec<Lane>,
    ) -> Self {
        Self {
            epoch: Epoch::default(),
            adopted: false,
            cut: START,
            closed: None,
            forming,
            roster,
            replacing,
            looked: Err(Error::unavailable("the children were not asked yet")),
            end: START,
            last: None,
            acked: Position::START,
            boundary: Position::START,
            ceiling: Position::START,
            newest: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            rounds: VecDeque::new(),
            next_round: 1,
            stalled: false,
            stalled_ns: None,
            lanes,
        }
    }

    /// Refuses who may not write.
    pub(super) fn admit(&self, sender: Epoch) -> Result<()> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        self.epoch.admit(sender, self.adopted)
    }

    pub(super) fn count(&self, role: Role) -> usize {
        self.lanes.iter().filter(|lane| lane.role == role).count()
    }

    pub(super) fn in_line(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.in_line()).count()
    }

    /// Where the line ends, with its running checksum.
    pub(super) fn end(&mut self) -> End {
        if let Some(last) = self.last.take() {
            self.end = End {
                position: last.header().end,
                running: last.running(),
            };
        }
        self.end
    }

    /// Asks those that only follow to sync, if the line ends where one may: they vote from then on.
    pub(super) fn invite(&mut self, level: Level) {
        let end = self.end.position;
        // The next batch begins in a block of its own, and nobody knows more than was acknowledged.
        let apart = self.boundary == end || end.align_down(self.roster.unit) == end;
        if !self.rounds.is_empty() || self.acked != end || !apart {
            return;
        }
        let follows = |lane: &&mut Lane| lane.role == Role::Follows && !lane.joining;
        for lane in self.lanes.iter_mut().filter(follows) {
            lane.joining = true;
            lane.queue.push_back(Item {
                round: 0,
                generation: lane.generation,
                sender: self.epoch,
                call: Call::Commit {
                    level,
                    last: Vec::new(),
                },
                bytes: 0,
                end,
                joins: true,
            });
        }
    }

    /// Takes note of a batch that is sent to all.
    pub(super) fn push(&mut self, batch: &Batch, keep: u64) {
        let header = batch.header();
        self.end.position = header.end;
        self.last = Some(batch.clone());
        self.newest = self.newest.max(header.marker);
        self.recent_bytes += header.length();
        self.recent.push_back(batch.clone());
        while self.recent_bytes > keep
            && let Some(first) = self.recent.front()
            && first.header().end <= self.acked
        {
            self.recent_bytes -= first.header().length();
            self.recent.pop_front();
        }
    }

    /// Goes back to before a batch that was refused.
    fn roll_back(&mut self, before: End) {
        if self.end.position <= before.position {
            return;
        }
        self.end = before;
        self.last = None;
        while let Some(last) = self.recent.back()
            && last.header().end > before.position
        {
            self.recent_bytes -= last.header().length();
            self.recent.pop_back();
        }
    }

    /// Puts what a round asks into the queue of a child in line.
    pub(super) fn ask(lane: &mut Lane, number: u64, asked: &Asked, end: Position, most: Level) {
        let votes = lane.role == Role::Votes;
        let Some(call) = asked.call(votes, most) else {
            return;
        };
        let joins = asked.commit.is_some() && !votes;
        let bytes = asked.bytes();
        lane.bytes += bytes;
        lane.joining |= joins;
        lane.queue.push_back(Item {
            round: number,
            generation: lane.generation,
            sender: asked.sender,
            call,
            bytes,
            end,
            joins,
        });
    }

    /// What a child has answered to the rounds that are open is forgotten: it may be cut back to before
    /// them, and is asked again.
    pub(super) fn withdraw(&mut self, index: usize) {
        for round in &mut self.rounds {
            round.replies[index] = None;
        }
    }

    /// Ends the rounds whose outcome is certain, oldest first. One that too few children can answer
    /// waits for others to come back, if they may.
    pub(super) fn settle(&mut self, rules: &Rules) -> Answers {
        let mut answers = Answers::new();
        let in_line = self.in_line();
        let mut at = 0;
        while let Some(round) = self.rounds.get_mut(at) {
            round.short &= in_line < round.needed.max(rules.quorum.write);
            let good = round.replies.iter().flatten().filter(|reply| reply.is_ok());
            let good = good.count();
            let asked = self.lanes.iter().zip(&round.replies);
            let waited_for = asked
                .filter(|(lane, reply)| lane.in_line() && reply.is_none())
                .count();
            let jam = |lane: &Lane| lane.role == Role::Votes && lane.bytes > rules.queue_max;
            let enough = good >= round.needed && !round.short;
            let open = match enough {
                true => self.lanes.iter().any(jam),
                false => good + waited_for >= round.needed && !round.short,
            };
            self.stalled = false;
            if open || !enough && self.waits(at, rules) {
                if planted!(AnsweredOutOfTurn) {
                    at += 1;
                    continue;
                }
                break;
            }
            let Some(round) = self.rounds.remove(at) else {
                break;
            };
            let answer = match enough {
                true => {
                    self.stalled_ns = None;
                    Ok(self.won(&round))
                }
                false => Err(self.lost(&round, &rules.quorum)),
            };
            answers.push((round.slot, answer));
        }
        if self.rounds.is_empty() {
            (self.stalled, self.stalled_ns) = (false, None);
        }
        answers
    }

    /// Whether a round that cannot end as the children are now waits for one to come back.
    fn waits(&mut self, at: usize, rules: &Rules) -> bool {
        let Some(round) = self.rounds.get(at) else {
            return false;
        };
        let mut refused = round.replies.iter().flatten();
        let refused = refused.any(|reply| reply.as_ref().is_err_and(is_refusal));
        if refused || self.is_hopeless(round.needed, rules) {
            return false;
        }
        if self.stalled_ns.is_none() {
            self.stalled_ns = Some(rules.now_ns);
            // Whoever is out is tried at once.
            for lane in self.lanes.iter_mut().filter(|lane| !lane.in_line()) {
                lane.retry_ns = 0;
                lane.tries = 0;
            }
        }
        let since = self.stalled_ns.unwrap_or(rules.now_ns);
        self.stalled = rules.now_ns.saturating_sub(since) < rules.wait_ns;
        self.stalled
    }

    /// Whether it is of no use to wait until so many children are in line.
    pub(super) fn is_hopeless(&self, needed: usize, rules: &Rules) -> bool {
        let may = |lane: &&Lane| lane.in_line() || !lane.lost;
        let fenced = |lane: &Lane| {
            let trouble = lane.trouble.as_ref();
            trouble.is_some_and(|error| error.kind() == ErrorKind::Fenced)
        };
        let may = self.lanes.iter().filter(may).count();
        rules.wait_ns == 0
            || self.closed.is_some()
            || may < needed.max(rules.quorum.write)
            || self.lanes.iter().any(fenced)
    }

    fn won(&mut self, round: &Round) -> Reply {
        self.acked = self.acked.max(round.end);
        for (lane, reply) in self.lanes.iter_mut().zip(&round.replies) {
            // The others have it: who refused it is brought it later.
            if let Some(Err(error)) = reply
                && lane.role == Role::Votes
            {
                lane.drop_out(Role::Behind, error.clone());
            }
        }
        let good = || round.replies.iter().flatten().flatten();
        let mut ceilings: Vec<_> = good()
            .filter_map(|reply| match reply {
                Reply::Tail(tail) => Some(tail.ceiling),
                Reply::Level(_) => None,
            })
            .collect();
        if ceilings.is_empty() {
            let levels = good().filter_map(|reply| match reply {
                Reply::Level(level) => Some(*level),
                Reply::Tail(_) => None,
            });
            let level = levels.min().unwrap_or(Level::Memory);
            return Reply::Level(match level >= Level::Disk {
                true => Level::Replicated(good().count() as u8),
                false => level,
            });
        }
        // Announced on so many that any takeover hears of it.
        ceilings.sort_unstable();
        let ceiling = ceilings[ceilings.len() - round.needed.min(ceilings.len())];
        self.ceiling = self.ceiling.max(ceiling);
        Reply::Tail(Tail {
            end: round.end,
            ceiling,
        })
    }

    fn lost(&mut self, round: &Round, quorum: &Quorum) -> Error {
        let bad = || {
            round
                .replies
                .iter()
                .flatten()
                .filter_map(|reply| reply.as_ref().err())
        };
        let full = bad().find(|error| error.kind() == ErrorKind::Full);
        let refusal = full.or_else(|| bad().find(|error| is_refusal(error)));
        if let (Some(_), Some(before)) = (refusal, round.before) {
            // As if it had never been sent: the same batch may come again.
            self.roll_back(before);
        }
        let fenced = self.lanes.iter().filter_map(|lane| lane.trouble.as_ref());
        let fenced = fenced
            .clone()
            .find(|error| error.kind() == ErrorKind::Fenced);
        match refusal.or(fenced) {
            Some(error) => error.clone(),
            None => self.too_few(round.needed.max(quorum.write), quorum),
        }
    }

    /// Says that too few children are in line, and why.
    pub(super) fn too_few(&self, needed: usize, quorum: &Quorum) -> Error {
        let troubles = self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let error = lane.trouble.as_ref()?;
            Some(format!("; child {}: {error}", index + 1))
        });
        Error::unavailable(format!(
            "{} of {} children are in line, and {needed} are needed{}",
            self.count(Role::Votes),
            quorum.children,
            troubles.collect::<String>()
        ))
    }
}

/// Whether the child is as it was before it was asked.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Full | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Conflict
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(roles: [Role; 3]) -> State {
        let roster = Roster {
            version: Epoch::default(),
            ack: 2,
            unit: 8,
            seats: Vec::new(),
        };
        let lanes = (0..3).map(|_| Lane::new()).collect();
        let mut state = State::new(false, roster, None, lanes);
        for (lane, role) in state.lanes.iter_mut().zip(roles) {
            lane.role = role;
        }
        state.rounds.push_back(Round {
            number: 7,
            needed: 2,
            asked: Asked {
                sender: Epoch::default(),
                batches: Vec::new(),
                commit: Some(Level::Disk),
            },
            short: false,
            before: None,
            from: Position::START,
            end: Position::START,
            replies: vec![Some(Ok(Reply::Level(Level::Disk))), None, None],
            slot: Arc::default(),
        });
        state
    }

    fn rules(now_ns: u64) -> Rules {
        Rules {
            quorum: Quorum::new(3, None, None).unwrap(),
            queue_max: u64::MAX,
            wait_ns: 1000,
            now_ns,
        }
    }

    #[test]
    fn a_round_that_too_few_can_answer_waits_for_a_child_and_not_for_ever() {
        let mut state = state([Role::Votes, Role::Votes, Role::Out]);
        assert!(state.settle(&rules(50)).is_empty());
        let gone = || Error::unavailable("gone");
        state.lanes[1].drop_out(Role::Out, gone());
        assert!(state.settle(&rules(100)).is_empty());
        assert!(state.settle(&rules(1099)).is_empty() && state.stalled);
        // Somebody is there again, and asked: as long as it gets on, it is waited for.
        state.lanes[1].role = Role::Follows;
        assert!(state.settle(&rules(1100)).is_empty() && !state.stalled);
        state.lanes[1].drop_out(Role::Out, gone());
        let answers = state.settle(&rules(1200));
        assert!(answers.len() == 1 && answers[0].1.is_err());
    }

    #[test]
    fn nobody_waits_for_children_that_do_not_come_back() {
        for fenced in [false, true] {
            let mut state = state([Role::Votes, Role::Out, Role::Out]);
            assert!(state.settle(&rules(0)).is_empty());
            if fenced {
                state.lanes[1].trouble = Some(Error::fenced("another one writes"));
            } else {
                state.lanes[1].lost = true;
                assert!(state.settle(&rules(0)).is_empty());
                state.lanes[2].lost = true;
            }
            assert!(state.settle(&rules(0))[0].1.is_err());
        }
    }

    #[test]
    fn what_a_child_said_before_it_was_opened_again_does_not_count() {
        let mut state = state([Role::Votes, Role::Votes, Role::Out]);
        state.lanes[0].drop_out(Role::Out, Error::unavailable("gone"));
        state.withdraw(0);
        state.rounds[0].replies[1] = Some(Ok(Reply::Level(Level::Disk)));
        assert!(state.settle(&rules(0)).is_empty());
    }
}
