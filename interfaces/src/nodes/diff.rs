//! The keys at which two maps differ.
//!
//! ```text
//!   mine     │ c  node │ h  node │          what is next of each map: rows, the nearest on top
//!   theirs   │ c  node │ k  node │
//!              └ the same record or the same digest: both are passed unread
//! ```
//!
//! Where both begin with the same key, the higher is opened, so that nodes of one height meet; else the
//! one that begins first. Memory: the rows on the way to one entry of each.

use travertine_engine::contract::Result;

use super::page::misfit;
use super::view::NodesView;
use super::{Cell, Row};
use crate::index::Value;

/// What is told of a key: its value in the one map, and in the other.
type Tell<'t> = dyn FnMut(&[u8], Option<Value<'_>>, Option<Value<'_>>) -> Result<()> + 't;

pub(super) fn diff(one: &NodesView, two: &NodesView, tell: &mut Tell<'_>) -> Result<()> {
    let (mut mine, mut theirs) = (Side::new(one)?, Side::new(two)?);
    loop {
        match (mine.rows.last(), theirs.rows.last()) {
            (None, None) => return Ok(()),
            (Some(_), None) => mine.lone(|key, value| tell(key, Some(value), None))?,
            (None, Some(_)) => theirs.lone(|key, value| tell(key, None, Some(value)))?,
            (Some(a), Some(b)) if a.key < b.key => {
                mine.lone(|key, value| tell(key, Some(value), None))?;
            }
            (Some(a), Some(b)) if a.key > b.key => {
                theirs.lone(|key, value| tell(key, None, Some(value)))?;
            }
            (Some(a), Some(b)) => match (a.level(), b.level()) {
                _ if same(a, b) => {
                    mine.pass()?;
                    theirs.pass()?;
                }
                (0, 0) => {
                    let (a, b) = (mine.pass()?, theirs.pass()?);
                    tell(&a.key, value(&a), value(&b))?;
                }
                (high, low) => {
                    if high >= low {
                        mine.open()?;
                    }
                    if low >= high {
                        theirs.open()?;
                    }
                }
            },
        }
    }
}

/// One of the two maps.
struct Side<'v> {
    view: &'v NodesView,
    /// What is ahead; the nearest is the last.
    rows: Vec<Row>,
    /// The key that was passed last.
    behind: Option<bytes::Bytes>,
}

impl<'v> Side<'v> {
    fn new(view: &'v NodesView) -> Result<Self> {
        let mut rows = view.rows()?;
        rows.reverse();
        let behind = None;
        Ok(Self { view, rows, behind })
    }

    /// Goes on by the nearest row, of which the other map has nothing as far as can be seen.
    fn lone(&mut self, tell: impl FnOnce(&[u8], Value<'_>) -> Result<()>) -> Result<()> {
        if self.rows.last().is_some_and(|row| row.level() > 0) {
            return self.open();
        }
        let row = self.pass()?;
        value(&row).map_or(Ok(()), |value| tell(&row.key, value))
    }

    fn pass(&mut self) -> Result<Row> {
        let row = self.rows.pop().filter(|row| {
            let behind = self.behind.as_ref();
            behind.is_none_or(|behind| *behind < row.key)
        });
        // So what is named twice in a damaged map is not walked twice.
        let row = row.ok_or_else(|| misfit("has keys that were passed before"))?;
        self.behind = Some(row.key.clone());
        Ok(row)
    }

    fn open(&mut self) -> Result<()> {
        let Some(row) = self.rows.pop() else {
            return Ok(());
        };
        let below = self
            .view
            .nodes
            .read_below(&*self.view.source, &row)
            .wait()?;
        if below.first().is_none_or(|first| first.key != row.key) {
            return Err(misfit(
                "does not begin with the key that the node above says",
            ));
        }
        self.rows.extend(below.into_iter().rev());
        Ok(())
    }
}

fn same(a: &Row, b: &Row) -> bool {
    let alike = a.digest.is_some() && a.digest == b.digest && a.level() == b.level();
    alike || a.cell == b.cell
}

fn value(row: &Row) -> Option<Value<'_>> {
    match &row.cell {
        Cell::Inline(bytes) => Some(Value::Inline(bytes)),
        Cell::Apart(apart) => Some(Value::Apart(*apart)),
        Cell::Below { .. } => None,
    }
}
