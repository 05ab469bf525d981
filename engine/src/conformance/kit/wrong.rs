//! The kit of the kit: stores that are wrong in one way each, and the checks that must notice. All
//! other checks must not: a check that fails for somebody else's reason tells nobody what to mend.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::between::{Both, Nothing};
use super::bones::end_of;
use super::jitter::Deferred;
use super::*;
use crate::contract::{
    Batch, Batches, Commit, Env, Epoch, Error, ErrorKind, Freed, Level, Oid, Op, Pending, Position,
    Reclaim, Record, Result, RootAt, RootMarker, Store, Stream, StreamState, Tail, Vector,
};

/// A right model with something wrong over it.
#[derive(Debug)]
struct Spoiled {
    model: ModelFixture,
    spoil: Arc<dyn Between>,
}

impl Fixture for Spoiled {
    fn env(&self) -> &Env {
        self.model.env()
    }

    fn promises(&self) -> Promises {
        self.model.promises()
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        // The wrong floor has a boundary above it and one below it, as any floor has.
        let around = Both(
            between.clone(),
            Arc::new(Both(self.spoil.clone(), between.clone())),
        );
        self.model.open(&(Arc::new(around) as _))
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        let around = Both(between.clone(), self.spoil.clone());
        self.model.read(&(Arc::new(around) as _))
    }

    fn crash(&self, crash: Crash) {
        self.model.crash(crash);
    }

    fn machine(&self) -> Option<&Machine> {
        None
    }
}

/// Puts a fresh twist over every store that is opened.
#[derive(Debug)]
struct Spoil<T>(fn() -> T);

impl<T: Twist + 'static> Between for Spoil<T> {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Twisted::new(store, (self.0)()))
    }
}

/// Which checks notice.
fn noticed<T: Twist + 'static>(twist: fn() -> T) -> BTreeSet<&'static str> {
    noticed_over(Arc::new(Spoil(twist)))
}

fn noticed_over(spoil: Arc<dyn Between>) -> BTreeSet<&'static str> {
    let mut noticed = BTreeSet::new();
    for check in CHECKS {
        let fixture = Spoiled {
            model: ModelFixture::default(),
            spoil: spoil.clone(),
        };
        assert!(check.lacks(&fixture.promises()).is_none());
        if (check.run)(&fixture).is_err() {
            noticed.insert(check.name);
        }
    }
    noticed
}

#[test]
fn a_right_store_fails_no_check() {
    assert_eq!(noticed_over(Arc::new(Nothing)), BTreeSet::new());
}

/// One wrong store: its test, what it does, and the checks that must fail on it.
macro_rules! wrong {
    ($($name:ident: $twist:expr => [$($check:literal),+];)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(noticed(|| $twist), BTreeSet::from([$($check),+]));
        }
    )*};
}

