//! Few files are open, however many segments there are, and what is read is the same.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of files, which counts those that this process has open"
)]

use std::path::Path;

use super::*;
use crate::medium::Handles;
use crate::medium::file::FileMedium;

/// Handles that stay open to be read.
const MOST: usize = 6;

fn open_in(place: &Path, read: ReadBy, read_only: bool) -> Log {
    let options = LogOptions {
        read,
        read_only,
        handles: Arc::new(Handles::new(MOST)),
        ..options()
    };
    let medium = Arc::new(FileMedium::new(place, 4096));
    Log::open("file", medium, &Env::system(), options).unwrap()
}

/// How many files in this place are open in this process.
fn open_files(place: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(place))
        .count()
}

fn body(number: u64) -> Vec<u8> {
    vec![number as u8; 30_000 + number as usize]
}

/// Stores so many records, with a commit now and then, and counts what is open at most.
fn write(bones: &mut Bones, records: u64, place: &Path) -> (Vec<Oid>, usize) {
    let (mut oids, mut most) = (Vec::new(), 0);
    for number in 0..records {
        if number % 70 == 69 {
            oids.push(bones.commit(&body(number)));
        } else {
            let (batch, stored) = bones.batch(&body(number), false);
            bones.log.store(bones.epoch, batch.clone()).wait().unwrap();
            bones.take(&batch);
            oids.push(stored.oid);
        }
        most = most.max(open_files(place));
    }
    (oids, most)
}

fn read_all(log: &Log, oids: &[Oid]) {
    for (number, oid) in (0..).zip(oids) {
        let record = log.read(*oid).wait().unwrap().unwrap();
        assert_eq!(record.body(), body(number));
    }
}

#[test]
fn few_files_are_open_over_many_segments() {
    for read in [ReadBy::Map, ReadBy::Copy, ReadBy::Ring] {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let mut bones = Bones::begin(open_in(place, read, false));
        let (oids, most) = write(&mut bones, 210, place);
        assert!(bones.log.status().streams[0].segments > 100);
        // Besides those that are read: the lock, the open segment, the spare, the reserve, and what is not
        // durable.
        assert!(most <= MOST + 4 + 9 + 1, "{read:?}: {most} files were open");
        bones.commit(b"all is durable");
        let reader = open_in(place, read, true);
        for _ in 0..2 {
            read_all(&bones.log, &oids);
            read_all(&reader, &oids);
            let open = open_files(place);
            assert!(open <= 2 * MOST + 4, "{read:?}: {open} files are open");
        }
        assert_eq!(
            reader.segment_headers().unwrap().len(),
            bones.log.segment_headers().unwrap().len()
        );
        drop((bones, reader));
        assert_eq!(open_files(place), 0);
        // Recovery looks into each of them, after an unclean end.
        let log = open_in(place, read, false);
        assert!(open_files(place) <= MOST + 1);
        read_all(&Bones::begin(log).log, &oids);
    }
}

#[test]
fn a_segment_that_is_gone_is_unknown_but_where_it_is_mapped_and_another_is_not_taken_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let mut bones = Bones::begin(open_in(place, ReadBy::Map, false));
    let (oids, _) = write(&mut bones, 70, place);
    // It vouches for all before it, so that readers map it.
    bones.commit(b"the next");
    bones.log.close().wait().unwrap();
    let mapping = open_in(place, ReadBy::Map, true);
    let copying = open_in(place, ReadBy::Copy, true);
    let names: Vec<_> = copying
        .segment_headers()
        .unwrap()
        .iter()
        .map(|(header, _)| place.join(format::segment_name(header.base)))
        .collect();
    for log in [&mapping, &copying] {
        read_all(log, &oids);
    }
    // Each was closed again when those after it were read.
    let aside = place.with_extension("aside");
    std::fs::rename(&names[0], &aside).unwrap();
    read_all(&mapping, &oids[..1]);
    let unknown = || copying.read(oids[0]).wait().unwrap_err();
    assert_eq!(unknown().kind(), ErrorKind::Unavailable, "{}", unknown());
    std::fs::copy(&names[1], &names[0]).unwrap();
    assert_eq!(unknown().kind(), ErrorKind::Corrupt, "{}", unknown());
    std::fs::rename(&aside, &names[0]).unwrap();
    read_all(&copying, &oids);
}
