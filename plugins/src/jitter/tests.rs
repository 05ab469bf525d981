//! Jitter: the same answers, some of them late, and the same ones late in every run of a seed.

use std::path::Path;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::op::block_on;
use travertine_engine::contract::{BatchBuilder, End};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};

use super::*;
use crate::standard;

fn over_memory(layer: Layer, env: &Env) -> Arc<dyn Store> {
    let spec = Spec::linear([layer, Layer::new("memory")])
        .for_tests()
        .level("memory");
    let plan = Plan::new(&spec, &standard(), Path::new("/nowhere")).unwrap();
    plan.open(env, Opening::default()).unwrap().store()
}

fn nowhere() -> Oid {
    Oid::new(Stream(0), Position(4096)).unwrap()
}

/// Which of so many answers were ready.
fn ready(seed: i64, rate: f64) -> Vec<bool> {
    let layer = Layer::new("jitter").with("seed", seed).with("rate", rate);
    let store = over_memory(layer, SimEnv::new(1).env());
    let answers = (0..200).map(|_| store.read(nowhere()));
    answers.map(|op| op.is_ready()).collect()
}

#[test]
fn the_seed_decides_which_answers_are_late_and_the_rate_how_many() {
    let half = ready(7, 0.5);
    assert_eq!(half, ready(7, 0.5));
    assert_ne!(half, ready(8, 0.5));
    let count = half.iter().filter(|ready| **ready).count();
    assert!((60..140).contains(&count), "{count} of 200 were ready");
    assert_eq!(ready(7, 0.0), [true; 200]);
    assert_eq!(ready(7, 1.0), [false; 200]);
}

#[test]
fn a_late_answer_comes_to_who_waits_and_to_who_asks() {
    for delay in [None, Some("2 ms")] {
        let mut layer = Layer::new("jitter").with("rate", 1.0);
        if let Some(delay) = delay {
            layer = layer.with("delay", delay);
        }
        let store = over_memory(layer, &Env::system());
        let Err(waits) = store.root(RootAt::Newest).try_ready() else {
            panic!("nothing is late");
        };
        assert_eq!(waits.wait().unwrap(), None);
        assert_eq!(block_on(store.root(RootAt::Newest)).unwrap(), None);
    }
}

#[test]
fn what_was_asked_for_happens_whoever_waits() {
    let store = over_memory(Layer::new("jitter").with("rate", 1.0), SimEnv::new(1).env());
    let epoch = Epoch { number: 1, tag: 1 };
    let start = End {
        position: Position::START,
        running: 0,
    };
    drop(store.fence(epoch));
    drop(store.adopt(epoch, vec![(Stream(0), start)]));
    let batch = BatchBuilder::new(Stream(0), Position::START, start, epoch, 0);
    let batch = batch.finish(None, false);
    drop(store.store(epoch, batch.clone()));
    assert_eq!(store.status().streams[0].end, batch.header().end.0);
}
