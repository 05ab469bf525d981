//! Space that is given back on the children of a cluster, and children that come back or are new then.

use super::*;
use std::time::Duration;
use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{Batches, ErrorKind, Freed, Oid, Op, Reclaim};
use travertine_engine::front::{Reclaiming, Retention};
use travertine_engine::stack::Floor;

/// Commits numbers under a name, each with a lot that nobody keeps once the next one is there.
pub(super) fn churn(engine: &Engine, name: &str, numbers: std::ops::Range<u64>) -> Vec<Oid> {
    let mut oids = Vec::new();
    for number in numbers {
        let session = engine.session().unwrap();
        let body = number.to_le_bytes().repeat(2000);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let reference = session.store(&record, Hint::default()).unwrap();
        let change = Change {
            name: Name::new(name).unwrap(),
            expect: Expect::Any,
            to: Some(reference),
        };
        session.commit(&[change], None).wait().unwrap();
        oids.push(reference.oid);
    }
    oids
}

fn reclaim(engine: &Engine) -> u64 {
    let retention = Retention::newest();
    let told = engine.reclaim(&retention, &Reclaiming::default());
    told.unwrap().freed.bytes
}

/// Some numbers stay, each under a name of its own, among many that do not.
struct Kept(Vec<Reference>);

impl Kept {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn more(&mut self, engine: &Engine, times: u64) {
        for _ in 0..times {
            let number = self.0.len() as u64;
            let name = format!("kept {number}");
            self.0.push(commit_to(engine, &name, number).unwrap());
            churn(engine, "churned", number * 10..number * 10 + 7);
        }
    }

    fn check(&self, engine: &Engine) {
        all_read(engine, 0, &self.0);
    }
}

fn catch_up(rig: &Rig, engine: &Engine) {
    for number in 0..20 {
        rig.env.advance(Duration::from_secs(1));
        commit_to(engine, "later", number).unwrap();
    }
    let below = &engine.status().below[0];
    let why: Vec<_> = below.below.iter().map(|child| &child.refusing).collect();
    assert_eq!(told(engine, "children_in_line"), 3, "{why:?}");
}

/// Each two of three children tell all that is kept.
fn any_two_tell(rig: &Rig, kept: &Kept) {
    for away in 1..=3 {
        rig.hold(away);
        let engine = rig.write().unwrap();
        kept.check(&engine);
        drop(engine);
        rig.release(away);
        for disk in &rig.disks {
            disk.kill();
        }
    }
}

/// Bytes that a child holds, as its log tells: a disk shows what was unlinked until its directory is
/// flushed.
fn used(engine: &Engine, child: usize) -> u64 {
    let child = &engine.status().below[0].below[child - 1];
    let parts = child.parts.iter().filter(|part| part.begins.is_some());
    parts.filter_map(|part| part.bytes).sum()
}

#[test]
fn every_child_gives_back_what_nobody_keeps_and_goes_on() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 30);
    let before = used(&engine, 2);
    assert!(reclaim(&engine) > 0);
    for child in 1..=3 {
        assert!(used(&engine, child) * 2 < before, "child {child}");
    }
    kept.check(&engine);
    kept.more(&engine, 8);
    assert!(reclaim(&engine) > 0);
    engine.close().unwrap();
    let engine = rig.write().unwrap();
    kept.check(&engine);
    engine.close().unwrap();
    any_two_tell(&rig, &kept);
}

#[test]
fn what_a_child_lacks_that_is_away_is_given_back_once_it_has_it() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 4);
    rig.disks[2].crash_in(1);
    kept.more(&engine, 30);
    assert_eq!(told(&engine, "children_in_line"), 2);
    let before = used(&engine, 1);
    reclaim(&engine);
    assert!(used(&engine, 1) > before / 2, "a child lacks most of it");
    rig.disks[2].crash_never();
    rig.disks[2].kill();
    catch_up(&rig, &engine);
    assert!(told(&engine, "batches_caught_up") > 0);
    reclaim(&engine);
    for child in 1..=3 {
        assert!(used(&engine, child) < before / 2, "child {child}");
    }
    kept.check(&engine);
    engine.close().unwrap();
    any_two_tell(&rig, &kept);
}

