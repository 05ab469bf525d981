//! What a cluster does while a child fails, lies, or is not what it should be.

use super::*;
use travertine_engine::contract::ErrorKind;

#[test]
fn a_new_cluster_begins_with_all_its_children() {
    let rig = Rig::new(3);
    rig.hold(2);
    assert!(rig.store(false).is_err());
    rig.release(2);
    let engine = rig.write().unwrap();
    fill(&engine, 0..3);
    engine.close().unwrap();
    rig.are_alike();
}

#[test]
fn a_child_that_fails_leaves_the_line_and_the_others_go_on() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..5);
    rig.disks[0].fail_sync_after(0);
    references.extend(fill(&engine, 5..6));
    assert_eq!(told(&engine, "children_left"), 1);
    references.extend(fill(&engine, 6..9));
    all_read(&engine, 0, &references);
    rig.disks[0].fail_no_sync();
    drop(engine);
}

#[test]
fn a_child_that_failed_is_caught_up_and_counts_again() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..5);
    rig.disks[2].fail_sync_after(0);
    references.extend(fill(&engine, 5..20));
    rig.disks[2].fail_no_sync();
    for number in 20..60 {
        rig.env.advance(std::time::Duration::from_secs(1));
        references.push(commit(&engine, number).unwrap());
    }
    assert_eq!(told(&engine, "children_in_line"), 3);
    assert!(told(&engine, "children_returned") > 0 && told(&engine, "batches_caught_up") > 0);
    // Now another one fails: what it brought back counts.
    rig.disks[0].fail_sync_after(0);
    references.extend(fill(&engine, 60..63));
    rig.disks[0].fail_no_sync();
    all_read(&engine, 0, &references);
    engine.close().unwrap();
    let engine = rig.write().unwrap();
    assert_eq!(newest(&engine).unwrap(), Some(62));
    all_read(&engine, 0, &references);
    commit(&engine, 63).unwrap();
    engine.close().unwrap();
    let engine = rig.write().unwrap();
    commit(&engine, 64).unwrap();
    engine.close().unwrap();
    rig.are_alike();
}

#[test]
fn too_few_children_refuse_to_write_and_still_read() {
    let rig = Rig::of(3, cluster().with("wait", "0 s"));
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..5);
    rig.disks[0].fail_sync_after(0);
    rig.disks[1].fail_sync_after(0);
    let error = commit(&engine, 5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    all_read(&engine, 0, &references);
    assert!(engine.status().below[0].refusing.is_some());
    rig.disks[0].fail_no_sync();
    rig.disks[1].fail_no_sync();
    drop(engine);
    let engine = rig.write().unwrap();
    assert!(matches!(newest(&engine).unwrap(), Some(4 | 5)));
    all_read(&engine, 0, &references);
}

#[test]
fn a_damaged_record_is_read_from_another_child() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..40);
    engine.close().unwrap();
    let files = rig.disks[0].files();
    let (name, bytes) = files
        .iter()
        .rfind(|(_, bytes)| bytes.len() > 20_000)
        .unwrap();
    let wanted = 7u64.to_le_bytes().repeat(40);
    let at = bytes
        .windows(wanted.len())
        .position(|found| found == wanted);
    let (name, at) = match at {
        Some(at) => (name.clone(), at),
        None => files
            .iter()
            .find_map(|(name, bytes)| {
                let at = bytes
                    .windows(wanted.len())
                    .position(|found| found == wanted)?;
                Some((name.clone(), at))
            })
            .unwrap(),
    };
    assert!(rig.disks[0].flip(&name, at as u64 * 8 + 3));
    let engine = rig.write().unwrap();
    all_read(&engine, 0, &references);
    assert!(told(&engine, "reads_damaged") > 0);
    assert!(told(&engine, "reads_failed_over") > 0);
    // And in each way of reading.
    for read in ["hedged", "verify"] {
        drop(rig.write());
        let other = rig.with(cluster().with("read", read));
        drop(engine_of(&other, &references));
    }
}

fn engine_of(rig: &Rig, references: &[Reference]) -> Option<Engine> {
    let engine = rig.write().ok()?;
    all_read(&engine, 0, references);
    Some(engine)
}

#[test]
fn children_that_changed_places_are_known_and_a_copy_does_not_count_twice() {
    let mut rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..5);
    engine.close().unwrap();
    rig.disks.swap(0, 2);
    let engine = rig.write().unwrap();
    all_read(&engine, 0, &references);
    commit(&engine, 5).unwrap();
    engine.close().unwrap();
    rig.are_alike();
    // A copy of the second stands where the first was.
    rig.disks[0] = rig.disks[1].image(9);
    let engine = rig.write().unwrap();
    assert_eq!(newest(&engine).unwrap(), Some(5));
    assert_eq!(told(&engine, "children_out"), 1);
}

#[test]
fn a_child_of_another_store_stays_out() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let references = fill(&engine, 0..5);
    engine.close().unwrap();
    let mut other = Rig::new(3);
    other.env = SimEnv::new(99);
    let engine = other.write().unwrap();
    fill(&engine, 0..5);
    engine.close().unwrap();
    let mut mixed = rig.clone();
    mixed.disks[1] = other.disks[1].clone();
    let engine = mixed.write().unwrap();
    all_read(&engine, 0, &references);
    assert_eq!(told(&engine, "children_out"), 1);
    drop(engine);
    mixed.disks[2] = other.disks[2].clone();
    mixed.disks[1] = rig.disks[1].clone();
    mixed.disks[0] = other.disks[0].clone();
    // Two of the other store: theirs is the majority, and one child of ours is the stranger.
    assert!(mixed.write().is_ok());
}

#[test]
fn a_child_put_back_to_an_old_image_does_not_count_for_what_it_had() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    let mut references = fill(&engine, 0..5);
    engine.close().unwrap();
    let old = rig.disks[1].image(1);
    let engine = rig.write().unwrap();
    references.extend(fill(&engine, 5..9));
    engine.close().unwrap();
    let mut back = rig.clone();
    back.disks[1] = old;
    // One of those that know better is away: nobody can tell what was acknowledged.
    back.hold(1);
    let error = back.write().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    back.release(1);
    let engine = back.write().unwrap();
    all_read(&engine, 0, &references);
    fill(&engine, 9..12);
    assert_eq!(told(&engine, "children_in_line"), 3);
    engine.close().unwrap();
    back.are_alike();
}

#[test]
fn an_older_writer_is_fenced_by_a_newer_one() {
    let rig = Rig::new(3);
    let store = rig.store(false).unwrap();
    let first = Engine::open(store.clone(), rig.env.env(), Options::default()).unwrap();
    fill(&first, 0..3);
    let second = Engine::open(store, rig.env.env(), Options::default()).unwrap();
    fill(&second, 3..5);
    assert_eq!(commit(&first, 9).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(newest(&second).unwrap(), Some(4));
}

#[test]
fn the_number_of_children_and_of_acknowledgements_is_fixed() {
    let rig = Rig::new(3);
    let engine = rig.write().unwrap();
    fill(&engine, 0..2);
    engine.close().unwrap();
    let other = rig.with(cluster().with("ack", 3));
    assert_eq!(other.write().unwrap_err().kind(), ErrorKind::Invalid);
    let mut fewer = rig.clone();
    fewer.disks.pop();
    assert_eq!(fewer.write().unwrap_err().kind(), ErrorKind::Invalid);
    let stricter = rig.with(cluster().with("write", 3)).write();
    assert_eq!(newest(&stricter.unwrap()).unwrap(), Some(1));
}
