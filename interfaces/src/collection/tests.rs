//! Clients that share collections: on one store, with others in between, and with answers that get lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{ErrorKind, Op};

use super::*;
use crate::block::Value;
use crate::index::Direction;
use crate::testing::{id, local, local_with, now};
use crate::transactor::{
    ActionRev, Answers, Commit, Committed, Local, Pend, Pended, Stale, Status,
};

fn store() -> Arc<Local> {
    Arc::new(local())
}

/// Whoever pends and goes is soon forgotten.
fn impatient_store() -> Arc<Local> {
    Arc::new(local_with(std::time::Duration::from_millis(1)))
}

fn tree(store: &Arc<impl Transactor>) -> Collection<Tree> {
    let env = Env::system();
    now(Collection::create_or_open(
        store.clone(),
        &env,
        id("rows"),
        Tree,
    ))
    .unwrap()
}

fn diary(store: &Arc<impl Transactor>) -> Collection<Diary> {
    let env = Env::system();
    now(Collection::create_or_open(
        store.clone(),
        &env,
        id("diary"),
        Diary,
    ))
    .unwrap()
}

fn put(tree: &mut Collection<Tree>, key: &str, value: u64) {
    let row = Replace::put(key.as_bytes(), &value).unwrap();
    now(tree.act([row])).unwrap();
}

fn sync<K: Kind>(collection: &mut Collection<K>) {
    now(collection.sync(&Retry::default())).unwrap();
}

fn rows(tree: &Collection<Tree>) -> BTreeMap<String, u64> {
    let mut cursor = tree.cursor();
    now(cursor.seek(&[])).unwrap();
    let mut rows = BTreeMap::new();
    while let Some(entry) = now(cursor.next()).unwrap() {
        let (key, value) = row(&entry).unwrap();
        rows.insert(String::from_utf8(key).unwrap(), value.to().unwrap());
    }
    rows
}

fn written(diary: &Collection<Diary>) -> Vec<String> {
    let entries = now(diary.entries(Direction::Forward)).unwrap();
    entries.iter().map(|entry| entry.to().unwrap()).collect()
}

/// What a transactor does to those who call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The call is not done.
    Before,
    /// The call is done, and the answer gets lost.
    After,
    /// Somebody else is always first.
    Stale,
}

/// Passes calls on, as long as it likes to.
struct Faulty {
    below: Arc<Local>,
    pends: Mutex<VecDeque<Fault>>,
    commits: Mutex<VecDeque<Fault>>,
}

impl Faulty {
    fn new(below: &Arc<Local>, pends: &[Fault], commits: &[Fault]) -> Arc<Self> {
        Arc::new(Self {
            below: below.clone(),
            pends: Mutex::new(pends.iter().copied().collect()),
            commits: Mutex::new(commits.iter().copied().collect()),
        })
    }

    fn meet<T: Send + 'static>(
        faults: &Mutex<VecDeque<Fault>>,
        stale: T,
        call: impl FnOnce() -> Op<T>,
    ) -> Op<T> {
        let lost = || Error::unavailable("the answer got lost");
        match faults.lock().unwrap().pop_front().unwrap_or(Fault::None) {
            Fault::None => call(),
            Fault::Before => Op::err(lost()),
            Fault::After => Op::ready(call().wait().and(Err(lost()))),
            Fault::Stale => Op::ok(stale),
        }
    }
}

impl Transactor for Faulty {
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        self.below.get(blocks, context)
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        let stale = Pended::Stale(Stale::Pending(Vec::new()));
        Self::meet(&self.pends, stale, || self.below.pend(pend))
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        let stale = Committed::Stale(Stale::Pending(Vec::new()));
        Self::meet(&self.commits, stale, || self.below.commit(commit))
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        self.below.cancel(action, blocks)
    }

    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        self.below.status(by, blocks)
    }
}

