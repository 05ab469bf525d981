//! An index of one's own: a radix tree, sixteen ways a node, that grows where its keys are.
//!
//! ```text
//!   00E8, 00E9, 00EA, 0124, 0125 …  more keys than a node takes: they part at the first nibble
//!                                   in which not all are alike
//!   node   │ 00E │ 012 │ 1F6 │      cargo run --example radix -- 00E
//!             │     └ 0124 0125     cargo test --example radix
//!             └ 00E8 00E9 00EA
//! ```
//!
//! A node takes up to 32 entries, whatever their keys are; one more, and they part. A part of one
//! entry lies in the node itself, and what all keys of a node share is passed at once. So the tree is
//! as deep as its keys are told apart, and has no rule for balance. What it is not good at are thousands
//! of keys that each begin with the one before: at [`DEEPEST`] levels nodes only grow, and where such
//! keys come from above it is parted anew.

use std::error::Error;
use std::ops::{Bound, Range};
use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Kind, Name, Result};
use travertine::interfaces::edits::Edits;
use travertine::interfaces::nodes::{Nodes, Row, Rule, merge};
use travertine::interfaces::records::Sink;
use travertine::interfaces::{Direction, Map};

/// The nodes. The number tells them from the records of others.
const NODES: Nodes = Nodes::of(Kind(Kind::FIRST_FREE.0 + 8));
/// Entries that a node takes before they part.
const FULL: usize = 32;
/// Below this no entries part.
const DEEPEST: usize = 48;

/// The index. It has no options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Radix;

/// A nibble of a key; `None` where it ends.
fn nibble(key: &[u8], at: usize) -> Option<u8> {
    let byte = key.get(at / 2)?;
    Some(if at.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 15
    })
}

/// How many nibbles two keys share from their start.
fn shared(one: &[u8], two: &[u8]) -> usize {
    let bytes = one.iter().zip(two).take_while(|(a, b)| a == b).count();
    let half = nibble(one, 2 * bytes).is_some_and(|high| nibble(two, 2 * bytes) == Some(high));
    2 * bytes + usize::from(half)
}

/// The rows of a node that holds these entries.
fn part(sink: &dyn Sink, entries: Vec<Row>, depth: usize) -> Result<Vec<Row>> {
    let [first, .., last] = &entries[..] else {
        return Ok(entries);
    };
    if entries.len() <= FULL || depth == DEEPEST {
        return Ok(entries);
    }
    let at = shared(&first.key, &last.key);
    let parts = entries.chunk_by(|one, two| nibble(&one.key, at) == nibble(&two.key, at));
    parts
        .map(|entries| fold(sink, part(sink, entries.to_vec(), depth + 1)?))
        .collect()
}

/// The row that stands for these: a node, unless there is one only.
fn fold(sink: &dyn Sink, mut rows: Vec<Row>) -> Result<Row> {
    match rows.len() {
        1 => Ok(rows.swap_remove(0)),
        _ => NODES.store(sink, &rows),
    }
}

/// All entries in and under a node with these rows.
fn entries(sink: &dyn Sink, rows: &[Row]) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for row in rows {
        match row.node() {
            Some(_) => all.extend(entries(sink, &NODES.read_below(sink, row).wait()?)?),
            None => all.push(row.clone()),
        }
    }
    Ok(all)
}

