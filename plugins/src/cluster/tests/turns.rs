//! Seeded orders of answers: children answer many rounds at once, each in its own time, and some fail.

use super::*;
use crate::cluster::note::Roster;
use crate::cluster::quorum::Quorum;
use crate::cluster::state::{Asked, Lane, Reply, Role, Round, Rules, State};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Epoch, Error, Level};

const ROUNDS: u64 = 6;

pub(super) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let quorum = Quorum::new(3, None, None).unwrap();
    let roster = Roster {
        version: Epoch::default(),
        ack: 2,
        unit: 8,
        seats: Vec::new(),
    };
    let lanes = (0..3).map(|_| Lane::new()).collect();
    let mut state = State::new(false, roster, None, lanes);
    for lane in &mut state.lanes {
        lane.role = Role::Votes;
    }
    let mut slots = Vec::new();
    for number in 0..ROUNDS {
        let slot = Arc::default();
        slots.push(Arc::clone(&slot));
        state.rounds.push_back(Round {
            number,
            needed: quorum.ack,
            asked: Asked {
                sender: Epoch::default(),
                batches: Vec::new(),
                commit: None,
            },
            short: false,
            before: None,
            from: Position::START,
            end: Position(number * 8),
            replies: vec![None; 3],
            slot,
        });
    }
    // How many rounds each child has answered.
    let mut heard = [0; 3];
    let mut answered = 0;
    while state
        .lanes
        .iter()
        .zip(heard)
        .any(|(lane, heard)| lane.role == Role::Votes && heard < ROUNDS)
    {
        let child = rng.below(3) as usize;
        if state.lanes[child].role != Role::Votes || heard[child] == ROUNDS {
            continue;
        }
        // In any order: what one of its calls waits for, another may not.
        if rng.chance(1, 12) {
            state.lanes[child].drop_out(Role::Out, Error::unavailable("gone"));
        } else {
            let number = heard[child];
            let round = state.rounds.iter_mut().find(|round| round.number == number);
            if let Some(round) = round {
                round.replies[child] = Some(Ok(Reply::Level(Level::Disk)));
            }
            heard[child] += 1;
        }
        let rules = Rules {
            quorum,
            queue_max: u64::MAX,
            wait_ns: 0,
            now_ns: 0,
        };
        for (slot, answer) in state.settle(&rules) {
            assert!(
                Arc::ptr_eq(&slot, &slots[answered]),
                "an answer came out of turn"
            );
            let have = heard
                .iter()
                .filter(|heard| **heard > answered as u64)
                .count();
            assert!(
                answer.is_err() || have >= quorum.ack,
                "{have} have round {answered}"
            );
            answered += 1;
        }
    }
    assert_eq!(answered as u64, ROUNDS);
}

#[test]
fn rounds_are_answered_in_turn_and_by_enough() {
    for seed in storm::seeds(300) {
        run(seed);
    }
}
