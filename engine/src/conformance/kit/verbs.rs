//! The verbs: a batch goes to its own place, once, and what does not belong is refused.

use super::bones::{Bones, end_of, scan_all, there};
use super::check::{Verdict, ensure, refused};
use super::fixture::Fixture;
use crate::contract::batch::BATCH_HEADER;
use crate::contract::{BatchBuilder, End, ErrorKind, Level, Placement, Position};

/// A retry is safe: the newest batch, an older one, and the last of a commit.
pub(super) fn the_same_batch_again_is_a_no_op(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let (one, references) = bones.store_batch(&[b"one"])?;
    let again = bones.store.store(bones.epoch, one.clone()).wait()?;
    ensure!(
        again.end == one.header().end,
        "stored again, the tail is {}",
        again.end
    );
    bones.commit()?;
    let (two, _) = bones.store_batch(&[b"two"])?;
    let commit = bones.commit_of(Level::Memory, vec![two.clone()]);
    bones.store.commit(commit).wait()?;
    let (three, _) = bones.store_batch(&[b"three"])?;
    for batch in [&one, &two, &three, &one] {
        let tail = bones.store.store(bones.epoch, batch.clone()).wait()?;
        ensure!(
            tail.end == three.header().end,
            "after {batch:?} again the tail is {}, not {}",
            tail.end,
            three.header().end
        );
    }
    let batches = scan_all(&*bones.store, bones.stream)?;
    ensure!(
        batches.len() == 4,
        "an opening and three batches are scanned as {batches:?}"
    );
    there(&*bones.store, references[0].oid)?;
    bones.store(&[b"four"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// Nothing is ever overwritten: other bytes at the tail, and below it, are refused.
pub(super) fn other_bytes_at_a_taken_place_are_refused(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let (base, before) = (bones.base, bones.before);
    let (one, references) = bones.store_batch(&[b"one"])?;
    let (base_two, before_two) = (bones.base, bones.before);
    bones.store(&[b"two"])?;
    let refuse = [ErrorKind::Invalid];
    for (base, before, body) in [
        (base_two, before_two, b"owt".as_slice()),
        (base, before, b"eno"),
        (base, before, b"one, and longer than it was"),
        (base_two, before_two, b"two, and longer than it was"),
    ] {
        let (other, _) = bones.batch_at(base, before, &[body])?;
        let sent = bones.store.store(bones.epoch, other.clone());
        refused("other bytes at a taken place", sent, &refuse)?;
        let commit = bones.commit_of(Level::Memory, vec![other]);
        let sent = bones.store.commit(commit);
        refused("a commit of other bytes at a taken place", sent, &refuse)?;
    }
    let record = there(&*bones.store, references[0].oid)?;
    ensure!(record.body() == b"one", "{one:?} reads as {record:?} now");
    bones.store(&[b"three"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// A batch follows on the last one, byte for byte, or it is not taken.
pub(super) fn a_batch_that_does_not_follow_is_refused(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let earlier = bones.before;
    bones.store(&[b"one"])?;
    let End { position, running } = bones.before;
    let ahead = Position(position.0 + 512);
    let wrong = [
        (
            "a batch after a hole",
            ahead,
            End {
                position: ahead,
                running,
            },
        ),
        (
            "a batch after another running checksum",
            position,
            End {
                position,
                running: !running,
            },
        ),
        ("a batch that follows on an earlier one", position, earlier),
        (
            "a batch that begins below the tail",
            Position(position.0 - 2),
            bones.before,
        ),
    ];
    for (what, base, before) in wrong {
        // One that begins below what it follows on is not even a batch that can be read.
        let (batch, _) = bones.batch_at(base, before, &[b"wrong"])?;
        let sent = bones.store.store(bones.epoch, batch);
        refused(what, sent, &[ErrorKind::Invalid, ErrorKind::Corrupt])?;
    }
    let tail = bones.state()?.end;
    ensure!(tail == bones.before, "the tail moved to {tail:?}");
    bones.store(&[b"two"])?;
    bones.commit()?;
    Ok(bones.store.close().wait()?)
}

/// The ceiling lies above the tail once a writer began, and is kept: after a takeover nobody begins
/// below it.
pub(super) fn positions_come_from_below_the_ceiling(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    let mut told = bones.ceiling;
    ensure!(
        told > bones.before.position,
        "a writer began, and the ceiling is {told} at a tail of {}",
        bones.before.position
    );
    for round in 0..40_usize {
        let body = vec![7; 100 << (round % 8)];
        bones.store(&[&body])?;
        if round % 5 == 0 {
            bones.commit()?;
        }
        ensure!(
            bones.ceiling >= bones.before.position,
            "the ceiling {} lies below the tail {}",
            bones.ceiling,
            bones.before.position
        );
        told = told.max(bones.ceiling);
    }
    let state = bones.state()?;
    ensure!(
        state.ceiling >= told,
        "{told} was told as a ceiling, a fence reports {}",
        state.ceiling
    );
    ensure!(
        !state.clean,
        "a writer is at work, and its end counts as clean"
    );
    Ok(bones.store.close().wait()?)
}

/// What `status` says of streams, level, placement and tail is so.
pub(super) fn status_agrees_with_what_happened(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    let status = bones.store.status();
    let promised = fixture.promises().level;
    ensure!(
        status.level >= promised,
        "{promised} is promised, status says {}",
        status.level
    );
    ensure!(
        status.refusing.is_none(),
        "nothing is amiss, and writes are refused: {:?}",
        status.refusing
    );
    ensure!(
        status.unit >= 8 && status.unit.is_multiple_of(8),
        "a unit of {}",
        status.unit
    );
    ensure!(
        status.identity.len() == 32,
        "identity {:?}",
        status.identity
    );
    let has = |stream: u16| status.streams.iter().any(|known| known.stream == stream);
    let placed = match &status.placement {
        Placement::One(stream) => vec![*stream],
        Placement::Tag(streams) | Placement::RoundRobin(streams) => streams.clone(),
        Placement::Size(classes) => {
            let streams = classes.iter().flat_map(|(_, streams)| streams);
            streams.copied().collect()
        }
    };
    ensure!(
        has(status.root_stream) && placed.iter().all(|&stream| has(stream)),
        "streams that are used are missing from {:?}",
        status.streams
    );
    let root = status
        .streams
        .iter()
        .find(|known| known.stream == status.root_stream);
    let end = root.map_or(0, |root| root.end);
    ensure!(
        end == bones.before.position.0,
        "the tail is {}, status says {end}",
        bones.before.position
    );
    Ok(bones.store.close().wait()?)
}

/// After `close` nothing is written, and closing again is no harm.
pub(super) fn a_closed_store_takes_nothing(fixture: &dyn Fixture) -> Verdict {
    let mut bones = Bones::begin(fixture)?;
    bones.store(&[b"one"])?;
    bones.commit()?;
    let mut builder = BatchBuilder::new(
        bones.stream,
        bones.base,
        bones.before,
        bones.epoch,
        BATCH_HEADER,
    );
    builder.push(&super::bones::blob(&[b"late"]))?;
    let late = builder.finish(None, false);
    bones.store.close().wait()?;
    let closed = [ErrorKind::Closed];
    let sent = bones.store.store(bones.epoch, late.clone());
    refused("a store after the close", sent, &closed)?;
    let commit = bones.commit_of(Level::Memory, vec![late.clone()]);
    let sent = bones.store.commit(commit);
    refused("a commit after the close", sent, &closed)?;
    ensure!(
        end_of(&late).position > bones.before.position,
        "the late batch is empty"
    );
    Ok(bones.store.close().wait()?)
}
