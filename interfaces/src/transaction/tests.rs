use std::collections::BTreeMap;
use std::sync::Arc;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Env, Error, ErrorKind, Name, Op};

use super::decision::Decisions;
use super::engine::Engines;
use super::validate::Verify;
use super::*;
use crate::block::{BlockId, Value};
use crate::collection::{Collection, Replace, Retry, Tree};
use crate::testing::{id, local, now};
use crate::transactor::{
    ActionId, ActionRev, Answers, Commit, Committed, Context, Local, Part, Pend, Pended, Stale,
    Status, Transacted, Transactor,
};

const PLAIN: &str = "actions@1.0.0";

fn schema() -> Schema {
    Schema::new().with(id("a"), Tree).with(id("b"), Tree)
}

fn world(store: &Local) -> World {
    let store: Arc<dyn Transactor> = Arc::new(store.clone());
    World::new(&Env::system(), "me", store, schema())
}

fn put(collection: &str, key: &str, value: u64) -> Value {
    let action = Value::of(&Replace::put(key.as_bytes(), &value).unwrap()).unwrap();
    Actions::statement(&id(collection), &[action]).unwrap()
}

fn execute(session: &mut Session, statement: Value) {
    now(session.execute(statement)).unwrap();
}

fn get(session: &mut Session, collection: &str, key: &str) -> Option<u64> {
    let mut work = Work(&mut session.members);
    let question = Value::bytes(key.as_bytes());
    let answer = now(work.ask(&id(collection), &question)).unwrap();
    let items = answer.items().unwrap();
    items.first().map(|value| value.to().unwrap())
}

fn tree(store: &Arc<dyn Transactor>, name: &str) -> Option<Collection<Tree>> {
    now(Collection::open(
        store.clone(),
        &Env::system(),
        id(name),
        Tree,
    ))
    .unwrap()
}

fn rows(store: &Local, name: &str) -> BTreeMap<String, u64> {
    let store: Arc<dyn Transactor> = Arc::new(store.clone());
    let Some(tree) = tree(&store, name) else {
        return BTreeMap::new();
    };
    let mut cursor = tree.cursor();
    now(cursor.seek(&[])).unwrap();
    let mut rows = BTreeMap::new();
    while let Some(entry) = now(cursor.next()).unwrap() {
        let (key, value) = crate::collection::row(&entry).unwrap();
        rows.insert(String::from_utf8(key).unwrap(), value.to().unwrap());
    }
    rows
}

fn one(key: &str, value: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(key.to_owned(), value)])
}

fn stale<T: std::fmt::Debug>(result: Result<T, TransactionError>) -> Stale {
    match result {
        Err(TransactionError::Stale(stale)) => stale,
        other => panic!("{other:?}"),
    }
}

fn a_transaction_over_two_collections_is_seen_whole_or_not_at_all() {
    let store = local();
    let world = world(&store);
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", "x", 1));
    execute(&mut session, put("b", "y", 2));
    assert_eq!(get(&mut session, "a", "x"), Some(1), "its own");
    assert!(rows(&store, "a").is_empty() && rows(&store, "b").is_empty());
    let transaction = now(session.commit()).unwrap();
    assert_eq!(
        (rows(&store, "a"), rows(&store, "b")),
        (one("x", 1), one("y", 2))
    );
    assert!(transaction.as_str().starts_with("tx:"));
    // Each log names the other collection, and one action.
    let store: Arc<dyn Transactor> = Arc::new(store);
    for (name, other) in [("a", "b"), ("b", "a")] {
        let tree = tree(&store, name).unwrap();
        let mut log = tree.log().walk(tree.blocks(), crate::Direction::Forward);
        let entry = now(log.next()).unwrap().unwrap();
        assert!(entry.is_of(&transaction));
        assert!(
            format!("{entry:?}").contains(&format!("collections: [{other:?}]")),
            "{entry:?}"
        );
        assert!(now(log.next()).unwrap().is_none());
    }
}

