//! Scans: whole batches, in order, from anywhere, in pieces of bounded size.

use super::bones::{Bones, scan_all};
use super::check::{Failure, Verdict, ensure};
use super::fixture::Fixture;
use crate::contract::{Batch, Position};

/// A writer that stored some batches, a few of them committed and followed by a gap.
fn some_batches(fixture: &dyn Fixture) -> Result<(Bones, Vec<Batch>), Failure> {
    let mut bones = Bones::begin(fixture)?;
    let mut all = scan_all(&*bones.store, bones.stream)?;
    for round in 0..30_u8 {
        let body = vec![round; 50 * usize::from(round)];
        all.push(bones.store_batch(&[&body, &body])?.0);
        if round % 7 == 3 {
            bones.commit()?;
        }
    }
    Ok((bones, all))
}

/// Every batch, each as it was stored.
pub(super) fn a_scan_gives_every_batch_in_order(fixture: &dyn Fixture) -> Verdict {
    let (bones, all) = some_batches(fixture)?;
    let found = scan_all(&*bones.store, bones.stream)?;
    same(&found, &all)?;
    Ok(bones.store.close().wait()?)
}

/// From the base of any batch, from inside one, from a gap, from the tail.
pub(super) fn a_scan_begins_anywhere(fixture: &dyn Fixture) -> Verdict {
    let (bones, all) = some_batches(fixture)?;
    for (index, batch) in all.iter().enumerate() {
        let base = batch.header().base;
        let piece = bones.store.scan(bones.stream, base).wait()?;
        ensure!(!piece.batches.is_empty(), "nothing is scanned from {base}");
        same(
            &piece.batches,
            &all[index..][..piece.batches.len().min(all.len() - index)],
        )?;
        let inside = Position(base.0 + 1);
        let piece = bones.store.scan(bones.stream, inside).wait()?;
        let next = all.get(index + 1).map(|next| next.header().base);
        let first = piece.batches.first().map(|first| first.header().base);
        ensure!(
            first == next,
            "from {inside} a scan begins at {first:?}, the next batch at {next:?}"
        );
    }
    let end = bones.before.position;
    let piece = bones.store.scan(bones.stream, end).wait()?;
    ensure!(
        piece.batches.is_empty() && piece.next.is_none(),
        "from the tail {end} there is {piece:?}"
    );
    Ok(bones.store.close().wait()?)
}

/// A long stream does not come in one piece, and its pieces join without a seam.
pub(super) fn a_scan_comes_in_bounded_pieces(fixture: &dyn Fixture) -> Verdict {
    const PIECE_MAX: u64 = 40 << 20;
    let mut bones = Bones::begin(fixture)?;
    let mut all = scan_all(&*bones.store, bones.stream)?;
    let body = vec![5; 1 << 20];
    for _ in 0..48 {
        all.push(bones.store_batch(&[&body])?.0);
    }
    let (mut found, mut from) = (Vec::new(), Position::START);
    loop {
        let piece = bones.store.scan(bones.stream, from).wait()?;
        let bytes: u64 = piece
            .batches
            .iter()
            .map(|batch| batch.header().length())
            .sum();
        ensure!(
            bytes <= PIECE_MAX || piece.batches.len() == 1,
            "one piece of a scan has {bytes} bytes"
        );
        found.extend(piece.batches);
        match piece.next {
            Some(next) if next > from => from = next,
            Some(next) => return Err(Failure::new(format!("{next} follows {from} in a scan"))),
            None => break,
        }
    }
    same(&found, &all)?;
    Ok(bones.store.close().wait()?)
}

#[track_caller]
fn same(found: &[Batch], stored: &[Batch]) -> Verdict {
    // The front slot is the log's own: only what the writer made is compared.
    let alike = |(one, other): (&Batch, &Batch)| {
        one.header() == other.header() && one.running() == other.running()
    };
    if found.len() == stored.len() && found.iter().zip(stored).all(alike) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} batches were stored, scanned are {found:?}",
        stored.len()
    )))
}
