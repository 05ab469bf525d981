use std::sync::Arc;

use travertine_engine::contract::{Env, ErrorKind, Op};

use super::*;
use crate::block::Tracker;
use crate::testing::{Nothing, id, now};

/// Counts what is read.
struct Counted<'b>(&'b Tracker<Nothing>, std::sync::atomic::AtomicUsize);

impl ReadBlocks for Counted<'_> {
    fn get(&self, id: &BlockId) -> Op<Option<Arc<Block>>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.get(id)
    }
}

fn begun() -> (Log, Tracker<Nothing>) {
    let log = Log::new(id("header"), id("c"));
    let mut blocks = Tracker::new(Nothing, Env::system().random);
    blocks.insert(log.0.header_block());
    (log, blocks)
}

fn by(revision: Revision) -> ActionRev {
    ActionRev {
        action: ActionId::new(format!("a{revision}")).unwrap(),
        revision,
    }
}

fn add(log: &Log, blocks: &mut Tracker<Nothing>, revision: Revision) {
    let action = Action {
        id: by(revision).action,
        actions: vec![Value::of(&("put", revision)).unwrap()],
        blocks: Vec::new(),
        collections: Vec::new(),
    };
    let changed = |blocks: &Tracker<Nothing>| blocks.changes().ids().cloned().collect();
    now(log.add(blocks, action, revision, 1_000 + revision, changed)).unwrap();
}

#[test]
fn an_entry_names_every_block_that_its_action_changes() {
    let (log, mut blocks) = begun();
    add(&log, &mut blocks, 1);
    let mut walk = log.walk(&blocks, Direction::Forward);
    let entry = now(walk.next()).unwrap().unwrap();
    let Event::Action(action) = &entry.event else {
        panic!("{entry:?}");
    };
    let all: Vec<_> = blocks.changes().ids().cloned().collect();
    assert_eq!(action.blocks, all);
    assert_eq!(all.len(), 2, "the header, and the block of the log");
    assert_eq!((entry.revision, entry.timestamp), (1, 1_001));
    assert_eq!(Entry::from_value(&entry.to_value()).unwrap(), entry);
}

#[test]
fn who_opens_a_log_reads_back_to_the_newest_checkpoint() {
    let (log, mut blocks) = begun();
    assert_eq!(now(log.context(&blocks)).unwrap(), Context::default());
    for revision in 1..=40 {
        add(&log, &mut blocks, revision);
    }
    let all: Vec<_> = (1..=40).map(by).collect();
    let before = now(log.context(&blocks)).unwrap();
    assert_eq!((before.revision, before.since), (40, 40));
    assert_eq!(before.committed, all);
    now(log.add_checkpoint(&mut blocks, vec![by(7), by(40)], 40, 0)).unwrap();
    for revision in 41..=43 {
        add(&log, &mut blocks, revision);
    }
    let after = now(log.context(&blocks)).unwrap();
    assert_eq!((after.revision, after.since), (43, 3));
    assert_eq!(after.committed, [7, 40, 41, 42, 43].map(by));
    for from in 0..=44 {
        let (context, entries) = now(log.since(&blocks, from)).unwrap();
        assert_eq!(context, after, "from {from}");
        let told: Vec<_> = entries.iter().map(|entry| entry.revision).collect();
        assert_eq!(told, (from + 1..=43).collect::<Vec<_>>());
    }
}

#[test]
fn to_open_a_log_costs_the_same_at_any_length() {
    let (log, mut blocks) = begun();
    let mut costs = Vec::new();
    for revision in 1..=5_000 {
        add(&log, &mut blocks, revision);
        if revision % CHECKPOINT == 0 {
            now(log.add_checkpoint(&mut blocks, Vec::new(), revision, 0)).unwrap();
        }
        if revision % 1_000 == 0 {
            let counted = Counted(&blocks, 0.into());
            now(log.context(&counted)).unwrap();
            costs.push(counted.1.into_inner());
        }
    }
    assert!(costs.iter().all(|cost| *cost <= 5), "{costs:?}");
    assert_eq!(
        now(log.verify(&blocks)).unwrap(),
        5_000 + 5_000 / CHECKPOINT
    );
}

#[test]
fn a_byte_that_is_changed_in_an_old_block_breaks_exactly_the_link_behind_it() {
    let (log, mut blocks) = begun();
    for revision in 1..=200 {
        add(&log, &mut blocks, revision);
    }
    now(log.verify(&blocks)).unwrap();
    let mut ids = vec![
        now(log.0.end(&blocks, Direction::Forward))
            .unwrap()
            .unwrap()
            .id()
            .clone(),
    ];
    while let Some(next) = named(&now(read(&blocks, ids.last().unwrap())).unwrap(), NEXT).unwrap() {
        ids.push(next);
    }
    assert_eq!(ids.len(), 7);
    for (at, id) in ids.iter().enumerate().take(6) {
        let mut broken = blocks.clone();
        let place = Place {
            block: id.clone(),
            index: 3,
        };
        let mut entry = Entry::from_value(&now(log.0.at(&blocks, &place)).unwrap()).unwrap();
        entry.timestamp ^= 1;
        now(log.0.replace(&mut broken, &place, entry.to_value())).unwrap();
        let error = now(log.verify(&broken)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let link = format!("from block {id} to block {}", ids[at + 1]);
        assert!(error.message().contains(&link), "{error}");
    }
}

#[test]
fn entries_whose_revisions_do_not_ascend_are_damage() {
    let (log, mut blocks) = begun();
    add(&log, &mut blocks, 2);
    add(&log, &mut blocks, 1);
    let error = now(log.context(&blocks)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let neither = Value::of(&serde_like()).unwrap();
    assert_eq!(
        Entry::from_value(&neither).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

fn serde_like() -> std::collections::BTreeMap<&'static str, u64> {
    [("rev", 1), ("timestamp", 2)].into()
}