#[test]
fn children_agree_on_a_gap_that_one_of_them_has_given_back() {
    let rig = Rig::of(3, cluster().with("read", "verify"));
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 4);
    // What lies between two batches was never a record.
    let log = |number: usize| {
        let image = rig.disks[number].image(0);
        image.kill();
        let medium = Arc::new(image.medium().within("it"));
        Log::open("file", medium, rig.env.env(), LogOptions::default()).unwrap()
    };
    let found = log(0)
        .scan(Stream::default(), Position::START)
        .wait()
        .unwrap();
    let pairs = found.batches.windows(2);
    let gaps = pairs.filter(|pair| pair[0].header().end < pair[1].header().base);
    let gaps: Vec<_> = gaps
        .filter_map(|pair| Oid::new(Stream::default(), pair[0].header().end))
        .collect();
    assert!(gaps.len() > 5);
    kept.more(&engine, 30);
    // One child is away for the reclaim, and has everything still when it is back.
    rig.disks[2].crash_in(1);
    commit_to(&engine, "one more", 1).unwrap();
    assert_eq!(told(&engine, "children_in_line"), 2);
    reclaim(&engine);
    rig.disks[2].crash_never();
    rig.disks[2].kill();
    catch_up(&rig, &engine);
    let whole = log(2);
    let left = log(0);
    let mut met = 0;
    for gap in gaps {
        let sparse = |log: &Log| {
            log.scan(gap.stream(), gap.position())
                .wait()
                .unwrap()
                .sparse
                .is_some()
        };
        met += usize::from(sparse(&left) && !sparse(&whole));
        assert_eq!(engine.read(gap).wait().unwrap(), None, "{gap}");
    }
    assert!(met > 0);
    engine.close().unwrap();
}

#[test]
fn a_new_child_takes_over_what_is_left_and_counts() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 10);
    let gone = churn(&engine, "churned", 0..1)[0];
    kept.more(&engine, 4);
    assert!(reclaim(&engine) > 0);
    kept.more(&engine, 2);
    engine.close().unwrap();
    rig.wipe(2);
    let replacing = rig.with(cluster().with("replace", 2));
    let engine = replacing.write().unwrap();
    catch_up(&rig, &engine);
    kept.check(&engine);
    assert!(reclaim(&engine) > 0, "the new one holds nothing back");
    engine.close().unwrap();
    any_two_tell(&rig, &kept);
    // Whoever is asked, what was freed is absent, and children that must agree do.
    for away in [1, 3] {
        rig.hold(away);
        for read in ["nearest", "hedged", "verify"] {
            let engine = rig.with(cluster().with("read", read)).write().unwrap();
            assert!(engine.read(gone).wait().unwrap().is_none());
            kept.check(&engine);
        }
        rig.release(away);
    }
}

#[test]
fn a_replacement_that_is_killed_while_it_takes_over_goes_on() {
    for calls in (1..120).step_by(4) {
        let rig = Rig::new(3);
        let engine = rig.write().unwrap();
        let mut kept = Kept::new();
        kept.more(&engine, 6);
        assert!(reclaim(&engine) > 0);
        kept.more(&engine, 1);
        engine.close().unwrap();
        rig.wipe(3);
        rig.disks[2].crash_in(calls);
        let replacing = rig.with(cluster().with("replace", 3));
        let engine = replacing.write().unwrap();
        for number in 0..4 {
            rig.env.advance(Duration::from_secs(1));
            commit_to(&engine, "later", number).unwrap();
        }
        drop(engine);
        rig.disks[2].crash_never();
        for disk in &rig.disks {
            disk.power_cut();
        }
        let engine = replacing.write().unwrap();
        catch_up(&rig, &engine);
        kept.check(&engine);
        engine.close().unwrap();
        rig.hold(1);
        let engine = rig.write().unwrap();
        kept.check(&engine);
    }
}

/// A closed cluster that gave back, its children cut at other places.
fn reclaimed_unevenly() -> (Rig, Kept) {
    let mut rig = Rig::new(3);
    rig.uneven = true;
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 12);
    assert!(reclaim(&engine) > 0);
    kept.more(&engine, 1);
    engine.close().unwrap();
    (rig, kept)
}

#[test]
fn a_new_child_goes_on_with_one_whose_runs_are_cut_where_it_ends() {
    for calls in (10..90).step_by(8) {
        let (rig, kept) = reclaimed_unevenly();
        rig.wipe(3);
        rig.disks[2].crash_in(calls);
        let replacing = rig.with(cluster().with("replace", 3));
        let engine = replacing.write().unwrap();
        for number in 0..2 {
            rig.env.advance(Duration::from_secs(1));
            commit_to(&engine, "later", number).unwrap();
        }
        // The next one to copy from is another.
        rig.disks[2].crash_never();
        rig.disks[2].kill();
        catch_up(&rig, &engine);
        kept.check(&engine);
        engine.close().unwrap();
        any_two_tell(&rig, &kept);
    }
}

