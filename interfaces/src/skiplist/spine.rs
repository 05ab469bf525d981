//! A map under construction, from left to right: of each level the run that is not yet cut off.
//!
//! ```text
//!   rows in order ──> level 0   │ … │ … │ v w            a row goes into the run of its level, and
//!                     level 1   │ … │ q                  where a run ends, the row that stands for it
//!                     level 2   │ a                      goes to the level above
//! ```
//!
//! Where a run begins depends on what lies between it and the last key of height before it, and on
//! nothing else. So a part of the old map that begins with such a key is kept as it is, unread; and
//! when what follows turns out to lie in the same run, it is opened again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use travertine_engine::contract::{Error, Reference, Result};

use super::{NODES, Skiplist, puts};
use crate::edits::Edits;
use crate::nodes::{Cell, Row, merge};
use crate::records::Sink;

/// A run of this many bytes takes no more rows, if it has two.
const BYTES_MAX: usize = 32 << 10;
/// Nor does one of this many rows.
const ROWS_MAX: usize = 256;
/// What a row takes beside its key and an inline value.
const FIXED: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Spine<'s> {
    index: Skiplist,
    sink: &'s dyn Sink,
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    run: Run,
    /// Nodes of the old map that were opened on this level, and their rows, until as many rows came.
    opened: VecDeque<(Row, Rows)>,
}

/// The rows of an old node.
type Rows = Arc<Vec<Row>>;

/// What was not yet cut off.
#[derive(Debug, Default)]
enum Run {
    /// Nothing; or it is a part of what is kept on a level above.
    #[default]
    None,
    /// A node of the old map, whole.
    Kept(Row),
    /// Rows, and the node of the old map that begins as they do.
    Rows {
        rows: Vec<Row>,
        bytes: usize,
        old: Option<(Row, Rows)>,
    },
}

/// The topmost run of a map.
#[derive(Debug)]
pub(super) struct Top {
    /// What it holds; nothing, if the map is empty.
    pub(super) rows: Vec<Row>,
    node: Option<Reference>,
}

impl Top {
    /// The node that holds it, stored if there is none yet.
    pub(super) fn root(self, sink: &dyn Sink) -> Result<Option<Reference>> {
        match self.node {
            Some(node) => Ok(Some(node)),
            None => NODES.store_root(sink, &self.rows),
        }
    }
}

impl<'s> Spine<'s> {
    pub(super) fn new(index: Skiplist, sink: &'s dyn Sink) -> Self {
        let levels = Vec::new();
        Self {
            index,
            sink,
            levels,
        }
    }

    /// Sends the rows of an old node through, and all under them, with these edits done to it.
    pub(super) fn edit(&mut self, old: &[Row], edits: &Edits, range: Range<usize>) -> Result<()> {
        let Some(level) = old.first().map(Row::level) else {
            return puts(edits).try_for_each(|row| self.push(0, row));
        };
        check_level(old, usize::from(level))?;
        if level == 0 {
            let rows = merge(old, edits, range);
            return rows.into_iter().try_for_each(|row| self.push(0, row));
        }
        let mut done = range.start;
        for (at, row) in old.iter().enumerate() {
            let end = match old.get(at + 1) {
                Some(next) => edits.lower_bound(done..range.end, &next.key),
                None => range.end,
            };
            if done < end || !self.keep(row)? {
                let below = Arc::new(NODES.read_below(self.sink, row).wait()?);
                let level = self.level(usize::from(level) - 1);
                level.opened.push_back((row.clone(), below.clone()));
                self.edit(&below, edits, done..end)?;
            }
            done = end;
        }
        Ok(())
    }

    /// Adds a row to a level.
    pub(super) fn push(&mut self, at: usize, row: Row) -> Result<()> {
        if self.index.height(&row.key) > at {
            self.close(at)?;
        } else {
            self.open(at)?;
            if matches!(&self.level(at).run, Run::Rows { rows, bytes, .. }
                if rows.len() >= ROWS_MAX || (rows.len() >= 2 && *bytes >= BYTES_MAX))
            {
                self.close(at)?;
            }
        }
        let level = self.level(at);
        if let Run::Rows { rows, bytes, .. } = &mut level.run {
            *bytes += size(&row);
            rows.push(row);
            return Ok(());
        }
        let mut old = None;
        while let Some(opened) = level.opened.pop_front() {
            match opened.1.first() {
                Some(first) if first.key == row.key => {
                    old = Some(opened);
                    break;
                }
                Some(first) if first.key > row.key => {
                    level.opened.push_front(opened);
                    break;
                }
                _ => {}
            }
        }
        level.run = Run::Rows {
            bytes: size(&row),
            rows: vec![row],
            old,
        };
        Ok(())
    }

