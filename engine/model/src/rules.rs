//! The rules of takeover, as pure functions. A storage engine can be written from this file.
//!
//! ```text
//!  take an epoch -> fence a quorum -> choose a marker -> send the chain and the first batch
//!                                                             |
//!       serve <- adopted: the FIRST BATCH is durable on a quorum
//! ```
//!
//! Every function here is right: the planted mutations live where the rules are called, never in
//! the rules. Each rule says what goes wrong without it, as the model found it.

use crate::mark::{Epoch, Mark};

/// What one child answered to a fence, once its promise was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which child answers.
    pub child: usize,
    /// Which medium the child stood on when it answered. A replaced medium has a higher number.
    pub medium: u8,
    /// False for a wiped child: it answers unknown, whatever else the report says.
    pub knows: bool,
    /// The last batch of the valid chain, synced or not.
    pub end: Mark,
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

/// What recovery decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The marker where every older epoch ends: the cut.
    pub marker: Mark,
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
    /// Fewer than a quorum of children know what they hold.
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

/// How many of `children` make a quorum: any two quorums share a child.
#[must_use]
pub fn quorum(children: usize) -> usize {
    children / 2 + 1
}

/// Whether a child that promised `promised` lets itself be fenced by `asked`.
///
/// The promise is durable before the answer leaves: a child that forgets it in a crash lets the
/// old writer complete a commit that the new one has already cut.
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

/// Whether a report counts towards the quorum's knowledge.
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

/// Chooses where the older epochs end.
///
/// The newest marker, by epoch of birth and then by position, among the reports that count. Every
/// epoch starts with a marker, so the newest marker of a chain has the highest epoch of that
/// chain. Going lower loses a marker that a quorum acknowledged and no later batch named;
/// ranking by position or length lets the leftovers of an abandoned takeover win.
///
/// The first batch of the new epoch stands at the highest ceiling of any report that counts.
///
/// # Errors
///
/// [`Refusal::TooFew`] without a quorum of reports that count, [`Refusal::BelowProven`] if the
/// best chain lacks a marker known to be proven. In both cases nothing may be cut.
pub fn choose(children: usize, reports: &[Report]) -> Result<Choice, Refusal> {
    let counted: Vec<&Report> = reports
        .iter()
        .filter(|report| counts(report, reports))
        .collect();
    let needed = quorum(children);
    if counted.len() < needed {
        return Err(Refusal::TooFew {
            knowing: counted.len(),
            needed,
        });
    }
    let mut best = (Mark::NONE, 0);
    let mut proven = Mark::NONE;
    let mut first_base = 0;
    for (index, report) in counted.iter().enumerate() {
        best = best.max((newest(report), index));
        proven = proven.max(report.proven);
        first_base = first_base.max(report.ceiling);
    }
    let (marker, index) = best;
    if !holds(counted[index], proven) {
        return Err(Refusal::BelowProven {
            best: marker,
            proven,
        });
    }
    Ok(Choice {
        marker,
        holder: counted[index].child,
        proven,
        first_base,
    })
}

/// The newest marker of a report: its last candidate, or the proven one if there is none.
#[must_use]
pub fn newest(report: &Report) -> Mark {
    report.candidates.last().copied().unwrap_or(report.proven)
}

/// How much of a child's chain stays when it follows `adopted`: the common prefix, never less.
///
/// What lies above is void, whichever epoch it was born in. Cutting deeper and writing the same
/// batches again would for a moment lose what the child had acknowledged.
#[must_use]
pub fn cut(child: &[Mark], adopted: &[Mark]) -> usize {
    child
        .iter()
        .zip(adopted)
        .take_while(|(held, wanted)| held == wanted)
        .count()
}

/// The newest batch of `chain` that a quorum has durable; `acked` holds one mark a child.
///
/// An acknowledgement covers the whole chain below it and belongs to the medium that gave it.
/// A recovering writer may call nothing proven, carried over or not, before this reaches the
/// first batch of its own epoch.
#[must_use]
pub fn newest_on_quorum(chain: &[Mark], acked: &[Mark]) -> Mark {
    let needed = quorum(acked.len());
    let has = |mark: &Mark| acked.iter().filter(|acked| acked.base >= mark.base).count() >= needed;
    chain
        .iter()
        .rev()
        .find(|mark| has(mark))
        .copied()
        .unwrap_or(Mark::NONE)
}

/// The ceiling that the frame of a batch at `base` announces.
#[must_use]
pub fn announced(base: u8, window: u8) -> u8 {
    base + 1 + window
}

/// Whether a writer may hand out `base`, when a quorum has a frame with `ceiling` durable.
#[must_use]
pub fn may_hand_out(base: u8, ceiling: u8) -> bool {
    base < ceiling
}

/// Whether a new medium may start to count: a quorum of the *other* children has durably noted
/// it, each while it was still promised to the writer that replaces.
///
/// The old medium may have promised a newer epoch, and nobody can ask it any more. The notes
/// make sure that a writer with such a promise in hand meets one of them.
#[must_use]
pub fn may_rejoin(children: usize, noted: usize) -> bool {
    noted >= quorum(children)
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

    fn report(child: usize, candidates: &[Mark], ceiling: u8) -> Report {
        let end = candidates.last().copied().unwrap_or(mark(1, 1));
        Report {
            child,
            medium: 0,
            knows: true,
            end,
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
        let choice = choose(3, &[long, new]).unwrap();
        assert_eq!(choice.marker, mark(2, 5));
        assert_eq!(choice.holder, 1);
        assert_eq!(choice.first_base, 10);
    }

    #[test]
    fn a_wiped_child_is_no_knowledge() {
        let wiped = Report {
            knows: false,
            ..report(0, &[], 0)
        };
        let refused = choose(3, &[wiped, report(1, &[mark(1, 2)], 4)]);
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
        let short = Report {
            durable_base: 3,
            ..report(0, &[mark(1, 2)], 4)
        };
        assert_eq!(
            choose(1, &[short]),
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
        let refused = choose(3, &[report(0, &[mark(1, 2)], 4), noted]);
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
        let refused = choose(3, &[best, other]);
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
            newest_on_quorum(&chain, &[mark(1, 3), Mark::NONE, mark(1, 2)]),
            mark(1, 2)
        );
        assert_eq!(
            newest_on_quorum(&chain, &[mark(1, 3), Mark::NONE, Mark::NONE]),
            Mark::NONE
        );
    }
}
