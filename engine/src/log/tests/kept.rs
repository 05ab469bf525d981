//! What a log was left with unproven is made durable without deciding anything.

use super::*;
use crate::medium::file::FileMedium;

fn in_directory(directory: &std::path::Path, unit: u64) -> Log {
    let medium = Arc::new(FileMedium::new(directory, unit));
    Log::open("file", medium, &Env::system(), options()).unwrap()
}

fn report(log: &Log) -> StreamState {
    log.fence(Epoch::default()).wait().unwrap().remove(0)
}

#[test]
fn a_writer_that_lives_is_told_what_its_syncs_have_reached() {
    let directory = tempfile::tempdir().unwrap();
    let mut bones = Bones::begin(in_directory(directory.path(), 4096));
    bones.commit(b"one");
    let first = report(&bones.log);
    assert_eq!(first.safe, first.end.position);
    let (batch, _) = bones.batch(b"two", false);
    bones.log.store(bones.epoch, batch).wait().unwrap();
    let second = report(&bones.log);
    assert_eq!(second.safe, first.safe);
    assert!(second.end.position > second.safe);
}

#[test]
fn what_is_kept_is_as_it_was_found_and_the_next_epoch_begins_where_it_would_have() {
    // Written again in its place, and as a copy.
    [8, 4096].into_iter().for_each(keep_and_go_on);
}

fn keep_and_go_on(unit: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut bones = Bones::begin(in_directory(directory.path(), unit));
    let stored: Vec<_> = (0..40)
        .map(|it| (bones.commit(&[it; 4_000]), [it; 4_000]))
        .collect();
    // It does not close.
    drop(bones);
    let log = in_directory(directory.path(), unit);
    let found = report(&log);
    assert!(found.safe < found.end.position, "{found:?}");
    for _ in 0..2 {
        log.commit(Commit::keep(Level::Disk)).wait().unwrap();
        let mut kept = report(&log);
        assert_eq!(kept.safe, kept.end.position);
        kept.safe = found.safe;
        assert_eq!(kept, found);
    }
    drop(log);
    // Nor is it decided by whoever opens it next.
    let log = in_directory(directory.path(), unit);
    assert_eq!(report(&log), found);
    log.commit(Commit::keep(Level::Disk)).wait().unwrap();
    let mut bones = Bones::begin(log);
    assert!(bones.next >= found.ceiling);
    bones.commit(b"more");
    for (oid, body) in &stored {
        let record = bones.log.read(*oid).wait().unwrap().unwrap();
        assert_eq!(record.body(), body);
    }
    bones.log.commit(Commit::keep(Level::Disk)).wait().unwrap();
    drop(bones);
    let log = in_directory(directory.path(), unit);
    let (last, body) = stored.last().unwrap();
    assert_eq!(log.read(*last).wait().unwrap().unwrap().body(), body);
}