wrong! {
    one_that_forgets_to_compare_is_noticed: Forgetful
        => ["other_bytes_at_a_taken_place_are_refused"];
    one_that_turns_unknown_into_absent_is_noticed: Absent
        => ["an_unvouched_tail_proves_nothing_absent"];
    one_that_turns_absent_into_unknown_is_noticed: Unknown
        => ["above_the_tail_is_absent"];
    one_that_remembers_absence_is_noticed: Stale::default()
        => ["what_was_absent_is_found_once_it_is_stored"];
    one_that_remembers_what_is_void_is_noticed: Keeper::default()
        => ["adopting_voids_what_lies_above"];
    one_that_acknowledges_too_early_is_noticed: Early
        => ["a_clean_close_is_reported_as_such", "a_commit_takes_the_earlier_ones_along", "a_power_cut_loses_no_commit_that_reached_the_disk", "a_power_cut_within_a_reclaim_takes_nothing_that_stays"];
    one_that_lowers_what_it_cannot_reach_is_noticed: Humble
        => ["more_than_it_can_is_invalid_and_changes_nothing"];
    one_that_lets_an_older_sender_store_is_noticed: Friendly::new(true)
        => ["an_older_sender_may_not_store"];
    one_that_lets_an_older_sender_commit_is_noticed: Friendly::new(false)
        => ["an_older_sender_may_not_commit"];
    one_that_adopts_what_it_likes_is_noticed: Stubborn
        => ["adopting_below_what_is_durable_is_refused", "adopting_voids_what_lies_above"];
    one_that_swaps_two_batches_is_noticed: Swaps
        => ["a_scan_begins_anywhere", "a_scan_comes_in_bounded_pieces", "a_scan_gives_every_batch_in_order", "batches_chain_through_crashes"];
    one_that_splits_a_batch_is_noticed: Splits
        => ["a_scan_begins_anywhere", "a_scan_gives_every_batch_in_order", "a_scan_gives_what_a_reclaim_left", "batches_chain_through_crashes"];
    one_that_scans_all_at_once_is_noticed: Greedy
        => ["a_scan_comes_in_bounded_pieces", "a_scan_gives_what_a_reclaim_left"];
    one_that_scans_from_the_batch_before_is_noticed: FromBefore
        => ["a_scan_begins_anywhere"];
    one_that_drops_the_last_batch_is_noticed: Drops
        => ["a_clean_close_is_reported_as_such", "a_clean_end_proves_absence"];
    one_that_doubts_a_clean_end_is_noticed: Doubts::default()
        => ["a_clean_end_proves_absence", "a_power_cut_within_a_reclaim_takes_nothing_that_stays", "what_was_given_back_stays_so_through_an_opening"];
    one_that_finds_a_number_never_given_is_noticed: Near
        => ["a_root_is_found_by_its_number", "readers_see_nothing_that_is_not_proven"];
    one_that_is_late_by_a_moment_is_noticed: Late
        => ["a_root_is_found_by_its_time"];
    one_that_calls_the_newest_proven_is_noticed: Hasty
        => ["what_is_named_as_proven_is_told_and_nothing_newer"];
    one_that_shows_one_commit_less_is_noticed: Behind
        => ["what_is_named_as_proven_is_told_and_nothing_newer", "readers_see_each_commit_once_it_is_proven", "readers_see_nothing_that_is_not_proven"];
    one_that_answers_for_other_streams_is_noticed: Everywhere
        => ["a_foreign_stream_is_an_error"];
    one_that_mixes_up_one_record_is_noticed: Mixes::default()
        => ["a_dropped_read_harms_nobody", "many_records_read_back_in_any_order"];
    one_that_frees_one_record_too_many_is_noticed: Eager
        => ["giving_back_again_changes_nothing_and_more_is_more", "what_does_not_stay_is_absent_and_all_else_reads_on", "what_was_given_back_stays_so_through_an_opening", "a_power_cut_within_a_reclaim_takes_nothing_that_stays"];
    one_that_lets_an_older_sender_reclaim_is_noticed: Latecomer::default()
        => ["an_older_sender_may_not_reclaim"];
    one_that_holds_a_lock_is_noticed: Holds::default()
        => ["nothing_is_held_while_calling_below"];
    one_that_boxes_what_is_ready_is_noticed: Boxes
        => ["what_is_ready_below_is_ready_above"];
    one_that_does_not_close_is_noticed: Open
        => ["a_closed_store_takes_nothing"];
}

/// Says yes to a batch whose place is taken.
#[derive(Debug)]
struct Forgetful;

impl Twist for Forgetful {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        let header = *batch.header();
        match below.store(sender, batch).wait() {
            Err(error) if error.message().contains("differs") => Op::ok(Tail {
                end: header.end,
                ceiling: header.end,
            }),
            answer => Op::ready(answer),
        }
    }
}

#[derive(Debug)]
struct Absent;

impl Twist for Absent {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        match below.read(oid).wait() {
            Err(error) if error.kind() == ErrorKind::Unavailable => Op::ok(None),
            answer => Op::ready(answer),
        }
    }
}

/// Knows of nothing that it is not there, before somebody writes.
#[derive(Debug, Default)]
struct Doubts(AtomicU32);

impl Twist for Doubts {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        match below.read(oid).wait() {
            Ok(None) if self.0.load(Ordering::Relaxed) == 0 => {
                Op::err(Error::unavailable("who knows"))
            }
            answer => Op::ready(answer),
        }
    }

    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        self.0.store(1, Ordering::Relaxed);
        below.adopt(epoch, vector)
    }
}