#[test]
fn a_new_child_waits_for_the_one_that_it_began_with() {
    let mut waited = 0;
    for calls in (10..90).step_by(8) {
        let (rig, kept) = reclaimed_unevenly();
        rig.wipe(3);
        rig.disks[2].crash_in(calls);
        let replacing = rig.with(cluster().with("replace", 3));
        let engine = replacing.write().unwrap();
        rig.env.advance(Duration::from_secs(1));
        commit_to(&engine, "later", 0).unwrap();
        // The first one, of which it has the first runs, leaves before it is back.
        rig.disks[0].crash_in(1);
        rig.disks[2].crash_never();
        rig.disks[2].kill();
        for number in 1..4 {
            rig.env.advance(Duration::from_secs(1));
            let _ = commit_to(&engine, "later", number);
        }
        assert_eq!(told(&engine, "children_lost"), 0, "{calls}");
        waited += usize::from(told(&engine, "children_in_line") < 2);
        rig.disks[0].crash_never();
        drop(engine);
        rig.disks.iter().for_each(SimDisk::kill);
        let engine = replacing.write().unwrap();
        catch_up(&rig, &engine);
        kept.check(&engine);
        engine.close().unwrap();
        any_two_tell(&rig, &kept);
    }
    assert!(waited > 0);
}

#[test]
fn a_child_whose_place_is_found_empty_holds_back_what_it_lacks_and_comes_back() {
    for opened_without in [false, true] {
        let rig = Rig::new(3);
        let engine = rig.write().unwrap();
        let mut kept = Kept::new();
        kept.more(&engine, 4);
        engine.close().unwrap();
        let away = || rig.disks[2].rename_within("it", Some("elsewhere"));
        if opened_without {
            away();
        }
        let engine = rig.write().unwrap();
        if !opened_without {
            kept.more(&engine, 1);
            rig.disks[2].crash_in(1);
            kept.more(&engine, 1);
            rig.disks[2].crash_never();
            rig.disks[2].kill();
            away();
        }
        for number in 0..10 {
            rig.env.advance(Duration::from_secs(1));
            commit_to(&engine, "later", number).unwrap();
        }
        assert_eq!(told(&engine, "children_lost"), 1);
        kept.more(&engine, 12);
        reclaim(&engine);
        kept.check(&engine);
        engine.close().unwrap();
        // What was made in its stead meanwhile goes.
        rig.wipe(3);
        rig.disks[2].rename_within("elsewhere", Some("it"));
        let engine = rig.write().unwrap();
        catch_up(&rig, &engine);
        assert!(reclaim(&engine) > 0, "nothing holds it back any more");
        engine.close().unwrap();
        any_two_tell(&rig, &kept);
    }
}

/// Children that tell what is left of a run two records at a time, and the most that one was brought of
/// one at once.
#[derive(Debug, Clone, Default)]
struct Pieces(Arc<Mutex<usize>>);

impl Twist for Pieces {
    fn scan(&self, below: &dyn Store, stream: Stream, from: Position) -> Op<Batches> {
        let mut found = match below.scan(stream, from).wait() {
            Ok(found) => found,
            Err(error) => return Op::err(error),
        };
        if let Some(left) = &mut found.sparse
            && left.records.len() > 2
        {
            left.to = left.records[2].0.position();
            left.after = None;
            left.records.truncate(2);
            found.next = Some(left.to);
        }
        Op::ok(found)
    }

    fn reclaim(&self, below: &dyn Store, decision: Reclaim) -> Op<Freed> {
        if let Some(left) = &decision.left {
            let mut most = self.0.lock().unwrap();
            *most = left.records.len().max(*most);
        }
        below.reclaim(decision)
    }
}

impl Probe for Pieces {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match floor.kind().name {
            "file" => Arc::new(Twisted::new(store, self.clone())),
            _ => store,
        }
    }
}