fn what_ended_is_ended() {
    let store = local();
    let world = world(&store);
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", "x", 1));
    now(session.commit()).unwrap();
    now(session.execute(put("a", "y", 1))).unwrap_err();
    session.rollback().unwrap_err();
    assert!(matches!(
        now(session.commit()),
        Err(TransactionError::Failed(_))
    ));
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", "z", 1));
    session.rollback().unwrap();
    assert!(now(session.commit()).is_err());
    // Another's is not touched by a rollback.
    let (mut one_, mut two) = (world.begin(PLAIN).unwrap(), world.begin(PLAIN).unwrap());
    execute(&mut one_, put("a", "kept", 1));
    execute(&mut two, put("a", "gone", 1));
    two.rollback().unwrap();
    now(one_.commit()).unwrap();
    assert_eq!(
        rows(&store, "a").into_keys().collect::<Vec<_>>(),
        ["kept", "x"]
    );
    // What fails in the middle of a statement never lands.
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", "half", 1));
    let bad = Actions::statement(&id("b"), &[Value::text("no action")]).unwrap();
    now(session.execute(bad)).unwrap_err();
    assert!(now(session.commit()).is_err());
    assert!(!rows(&store, "a").contains_key("half"));
}

fn of_two_that_read_what_the_other_writes_one_lands() {
    for warm in [false, true] {
        let store = local();
        let world = world(&store);
        let mut first = world.begin(PLAIN).unwrap();
        execute(&mut first, put("a", "on call", 1));
        execute(&mut first, put("b", "on call", 1));
        now(first.commit()).unwrap();
        let mut sessions = [world.begin(PLAIN).unwrap(), world.begin(PLAIN).unwrap()];
        for (session, (read, write)) in sessions.iter_mut().zip([("a", "b"), ("b", "a")]) {
            if warm {
                // From what is remembered as well.
                get(session, read, "on call");
            }
            assert_eq!(get(session, read, "on call"), Some(1));
            execute(session, put(write, "on call", 0));
        }
        now(sessions[0].commit()).unwrap();
        match stale(now(sessions[1].commit())) {
            Stale::Missing(missed) => assert!(!missed.is_empty()),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            (rows(&store, "a"), rows(&store, "b")),
            (one("on call", 1), one("on call", 0))
        );
    }
}

fn that_there_was_nothing_is_something_that_was_read() {
    let store = local();
    let world = world(&store);
    // A collection that is not there, and then an empty one.
    for round in 0..2 {
        let mut session = world.begin(PLAIN).unwrap();
        assert_eq!(get(&mut session, "a", "x"), None);
        execute(&mut session, put("b", "x", round));
        let mut other = world.begin(PLAIN).unwrap();
        execute(&mut other, put("a", "x", 1));
        now(other.commit()).unwrap();
        stale(now(session.commit()));
        let mut empty = world.begin(PLAIN).unwrap();
        let delete = Value::of(&Replace::delete(b"x")).unwrap();
        execute(&mut empty, Actions::statement(&id("a"), &[delete]).unwrap());
        now(empty.commit()).unwrap();
    }
}

fn a_reader_of_another_leaf_is_not_disturbed_by_a_split() {
    let store = local();
    let world = world(&store);
    let mut fill = world.begin(PLAIN).unwrap();
    for number in 0..500 {
        execute(&mut fill, put("a", &format!("{number:04}"), number));
    }
    now(fill.commit()).unwrap();
    let mut reader = world.begin(PLAIN).unwrap();
    assert_eq!(get(&mut reader, "a", "0001"), Some(1));
    execute(&mut reader, put("b", "seen", 1));
    let mut writer = world.begin(PLAIN).unwrap();
    for number in 0..200 {
        execute(&mut writer, put("a", &format!("0400 {number:04}"), number));
    }
    now(writer.commit()).unwrap();
    now(reader.commit()).unwrap();
}