/// The rows of a node after some edits.
fn edit(
    sink: &dyn Sink,
    old: &[Row],
    edits: &Edits,
    range: Range<usize>,
    depth: usize,
) -> Result<Vec<Row>> {
    let (Some(first), Some(last)) = (old.first(), old.last()) else {
        return part(sink, merge(old, edits, range), depth);
    };
    if old.iter().all(|row| row.node().is_none()) {
        return part(sink, merge(old, edits, range), depth);
    }
    // Where the keys part now: where they did, or before that, and then all that was is one part.
    let parted = shared(&first.key, &last.key);
    let ends = [range.start, range.end - 1].map(|index| shared(&first.key, edits.key(index)));
    let at = ends.into_iter().fold(parted, usize::min);
    let height = old.iter().map(Row::level).max().unwrap_or_default();
    if at < parted && depth + usize::from(height) >= DEEPEST {
        return part(sink, merge(&entries(sink, old)?, edits, range), depth);
    }
    // Each part: the row that was there, if there was one, and the rows in it, if it was looked at.
    let mut parts: Vec<(Option<&Row>, Vec<Row>)> = Vec::new();
    let (mut rest, mut done) = (old, range.start);
    while !rest.is_empty() || done < range.end {
        let keys = rest.first().map(|row| &row.key[..]);
        let key = keys
            .into_iter()
            .chain((done < range.end).then(|| edits.key(done)))
            .min();
        let way = key.and_then(|key| nibble(key, at));
        let same = |key: &[u8]| nibble(key, at) == way;
        let mine = rest.iter().take_while(|row| same(&row.key)).count();
        let end = done
            + (done..range.end)
                .take_while(|index| same(edits.key(*index)))
                .count();
        let (group, left) = rest.split_at(mine);
        parts.push(match group {
            [row] if done == end => (Some(row), Vec::new()),
            [row] if row.node().is_some() => {
                let below = NODES.read_below(sink, row).wait()?;
                let rows = edit(sink, &below, edits, done..end, depth + 1)?;
                (Some(row).filter(|_| rows == below), rows)
            }
            group if done == end => (None, group.to_vec()),
            group => (None, edit(sink, group, edits, done..end, depth + 1)?),
        });
        (rest, done) = (left, end);
    }
    parts.retain(|(row, rows)| row.is_some() || !rows.is_empty());
    let of = |(row, rows): &(Option<&Row>, Vec<Row>)| match row {
        Some(row) => row.count(),
        None => rows.iter().map(Row::count).sum(),
    };
    let one = parts.len() == 1 || parts.iter().map(of).sum::<u64>() <= FULL as u64;
    let mut rows = Vec::new();
    for (row, below) in parts {
        match (one, row) {
            (true, Some(row)) if row.node().is_some() => {
                rows.extend(NODES.read_below(sink, row).wait()?);
            }
            (_, Some(row)) => rows.push(row.clone()),
            (true, None) => rows.extend(below),
            (false, None) => rows.push(fold(sink, below)?),
        }
    }
    Ok(rows)
}

impl Rule for Radix {
    const NODES: Nodes = NODES;

    fn edit(&self, sink: &dyn Sink, old: &[Row], edits: &Edits) -> Result<Vec<Row>> {
        edit(sink, old, edits, 0..edits.len(), 0)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let prefix = std::env::args().nth(1).unwrap_or("00E".to_owned());
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/memory.toml");
    let file = StackFile::load(stack, &travertine::standard(), &Overrides::none())?;
    let (_stack, engine) = file.engine(&Env::system(), false)?;
    let map = Map::new(Name::new("characters")?, Radix);
    let data = include_str!("data/unicode-excerpt.txt").lines();
    let rows: Vec<_> = data.filter_map(|line| line.split_once(';')).collect();
    for some in rows.chunks(500) {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for (code, line) in some {
            let name = line.split(';').next().unwrap_or_default();
            writer.put(code.as_bytes(), name.as_bytes())?;
        }
        writer.commit(None)?.wait()?;
    }
    let reader = map.reader(&engine.snapshot()).wait()?;
    println!("{}", reader.verify());
    let from = Bound::Included(prefix.as_bytes());
    let mut found = reader.range(from, Bound::Unbounded, Direction::Forward);
    while let Some(entry) = found
        .next()?
        .filter(|entry| entry.key.starts_with(prefix.as_bytes()))
    {
        let key = String::from_utf8_lossy(entry.key).into_owned();
        let name = reader.value(entry.value).wait()?;
        println!("{key}  {}", String::from_utf8_lossy(&name));
    }
    engine.close()?;
    Ok(())
}

#[cfg(test)]
travertine::interfaces::index_suite!(radix, Radix);
