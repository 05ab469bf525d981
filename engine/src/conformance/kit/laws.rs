//! Laws for floors: ready stays ready, and nothing is held while calling below.

use std::sync::Arc;

use super::between::Between;
use super::bones::{Bones, there};
use super::check::{Verdict, ensure};
use super::fixture::Fixture;
use super::ready::ReadyWatch;
use super::reenter::{Known, Reenter};
use crate::contract::{Position, RootAt};

/// Where every bottom answers at once, every floor does.
pub(super) fn what_is_ready_below_is_ready_above(fixture: &dyn Fixture) -> Verdict {
    let watch = ReadyWatch::default();
    let between: Arc<dyn Between> = Arc::new(watch.clone());
    let bones = Bones::over(fixture.open(&between)?, fixture.env())?;
    every_verb(bones, |_| ())?;
    let seen = watch.seen();
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}

/// While a floor calls below, the stack answers others; below, it answers on the same thread too.
pub(super) fn nothing_is_held_while_calling_below(fixture: &dyn Fixture) -> Verdict {
    let reenter = Reenter::default();
    let between: Arc<dyn Between> = Arc::new(reenter.clone());
    let top = fixture.open(&between)?;
    reenter.aim(&top);
    let bones = Bones::over(top, fixture.env())?;
    every_verb(bones, |known| reenter.tell(known))?;
    let held = reenter.held();
    ensure!(held.is_empty(), "{held:?}");
    ensure!(reenter.calls() > 0, "nobody was called back");
    Ok(())
}

/// Calls every verb a few times, telling what may be asked for in between.
fn every_verb(mut bones: Bones, tell: impl Fn(Known)) -> Verdict {
    let mut stored = Vec::new();
    for round in 0..12_u8 {
        let (batch, references) = bones.store_batch(&[&[round; 900], b"small"])?;
        tell(Known {
            sender: bones.epoch,
            batch: batch.clone(),
            // Not one that is being read here: who asks for the very same record may be given the
            // very same answer, and rightly waits for it.
            oid: references[1].oid,
        });
        stored.push(references[0].oid);
        for oid in &stored {
            there(&*bones.store, *oid)?;
        }
        bones.store.root(RootAt::Newest).wait()?;
        bones.store.scan(bones.stream, Position::START).wait()?;
        if round % 3 == 1 {
            bones.commit()?;
        }
        if round % 6 == 5 {
            let states = bones.store.fence(bones.epoch).wait()?;
            ensure!(!states.is_empty(), "a fence reports no stream");
        }
    }
    Ok(bones.store.close().wait()?)
}
