//! The mixed workloads of YCSB: reads between updates, insertions, short ranges.
//!
//! A reader always looks at the newest commit that has reached its level. Insertions are numbered in
//! the order of their commits, so that a row below the newest visible one is always there.

use std::sync::atomic::{AtomicU64, Ordering};

use super::keyed::{check_all, find};
use super::lanes::{self, Did, Lane};
use super::random::{Shuffle, Zipf};
use super::rows::{KEY, Rows};
use super::table::{Table, TreeReader, from_key, walk};
use super::{Bench, Run, Workload};
use crate::contract::{Error, Result};

/// Most rows of a range.
const RANGE_MAX: u64 = 100;

/// Runs one of the six.
pub(super) fn run(bench: &Bench<'_>, workload: Workload) -> Result<Run> {
    let Bench {
        table,
        params,
        rows,
        ..
    } = *bench;
    let mix = Mix::of(workload);
    let shared = Shared {
        table,
        rows,
        zipf: Zipf::new(params.records),
        order: Shuffle::new(params.records, params.seed),
        next: AtomicU64::new(params.records),
        visible: AtomicU64::new(params.records),
        changed: AtomicU64::new(0),
    };
    let run = lanes::run(bench, |lane| {
        let (_, count) = params.share(params.ops, lane.number);
        let mut newest = Newest::new(table)?;
        let (mut given, mut value) = (0, Vec::new());
        for _ in 0..count {
            given += shared.one(mix, lane, &mut newest, &mut value)?;
            lane.step();
        }
        Ok(Did { ops: count, given })
    })?;
    let count = shared.next.load(Ordering::Relaxed);
    let versions = check_all(table, rows, count)?;
    let changed = shared.changed.load(Ordering::Relaxed);
    // Each change adds one to a version: a lost one would show.
    if mix.write == Write::Change && rows.versioned() && versions != changed {
        return Err(Error::corrupt(format!(
            "{changed} changes were made, and the rows tell of {versions}"
        )));
    }
    Ok(run)
}

#[derive(Debug, Clone, Copy)]
struct Mix {
    /// Of a hundred operations, so many read.
    reads: u64,
    read: Read,
    write: Write,
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Row,
    Latest,
    Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Update,
    Insert,
    Change,
}

impl Mix {
    fn of(workload: Workload) -> Self {
        let (reads, read, write) = match workload {
            Workload::YcsbB => (95, Read::Row, Write::Update),
            Workload::YcsbC => (100, Read::Row, Write::Update),
            Workload::YcsbD => (95, Read::Latest, Write::Insert),
            Workload::YcsbE => (95, Read::Range, Write::Insert),
            Workload::YcsbF => (50, Read::Row, Write::Change),
            _ => (50, Read::Row, Write::Update),
        };
        Self { reads, read, write }
    }
}

struct Shared<'t> {
    table: &'t Table,
    rows: &'t Rows,
    zipf: Zipf,
    order: Shuffle,
    /// The number of the next row that is inserted.
    next: AtomicU64,
    /// Rows below this are committed.
    visible: AtomicU64,
    changed: AtomicU64,
}

impl Shared<'_> {
    /// One operation. Answers the bytes that it handed in.
    fn one(
        &self,
        mix: Mix,
        lane: &mut Lane<'_>,
        newest: &mut Newest,
        value: &mut Vec<u8>,
    ) -> Result<u64> {
        if lane.rng.below(100) < mix.reads {
            self.read(mix.read, lane, newest)?;
            return Ok(0);
        }
        let rows = self.rows;
        let row = (KEY + rows.size()) as u64;
        match mix.write {
            Write::Update => {
                let (number, version) = (self.popular(lane), lane.rng.next_u64());
                rows.value(number, version, value);
                let put = self
                    .table
                    .transact(|writer| writer.put(&rows.key(number), value));
                put?.1.wait()?;
            }
            Write::Insert => {
                // Numbered within the turn, so numbers and commits have one order; once, however often
                // it is begun.
                let mut mine = None;
                let (number, ticket) = self.table.transact(|writer| {
                    let next = || self.next.fetch_add(1, Ordering::Relaxed);
                    let number = *mine.get_or_insert_with(next);
                    rows.value(number, 0, value);
                    writer.put(&rows.key(number), value)?;
                    Ok(number)
                })?;
                ticket.wait()?;
                self.visible.fetch_max(number + 1, Ordering::Release);
            }
            Write::Change => {
                let number = self.popular(lane);
                let (_, ticket) = self.table.transact(|writer| {
                    let old = writer.get(&rows.key(number))?;
                    let version = old.and_then(|old| rows.check(number, &old));
                    let version = version.ok_or_else(|| {
                        Error::corrupt(format!("row {number} is missing or not its own"))
                    })?;
                    rows.value(number, version + 1, value);
                    writer.put(&rows.key(number), value)
                })?;
                ticket.wait()?;
                self.changed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(row)
    }

    fn read(&self, read: Read, lane: &mut Lane<'_>, newest: &mut Newest) -> Result<()> {
        let visible = self.visible.load(Ordering::Acquire);
        let reader = newest.reader(self.table)?;
        match read {
            Read::Row => find(reader, self.rows, self.popular(lane)).map(|_| ()),
            Read::Latest => {
                let back = self.zipf.rank(&mut lane.rng);
                find(reader, self.rows, (visible - 1).saturating_sub(back)).map(|_| ())
            }
            Read::Range => {
                let number = self.popular(lane);
                let most = 1 + lane.rng.below(RANGE_MAX);
                let mut range = from_key(reader, &self.rows.key(number));
                let met = walk(reader, &mut range, most, |key, value| {
                    let row = self.rows.check_entry(key, value);
                    row.map(|_| ())
                        .ok_or_else(|| Error::corrupt(format!("{key:02x?} is no row")))
                })?;
                if met == 0 {
                    return Err(Error::corrupt(format!("row {number} is missing")));
                }
                Ok(())
            }
        }
    }

    /// A loaded row; a few of them are asked for most of the time.
    fn popular(&self, lane: &mut Lane<'_>) -> u64 {
        self.order.at(self.zipf.rank(&mut lane.rng))
    }
}

/// A reader that follows the newest commit.
struct Newest {
    sequence: u64,
    reader: TreeReader,
}

impl Newest {
    fn new(table: &Table) -> Result<Self> {
        let snapshot = table.engine().snapshot();
        Ok(Self {
            sequence: snapshot.sequence(),
            reader: table.reader_of(&snapshot)?,
        })
    }

    fn reader(&mut self, table: &Table) -> Result<&TreeReader> {
        let snapshot = table.engine().snapshot();
        if snapshot.sequence() != self.sequence {
            self.sequence = snapshot.sequence();
            self.reader = table.reader_of(&snapshot)?;
        }
        Ok(&self.reader)
    }
}