#[test]
fn a_new_child_is_brought_a_long_run_piece_by_piece() {
    let mut rig = Rig::new(3);
    let pieces = Pieces::default();
    rig.probe = Some(Arc::new(pieces.clone()));
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 14);
    assert!(reclaim(&engine) > 0);
    kept.more(&engine, 2);
    engine.close().unwrap();
    rig.wipe(2);
    let engine = rig.with(cluster().with("replace", 2)).write().unwrap();
    catch_up(&rig, &engine);
    assert_eq!(*pieces.0.lock().unwrap(), 2);
    kept.check(&engine);
    engine.close().unwrap();
    any_two_tell(&rig, &kept);
}

#[test]
fn an_image_from_before_what_the_others_gave_back_stays_out_and_says_why() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 2);
    engine.close().unwrap();
    let old = rig.disks[1].image(5);
    let engine = rig.write().unwrap();
    kept.more(&engine, 8);
    assert!(reclaim(&engine) > 0);
    engine.close().unwrap();
    let mut back = rig.clone();
    back.disks[1] = old;
    let engine = back.write().unwrap();
    for number in 0..10 {
        back.env.advance(Duration::from_secs(1));
        commit_to(&engine, "later", number).unwrap();
    }
    kept.check(&engine);
    assert_eq!(told(&engine, "children_in_line"), 2);
    let below = &engine.status().below[0].below[1];
    let why = below.refusing.clone().unwrap();
    assert!(why.contains("replace the child"), "{why}");
}

pub(super) fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut rig = Rig::new(3);
    rig.env = SimEnv::new(seed);
    rig.uneven = seed % 2 == 1;
    let mut engine = rig.write().unwrap();
    let mut kept = Kept::new();
    kept.more(&engine, 1);
    let mut bad: Option<usize> = None;
    let mut lost = None;
    for step in 0..24 {
        match rng.below(8) {
            0 | 1 => kept.more(&engine, rng.below(4) + 1),
            2 | 3 => {
                if bad.is_none() && rng.chance(1, 3) {
                    let child = rng.below(3) as usize;
                    rig.disks[child].crash_in(rng.below(60) + 1);
                    bad = Some(child);
                }
                reclaim(&engine);
            }
            4 if bad.is_none() && lost.is_none() => {
                let child = rng.below(3) as usize;
                rig.disks[child].crash_in(rng.below(60) + 1);
                bad = Some(child);
            }
            5 => {
                if let Some(child) = bad.take() {
                    rig.disks[child].crash_never();
                    if rig.disks[child].is_down() {
                        rig.disks[child].kill();
                    }
                }
                catch_up(&rig, &engine);
                lost = None;
            }
            6 => {
                drop(engine);
                if let Some(child) = bad.take() {
                    rig.disks[child].crash_never();
                }
                for disk in &rig.disks {
                    match rng.chance(1, 2) {
                        true => disk.power_cut(),
                        false => disk.kill(),
                    }
                }
                if lost.is_none() && rng.chance(1, 2) {
                    let child = rng.below(3) as usize;
                    rig.wipe(child + 1);
                    lost = Some(child);
                }
                let opened = match lost {
                    Some(child) => rig
                        .with(cluster().with("replace", child as i64 + 1))
                        .write(),
                    None => rig.write(),
                };
                engine = match opened {
                    Ok(engine) => engine,
                    Err(error) => panic!("SEED={seed}, step {step}: {error}"),
                };
                kept.check(&engine);
                kept.more(&engine, 1);
                if lost.is_some() {
                    catch_up(&rig, &engine);
                    lost = None;
                }
            }
            _ => kept.check(&engine),
        }
    }
    if let Some(child) = bad.take() {
        rig.disks[child].crash_never();
        if rig.disks[child].is_down() {
            rig.disks[child].kill();
        }
    }
    catch_up(&rig, &engine);
    reclaim(&engine);
    engine.close().unwrap();
    any_two_tell(&rig, &kept);
}

#[test]
fn whatever_happens_beside_a_reclaim_what_is_kept_stays() {
    for seed in storm::seeds(60) {
        println!("SEED={seed}");
        run(seed);
    }
}

#[test]
fn a_reclaim_is_refused_by_a_cluster_over_what_takes_nothing_over() {
    let mut rig = Rig::new(3);
    rig.between = Some(Layer::new("sequence").with("segment", "128 KiB"));
    let engine = rig.write().unwrap();
    churn(&engine, "churned", 0..10);
    let retention = Retention::newest();
    let error = engine
        .reclaim(&retention, &Reclaiming::default())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("sequence"), "{error}");
}