fn what_is_done_here_is_seen_elsewhere_once_it_is_synchronised() {
    let store = store();
    let (mut one, mut two) = (tree(&store), tree(&store));
    put(&mut one, "a", 1);
    assert_eq!(now(one.get(b"a")).unwrap().unwrap().to::<u64>().unwrap(), 1);
    now(two.update()).unwrap();
    assert!(rows(&two).is_empty());
    sync(&mut one);
    assert_eq!((one.revision(), one.noted().len()), (1, 0));
    now(two.update()).unwrap();
    assert_eq!(rows(&two), rows(&one));
    now(one.act([Replace::delete(b"a")])).unwrap();
    sync(&mut one);
    now(two.update()).unwrap();
    assert!(rows(&two).is_empty());
}

fn to_open_creates_nothing() {
    let store = store();
    let env = Env::system();
    let open = || now(Collection::open(store.clone(), &env, id("rows"), Tree)).unwrap();
    assert!(open().is_none());
    let mut one = tree(&store);
    assert!(open().is_none(), "not before the first sync");
    sync(&mut one);
    assert!(rows(&open().unwrap()).is_empty());
}

fn of_two_who_create_one_did_and_both_see_all() {
    let store = store();
    let (mut one, mut two) = (tree(&store), tree(&store));
    put(&mut one, "a", 1);
    put(&mut two, "b", 2);
    sync(&mut one);
    sync(&mut two);
    now(one.update()).unwrap();
    let all = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!((rows(&one), rows(&two)), (all.clone(), all));
    let mut log = now(Collection::open(store, &Env::system(), id("rows"), Tree))
        .unwrap()
        .unwrap();
    assert_eq!(log.revision(), 2);
    now(log.update()).unwrap();
}

