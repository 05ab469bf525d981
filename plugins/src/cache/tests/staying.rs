//! What stays when room is needed: by hits of a workload, never by time.

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::Promise;
use travertine_engine::contract::env::in_passing;

use super::*;

/// Reads below, of lookups that each read one of a few inner records and then one of many leaves.
fn lookups(leading: bool) -> u64 {
    const INNER: usize = 150;
    const LEAVES: usize = 3_000;
    let env = SimEnv::new(1);
    let prepared = Prepared::default();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, prepared.clone()));
    let mut writer = Writer::new(cache(below, env.env(), 256 << 10));
    let body = vec![7; 1_000];
    let leaves: Vec<_> = (0..LEAVES).map(|_| writer.put(&[&body])[0]).collect();
    let first = writer.read(leaves[0]).unwrap().reference_to(leaves[0]);
    let (body, references) = match leading {
        true => (&body[16..], &[first][..]),
        false => (&body[..], &[][..]),
    };
    let inner = (0..INNER).map(|_| writer.put_with(&[body], references)[0]);
    let inner: Vec<_> = inner.collect();
    let mut rng = Rng::new(9);
    for _ in 0..6_000 {
        writer.read(inner[rng.below_usize(INNER)]);
        writer.read(leaves[rng.below_usize(LEAVES)]);
    }
    prepared.reads()
}

#[test]
fn what_leads_to_others_stays_longer() {
    let (led, alike) = (lookups(true), lookups(false));
    println!("{led} reads below where inner records lead to others, {alike} where they do not");
    assert!(led < alike, "{led} and {alike}");
}

#[test]
fn a_walk_in_passing_is_answered_and_leaves_no_trace() {
    let env = SimEnv::new(1);
    let prepared = Prepared::default();
    let model = Arc::new(ModelStore::new(ModelOptions::default()));
    let below = Arc::new(Twisted::new(model, prepared.clone()));
    let mut writer = Writer::new(cache(below, env.env(), 256 << 10));
    let body = vec![7; 1_000];
    let all: Vec<_> = (0..2_000).map(|_| writer.put(&[&body])[0]).collect();
    let wanted = &all[..180];
    wanted.iter().for_each(|oid| drop(writer.read(*oid)));
    let kept = seen(&*writer.store)[3];
    assert_eq!(kept, 180);
    for oid in &all {
        let found = in_passing(|| writer.store.read(*oid)).wait();
        assert_eq!(found.unwrap().unwrap().body(), body);
    }
    let [hits, misses, _, entries] = seen(&*writer.store);
    assert_eq!((hits, misses, entries), (180, 2_000, kept));
    let before = prepared.reads();
    wanted.iter().for_each(|oid| drop(writer.read(*oid)));
    assert_eq!(prepared.reads(), before);
}

#[test]
fn what_somebody_wants_is_kept_though_it_was_asked_for_in_passing() {
    for joined in [false, true] {
        let env = SimEnv::new(1);
        let (mut writer, below) = over_a_model(env.env());
        let (oid, record) = writer.put_one(b"wanted");
        let (promise, op) = Promise::new();
        below.next(op);
        let passing = in_passing(|| writer.store.read(oid));
        let wanting = joined.then(|| writer.store.read(oid));
        promise.fulfil(Ok(record.clone()));
        assert_eq!(passing.wait().unwrap(), record);
        if let Some(wanting) = wanting {
            assert_eq!(wanting.wait().unwrap(), record);
        }
        assert_eq!(seen(&*writer.store)[3], u64::from(joined));
    }
}
