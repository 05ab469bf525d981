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
    /// The first round whose answer counts: it may have been only following when an older one was sent.
    pub(super) votes_from: u64,
    /// Why it is not in line.
    pub(super) trouble: Option<Error>,
    /// Trying again is of no use: it has to be replaced.
    pub(super) lost: bool,
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
            votes_from: 0,
            trouble: None,
            lost: false,
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

/// Something that all children in line were asked.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    pub(super) needed: usize,
    /// What the first new batch follows on, if there is one.
    pub(super) before: Option<End>,
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
    pub(super) lanes: Vec<Lane>,
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

    /// Ends the rounds whose outcome is certain, oldest first.
    pub(super) fn settle(&mut self, quorum: &Quorum, queue_max: u64) -> Answers {
        let mut answers = Answers::new();
        let mut at = 0;
        while let Some(round) = self.rounds.get(at) {
            let good = round.replies.iter().flatten().filter(|reply| reply.is_ok());
            let good = good.count();
            let waited_for = self
                .lanes
                .iter()
                .zip(&round.replies)
                .filter(|(lane, reply)| {
                    let asked = lane.role == Role::Votes && lane.votes_from <= round.number;
                    asked && reply.is_none()
                })
                .count();
            let jam = |lane: &Lane| lane.role == Role::Votes && lane.bytes > queue_max;
            let enough = good >= round.needed;
            if enough && self.lanes.iter().any(jam) || !enough && good + waited_for >= round.needed
            {
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
                true => Ok(self.won(&round)),
                false => Err(self.lost(&round, quorum)),
            };
            answers.push((round.slot, answer));
        }
        answers
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
            None => self.too_few(round.needed, quorum),
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

    #[test]
    fn who_joined_late_is_not_waited_for_in_an_older_round() {
        let roster = Roster {
            version: Epoch::default(),
            ack: 2,
            unit: 8,
            seats: Vec::new(),
        };
        let lanes = (0..3).map(|_| Lane::new()).collect();
        let mut state = State::new(false, roster, None, lanes);
        for (lane, role) in [(0, Role::Votes), (1, Role::Votes), (2, Role::Follows)] {
            state.lanes[lane].role = role;
        }
        state.rounds.push_back(Round {
            number: 7,
            needed: 2,
            before: None,
            end: Position::START,
            replies: vec![Some(Ok(Reply::Level(Level::Disk))), None, None],
            slot: Arc::default(),
        });
        let quorum = Quorum::new(3, None, None).unwrap();
        // Its answer came while it only followed, so it is never noted.
        state.lanes[2].role = Role::Votes;
        state.lanes[2].votes_from = 8;
        assert!(state.settle(&quorum, u64::MAX).is_empty());
        state.lanes[1].drop_out(Role::Out, Error::unavailable("gone"));
        let answers = state.settle(&quorum, u64::MAX);
        assert!(answers.len() == 1 && answers[0].1.is_err());
    }
}