fn too_late_is_told_and_nothing_lands() {
    let store = local();
    let world = world(&store);
    let mut stamp = world.begin(PLAIN).unwrap().stamp().clone();
    stamp.expires = 1;
    let mut session = world.begin_as(stamp).unwrap();
    execute(&mut session, put("a", "x", 1));
    assert!(matches!(
        now(session.commit()),
        Err(TransactionError::Expired)
    ));
    assert!(rows(&store, "a").is_empty());
}

/// A key that everybody has: whoever has it could have signed, which is enough to see that it is asked.
#[derive(Debug)]
struct Shared;

impl Sign for Shared {
    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().rev().copied().collect()
    }
}

impl Verify for Shared {
    fn verify(&self, peer: &str, bytes: &[u8], signature: &[u8]) -> bool {
        peer == "me" && self.sign(bytes) == signature
    }
}

fn a_validator_tells_apart_why_it_does_not_accept() {
    let store = local();
    let world = world(&store).with_signatures(Arc::new(Shared));
    let mut before = world.begin(PLAIN).unwrap();
    for number in 0..100 {
        execute(&mut before, put("a", &format!("{number}"), number));
    }
    now(before.commit()).unwrap();
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("b", "x", 1));
    execute(&mut session, put("a", "new", 2));
    let proposal = now(session.propose()).unwrap();
    let again = now(session.propose()).unwrap();
    assert_eq!(
        (&proposal.id, &proposal.operations),
        (&again.id, &again.operations)
    );
    let validator = Validator::new(world.clone()).with_signatures(Arc::new(Shared));
    let (it, operations) = (&proposal.transaction, proposal.operations.as_str());
    now(validator.validate(it, operations)).unwrap();

    let reject =
        |it: &Transaction, operations: &str| now(validator.validate(it, operations)).unwrap_err();
    let mut other = it.clone();
    other.stamp.expires = 1;
    assert!(matches!(reject(&other, operations), Rejection::Expired));
    let mut other = it.clone();
    other.stamp.engine = "actions@9".to_owned();
    assert!(matches!(
        reject(&other, operations),
        Rejection::UnknownEngine(_)
    ));
    let mut other = it.clone();
    other.stamp.schema = "another".to_owned();
    assert!(matches!(
        reject(&other, operations),
        Rejection::Schema { .. }
    ));
    // Each field of the stamp is bound by the signature.
    for change in [
        (|it: &mut Transaction| it.stamp.nonce ^= 1) as fn(&mut Transaction),
        |it| it.stamp.timestamp += 1,
        |it| it.stamp.expires += 1,
        |it| it.stamp.peer.push('x'),
        |it| it.statements.truncate(1),
        |it| it.reads.push(("a".to_owned(), "z".to_owned(), 1)),
        |it| it.signature = None,
    ] {
        let mut other = it.clone();
        change(&mut other);
        assert!(
            matches!(reject(&other, operations), Rejection::Signature),
            "{other:?}"
        );
    }
    assert!(matches!(reject(it, "ops"), Rejection::Operations { .. }));
    // A tampered statement that is signed does something else.
    let mut other = it.clone();
    other.statements[0] = put("b", "x", 3);
    let bytes = other.id().unwrap();
    other.signature = Some(crate::block::ByteString(
        Shared.sign(bytes.as_str().as_bytes()),
    ));
    assert!(matches!(
        reject(&other, operations),
        Rejection::Operations { .. }
    ));
    other.statements[0] = Value::text("none");
    let bytes = other.id().unwrap();
    other.signature = Some(crate::block::ByteString(
        Shared.sign(bytes.as_str().as_bytes()),
    ));
    assert!(matches!(
        reject(&other, operations),
        Rejection::Execution(_)
    ));
    // Nothing of all this was done.
    assert!(rows(&store, "b").is_empty());
    now(session.land(proposal)).unwrap();
    assert_eq!(rows(&store, "b"), one("x", 1));
}

/// An engine whose statement reads in one collection and writes in another.
#[derive(Debug)]
struct Copy;