/// Does not know what is far above the tail.
#[derive(Debug)]
struct Unknown;

impl Twist for Unknown {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        if oid.position().0 > 1 << 29 {
            return Op::err(Error::unavailable("who knows"));
        }
        below.read(oid)
    }
}

/// Remembers for ever that a record was not there.
#[derive(Debug, Default)]
struct Stale(Mutex<BTreeSet<Oid>>);

impl Twist for Stale {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        if self.0.lock().unwrap().contains(&oid) {
            return Op::ok(None);
        }
        let found = below.read(oid).wait();
        if matches!(found, Ok(None)) {
            self.0.lock().unwrap().insert(oid);
        }
        Op::ready(found)
    }
}

/// Remembers records, and does not forget what an adoption makes void.
#[derive(Debug, Default)]
struct Keeper(Mutex<std::collections::BTreeMap<Oid, Record>>);

impl Twist for Keeper {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let kept = self.0.lock().unwrap().get(&oid).cloned();
        if kept.is_some() {
            return Op::ok(kept);
        }
        let found = below.read(oid).wait();
        if let Ok(Some(record)) = &found {
            self.0.lock().unwrap().insert(oid, record.clone());
        }
        Op::ready(found)
    }
}

/// Says "disk" when it was the system that had it.
#[derive(Debug)]
struct Early;

impl Twist for Early {
    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        let asked = commit.level;
        if asked != Level::Disk {
            return below.commit(commit);
        }
        let level = Level::Os;
        below
            .commit(Commit { level, ..commit })
            .map(move |reached| reached.max(asked))
    }
}

#[derive(Debug)]
struct Humble;

impl Twist for Humble {
    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        let level = commit.level.min(below.status().level);
        below.commit(Commit { level, ..commit })
    }
}

/// Says yes to an older sender, of one of two verbs.
#[derive(Debug)]
struct Friendly {
    stores: bool,
    newest: AtomicU32,
}

impl Friendly {
    fn new(stores: bool) -> Self {
        Self {
            stores,
            newest: AtomicU32::new(0),
        }
    }

    fn knows(&self, sender: Epoch) -> bool {
        sender.number > 0 && sender.number < self.newest.load(Ordering::Relaxed)
    }
}

impl Twist for Friendly {
    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        self.newest.fetch_max(epoch.number, Ordering::Relaxed);
        below.fence(epoch)
    }

    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        if self.stores && self.knows(sender) {
            let end = batch.header().end;
            return Op::ok(Tail { end, ceiling: end });
        }
        below.store(sender, batch)
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        if !self.stores && self.knows(commit.sender) {
            return Op::ok(commit.level);
        }
        below.commit(commit)
    }
}

/// Adopts everything that is there, whatever it is told.
#[derive(Debug)]
struct Stubborn;

impl Twist for Stubborn {
    fn adopt(&self, below: &dyn Store, epoch: Epoch, vector: Vector) -> Op<()> {
        let Ok(states) = below.fence(Epoch::default()).wait() else {
            return below.adopt(epoch, vector);
        };
        let all = states.iter().map(|state| (state.stream, state.end));
        below.adopt(epoch, all.collect())
    }
}

#[derive(Debug)]
struct Swaps;

impl Twist for Swaps {
    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        below.scan(stream, from).map(|mut piece| {
            if piece.batches.len() > 1 {
                piece.batches.swap(0, 1);
            }
            piece
        })
    }
}

/// Gives a batch of two records as two batches.
#[derive(Debug)]
struct Splits;

impl Twist for Splits {
    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        below.scan(stream, from).map(|mut piece| {
            let halves = |batch: Batch| match batch.header().records {
                0 | 1 => vec![batch],
                _ => split(&batch),
            };
            piece.batches = piece.batches.into_iter().flat_map(halves).collect();
            piece
        })
    }
}

fn split(batch: &Batch) -> Vec<Batch> {
    let header = batch.header();
    let before = crate::contract::End {
        position: header.before_end,
        running: header.before_running,
    };
    let (mut before, mut base, mut halves) = (before, header.base, Vec::new());
    for (_, record) in batch.records() {
        let mut builder =
            crate::contract::BatchBuilder::new(header.stream, base, before, header.epoch, 0);
        let references: Vec<_> = record.references().collect();
        builder
            .push(&crate::contract::NewRecord {
                kind: record.kind(),
                references: &references,
                body: &[record.body()],
            })
            .unwrap();
        let half = builder.finish(header.proven, false);
        before = end_of(&half);
        base = half.header().end;
        halves.push(half);
    }
    halves
}