fn an_action_that_fails_in_the_middle_leaves_nothing_and_what_was_before_stays() {
    let store = store();
    for reopened in [false, true] {
        let mut one = tree(&store);
        if reopened {
            sync(&mut one);
            one = tree(&store);
        }
        put(&mut one, "before", 1);
        let bad = Replace::put(b"half", &1).unwrap();
        let mut bad = bad.and_put(b"more", &2).unwrap();
        // Deeper than values go, once it lies in an action.
        let mut deep = Value::list(&[]).unwrap();
        for _ in 0..31 {
            deep = Value::list(&[deep]).unwrap();
        }
        bad.0[1].1 = Some(deep);
        let good = Replace::put(b"good", &1).unwrap();
        let error = now(one.act([good, bad])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(rows(&one).into_keys().collect::<Vec<_>>(), ["before"]);
        assert_eq!(one.noted().len(), 1);
        sync(&mut one);
        assert_eq!(rows(&tree(&store)).len(), 1);
    }
}

fn whoever_is_always_too_late_is_told_so_and_loses_nothing() {
    let store = store();
    let faulty = Faulty::new(&store, &[Fault::Stale; 100], &[]);
    let mut one = tree(&faulty);
    put(&mut one, "a", 1);
    let retry = Retry {
        attempts: 5,
        ..Retry::default()
    };
    match now(one.sync(&retry)) {
        Err(SyncError::Exhausted(why)) => {
            assert_eq!((why.attempts, why.revision), (5, 0));
            assert_eq!(why.stale, Stale::Pending(Vec::new()));
        }
        other => panic!("{other:?}"),
    }
    let soon = Retry {
        attempts: u32::MAX,
        deadline: Some(std::time::Duration::ZERO),
        ..Retry::default()
    };
    assert!(matches!(now(one.sync(&soon)), Err(SyncError::Exhausted(_))));
    let cancelled = Retry {
        cancel: Some(Arc::new(true.into())),
        ..Retry::default()
    };
    assert!(matches!(
        now(one.sync(&cancelled)),
        Err(SyncError::Cancelled)
    ));
    assert_eq!(one.noted().len(), 1);
    faulty.pends.lock().unwrap().clear();
    sync(&mut one);
    assert_eq!(rows(&tree(&store)).len(), 1);
}

fn an_answer_that_gets_lost_doubles_nothing() {
    use Fault::{After, Before, None};
    for (pends, commits) in [
        (vec![Before], vec![]),
        (vec![After], vec![]),
        (vec![After, After], vec![]),
        (vec![], vec![Before]),
        (vec![], vec![After]),
        (vec![], vec![After, None, After]),
        (vec![None, Before], vec![Before, After]),
    ] {
        let store = impatient_store();
        let faulty = Faulty::new(&store, &pends, &commits);
        let mut one = diary(&faulty);
        let mut other = diary(&store);
        for number in 0..4 {
            let text = Value::text(&format!("mine {number}"));
            now(one.act([text])).unwrap();
            let failed = now(one.sync(&Retry::default())).is_err();
            if failed && number % 2 == 0 {
                now(other.act([Value::text(&format!("theirs {number}"))])).unwrap();
                sync(&mut other);
            }
        }
        sync(&mut one);
        let all = written(&diary(&store));
        let mine: Vec<_> = all.iter().filter(|text| text.starts_with("mine")).collect();
        assert_eq!(
            mine,
            ["mine 0", "mine 1", "mine 2", "mine 3"],
            "{pends:?} {commits:?}"
        );
        now(other.update()).unwrap();
        assert_eq!(written(&other), all);
        let left = store.get(&[id("diary")], Option::None).wait().unwrap();
        assert!(left[&id("diary")].as_ref().unwrap().pending.is_empty());
    }
}

/// A counter that others may outdo.
#[derive(Debug, Clone, Copy)]
struct Highest(Decide);

type Decide = fn(u64, &[u64]) -> Conflict<u64>;

impl Kind for Highest {
    type Action = u64;

    fn header(&self, id: &BlockId) -> Block {
        Tree.header(id)
    }

    async fn apply<W: WriteBlocks + Send>(
        &self,
        blocks: &mut W,
        header: &BlockId,
        action: &u64,
    ) -> Result<()> {
        let value = crate::block::Operation::assign("value", Value::of(action)?);
        blocks.update(header, value).await
    }

    fn conflict(&self, mine: &u64, theirs: &[u64]) -> Conflict<u64> {
        (self.0)(*mine, theirs)
    }
}

fn what_the_kind_decides_in_a_conflict_is_what_is_stored() {
    let cases: [(Decide, u64); 3] = [
        (|_, _| Conflict::Keep, 2),
        (|mine, theirs| Conflict::Replace(mine + theirs[0]), 12),
        (|_, _| Conflict::Drop, 10),
    ];
    for (decide, wanted) in cases {
        let store = store();
        let open = |decide| {
            let env = Env::system();
            let kind = Highest(decide);
            now(Collection::create_or_open(
                store.clone(),
                &env,
                id("n"),
                kind,
            ))
            .unwrap()
        };
        let (mut one, mut two) = (open(decide), open(decide));
        now(one.act([10])).unwrap();
        now(two.act([2])).unwrap();
        sync(&mut one);
        sync(&mut two);
        let header = now(open(decide).blocks().get(&id("n"))).unwrap().unwrap();
        assert_eq!(header.one("value").unwrap().to::<u64>().unwrap(), wanted);
    }
}

/// Names that are given once.
#[derive(Debug, Clone, Copy)]
struct Once;

impl Kind for Once {
    type Action = String;

    fn header(&self, id: &BlockId) -> Block {
        Tree.header(id)
    }

    async fn apply<W: WriteBlocks + Send>(
        &self,
        blocks: &mut W,
        header: &BlockId,
        name: &String,
    ) -> Result<()> {
        let there = blocks.get(header).await?.unwrap();
        if there.get(name).is_some() {
            return Err(Error::invalid("it is given"));
        }
        let given = crate::block::Operation::assign(name.clone(), Value::of(&1)?);
        blocks.update(header, given).await
    }
}

fn what_cannot_be_done_again_is_never_synchronised_and_can_be_taken_back() {
    let store = store();
    let open = || {
        let env = Env::system();
        now(Collection::create_or_open(
            store.clone(),
            &env,
            id("names"),
            Once,
        ))
        .unwrap()
    };
    let (mut one, mut two) = (open(), open());
    now(two.act(["x".to_owned()])).unwrap();
    sync(&mut two);
    now(one.update()).unwrap();
    now(one.act(["y".to_owned(), "z".to_owned()])).unwrap();
    now(two.act(["z".to_owned()])).unwrap();
    sync(&mut two);
    for _ in 0..2 {
        now(one.update()).unwrap_err();
        now(one.act(["w".to_owned()])).unwrap_err();
        now(one.sync(&Retry::default())).unwrap_err();
    }
    now(two.update()).unwrap();
    assert_eq!((two.revision(), one.noted().len()), (2, 2));
    assert_eq!(now(one.discard()).unwrap(), ["y", "z"]);
    now(one.act(["y".to_owned()])).unwrap();
    sync(&mut one);
    now(two.update()).unwrap();
    let header = now(two.blocks().get(&id("names"))).unwrap().unwrap();
    assert!(
        ["x", "y", "z"]
            .iter()
            .all(|name| header.get(name).is_some())
    );
    assert_eq!(two.revision(), 3);
}

fn an_update_after_a_lost_answer_takes_back_no_more_than_what_landed() {
    for fault in [Fault::Before, Fault::After] {
        let store = store();
        let faulty = Faulty::new(&store, &[], &[fault]);
        let open = |store: Arc<dyn Transactor>| {
            let env = Env::system();
            let kind = Highest(|mine, _| match mine {
                1 => Conflict::Drop,
                _ => Conflict::Keep,
            });
            now(Collection::create_or_open(store, &env, id("n"), kind)).unwrap()
        };
        let (mut one, mut two) = (open(faulty.clone()), open(store.clone()));
        now(one.act([1, 2])).unwrap();
        now(one.sync(&Retry::default())).unwrap_err();
        now(one.act([3])).unwrap();
        now(two.update()).unwrap();
        now(two.act([9])).unwrap();
        // Before, what is lost still stands in the way.
        let theirs = now(two.sync(&Retry {
            attempts: 1,
            ..Retry::default()
        }));
        assert_eq!(theirs.is_ok(), fault == Fault::After);
        now(one.update()).unwrap();
        if theirs.is_err() {
            assert_eq!(one.noted(), [1, 2, 3]);
            sync(&mut two);
            now(one.update()).unwrap();
        }
        let left: &[u64] = if fault == Fault::After { &[3] } else { &[2, 3] };
        assert_eq!(one.noted(), left, "{fault:?}");
        sync(&mut one);
        let mut log = one.log().walk(one.blocks(), Direction::Forward);
        let mut all = Vec::new();
        while let Some(entry) = now(log.next()).unwrap() {
            all.extend(entry.actions().map(|action| action.to::<u64>().unwrap()));
        }
        let wanted: &[u64] = if fault == Fault::After {
            &[1, 2, 9, 3]
        } else {
            &[9, 2, 3]
        };
        assert_eq!(all, wanted);
    }
}

fn to_open_reads_no_more_of_a_long_log_than_of_a_short_one() {
    let store = store();
    let mut one = diary(&store);
    let mut asked = Vec::new();
    for number in 0..700_u64 {
        now(one.act([Value::of(&number).unwrap()])).unwrap();
        sync(&mut one);
        if number == 150 || number == 150 + 64 * 8 {
            let counted = Arc::new(Counted(store.clone(), 0.into()));
            diary(&counted);
            asked.push(counted.1.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
    assert!(asked.iter().all(|asked| *asked <= 6), "{asked:?}");
}

/// Counts the blocks that are asked for.
struct Counted(Arc<Local>, std::sync::atomic::AtomicUsize);

impl Transactor for Counted {
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        self.1
            .fetch_add(blocks.len(), std::sync::atomic::Ordering::Relaxed);
        self.0.get(blocks, context)
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        self.0.pend(pend)
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        self.0.commit(commit)
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        self.0.cancel(action, blocks)
    }

    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        self.0.status(by, blocks)
    }
}

fn every_entry_of_many_writers_is_there_once_and_in_one_order_for_all() {
    let store = store();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut diary = diary(store);
                let mut tree = tree(store);
                for number in 0..50 {
                    let text = format!("{writer} {number}");
                    now(diary.act([Value::text(&text)])).unwrap();
                    put(&mut tree, &text, number);
                    let patient = Retry {
                        attempts: 10_000,
                        cap: std::time::Duration::from_millis(20),
                        ..Retry::default()
                    };
                    now(diary.sync(&patient)).unwrap();
                    now(tree.sync(&patient)).unwrap();
                }
            });
        }
    });
    let all = written(&diary(&store));
    assert_eq!(
        (all.len(), all.iter().collect::<BTreeSet<_>>().len()),
        (200, 200)
    );
    for writer in 0..4 {
        let mine: Vec<_> = all
            .iter()
            .filter(|text| text.starts_with(&format!("{writer} ")))
            .collect();
        let wanted: Vec<_> = (0..50).map(|number| format!("{writer} {number}")).collect();
        assert_eq!(mine, wanted.iter().collect::<Vec<_>>());
    }
    let rows = rows(&tree(&store));
    assert_eq!(
        rows.into_keys().collect::<BTreeSet<_>>(),
        all.into_iter().collect()
    );
    let diary = diary(&store);
    // Checkpoints among them.
    assert!(now(diary.log().verify(diary.blocks())).unwrap() > 200);
}

