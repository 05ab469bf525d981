//! A segment file that was made and never begun: whoever made it died before the header was there.

use super::*;
use crate::medium::file::FileMedium;
use std::path::Path;

/// What a handle says of the log, in words.
fn told(log: &Log, oids: &[(Oid, Vec<u8>)]) -> Vec<String> {
    let mut told = Vec::new();
    for (oid, body) in oids {
        let record = log.read(*oid).wait().unwrap().unwrap();
        assert_eq!(record.body(), &body[..]);
    }
    let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
    told.push(format!(
        "{:?} {:?} {:?}",
        state.end, state.durable, state.chain
    ));
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let found = log.scan(Stream(0), at).wait().unwrap();
        let ends = found.batches.iter().map(|batch| batch.header().end);
        told.push(format!("{:?}", ends.collect::<Vec<_>>()));
        from = found.next;
    }
    told.push(format!("{:?}", log.segment_headers().unwrap()));
    told
}

#[test]
fn a_reader_passes_over_a_segment_that_was_never_begun_as_a_writer_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut copies = 0;
    let mut place = || {
        copies += 1;
        directory.path().join(copies.to_string())
    };
    let medium_at = |place: &Path| FileMedium::new(place, 4096);
    let open = |place: &Path, read_only| {
        let options = LogOptions {
            read_only,
            ..options()
        };
        let medium = Arc::new(medium_at(place));
        Log::open("file", medium, &Env::system(), options).unwrap()
    };
    for (commits, clean) in [(60, true), (60, false), (1, false), (0, false)] {
        let first = place();
        let mut bones = Bones::begin(open(&first, false));
        let bodies = (0..commits).map(|n| vec![n as u8; 1500 + n]);
        let stored: Vec<_> = bodies.map(|body| (bones.commit(&body), body)).collect();
        if clean {
            let (last, _) = bones.batch(b"last", true);
            let commit = Commit {
                sender: bones.epoch,
                level: Level::Disk,
                last: vec![last.clone()],
            };
            bones.log.commit(commit).wait().unwrap();
            bones.take(&last);
            bones.log.close().wait().unwrap();
        }
        for length in [0, 1, 40, 4096] {
            let second = place();
            let (medium, copy) = (medium_at(&first), medium_at(&second));
            copy.lock().unwrap();
            let names = medium.list().unwrap();
            for name in names.into_iter().filter(|name| name != LOCK) {
                let bytes = medium.open(&name, false).unwrap().read_at(0, 1 << 20);
                let file = copy.create(&name).unwrap();
                file.write_at(0, &[&bytes.unwrap()[..]]).unwrap();
            }
            let file = copy.create(&format::segment_name(bones.next)).unwrap();
            file.write_at(0, &[&vec![0; length][..]]).unwrap();
            copy.unlock();
            let reader = told(&open(&second, true), &stored);
            assert_eq!(
                reader,
                told(&open(&second, false), &stored),
                "{length} bytes"
            );
            let peek = Peek::at(&copy).unwrap().unwrap();
            let damage: Vec<_> = peek.damage().collect();
            assert!(damage.is_empty() || length > 0, "{damage:?}");
        }
    }
}
