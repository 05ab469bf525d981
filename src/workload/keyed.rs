//! The workloads over rows with keys: filling, reading, removing.

use super::lanes::{self, Did, Lane};
use super::patience::patiently;
use super::random::{Shuffle, Zipf};
use super::rows::{KEY, Rows};
use super::table::{Table, TreeReader, from_key, walk};
use super::{Bench, Run};
use crate::contract::{Error, Result};

/// Rows of a range.
const RANGE: u64 = 10;
/// Rows of a scan that count as one step.
const PIECE: u64 = 1000;

/// Loads every row in order, in one commit; from the first on again, where nothing new may begin.
pub(super) fn load(bench: &Bench<'_>, mut step: impl FnMut()) -> Result<()> {
    let Bench { table, rows, .. } = *bench;
    patiently(bench.env, || {
        let (mut number, mut value) = (0, Vec::new());
        table.load(|push| {
            if number == rows.records() {
                return Ok(false);
            }
            rows.value(number, 0, &mut value);
            push(&rows.key(number), &value)?;
            number += 1;
            step();
            Ok(true)
        })
    })?;
    Ok(())
}

pub(super) fn fill_seq(bench: &Bench<'_>) -> Result<Run> {
    let Bench { table, rows, .. } = *bench;
    // A bulk load is the work of one thread.
    let run = lanes::run_in(bench, 1, |lane| {
        load(bench, || lane.step())?;
        Ok(whole_rows(rows, rows.records()))
    })?;
    check_all(table, rows, rows.records())?;
    Ok(run)
}

pub(super) fn fill_random(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    let order = Shuffle::new(params.records, params.seed);
    let run = lanes::run(bench, |lane| {
        let (first, count) = params.share(params.records, lane.number);
        let mut value = Vec::new();
        batches(lane, first, count, params.batch, |from, to| {
            let (_, ticket) = table.transact(|writer| {
                for number in (from..to).map(|index| order.at(index)) {
                    rows.value(number, 0, &mut value);
                    writer.put(&rows.key(number), &value)?;
                }
                Ok(())
            })?;
            ticket.wait().map(|_| ())
        })?;
        Ok(whole_rows(rows, count))
    })?;
    check_all(table, rows, params.records)?;
    Ok(run)
}

pub(super) fn delete(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    let order = Shuffle::new(params.records, params.seed);
    let removed = params.ops.min(params.records);
    let run = lanes::run(bench, |lane| {
        let (first, count) = params.share(removed, lane.number);
        batches(lane, first, count, params.batch, |from, to| {
            let (_, ticket) = table.transact(|writer| {
                for number in (from..to).map(|index| order.at(index)) {
                    writer.delete(&rows.key(number))?;
                }
                Ok(())
            })?;
            ticket.wait().map(|_| ())
        })?;
        Ok(Did {
            ops: count,
            given: count * KEY as u64,
        })
    })?;
    check_all(table, rows, params.records - removed)?;
    let reader = table.reader()?;
    for index in (0..removed).step_by(1 + removed as usize / 1000) {
        let number = order.at(index);
        if reader.get(&rows.key(number)).wait()?.is_some() {
            return Err(Error::corrupt(format!(
                "row {number} was removed, and is there"
            )));
        }
    }
    Ok(run)
}

pub(super) fn read(bench: &Bench<'_>, hot: bool) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    let zipf = hot.then(|| Zipf::new(params.records));
    let order = Shuffle::new(params.records, params.seed);
    lanes::run(bench, |lane| {
        let (_, count) = params.share(params.ops, lane.number);
        let reader = table.reader()?;
        for _ in 0..count {
            let number = match &zipf {
                Some(zipf) => order.at(zipf.rank(&mut lane.rng)),
                None => lane.rng.below(params.records),
            };
            find(&reader, rows, number)?;
            lane.step();
        }
        Ok(Did {
            ops: count,
            given: 0,
        })
    })
}

pub(super) fn range(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    lanes::run(bench, |lane| {
        let (_, count) = params.share(params.ops, lane.number);
        let reader = table.reader()?;
        for _ in 0..count {
            let from = lane.rng.below(params.records);
            let mut range = from_key(&reader, &rows.key(from));
            let mut expected = from;
            let met = walk(&reader, &mut range, RANGE, |key, value| {
                let fits = rows.check_entry(key, value) == Some((expected, 0));
                expected += 1;
                fits.then_some(()).ok_or_else(|| wrong(expected - 1))
            })?;
            if met != RANGE.min(params.records - from) {
                return Err(Error::corrupt(format!(
                    "a range of {RANGE} from row {from} has {met}"
                )));
            }
            lane.step();
        }
        Ok(Did {
            ops: count,
            given: 0,
        })
    })
}

pub(super) fn scan(bench: &Bench<'_>) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    lanes::run(bench, |lane| {
        let (_, count) = params.share(params.ops, lane.number);
        let reader = table.reader()?;
        let (mut left, mut expected) = (count, 0);
        let mut range = from_key(&reader, &[]);
        while left > 0 {
            let wanted = left.min(PIECE);
            let met = walk(&reader, &mut range, wanted, |key, value| {
                let fits = rows.check_entry(key, value) == Some((expected, 0));
                expected += 1;
                fits.then_some(()).ok_or_else(|| wrong(expected - 1))
            })?;
            left -= met;
            lane.step();
            if met < wanted {
                if expected != params.records {
                    return Err(missing(expected, params.records));
                }
                (range, expected) = (from_key(&reader, &[]), 0);
            }
        }
        Ok(Did {
            ops: count,
            given: 0,
        })
    })
}

/// The version of a row that must be there.
pub(super) fn find(reader: &TreeReader, rows: &Rows, number: u64) -> Result<u64> {
    let value = reader.get(&rows.key(number)).wait()?;
    let version = value.and_then(|value| rows.check(number, &value));
    version.ok_or_else(|| wrong(number))
}

/// Reads everything: each row must fit its key, in order, and there must be so many. Answers the
/// sum of their versions.
pub(super) fn check_all(table: &Table, rows: &Rows, count: u64) -> Result<u64> {
    let reader = table.reader()?;
    if reader.count() != count {
        return Err(missing(reader.count(), count));
    }
    let mut range = from_key(&reader, &[]);
    let (mut last, mut versions) = (None, 0_u64);
    let met = walk(&reader, &mut range, u64::MAX, |key, value| {
        let (number, version) = rows
            .check_entry(key, value)
            .ok_or_else(|| Error::corrupt(format!("the entry at {key:02x?} is no row")))?;
        let place: [u8; KEY] = rows.key(number);
        if last.is_some_and(|last| last >= place) {
            return Err(Error::corrupt(format!("row {number} is out of order")));
        }
        last = Some(place);
        versions = versions.wrapping_add(version);
        Ok(())
    })?;
    if met != count {
        return Err(missing(met, count));
    }
    Ok(versions)
}

fn batches(
    lane: &mut Lane<'_>,
    first: u64,
    count: u64,
    batch: u64,
    mut work: impl FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let end = first + count;
    let mut from = first;
    while from < end {
        let to = end.min(from.saturating_add(batch));
        work(from, to)?;
        lane.step();
        from = to;
    }
    Ok(())
}

fn whole_rows(rows: &Rows, count: u64) -> Did {
    Did {
        ops: count,
        given: count * (KEY + rows.size()) as u64,
    }
}

fn wrong(number: u64) -> Error {
    Error::corrupt(format!(
        "row {number} is missing or has a value not its own"
    ))
}

fn missing(met: u64, expected: u64) -> Error {
    Error::corrupt(format!("there are {met} rows where {expected} should be"))
}
