//! The steps of a trace, which name records by their number.

use crate::conformance::rng::Rng;
use crate::contract::Level;

const NAMES: u64 = 5;

/// What a name is expected to point to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want {
    Anything,
    Nothing,
    /// What the session saw when it began.
    Seen,
    Record(usize),
}

/// One change of a commit.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: u64,
    pub(super) want: Want,
    pub(super) to: Option<usize>,
}

/// One step. Carried out on both sides.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Session,
    Store {
        body: Vec<u8>,
        child: Option<usize>,
    },
    Commit {
        asks: Vec<Ask>,
        level: Level,
    },
    Rename {
        from: u64,
        to: u64,
    },
    Read(usize),
    Above(u64),
    Newest,
    Sequence(u64),
    /// The time of this commit, and a moment later.
    Time(u64),
    History,
    Prove,
    Reopen,
}

impl Step {
    /// Whether the next step may be answered otherwise for it.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Session
            | Self::Store { .. }
            | Self::Commit { .. }
            | Self::Rename { .. }
            | Self::Prove
            | Self::Reopen => true,
            Self::Read(_)
            | Self::Above(_)
            | Self::Newest
            | Self::Sequence(_)
            | Self::Time(_)
            | Self::History => false,
        }
    }

    /// The records that names or other records lead to from then on.
    pub(super) fn leads_to(&self) -> Vec<usize> {
        match self {
            Self::Store { child, .. } => child.iter().copied().collect(),
            Self::Commit { asks, .. } => asks.iter().filter_map(|ask| ask.to).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it takes room, and leaves nothing behind where there is none.
    pub(super) fn needs_room(&self) -> bool {
        matches!(
            self,
            Self::Session | Self::Store { .. } | Self::Commit { .. } | Self::Rename { .. }
        )
    }
}

/// What the next step may refer to.
pub(super) struct Scene {
    /// How many records have numbers.
    pub(super) records: usize,
    /// Number of the newest commit.
    pub(super) newest: u64,
    pub(super) level: Level,
    pub(super) reopens: bool,
}

/// Draws a step.
pub(super) fn draw(rng: &mut Rng, scene: &Scene) -> Step {
    let record = |rng: &mut Rng| (scene.records > 0).then(|| rng.below_usize(scene.records));
    match rng.below(100) {
        0..8 => Step::Session,
        8..38 => {
            let length = match rng.below(40) {
                0 => 40_000 + rng.below_usize(60_000),
                1..8 => rng.below_usize(9_000),
                _ => rng.below_usize(300),
            };
            let child = record(rng).filter(|_| rng.chance(1, 4));
            Step::Store {
                body: every_other_repeats(rng.bytes(length)),
                child,
            }
        }
        38..62 => commit(rng, scene),
        62..65 => Step::Rename {
            from: rng.below(NAMES),
            to: rng.below(NAMES),
        },
        65..77 => record(rng).map_or(Step::Newest, Step::Read),
        77..80 => Step::Above(8 << rng.below(20)),
        80..84 => Step::Newest,
        84..89 => Step::Sequence(rng.below(scene.newest + 3)),
        89..92 => Step::Time(rng.below(scene.newest + 1)),
        92..94 => Step::History,
        94..96 => Step::Prove,
        _ if scene.reopens => Step::Reopen,
        _ => Step::Newest,
    }
}

fn commit(rng: &mut Rng, scene: &Scene) -> Step {
    let mut asks: Vec<Ask> = Vec::new();
    for name in 0..NAMES {
        if scene.records == 0 || !rng.chance(1, 3) {
            continue;
        }
        let near = scene.records - 1 - rng.below_usize(scene.records.min(6));
        let want = match rng.below(12) {
            0..7 => Want::Anything,
            7..10 => Want::Seen,
            10 => Want::Nothing,
            _ => Want::Record(near),
        };
        asks.push(Ask {
            name,
            want,
            to: (!rng.chance(1, 8)).then_some(near),
        });
    }
    let levels = [Level::Memory, Level::Os, Level::Disk];
    let levels: Vec<_> = levels
        .into_iter()
        .filter(|level| *level <= scene.level)
        .collect();
    let level = rng.pick(&levels).copied().unwrap_or(Level::Memory);
    Step::Commit { asks, level }
}

/// A body, or one that can be packed in its place: random bytes alone cannot.
fn every_other_repeats(mut body: Vec<u8>) -> Vec<u8> {
    if body.first().is_some_and(|first| first % 2 == 0) {
        for at in 8..body.len() {
            body[at] = body[at % 8];
        }
    }
    body
}