impl Engine for Copy {
    fn id(&self) -> &'static str {
        "copy@1"
    }

    fn execute<'w>(
        &'w self,
        statement: &'w Value,
        work: &'w mut Work<'_>,
    ) -> engine::Later<'w, Value> {
        Box::pin(async move {
            let answer = work.ask(&id("a"), statement).await?;
            let found = answer.items().and_then(|items| items.into_iter().next());
            let found = found.ok_or_else(|| Error::invalid("there is nothing to copy"))?;
            let key = statement.as_byte_string().unwrap_or_default();
            let action = Value::of(&Replace::put(key, &found)?)?;
            work.act(&id("b"), &[action]).await?;
            Ok(found)
        })
    }
}

fn an_engine_of_ones_own_reads_and_its_reads_are_validated() {
    let store = local();
    let world = world(&store).with_engines(Engines::standard().with(Copy));
    let mut first = world.begin(PLAIN).unwrap();
    execute(&mut first, put("a", "k", 5));
    now(first.commit()).unwrap();
    let mut session = world.begin("copy@1").unwrap();
    let copied = now(session.execute(Value::bytes(b"k"))).unwrap();
    assert_eq!(copied.to::<u64>().unwrap(), 5);
    let proposal = now(session.propose()).unwrap();
    assert_eq!(proposal.transaction.reads.len(), 1, "the leaf");
    let validator = Validator::new(world.clone());
    now(validator.validate(&proposal.transaction, &proposal.operations)).unwrap();
    let mut other = world.begin(PLAIN).unwrap();
    execute(&mut other, put("a", "k", 6));
    now(other.commit()).unwrap();
    match now(validator.validate(&proposal.transaction, &proposal.operations)) {
        Err(Rejection::Stale {
            read: 1, now: 2, ..
        }) => {}
        other => panic!("{other:?}"),
    }
    stale(now(session.land(proposal)));
}

/// A store that fails calls, and does not commit several collections at once.
struct Apart {
    below: Local,
    /// What is done before the next pend.
    before: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Pends and commits that are left before one fails, and how.
    fail: std::sync::Mutex<Option<(usize, Fault)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Before,
    After,
    Stale,
    /// From here on every call fails.
    Down,
}

impl Apart {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            below: local(),
            before: std::sync::Mutex::default(),
            fail: std::sync::Mutex::default(),
        })
    }

    fn meet<T: Send + 'static>(&self, stale: Option<T>, call: impl FnOnce() -> Op<T>) -> Op<T> {
        let lost = || Error::unavailable("the answer got lost");
        let mut fail = self.fail.lock().unwrap();
        let fault = match fail.as_mut() {
            None => return call(),
            Some((0, fault)) => *fault,
            Some((left, _)) => {
                *left -= 1;
                return call();
            }
        };
        if fault != Fault::Down {
            *fail = None;
        }
        drop(fail);
        match (fault, stale) {
            (Fault::After, _) => Op::ready(call().wait().and(Err(lost()))),
            (Fault::Stale, Some(stale)) => Op::ok(stale),
            _ => Op::err(lost()),
        }
    }
}

impl Transactor for Apart {
    fn get(&self, blocks: &[BlockId], context: Option<&Context>) -> Op<Answers> {
        self.below.get(blocks, context)
    }

    fn pend(&self, pend: Pend) -> Op<Pended> {
        if let Some(before) = self.before.lock().unwrap().take() {
            before();
        }
        let stale = Pended::Stale(Stale::Pending(Vec::new()));
        self.meet(Some(stale), || self.below.pend(pend))
    }

    fn commit(&self, commit: Commit) -> Op<Committed> {
        let stale = Committed::Stale(Stale::Pending(Vec::new()));
        self.meet(Some(stale), || self.below.commit(commit))
    }

    fn cancel(&self, action: &ActionId, blocks: &[BlockId]) -> Op<()> {
        match self.fail.lock().unwrap().as_ref() {
            Some((0, Fault::Down)) => Op::err(Error::unavailable("it is down")),
            _ => self.below.cancel(action, blocks),
        }
    }

