//! The rules of takeover, as pure functions. A storage engine can be written from this file.
//!
//! ```text
//!  take an epoch -> fence enough children -> join what they report -> choose a marker
//!                                                                          |
//!       serve <- adopted: on `ack` children the chain up to the cut is durable, and noted as adopted
//! ```
//!
//! Two floors share the work. What stands over several children fences, [`join`]s and counts; what
//! writes sees one report of one log, and [`choose`]s from that.
//!
//! Every function here is right: the planted mutations live where the rules are called, never in
//! the rules. Each rule says what goes wrong without it, as the model found it.

use crate::mark::{Epoch, Mark};

/// How many children there are, and how many must have a batch durable before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// How many children there are.
    pub children: usize,
    /// How many make an acknowledgement.
    pub ack: usize,
    /// How many of those that acknowledged may have forgotten it without knowing: children that
    /// were rolled back to an older image.
    pub forgetful: usize,
}

impl Quorums {
    /// How many children a takeover must fence, and hear from: so many that, whichever they are,
    /// they share with every acknowledgement a child that still knows of it.
    ///
    /// An acknowledgement needs no more than `ack` children, and two takeovers need share none: the
    /// children decide between them, as each takes batches from the newest epoch it promised only.
    #[must_use]
    pub fn fence(self) -> usize {
        (self.children - self.ack + 1 + self.forgetful).min(self.children)
    }

    /// How many of the *other* children must durably have noted a new medium before it counts.
    ///
    /// The old medium may have promised a newer epoch, and have adopted it, and nobody can ask it any
    /// more. A writer with that in hand needs one of two things besides: the reports that it chose
    /// from, or the acknowledgements that adopt. Where every set of either kind has a child with
    /// the note, made while that child was still promised to the writer that replaces, it is found
    /// out: the [report is not counted](counts), or it is [seen to be stale](is_stale) later.
    #[must_use]
    pub fn notes(self) -> usize {
        self.ack.min(self.children - self.ack + 1)
    }
}

/// What one child answered to a fence, once its promise was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which child answers.
    pub child: usize,
    /// Which medium the child stood on when it answered. A replaced medium has a higher number.
    pub medium: u8,
    /// False for a wiped child: it answers unknown, whatever else the report says.
    pub knows: bool,
    /// The newest epoch whose chain the child had whole, up to the cut, and noted so. Not what it
    /// promised.
    pub adopted: Epoch,
    /// The last batch of the valid chain, synced or not.
    pub end: Mark,
    /// Whether the last batch says that its writer closed, and no other was promised since.
    pub clean: bool,
    /// The position of the last batch that the child knows it had made durable.
    pub durable_base: u8,
    /// The newest proven marker that any batch of the valid chain names.
    pub proven: Mark,
    /// The markers of the valid chain above `proven`, oldest first.
    pub candidates: Vec<Mark>,
    /// The highest ceiling in any frame the child holds.
    pub ceiling: u8,
    /// Children that the child has durably recorded as replaced, each with its new medium.
    pub replaced: Vec<(usize, u8)>,
}

/// What several children come to: the report of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The child whose chain this is.
    pub holder: usize,
    /// Where the chain ends.
    pub end: Mark,
    /// Whether the last writer closed there, so that nothing was handed out past it.
    pub clean: bool,
    /// The newest marker known to be proven. The chain holds it.
    pub proven: Mark,
    /// The newest marker of the chain.
    pub newest: Mark,
    /// Nothing was handed out at or above this.
    pub ceiling: u8,
}

/// What recovery decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The batch where every older epoch ends: the cut.
    pub cut: Mark,
    /// A child whose chain holds it.
    pub holder: usize,
    /// The newest marker known to be proven: what the first batch may name as such.
    pub proven: Mark,
    /// The position of the first batch of the new epoch.
    pub first_base: u8,
}

/// Why recovery may not go on. Nothing is cut anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too few children know what they hold.
    TooFew {
        /// How many know.
        knowing: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The best chain lacks a marker that some child names as proven.
    BelowProven {
        /// The best candidate.
        best: Mark,
        /// The proven marker it lacks.
        proven: Mark,
    },
}