/// Random clients with rows in common, against one map that the log tells the order of.
fn clients_end_with_one_map_whatever_they_did_and_whatever_got_lost() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let below = impatient_store();
        let faulty = Faulty::new(&below, &[], &[]);
        let mut clients: Vec<_> = (0..3).map(|_| tree(&faulty)).collect();
        for _ in 0..80 {
            let client = &mut clients[rng.below(3) as usize];
            match rng.below(4) {
                0 | 1 => {
                    let key = format!("{}", rng.below(40));
                    let change = match rng.below(4) {
                        0 => Replace::delete(key.as_bytes()),
                        _ => Replace::put(key.as_bytes(), &rng.below(1000)).unwrap(),
                    };
                    now(client.act([change])).unwrap();
                }
                2 => now(client.update()).unwrap(),
                _ => {
                    if rng.below(3) == 0 {
                        let some = [Fault::Before, Fault::After, Fault::Stale];
                        let fault = some[rng.below(3) as usize];
                        let calls = [&faulty.pends, &faulty.commits][rng.below(2) as usize];
                        calls.lock().unwrap().push_back(fault);
                    }
                    let quick = Retry {
                        base: std::time::Duration::from_micros(1),
                        ..Retry::default()
                    };
                    drop(now(client.sync(&quick)));
                }
            }
        }
        faulty.pends.lock().unwrap().clear();
        faulty.commits.lock().unwrap().clear();
        for client in &mut clients {
            sync(client);
        }
        let mut model = BTreeMap::new();
        let fresh = tree(&below);
        let mut log = fresh.log().walk(fresh.blocks(), Direction::Forward);
        while let Some(entry) = now(log.next()).unwrap() {
            for action in entry.actions() {
                for (key, value) in action.to::<Replace>().unwrap().0 {
                    let key = String::from_utf8(key.0).unwrap();
                    match value {
                        Some(value) => {
                            let value = value.to::<u64>().unwrap();
                            model.insert(key, value);
                        }
                        None => drop(model.remove(&key)),
                    }
                }
            }
        }
        assert_eq!(rows(&fresh), model, "seed {seed}");
        for client in &mut clients {
            now(client.update()).unwrap();
            assert_eq!(rows(client), model, "seed {seed}");
            assert_eq!(client.revision(), fresh.revision());
        }
    }
}

