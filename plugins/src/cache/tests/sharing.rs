//! One budget for the caches of a stack.

use std::path::Path;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::ErrorKind;
use travertine_engine::stack::{LAYERS_MAX, Layer, Opening, Plan, Spec};

use super::*;
use crate::standard;

/// Caches that say so much each, over memory, from top to bottom.
fn stacked(memories: &[&str]) -> Arc<dyn Store> {
    let caches = memories
        .iter()
        .map(|memory| Layer::new("cache").with("memory", *memory));
    let spec = Spec::linear(caches.chain([Layer::new("memory")])).level("memory");
    let plan = Plan::new(&spec, &standard(), Path::new("/nowhere")).unwrap();
    let env = SimEnv::new(1);
    plan.open(env.env(), Opening::default()).unwrap().store()
}

#[test]
fn all_caches_of_a_stack_together_stay_within_the_sum_of_what_they_say() {
    const SUM: u64 = (64 + 128 + 64) << 10;
    let mut writer = Writer::new(stacked(&["64 KiB", "128 KiB", "64 KiB"]));
    let mut rng = Rng::new(3);
    let bodies: Vec<_> = (0..600).map(|_| rng.bytes(100)).collect();
    let oids: Vec<_> = bodies.iter().map(|body| writer.put(&[body])[0]).collect();
    for _ in 0..6_000 {
        let (near, far) = (rng.below_usize(100), rng.below_usize(oids.len()));
        let picked = if rng.chance(3, 4) { near } else { far };
        assert_eq!(writer.read(oids[picked]).unwrap().body(), bodies[picked]);
        assert!(figures(&*writer.store)["bytes_of_all_caches"] <= SUM);
    }
    // Each counts its own, and what they count is what is there.
    let mut status = writer.store.status();
    let mut sum = 0;
    while status.kind == "cache" {
        let figures: BTreeMap<_, _> = status.figures.iter().copied().collect();
        sum += figures["bytes"];
        assert_eq!(
            figures["bytes_of_all_caches"],
            status.figures.last().unwrap().1
        );
        status = status.below.remove(0);
    }
    assert_eq!(sum, figures(&*writer.store)["bytes_of_all_caches"]);
    assert!(sum > SUM * 3 / 4, "{sum}");
}

#[test]
fn a_cache_uses_what_the_others_leave() {
    // All that is read stays above, so nothing is asked of the one below any more.
    let mut writer = Writer::new(stacked(&["64 KiB", "1 MiB"]));
    let body = vec![7; 1_000];
    let oids: Vec<_> = (0..200).map(|_| writer.put(&[&body])[0]).collect();
    for _ in 0..5 {
        oids.iter().for_each(|oid| drop(writer.read(*oid)));
    }
    let [hits, misses, _, entries] = seen(&*writer.store);
    assert_eq!((hits, misses, entries), (800, 200, 200));
    assert!(figures(&*writer.store)["bytes"] > 200 << 10);
}

#[test]
fn what_one_cache_keeps_is_not_what_another_keeps_of_the_same_address() {
    let pool = Arc::new(Pool::new(1 << 20));
    let [one, two] = [(); 2].map(|()| pool.clone().share().unwrap());
    let oid = Oid::new(Stream(0), Position(512)).unwrap();
    one.keep(oid, None);
    assert_eq!((one.get(oid), two.get(oid)), (Some(None), None));
    two.keep(oid, None);
    one.clear();
    assert_eq!((one.get(oid), two.get(oid)), (None, Some(None)));
    assert_eq!((one.count(), two.count()), (0, 1));
    assert_eq!((one.bytes(), two.bytes()), (0, two.bytes_of_all()));
    two.keep(oid, None);
    assert_eq!(two.count(), 1);
    drop(two);
    assert_eq!(one.bytes_of_all(), 0);
}

#[test]
fn a_cache_that_is_closed_makes_room_for_another() {
    let pool = Arc::new(Pool::new(1 << 20));
    let mut open: Vec<_> = (0..2 * LAYERS_MAX)
        .map(|_| pool.clone().share().unwrap())
        .collect();
    let refused = pool.clone().share().map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    open.pop();
    pool.share().unwrap();
}
