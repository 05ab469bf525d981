//! The workloads that know no keys: records, and commits of a name.

use std::sync::Mutex;

use super::lanes::{self, Did};
use super::patience::patiently;
use super::rows::Rows;
use super::{Bench, Run};
use crate::contract::{Error, Kind, Name, NewRecord, Reference, Result};
use crate::front::{Change, Hint, Session};

/// References that are kept to be checked, at most and about.
const CHECKED: u64 = 20_000;

/// Records one after the other, one commit at the end; then some of them are read back.
pub(super) fn append(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        engine,
        params,
        rows,
        ..
    } = *bench;
    let stride = params.ops.div_ceil(CHECKED);
    let kept = Mutex::new(Vec::new());
    let run = lanes::run(bench, |lane| {
        let (first, count) = params.share(params.ops, lane.number);
        let session = engine.session()?;
        let (mut body, mut mine) = (Vec::new(), Vec::new());
        for number in first..first + count {
            rows.value(number, 0, &mut body);
            let reference = store(bench, &session, &body)?;
            if number % stride == 0 {
                mine.push((number, reference));
            }
            lane.step();
        }
        submit(bench, &session, &[])?;
        kept.lock().map_err(|_| died())?.extend(mine);
        Ok(Did {
            ops: count,
            given: count * rows.size() as u64,
        })
    })?;
    let snapshot = engine.snapshot();
    for (number, reference) in kept.into_inner().map_err(|_| died())? {
        let record = snapshot.read(&reference).wait()?;
        check(rows, number, record.body())?;
    }
    Ok(run)
}

/// Records, each committed and waited for; every thread has a name of its own.
pub(super) fn commit(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        engine,
        params,
        rows,
        ..
    } = *bench;
    let name = |lane: u64| Name::new(format!("{}-{lane}", super::NAME));
    let run = lanes::run(bench, |lane| {
        let (first, count) = params.share(params.ops, lane.number);
        let (name, mut body) = (name(lane.number)?, Vec::new());
        for number in first..first + count {
            rows.value(number, 0, &mut body);
            let session = engine.session()?;
            let reference = store(bench, &session, &body)?;
            submit(bench, &session, &[Change::set(name.clone(), reference)])?;
            lane.step();
        }
        Ok(Did {
            ops: count,
            given: count * rows.size() as u64,
        })
    })?;
    let snapshot = engine.snapshot();
    for lane in 0..params.threads {
        let (first, count) = params.share(params.ops, lane);
        let newest = snapshot.read_root(&name(lane)?)?;
        match newest {
            Some(record) => check(rows, first + count - 1, record.body())?,
            None if count == 0 => {}
            None => return Err(Error::corrupt(format!("thread {lane} committed nothing"))),
        }
    }
    Ok(run)
}

fn store(bench: &Bench<'_>, session: &Session, body: &[u8]) -> Result<Reference> {
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    patiently(bench.env, || session.store(&record, Hint::default()))
}

fn submit(bench: &Bench<'_>, session: &Session, changes: &[Change]) -> Result<()> {
    let level = bench.params.level;
    patiently(bench.env, || session.commit(changes, level).wait()).map(drop)
}

fn check(rows: &Rows, number: u64, body: &[u8]) -> Result<()> {
    match rows.check(number, body) {
        Some(_) => Ok(()),
        None => Err(Error::corrupt(format!(
            "record {number} is not what was stored"
        ))),
    }
}

fn died() -> Error {
    Error::closed("a thread of the run died")
}