#[derive(Debug)]
struct Greedy;

impl Twist for Greedy {
    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        let mut all = Vec::new();
        let mut next = Some(from);
        while let Some(from) = next {
            match below.scan(stream, from).wait() {
                Ok(piece) => {
                    all.extend(piece.batches);
                    next = piece.next;
                }
                Err(error) => return Op::err(error),
            }
        }
        Op::ok(Batches {
            batches: all,
            sparse: None,
            next: None,
        })
    }
}

/// Forgets the last of what must stay.
#[derive(Debug)]
struct Eager;

impl Twist for Eager {
    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        if let Err(error) = decision.check() {
            return Op::err(error);
        }
        let alive = decision.alive.split_last().map(|(_, rest)| rest.into());
        below.reclaim(Reclaim {
            alive: alive.unwrap_or_default(),
            ..decision
        })
    }
}

/// Passes a decision on as the newest epoch's, whoever made it.
#[derive(Debug, Default)]
struct Latecomer(Mutex<Epoch>);

impl Twist for Latecomer {
    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        let mut newest = self.0.lock().unwrap();
        *newest = (*newest).max(epoch);
        drop(newest);
        below.fence(epoch)
    }

    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        let sender = *self.0.lock().unwrap();
        below.reclaim(Reclaim { sender, ..decision })
    }
}

/// Takes a position inside a batch for its beginning.
#[derive(Debug)]
struct FromBefore;

impl Twist for FromBefore {
    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        below.scan(stream, Position(from.0.saturating_sub(1)))
    }
}

/// Drops the last batch of a commit if that is a good-bye.
#[derive(Debug)]
struct Drops;

impl Twist for Drops {
    fn commit(&self, below: &dyn Store, mut commit: Commit) -> Op<Level> {
        commit.last.retain(|batch| !batch.header().clean);
        below.commit(commit)
    }
}

/// For a number that was never given it gives the newest.
#[derive(Debug)]
struct Near;

impl Twist for Near {
    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        match below.root(at).wait() {
            Ok(None) if matches!(at, RootAt::Sequence(_)) => below.root(RootAt::Newest),
            answer => Op::ready(answer),
        }
    }
}

#[derive(Debug)]
struct Late;

impl Twist for Late {
    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        match at {
            RootAt::Time(time) => below.root(RootAt::Time(time.saturating_sub(1))),
            at => below.root(at),
        }
    }
}

/// Takes what was committed for proven.
#[derive(Debug)]
struct Hasty;

impl Twist for Hasty {
    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        below.root(match at {
            RootAt::Proven => RootAt::Newest,
            at => at,
        })
    }
}

/// Takes for proven what the newest commit calls so, and not what was written after it.
#[derive(Debug)]
struct Behind;

impl Twist for Behind {
    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        match below.root(at).wait() {
            Ok(Some((_, newest))) if at == RootAt::Proven => {
                let proven = newest.proven.map_or(0, |proven| proven.sequence);
                below.root(RootAt::Sequence(proven))
            }
            answer => Op::ready(answer),
        }
    }
}

/// Says of every stream what it would say of its own.
#[derive(Debug)]
struct Everywhere;

impl Twist for Everywhere {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        match below
            .status()
            .streams
            .iter()
            .any(|known| known.stream == oid.stream().0)
        {
            true => below.read(oid),
            false => Op::ok(None),
        }
    }
}

/// Once in a long while it gives the record that it gave before.
#[derive(Debug, Default)]
struct Mixes(Mutex<(u64, Option<Record>)>);

impl Twist for Mixes {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let found = below.read(oid).wait();
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        // Two threads may ask for one record in turn: what was kept must be another one.
        let other = found
            .as_ref()
            .is_ok_and(|found| found.is_some() && *found != state.1);
        if state.0 >= 4_000 && other && state.1.is_some() {
            state.0 = 0;
            return Op::ok(state.1.clone());
        }
        if let Ok(Some(record)) = &found {
            state.1 = Some(record.clone());
        }
        Op::ready(found)
    }
}