/// Whether a child that promised `promised` lets itself be fenced by `asked`.
///
/// The promise is durable before the answer leaves: a child that forgets it in a crash lets the
/// old writer complete a commit that the new one has already cut. And the answer is the one given
/// with the promise: what a child said when it was only looked at is history.
#[must_use]
pub fn may_fence(promised: Epoch, asked: Epoch) -> bool {
    asked > promised
}

/// Whether a child that promised `promised` takes batches, commits and notes from `sender`.
///
/// Equality, not order: a newer sender fences first, so that no child takes a batch under an
/// epoch that it has not durably promised. The epoch in which a batch was *born* plays no part.
#[must_use]
pub fn accepts(promised: Epoch, sender: Epoch) -> bool {
    sender == promised
}

/// Whether a report counts towards what a takeover must hear.
///
/// It does not when the child answers unknown; when its valid chain ends below what it had made
/// durable (damage, so it may have acknowledged what it no longer shows); or when another report
/// says that the medium it was made on has been replaced since.
#[must_use]
pub fn counts(report: &Report, all: &[Report]) -> bool {
    let is_short = report.end.base < report.durable_base;
    let is_old_medium = all.iter().any(|other| {
        other.replaced.iter().any(|&(child, medium)| {
            child == report.child && medium > report.medium && other.child != child
        })
    });
    report.knows && !is_short && !is_old_medium
}

/// Whether what a child answers *after* the choice shows that a report which was counted came from a
/// medium that is no more: `counted` is that report's child and medium. Who meets this starts over.
#[must_use]
pub fn is_stale(counted: (usize, u8), late: &Report) -> bool {
    let is_changed = late.child == counted.0 && late.medium > counted.1;
    let is_told = |&(child, medium): &(usize, u8)| child == counted.0 && medium > counted.1;
    is_changed || late.child != counted.0 && late.replaced.iter().any(is_told)
}

/// What ranks the chains of children: the epoch adopted, then the newest marker by epoch of birth
/// and position.
///
/// The adopted epoch comes first because whoever adopted has shown its readers where the older
/// epochs end, and may then have died before it wrote anything: an abandoned takeover's marker on a
/// child that was away then can be younger than everything shown. Ranking by the promise is as wrong
/// as ranking by position: a child that has promised and was half caught up wins over one that has
/// all. And going below the newest marker loses one that was acknowledged and that no later batch
/// names.
#[must_use]
pub fn rank(report: &Report) -> (Epoch, Mark, u8) {
    (report.adopted, newest(report), report.end.base)
}

/// Joins what children report into the report of one log: the chain of the best, and the highest
/// ceiling of all.
///
/// # Errors
///
/// [`Refusal::TooFew`] without enough reports that count, [`Refusal::BelowProven`] if the best chain
/// lacks a marker known to be proven. In both cases nothing may be cut.
pub fn join(quorums: Quorums, reports: &[Report]) -> Result<Joined, Refusal> {
    let counted: Vec<&Report> = reports
        .iter()
        .filter(|report| counts(report, reports))
        .collect();
    let (knowing, needed) = (counted.len(), quorums.fence());
    let too_few = Refusal::TooFew { knowing, needed };
    let Some(best) = counted.iter().max_by_key(|report| rank(report)) else {
        return Err(too_few);
    };
    if knowing < needed {
        return Err(too_few);
    }
    let proven = counted.iter().map(|report| report.proven).max();
    let proven = proven.unwrap_or(Mark::NONE);
    if !holds(best, proven) {
        return Err(Refusal::BelowProven {
            best: newest(best),
            proven,
        });
    }
    let ceilings = counted.iter().map(|report| report.ceiling);
    Ok(Joined {
        holder: best.child,
        end: best.end,
        // Whoever handed out more since has adopted first, and a child that adopted is counted.
        clean: best.clean,
        proven,
        newest: newest(best),
        ceiling: ceilings.max().unwrap_or_default(),
    })
}

