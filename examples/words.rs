//! An index of one's own: where each word stands, with a list for each word.
//!
//! ```text
//!   root    │ a │ commit │ m │        shelves of about 32 words
//!                  │
//!   shelf          │ commit │ compress │ copy │ crash │
//!                      │          └ in one line only: lies in the shelf
//!   list               └ commit 0 README, line 7 │ commit 0 README, line 31 │ …
//!
//!            cargo run --example words -- batch header
//!            cargo test --example words
//! ```
//!
//! A key is a word, a zero, and the place where it stands. All places of a word lie in one record, and
//! the row that stands for it says how many there are: so a question for several words looks at the
//! shelves alone to begin with the rarest. To the engine it is an ordered map like any other; keys need
//! not be words, they are only better off. What it does not bear is a word in a million places: its
//! list is one record, and is written anew with each.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Range;
use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Kind, Name, Result};
use travertine::interfaces::Map;
use travertine::interfaces::edits::Edits;
use travertine::interfaces::nodes::{Nodes, NodesView, Row, Rule, merge};
use travertine::interfaces::records::{Sink, Source};

/// Root, shelves and lists. The number tells them from the records of others.
const NODES: Nodes = Nodes::of(Kind(Kind::FIRST_FREE.0 + 9));

/// The index. It has no options.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words;

/// The word of a key: all before the first zero.
fn word(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether a shelf ends with this row's word. FNV-1a: the answer is part of the format.
fn ends_shelf(row: &Row) -> bool {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = word(&row.key).iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 32)).is_multiple_of(32)
}

/// A shelf after some edits: a row for each word.
fn shelve(sink: &dyn Sink, old: &[Row], edits: &Edits, range: Range<usize>) -> Result<Vec<Row>> {
    let mut new = Vec::new();
    let (mut rest, mut done) = (old, range.start);
    while done < range.end {
        let this = word(edits.key(done));
        let before = rest.partition_point(|row| word(&row.key) < this);
        new.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        let end = done
            + (done..range.end)
                .take_while(|at| word(edits.key(*at)) == this)
                .count();
        let row = rest.first().filter(|row| word(&row.key) == this);
        let list = match row {
            Some(row) if row.node().is_some() => NODES.read_below(sink, row).wait()?,
            row => row.into_iter().cloned().collect(),
        };
        let places = merge(&list, edits, done..end);
        match (row, &places[..]) {
            (Some(row), _) if places == list => new.push(row.clone()),
            (_, []) => {}
            (_, [one]) => new.push(one.clone()),
            _ => new.push(NODES.store(sink, &places)?),
        }
        rest = &rest[usize::from(row.is_some())..];
        done = end;
    }
    new.extend_from_slice(rest);
    Ok(new)
}

impl Rule for Words {
    const NODES: Nodes = NODES;

    fn edit(&self, sink: &dyn Sink, old: &[Row], edits: &Edits) -> Result<Vec<Row>> {
        let (mut new, mut open, mut done) = (Vec::new(), Vec::new(), 0);
        for at in 0..old.len().max(1) {
            let (place, next) = (old.get(at), old.get(at + 1));
            // A word does not lie on two shelves, wherever in it the next one begins.
            let end = match next {
                Some(next) => edits.lower_bound(done..edits.len(), word(&next.key)),
                None => edits.len(),
            };
            if done == end && open.is_empty() {
                new.extend(place.cloned());
                continue;
            }
            let shelf = place.and_then(Row::node);
            let before = NODES.read_root(sink, shelf.as_ref()).wait()?;
            open.extend(shelve(sink, &before, edits, done..end)?);
            done = end;
            while !open.is_empty() {
                let rows = match open.iter().position(ends_shelf) {
                    Some(last) => open.drain(..=last).collect(),
                    None if next.is_none() => std::mem::take(&mut open),
                    // These lie on one shelf with what comes next.
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

/// The row that stands for a word, found on its shelf: its places are not read.
fn look_up(source: &dyn Source, view: &NodesView, word_: &[u8]) -> Result<Option<Row>> {
    let shelves = view.rows()?;
    let after = shelves.partition_point(|shelf| word(&shelf.key) <= word_);
    let Some(shelf) = after.checked_sub(1).and_then(|at| shelves.get(at)) else {
        return Ok(None);
    };
    let rows = NODES.read_below(source, shelf).wait()?;
    Ok(rows.into_iter().find(|row| word(&row.key) == word_))
}

const TEXTS: [(&str, &str); 4] = [
    ("README", include_str!("../README.md")),
    ("CHANGELOG", include_str!("../CHANGELOG.md")),
    ("btree", include_str!("../interfaces/docs/btree.md")),
    ("format", include_str!("../engine/docs/format.md")),
];

/// The words of a line, in small letters.
fn words(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The line at a place.
fn line(place: &str) -> Option<&'static str> {
    let (title, number) = place.split_once(':')?;
    let (_, text) = TEXTS.iter().find(|(of, _)| *of == title)?;
    text.lines()
        .nth(number.parse::<usize>().ok()?.checked_sub(1)?)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut asked: Vec<_> = std::env::args().skip(1).collect();
    if asked.is_empty() {
        asked = ["batch", "header"].map(str::to_owned).into();
    }
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/memory.toml");
    let file = StackFile::load(stack, &travertine::standard(), &Overrides::none())?;
    let (_stack, engine) = file.engine(&Env::system(), false)?;
    let map = Map::new(Name::new("words")?, Words);
    for (title, text) in TEXTS {
        let session = engine.session()?;
        let mut writer = map.writer(&session);
        for (number, line) in text.lines().enumerate() {
            for word in words(line) {
                writer.put(format!("{word}\0{title}:{:05}", number + 1).as_bytes(), b"")?;
            }
        }
        writer.commit(None)?.wait()?;
    }

    let snapshot = engine.snapshot();
    let reader = map.reader(&snapshot).wait()?;
    println!("{}", reader.verify());
    let mut lists = Vec::new();
    for word in &asked {
        let row = look_up(&snapshot, reader.view(), word.to_lowercase().as_bytes())?;
        let places = row.as_ref().map_or(0, Row::count);
        println!("lines with {word}: {places}");
        lists.push((places, row));
    }
    // The rarest first: what it does not have, none of them has.
    lists.sort_by_key(|(places, _)| *places);
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for (nth, (_, row)) in lists.into_iter().enumerate() {
        let Some(row) = row else { break };
        let list = match row.node() {
            Some(_) => NODES.read_below(&snapshot, &row).wait()?,
            None => vec![row],
        };
        for row in list {
            let place = String::from_utf8_lossy(&row.key[word(&row.key).len() + 1..]).into_owned();
            if nth == 0 || found.contains_key(&place) {
                *found.entry(place).or_default() += 1;
            }
        }
    }
    for (place, _) in found.iter().filter(|(_, words)| **words == asked.len()) {
        println!("{place}  {}", line(place).unwrap_or_default());
    }
    engine.close()?;
    Ok(())
}

#[cfg(test)]
travertine::interfaces::index_suite!(words, Words);
