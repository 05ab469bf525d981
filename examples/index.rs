//! An index of one's own, in one file: pages that are cut by content, under one root.
//!
//! ```text
//!   root   │ a │ f │ p │                a page ends with a key whose hash says so: about one in 32
//!            │   │   └ page: p q s t
//!            │   └ page: f g k m o             cargo run --example index
//!            └ page: a b d                     cargo test --example index
//! ```
//!
//! So the same entries lie in the same pages, whatever order they came in and whatever was deleted in
//! between: two maps differ in those pages only where their contents do. It is no rival to the B-tree,
//! for each commit rewrites its root, and keys can be found that never end a page. But it is whole: it
//! takes part in transactions, is read back, walked, verified and reclaimed like any other, and passes
//! the suite below.

use std::error::Error;
use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Kind, Name, Result};
use travertine::front::Engine;
use travertine::interfaces::edits::Edits;
use travertine::interfaces::nodes::{Nodes, Row, Rule, merge};
use travertine::interfaces::records::Sink;
use travertine::interfaces::{CursorExt, Map};

/// Root and pages. The number tells them from the records of others.
const NODES: Nodes = Nodes::of(Kind(Kind::FIRST_FREE.0 + 7));

/// The index. It has no options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages;

/// Whether a page ends with this row. FNV-1a: the answer is part of the format.
fn ends_page(row: &Row) -> bool {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = row.key.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 32)).is_multiple_of(32)
}

impl Rule for Pages {
    const NODES: Nodes = NODES;

    fn edit(&self, sink: &dyn Sink, old: &[Row], edits: &Edits) -> Result<Vec<Row>> {
        let (mut new, mut open, mut done) = (Vec::new(), Vec::new(), 0);
        for at in 0..old.len().max(1) {
            let (place, next) = (old.get(at), old.get(at + 1));
            let end = match next {
                Some(next) => edits.lower_bound(done..edits.len(), &next.key),
                None => edits.len(),
            };
            if done == end && open.is_empty() {
                new.extend(place.cloned());
                continue;
            }
            let page = place.and_then(Row::node);
            let before = NODES.read_root(sink, page.as_ref()).wait()?;
            open.extend(merge(&before, edits, done..end));
            done = end;
            while !open.is_empty() {
                let rows = match open.iter().position(ends_page) {
                    Some(last) => open.drain(..=last).collect(),
                    None if next.is_none() => std::mem::take(&mut open),
                    // These lie in one page with what comes next.
                    None => break,
                };
                new.push(match place.filter(|_| rows == before) {
                    Some(same) => same.clone(),
                    None => NODES.store(sink, &rows)?,
                });
            }
        }
        Ok(new)
    }
}

/// Puts rows into a map, so many to a commit.
fn fill(engine: &Engine, map: &Map<Pages>, rows: &[(&str, &str)], commit: usize) -> Result<()> {
    for some in rows.chunks(commit) {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for (key, value) in some {
            writer.put(key.as_bytes(), value.as_bytes())?;
        }
        writer.commit(None)?.wait()?;
    }
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let data = include_str!("data/unicode-excerpt.txt");
    let mut rows: Vec<_> = data
        .lines()
        .filter_map(|line| line.split_once(';'))
        .collect();
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/memory.toml");
    let file = StackFile::load(stack, &travertine::standard(), &Overrides::none())?;
    let (_stack, engine) = file.engine(&Env::system(), false)?;
    let there = Map::new(Name::new("there")?, Pages);
    let back = Map::new(Name::new("back")?, Pages);
    fill(&engine, &there, &rows, rows.len())?;
    rows.reverse();
    fill(&engine, &back, &rows, 100)?;

    let snapshot = engine.snapshot();
    let (there, back) = (
        there.reader(&snapshot).wait()?,
        back.reader(&snapshot).wait()?,
    );
    println!("one commit:            {}", there.verify());
    println!("backwards, in hundreds: {}", back.verify());
    let firsts = |rows: &[Row]| rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
    let same = firsts(&there.view().rows()?) == firsts(&back.view().rows()?);
    assert!(same, "the pages depend on how the entries came in");
    println!("their pages begin with the same keys");
    let mut cursor = back.cursor();
    while let Some(entry) = cursor.next()?.filter(|entry| entry.key < &b"0003"[..]) {
        println!("{}", String::from_utf8_lossy(entry.key));
    }
    engine.close()?;
    Ok(())
}

#[cfg(test)]
travertine::interfaces::index_suite!(pages, Pages);
#[cfg(test)]
travertine::interfaces::index_suite!(journaled, travertine::interfaces::Journal::over(Pages));