/// Chooses where the older epochs end: behind the newest marker; or where the last writer closed,
/// and then the new epoch goes on right there. Else it begins at the ceiling.
#[must_use]
pub fn choose(joined: &Joined) -> Choice {
    let (cut, first_base) = if joined.clean {
        (joined.end, joined.end.base + 1)
    } else {
        (joined.newest, joined.ceiling)
    };
    Choice {
        cut,
        holder: joined.holder,
        proven: joined.proven,
        first_base,
    }
}

/// The newest marker of a report: its last candidate, or the proven one if there is none.
#[must_use]
pub fn newest(report: &Report) -> Mark {
    report.candidates.last().copied().unwrap_or(report.proven)
}

/// How much of a child's chain stays when it follows `adopted`: the common prefix, never less.
///
/// What lies above is void, whichever epoch it was born in. Cutting deeper and writing the same
/// batches again would for a moment lose what the child had acknowledged; a child that cannot cut
/// where it must (its log knows the void bytes to be durable) is rebuilt: it notes first that it
/// answers unknown.
#[must_use]
pub fn cut(child: &[Mark], adopted: &[Mark]) -> usize {
    child
        .iter()
        .zip(adopted)
        .take_while(|(held, wanted)| held == wanted)
        .count()
}

/// The newest batch of `chain` that `ack` children have durable; `acked` holds one mark a child.
///
/// An acknowledgement covers the whole chain below it and belongs to the medium that gave it. A
/// child acknowledges what it has, in order: who is behind is caught up first. A recovering writer
/// may call nothing proven, carried over or not, before its cut is adopted.
#[must_use]
pub fn newest_acked(quorums: Quorums, chain: &[Mark], acked: &[Mark]) -> Mark {
    let has = |mark: &Mark| acked.iter().filter(|acked| acked.base >= mark.base).count();
    chain
        .iter()
        .rev()
        .find(|mark| has(mark) >= quorums.ack)
        .copied()
        .unwrap_or(Mark::NONE)
}

/// The ceiling that the frame of a batch at `base` announces.
#[must_use]
pub fn announced(base: u8, window: u8) -> u8 {
    base + 1 + window
}

/// Whether a writer may hand out `base`, when `ack` children have a frame with `ceiling` durable.
#[must_use]
pub fn may_hand_out(base: u8, ceiling: u8) -> bool {
    base < ceiling
}

/// Whether a new medium may start to count: enough of the *other* children have durably noted it,
/// each while it was still promised to the writer that replaces.
#[must_use]
pub fn may_rejoin(quorums: Quorums, noted: usize) -> bool {
    noted >= quorums.notes()
}

/// Whether a writer may say that nothing lies at `base`, where its own chain has nothing: only below
/// its ceiling. Above that a newer writer may have begun without its knowing.
#[must_use]
pub fn writer_vouches(base: u8, ceiling: u8) -> bool {
    base < ceiling
}

/// Whether a child may say so to a writer, below the writer's ceiling: only up to what it
/// acknowledged to that very writer. A batch above the ceiling states a gap below itself, but as long
/// as it is on this child alone a newer writer may have begun in that gap.
#[must_use]
pub fn child_vouches(base: u8, acked: Mark) -> bool {
    base <= acked.base
}