    /// Ends the map.
    pub(super) fn finish(mut self) -> Result<Top> {
        let mut at = 0;
        while at < self.levels.len() {
            if self.begun_above(at).is_some() {
                self.close(at)?;
                at += 1;
                continue;
            }
            let (mut rows, mut node) = match self.take(at) {
                Run::None => (Vec::new(), None),
                Run::Kept(row) => (NODES.read_below(self.sink, &row).wait()?, row.node()),
                Run::Rows { rows, .. } => (rows, None),
            };
            // A level of one run is the top, and what lies above it has one row only.
            while let [row] = &rows[..]
                && row.level() > 0
            {
                node = row.node();
                rows = NODES.read_below(self.sink, row).wait()?;
            }
            return Ok(Top { rows, node });
        }
        Ok(Top {
            rows: Vec::new(),
            node: None,
        })
    }

    /// Takes a node of the old map whole, if it is known to begin a run here, too.
    fn keep(&mut self, row: &Row) -> Result<bool> {
        let at = usize::from(row.level()) - 1;
        let first = self.levels.iter().all(|level| level.run.is_none());
        if !first && self.index.height(&row.key) <= at {
            return Ok(false);
        }
        for level in 0..=at {
            self.close(level)?;
        }
        self.level(at).run = Run::Kept(row.clone());
        Ok(true)
    }

    /// Opens the run of a level to take more rows.
    fn open(&mut self, at: usize) -> Result<()> {
        let Some(from) = self.begun_above_or_at(at) else {
            return Ok(());
        };
        for level in (at..=from).rev() {
            let row = match self.take(level) {
                Run::Kept(row) => row,
                run => {
                    self.level(level).run = run;
                    return Ok(());
                }
            };
            let old = NODES.read_below(self.sink, &row).wait()?;
            check_level(&old, level)?;
            let mut rows = old.clone();
            if level > at
                && let Some(last) = rows.pop()
            {
                self.level(level - 1).run = Run::Kept(last);
            }
            self.level(level).run = Run::Rows {
                bytes: rows.iter().map(size).sum(),
                rows,
                old: Some((row, Arc::new(old))),
            };
        }
        Ok(())
    }

    /// Cuts the run of a level off, and sends what stands for it up.
    fn close(&mut self, at: usize) -> Result<()> {
        let row = match self.take(at) {
            Run::Kept(row) => row,
            Run::Rows { rows, old, .. } if !rows.is_empty() => match old {
                Some((row, old)) if *old == rows => row,
                _ => NODES.store(self.sink, &rows)?,
            },
            _ => return Ok(()),
        };
        self.push(at + 1, row)
    }

    fn take(&mut self, at: usize) -> Run {
        std::mem::take(&mut self.level(at).run)
    }

    fn level(&mut self, at: usize) -> &mut Level {
        if self.levels.len() <= at {
            self.levels.resize_with(at + 1, Level::default);
        }
        &mut self.levels[at]
    }

    /// The lowest level from this one on where something is not yet cut off.
    fn begun_above_or_at(&self, at: usize) -> Option<usize> {
        let runs = self.levels.iter().enumerate().skip(at);
        let mut begun = runs.filter(|(_, level)| !level.run.is_none());
        begun.next().map(|(at, _)| at)
    }

    fn begun_above(&self, at: usize) -> Option<usize> {
        self.begun_above_or_at(at + 1)
    }
}

impl Run {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// What a row counts for when a run is cut for its size. Part of the format.
fn size(row: &Row) -> usize {
    let value = match &row.cell {
        Cell::Inline(bytes) => bytes.len(),
        _ => 0,
    };
    row.key.len() + value + FIXED
}

/// Whether a run is so large that it may have been cut for that.
pub(super) fn is_full(rows: &[Row]) -> bool {
    rows.len() >= ROWS_MAX || rows.iter().map(size).sum::<usize>() >= BYTES_MAX
}

/// Refuses a node in which rows of another level lie.
fn check_level(rows: &[Row], level: usize) -> Result<()> {
    match rows.iter().all(|row| usize::from(row.level()) == level) {
        true => Ok(()),
        false => Err(Error::corrupt(
            "a run of a skip list has rows of another level",
        )),
    }
}