    fn status(&self, by: &ActionRev, blocks: &[BlockId]) -> Op<BTreeMap<BlockId, Status>> {
        self.below.status(by, blocks)
    }
}

/// Two stores: `a` lies in one, `b` in the other.
#[derive(Clone)]
struct Two(Arc<Apart>, Arc<Apart>);

impl Places for Two {
    fn place(&self, collection: &BlockId) -> usize {
        usize::from(collection.as_str() == "b")
    }

    fn transactor(&self, place: usize) -> Option<Arc<dyn Transactor>> {
        match place {
            0 => Some(self.0.clone()),
            1 => Some(self.1.clone()),
            _ => None,
        }
    }
}

impl Two {
    fn new() -> Self {
        Self(Apart::new(), Apart::new())
    }

    fn rows(&self) -> (usize, usize) {
        (
            rows(&self.0.below, "a").len(),
            rows(&self.1.below, "b").len(),
        )
    }

    /// Whether nothing is left that stands in anybody's way.
    fn is_clear(&self) -> bool {
        [(&self.0, "a"), (&self.1, "b")]
            .iter()
            .all(|(store, name)| {
                let answers = store.below.get(&[id(name)], None).wait().unwrap();
                answers[&id(name)].as_ref().unwrap().pending.is_empty()
            })
    }
}

fn both(world: &World, key: &str) -> Session {
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", key, 1));
    execute(&mut session, put("b", key, 1));
    session
}