/// Whether the chain of `report` holds `mark`, a marker known to be proven.
fn holds(report: &Report, mark: Mark) -> bool {
    // Proven markers lie on one line, so one that is older than the report's own is below it.
    mark <= report.proven || report.candidates.contains(&mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u8, base: u8) -> Mark {
        Mark {
            epoch: Epoch { number, tag: 0 },
            base,
        }
    }

    const MAJORITY: Quorums = Quorums {
        children: 3,
        ack: 2,
        forgetful: 0,
    };

    fn report(child: usize, candidates: &[Mark], ceiling: u8) -> Report {
        let end = candidates.last().copied().unwrap_or(mark(1, 1));
        Report {
            child,
            medium: 0,
            knows: true,
            adopted: Epoch::default(),
            end,
            clean: false,
            durable_base: end.base,
            proven: mark(1, 1),
            candidates: candidates.to_vec(),
            ceiling,
            replaced: Vec::new(),
        }
    }

    #[test]
    fn the_higher_epoch_wins_over_the_longer_chain() {
        let long = report(0, &[mark(1, 2), mark(1, 9)], 10);
        let new = report(1, &[mark(2, 5)], 7);
        let choice = choose(&join(MAJORITY, &[long, new]).unwrap());
        assert_eq!(choice.cut, mark(2, 5));
        assert_eq!(choice.holder, 1);
        assert_eq!(choice.first_base, 10);
    }

    #[test]
    fn what_was_adopted_wins_over_a_younger_marker_that_was_abandoned() {
        let adopted = Report {
            adopted: Epoch { number: 4, tag: 0 },
            ..report(0, &[mark(2, 5)], 7)
        };
        let joined = join(MAJORITY, &[adopted, report(1, &[mark(3, 6)], 9)]).unwrap();
        assert_eq!((joined.newest, joined.ceiling), (mark(2, 5), 9));
    }

    #[test]
    fn after_a_clean_close_the_next_epoch_goes_on_where_it_ended() {
        let closed = Report {
            end: mark(1, 3),
            clean: true,
            ..report(0, &[mark(1, 2)], 9)
        };
        let behind = report(1, &[mark(1, 2)], 9);
        let choice = choose(&join(MAJORITY, &[closed, behind]).unwrap());
        assert_eq!((choice.cut, choice.first_base), (mark(1, 3), 4));
    }

    #[test]
    fn any_fence_meets_any_acknowledgement() {
        for children in 1..=7 {
            for ack in 1..=children {
                let quorums = Quorums {
                    children,
                    ack,
                    forgetful: 0,
                };
                assert!(quorums.fence() + ack > children);
            }
        }
    }

    #[test]
    fn a_wiped_child_is_no_knowledge() {
        let wiped = Report {
            knows: false,
            ..report(0, &[], 0)
        };
        let refused = join(MAJORITY, &[wiped, report(1, &[mark(1, 2)], 4)]);
        assert_eq!(
            refused,
            Err(Refusal::TooFew {
                knowing: 1,
                needed: 2
            })
        );
    }

    #[test]
    fn a_chain_below_its_own_durable_frontier_is_no_knowledge() {
        let alone = Quorums {
            children: 1,
            ack: 1,
            forgetful: 0,
        };
        let short = Report {
            durable_base: 3,
            ..report(0, &[mark(1, 2)], 4)
        };
        assert_eq!(
            join(alone, &[short]),
            Err(Refusal::TooFew {
                knowing: 0,
                needed: 1
            })
        );
    }

    #[test]
    fn a_report_from_a_replaced_medium_is_no_knowledge() {
        let noted = Report {
            replaced: vec![(0, 1)],
            ..report(1, &[], 3)
        };
        let refused = join(MAJORITY, &[report(0, &[mark(1, 2)], 4), noted]);
        assert_eq!(
            refused,
            Err(Refusal::TooFew {
                knowing: 1,
                needed: 2
            })
        );
    }

    #[test]
    fn a_proven_mark_outside_the_best_chain_stops_recovery() {
        let best = report(0, &[mark(3, 8)], 9);
        let other = Report {
            proven: mark(2, 5),
            ..report(1, &[], 9)
        };
        let refused = join(MAJORITY, &[best, other]);
        assert_eq!(
            refused,
            Err(Refusal::BelowProven {
                best: mark(3, 8),
                proven: mark(2, 5)
            })
        );
    }

    #[test]
    fn a_cut_keeps_the_common_prefix() {
        let child = [mark(1, 1), mark(1, 2), mark(1, 3)];
        let adopted = [mark(1, 1), mark(1, 2), mark(2, 5)];
        assert_eq!(cut(&child, &adopted), 2);
    }

    #[test]
    fn a_quorum_counts_the_whole_chain_below_an_acknowledgement() {
        let chain = [mark(1, 1), mark(1, 2), mark(1, 3)];
        assert_eq!(
            newest_acked(MAJORITY, &chain, &[mark(1, 3), Mark::NONE, mark(1, 2)]),
            mark(1, 2)
        );
        assert_eq!(
            newest_acked(MAJORITY, &chain, &[mark(1, 3), Mark::NONE, Mark::NONE]),
            Mark::NONE
        );
    }
}