#[derive(Debug, Default)]
struct Holds(Mutex<()>);

impl Twist for Holds {
    fn root(&self, below: &dyn Store, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        let _held = self.0.lock();
        below.root(at)
    }
}

#[derive(Debug)]
struct Boxes;

impl Twist for Boxes {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        Op::pending(Deferred {
            answer: Some(below.read(oid).wait()),
            polls: 0,
        })
    }
}

/// Does nothing until somebody waits: dropping its op takes the work back.
#[derive(Debug)]
struct Lazy;

impl Between for Lazy {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Twisted::new(store.clone(), LazyCommit(store)))
    }
}

#[derive(Debug)]
struct LazyCommit(Arc<dyn Store>);

struct Later(Option<(Arc<dyn Store>, Commit)>);

impl Later {
    fn run(&mut self) -> Result<Level> {
        let (store, commit) = self.0.take().unwrap();
        store.commit(commit).wait()
    }
}

impl Pending<Level> for Later {
    fn poll(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<Level>> {
        std::task::Poll::Ready(self.run())
    }

    fn wait(mut self: Box<Self>) -> Result<Level> {
        self.run()
    }
}

impl Twist for LazyCommit {
    fn commit(&self, _below: &dyn Store, commit: Commit) -> Op<Level> {
        Op::pending(Later(Some((self.0.clone(), commit))))
    }
}

#[test]
fn one_that_starts_when_it_is_asked_is_noticed() {
    assert_eq!(
        noticed_over(Arc::new(Lazy)),
        BTreeSet::from(["what_is_ready_below_is_ready_above"])
    );
}

#[derive(Debug)]
struct Open;

impl Twist for Open {
    fn close(&self, _below: &dyn Store) -> Op<()> {
        Op::ok(())
    }
}

/// How many of these seeds the law finds wrong.
fn against_the_law<T: Twist + 'static>(twist: fn() -> T) -> usize {
    let wrong = |seed: &u64| {
        let fixture = Spoiled {
            model: ModelFixture::default(),
            spoil: Arc::new(Spoil(twist)),
        };
        let told = law::run_on(*seed, &fixture, &(Arc::new(Nothing) as _), 150);
        told.inspect_err(|wrong| println!("{wrong}")).is_err()
    };
    (0..20).filter(wrong).count()
}

#[test]
fn the_law_holds_for_a_right_store_and_not_for_wrong_ones() {
    #[derive(Debug)]
    struct Right;
    impl Twist for Right {}
    assert_eq!(against_the_law(|| Right), 0);
    let found = [
        ("forgets records", against_the_law(Loses::default)),
        ("mixes up records", against_the_law(MixesOften::default)),
        ("does not know what is above", against_the_law(|| Blind)),
        ("frees one record too many", against_the_law(|| Eager)),
    ];
    assert!(found.iter().all(|(_, seeds)| *seeds > 0), "{found:?}");
}

/// Says of every tenth record that it is not there.
#[derive(Debug, Default)]
struct Loses(Mutex<u64>);

impl Twist for Loses {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let mut reads = self.0.lock().unwrap();
        *reads += 1;
        match *reads % 10 {
            0 => Op::ok(None),
            _ => below.read(oid),
        }
    }
}

/// As `Mixes`, every fifty reads.
#[derive(Debug, Default)]
struct MixesOften(Mutex<(u64, Option<Record>)>);

impl Twist for MixesOften {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        let found = below.read(oid).wait();
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        match (&found, state.0 % 50) {
            (Ok(Some(_)), 0) => Op::ok(state.1.clone()),
            (Ok(Some(record)), _) => {
                state.1 = Some(record.clone());
                Op::ready(found)
            }
            _ => Op::ready(found),
        }
    }
}

/// Knows nothing of what is not there.
#[derive(Debug)]
struct Blind;

impl Twist for Blind {
    fn read(&self, below: &dyn Store, oid: Oid) -> Op<Option<Record>> {
        match below.read(oid).wait() {
            Ok(None) => Op::err(Error::unavailable("who knows")),
            answer => Op::ready(answer),
        }
    }
}