fn over_several_stores_what_landed_and_what_did_not_is_told() {
    let two = Two::new();
    let world = World::new(&Env::system(), "me", two.clone(), schema());
    now(both(&world, "x").commit()).unwrap();
    assert_eq!(two.rows(), (1, 1));
    // A pend that fails: nothing is seen, nothing stays.
    *two.1.fail.lock().unwrap() = Some((0, Fault::Stale));
    stale(now(both(&world, "y").commit()));
    assert_eq!((two.rows(), two.is_clear()), ((1, 1), true));
    // A commit that fails after another landed.
    *two.1.fail.lock().unwrap() = Some((1, Fault::Stale));
    match now(both(&world, "z").commit()) {
        Err(TransactionError::Partly { landed, failed }) => {
            assert_eq!(
                (landed, failed.len(), &failed[0].0),
                (vec![id("a")], 1, &id("b"))
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((two.rows(), two.is_clear()), ((2, 1), true));
}

fn decisions() -> Decisions {
    let engine = local().engine().clone();
    Decisions::new(
        engine,
        &Env::system(),
        Name::new("decisions").unwrap(),
        None,
    )
}

fn with_a_decision_several_stores_have_all_of_it_or_nothing_whatever_fails() {
    let (mut landed, mut undone, mut recovered) = (0, 0, 0);
    for fault in [Fault::Before, Fault::After, Fault::Stale, Fault::Down] {
        for first in [true, false] {
            for call in 0..3 {
                let two = Two::new();
                let world = World::new(&Env::system(), "me", two.clone(), schema());
                let world = world.with_decisions(decisions());
                now(both(&world, "before").commit()).unwrap();
                let store = if first { &two.0 } else { &two.1 };
                *store.fail.lock().unwrap() = Some((call, fault));
                let done = now(both(&world, "x").commit());
                *store.fail.lock().unwrap() = None;
                let (completed, cancelled) = now(world.recover()).unwrap();
                recovered += completed + cancelled;
                let all = two.rows();
                assert!(all.0 == all.1, "{fault:?} in call {call}: {all:?}");
                assert!(
                    done.is_err() || all.0 == 2,
                    "what is answered as done is done"
                );
                assert!(two.is_clear(), "{fault:?} in call {call}");
                assert_eq!(now(world.recover()).unwrap(), (0, 0));
                landed += all.0 - 1;
                undone += 2 - all.0;
                // And it goes on.
                now(both(&world, "after").commit()).unwrap();
            }
        }
    }
    assert!(
        landed > 0 && undone > 0 && recovered > 0,
        "{landed} {undone} {recovered}"
    );
}

fn whoever_recovers_and_whoever_is_on_the_way_agree() {
    let two = Two::new();
    let world = World::new(&Env::system(), "me", two.clone(), schema());
    let world = world.with_decisions(decisions());
    now(both(&world, "before").commit()).unwrap();
    // It is held in one store, which goes down, and stale in the other.
    *two.0.fail.lock().unwrap() = Some((1, Fault::Down));
    *two.1.fail.lock().unwrap() = Some((0, Fault::Stale));
    assert!(now(both(&world, "x").commit()).is_err());
    *two.0.fail.lock().unwrap() = None;
    let mut rival = world.begin(PLAIN).unwrap();
    execute(&mut rival, put("a", "y", 1));
    match stale(now(rival.commit())) {
        Stale::Pending(rivals) => assert!(!rivals.is_empty(), "what is held is waited for"),
        other => panic!("{other:?}"),
    }
    // It was undone already, but for what could not be reached.
    assert_eq!(now(world.recover()).unwrap(), (0, 0));
    assert!(two.is_clear());
    now(both(&world, "y").commit()).unwrap();
    assert_eq!(two.rows(), (2, 2));
}

fn who_is_taken_for_left_alone_leaves_nothing_held() {
    let two = Two::new();
    let world = World::new(&Env::system(), "me", two.clone(), schema());
    let world = world.with_decisions(decisions());
    now(both(&world, "before").commit()).unwrap();
    let other = world.clone();
    // Between the two holds somebody recovers.
    let recover = move || assert_eq!(now(other.recover()).unwrap(), (0, 1));
    *two.1.before.lock().unwrap() = Some(Box::new(recover));
    match stale(now(both(&world, "x").commit())) {
        Stale::Refused(why) => assert!(why.contains("undid"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!((two.rows(), two.is_clear()), ((1, 1), true));
    now(both(&world, "y").commit()).unwrap();
    assert_eq!(two.rows(), (2, 2));
}

/// Does something, and then waits for ever.
#[derive(Debug)]
struct Never;

impl Engine for Never {
    fn id(&self) -> &'static str {
        "never@1"
    }

    fn execute<'w>(
        &'w self,
        statement: &'w Value,
        work: &'w mut Work<'_>,
    ) -> engine::Later<'w, Value> {
        Box::pin(async move {
            work.act(&id("a"), std::slice::from_ref(statement)).await?;
            std::future::pending().await
        })
    }
}

fn half_a_statement_never_lands() {
    let store = local();
    let world = world(&store).with_engines(Engines::standard().with(Never));
    let mut session = world.begin("never@1").unwrap();
    let action = Value::of(&Replace::put(b"x", &1).unwrap()).unwrap();
    {
        let mut statement = std::pin::pin!(session.execute(action));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // On a store with a driver the first look may come too early.
        for _ in 0..100 {
            assert!(statement.as_mut().poll(&mut context).is_pending());
        }
    }
    assert!(now(session.commit()).is_err());
    assert!(rows(&store, "a").is_empty());
}

fn a_transaction_that_landed_is_not_called_late() {
    let two = Two::new();
    let world = World::new(&Env::system(), "me", two.clone(), schema());
    let mut session = world.begin(PLAIN).unwrap();
    execute(&mut session, put("a", "x", 1));
    *two.0.fail.lock().unwrap() = Some((1, Fault::After));
    assert!(matches!(
        now(session.commit()),
        Err(TransactionError::Failed(_))
    ));
    let mut other = world.begin(PLAIN).unwrap();
    execute(&mut other, put("a", "y", 1));
    now(other.commit()).unwrap();
    now(session.commit()).unwrap();
    assert_eq!(two.rows().0, 2);
}

/// Sums over two collections that no serial order of transfers can change.
fn transfers_from_many_threads_keep_the_sum_and_write_skew_never_lands() {
    let store = local();
    let shared = world(&store);
    let mut first = shared.begin(PLAIN).unwrap();
    for account in 0..6 {
        execute(&mut first, put("a", &account.to_string(), 50));
        execute(&mut first, put("b", &account.to_string(), 50));
    }
    now(first.commit()).unwrap();
    let landed = std::sync::atomic::AtomicU64::new(0);
    let lost = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (world, landed, lost) = (shared.clone(), &landed, &lost);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..60 {
                    let mut session = world.begin(PLAIN).unwrap();
                    let account = rng.below(6).to_string();
                    // A pair may go below zero on one side, and never in sum.
                    let (a, b) = (
                        get(&mut session, "a", &account),
                        get(&mut session, "b", &account),
                    );
                    let (a, b) = (a.unwrap(), b.unwrap());
                    let take = rng.below(100);
                    if a.wrapping_add(b) < take {
                        continue;
                    }
                    let (side, left) = match rng.below(2) {
                        0 => ("a", a.wrapping_sub(take)),
                        _ => ("b", b.wrapping_sub(take)),
                    };
                    execute(&mut session, put(side, &account, left));
                    match now(session.commit()) {
                        Ok(_) => landed.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                        Err(TransactionError::Stale(_)) => {
                            lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
                        }
                        Err(other) => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    let (a, b) = (rows(&store, "a"), rows(&store, "b"));
    for (account, left) in &a {
        let sum = left.wrapping_add(b[account]).cast_signed();
        assert!((0..=100).contains(&sum), "{account}: {sum}");
    }
    assert!(landed.into_inner() > 0);
}

fn what_is_not_in_the_schema_is_not_touched() {
    let store = local();
    let mut session = world(&store).begin(PLAIN).unwrap();
    let error = now(session.execute(put("c", "x", 1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(world(&store).begin("nobody").is_err());
}

fn a_lost_answer_to_a_whole_transaction_is_asked_for_again() {
    let store = local();
    let world = world(&store);
    let mut session = both(&world, "x");
    let proposal = now(session.propose()).unwrap();
    let parts: Vec<Part> = proposal.parts.values().flatten().cloned().collect();
    let land = || store.transact(parts.clone()).unwrap().wait().unwrap();
    assert_eq!(land(), Transacted::Done);
    assert_eq!(land(), Transacted::Done, "the same again");
    assert_eq!(
        (rows(&store, "a"), rows(&store, "b")),
        (one("x", 1), one("x", 1))
    );
    let mut tree = tree(&(Arc::new(store) as Arc<dyn Transactor>), "a").unwrap();
    assert_eq!(tree.revision(), 1);
    now(tree.act([Replace::delete(b"x")])).unwrap();
    now(tree.sync(&Retry::default())).unwrap();
}

crate::testing::on_stacks! {
    a_transaction_over_two_collections_is_seen_whole_or_not_at_all
    what_ended_is_ended
    of_two_that_read_what_the_other_writes_one_lands
    that_there_was_nothing_is_something_that_was_read
    a_reader_of_another_leaf_is_not_disturbed_by_a_split
    too_late_is_told_and_nothing_lands
    a_validator_tells_apart_why_it_does_not_accept
    an_engine_of_ones_own_reads_and_its_reads_are_validated
    over_several_stores_what_landed_and_what_did_not_is_told
    with_a_decision_several_stores_have_all_of_it_or_nothing_whatever_fails
    whoever_recovers_and_whoever_is_on_the_way_agree
    transfers_from_many_threads_keep_the_sum_and_write_skew_never_lands
    what_is_not_in_the_schema_is_not_touched
    a_lost_answer_to_a_whole_transaction_is_asked_for_again
    who_is_taken_for_left_alone_leaves_nothing_held
    half_a_statement_never_lands
    a_transaction_that_landed_is_not_called_late
}