fn heavy_rows_and_entries_have_bounds_and_wedge_nothing() {
    let store = store();
    let mut diary = diary(&store);
    let heavy = Value::bytes(&vec![7; 300 << 10]);
    for _ in 0..4 {
        now(diary.act(std::iter::repeat_n(heavy.clone(), 20))).unwrap();
        sync(&mut diary);
    }
    // As much as one entry of the log takes, and no more.
    let most = Value::bytes(&vec![7; NOTED_MAX / 2 - 100]);
    now(diary.act([most.clone(), most.clone()])).unwrap();
    let error = now(diary.act([heavy.clone()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    for _ in 0..4 {
        sync(&mut diary);
        now(diary.act([most.clone(), most.clone()])).unwrap();
    }
    sync(&mut diary);
    put(&mut tree(&store), "small", 1);
    assert_eq!(now(diary.entries(Direction::Forward)).unwrap().len(), 90);
    let mut rows = tree(&store);
    let wide = Value::bytes(&vec![7; ROW_MAX - 100]);
    for key in 0..200_u8 {
        now(rows.act([Replace::put(&[key], &wide).unwrap()])).unwrap();
        sync(&mut rows);
    }
    let wider = Value::bytes(&vec![7; ROW_MAX]);
    let error = now(rows.act([Replace::put(b"x", &wider).unwrap()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(now(rows.count()).unwrap(), 200);
}

/// So many as `TRAVERTINE_KEYS` says, or ten thousand.
#[test]
fn keys_in_random_order_are_found_scanned_deleted_and_in_order() {
    let count = std::env::var("TRAVERTINE_KEYS").ok();
    let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let store = store();
    let mut tree = tree(&store);
    // An odd factor makes a permutation of all numbers.
    let seed = Env::system().random.next_u64() | 1;
    println!("seed {seed}");
    let key = |nth: u64| (nth.wrapping_mul(seed)).to_be_bytes();
    for first in (0..count).step_by(1000) {
        let rows = first..count.min(first + 1000);
        let rows = rows.map(|nth| Replace::put(&key(nth), &nth).unwrap());
        now(tree.act(rows)).unwrap();
        sync(&mut tree);
    }
    let mut sorted: Vec<_> = (0..count).map(|nth| (key(nth).to_vec(), nth)).collect();
    sorted.sort_unstable();
    let check = |tree: &Collection<Tree>, sorted: &[(Vec<u8>, u64)]| {
        for (key, nth) in sorted {
            let found = now(tree.get(key)).unwrap().unwrap();
            assert_eq!(found.to::<u64>().unwrap(), *nth);
        }
        let mut cursor = tree.cursor();
        now(cursor.seek(&[])).unwrap();
        for (key, _) in sorted {
            let entry = now(cursor.next()).unwrap().unwrap();
            assert_eq!(entry.first_byte_string(), Some(&key[..]));
        }
        assert!(now(cursor.next()).unwrap().is_none());
        for (key, _) in sorted.iter().rev() {
            let entry = now(cursor.prev()).unwrap().unwrap();
            assert_eq!(entry.first_byte_string(), Some(&key[..]));
        }
        assert!(now(cursor.prev()).unwrap().is_none());
        let verified = now(Tree::of(tree.id()).verify(tree.blocks())).unwrap();
        assert_eq!(verified.entries, sorted.len() as u64);
    };
    check(&tree, &sorted);
    for first in (0..count).step_by(2000) {
        let gone = (first..count.min(first + 2000)).step_by(2);
        now(tree.act(gone.map(|nth| Replace::delete(&key(nth))))).unwrap();
        sync(&mut tree);
    }
    sorted.retain(|(_, nth)| nth % 2 == 1);
    check(&tree, &sorted);
    let mut fresh = self::tree(&store);
    now(fresh.update()).unwrap();
    check(&fresh, &sorted);
}

crate::testing::on_stacks! {
    what_is_done_here_is_seen_elsewhere_once_it_is_synchronised
    to_open_creates_nothing
    of_two_who_create_one_did_and_both_see_all
    an_action_that_fails_in_the_middle_leaves_nothing_and_what_was_before_stays
    whoever_is_always_too_late_is_told_so_and_loses_nothing
    an_answer_that_gets_lost_doubles_nothing
    what_the_kind_decides_in_a_conflict_is_what_is_stored
    what_cannot_be_done_again_is_never_synchronised_and_can_be_taken_back
    an_update_after_a_lost_answer_takes_back_no_more_than_what_landed
    to_open_reads_no_more_of_a_long_log_than_of_a_short_one
    every_entry_of_many_writers_is_there_once_and_in_one_order_for_all
    clients_end_with_one_map_whatever_they_did_and_whatever_got_lost
    heavy_rows_and_entries_have_bounds_and_wedge_nothing
}
