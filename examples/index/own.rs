//! An index of one's own: sorted pages under one root record, in one file.
//!
//! ```text
//!   root    for each page: entries u32, length u32, first key      references: the pages
//!   page    for each entry: key length u32, value length u32 (top bit: apart), key, value
//! ```
//!
//! It is no rival to the B-tree (its root is rewritten by every commit), but it is whole: it is
//! committed, read back, verified and reclaimed like any other, and passes the suite below.
//!
//! `cargo run -p travertine-interfaces --example own_index --features conformance`, and the suite:
//! `cargo test -p travertine-interfaces --example own_index --features conformance`.

use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Kind, NewRecord, Op, Record, Reference, Result};
use travertine_engine::front::Hint;
use travertine_interfaces::edits::{Edit, Edits};
use travertine_interfaces::index::{Apart, Found};
use travertine_interfaces::load::Batches;
use travertine_interfaces::records::{Sink, Source, check_edge};
use travertine_interfaces::report::Report;
use travertine_interfaces::{Cursor, Direction, Entry, Index, Step, Value, View, apart};

const ROOT: Kind = Kind::FIRST_FREE;
const PAGE: Kind = Kind(Kind::FIRST_FREE.0 + 1);
const ENTRIES_MAX: usize = 64;
const APART: u32 = 1 << 31;

/// The index. It has no options.
#[derive(Debug, Clone, Default)]
struct Pages;

type Rows = Vec<(Bytes, Found)>;

#[derive(Debug, Clone)]
struct Place {
    first: Bytes,
    entries: u32,
    page: Reference,
}

#[derive(Debug, Clone)]
struct PagesView {
    source: Arc<dyn Source>,
    places: Arc<Vec<Place>>,
}

impl Index for Pages {
    type View = PagesView;
    type Loader<'s> = Batches<'s, Self>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<PagesView> {
        let view = |source, places| PagesView {
            source,
            places: Arc::new(places),
        };
        match root {
            None => Op::ok(view(source, Vec::new())),
            Some(root) => {
                (source.read(&root)).and_then(move |record| Ok(view(source, read_root(&record)?)))
            }
        }
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let old = match &root {
            Some(root) => read_root(&sink.read(root).wait()?)?,
            None => Vec::new(),
        };
        let mut new = Vec::new();
        let mut changed = false;
        let mut done = 0;
        for at in 0..old.len().max(1) {
            let end = match old.get(at + 1) {
                Some(next) => edits.lower_bound(done..edits.len(), &next.first),
                None => edits.len(),
            };
            let before = match old.get(at) {
                Some(place) if done == end => {
                    new.push(place.clone());
                    continue;
                }
                Some(place) => read_page(&sink.read(&place.page).wait()?)?,
                None => Rows::new(),
            };
            let after = merge(&before, edits, done..end);
            done = end;
            if after == before {
                new.extend(old.get(at).cloned());
                continue;
            }
            changed = true;
            for rows in after.chunks(ENTRIES_MAX) {
                new.push(store_page(sink, rows)?);
            }
        }
        if !changed {
            return Ok(root);
        }
        store_root(sink, &new).map(Some)
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> Batches<'s, Self> {
        Batches::new(Self, sink)
    }

    fn inline_max(&self) -> usize {
        512
    }
}

impl View for PagesView {
    type Cursor = PagesCursor;

    fn count(&self) -> u64 {
        self.places
            .iter()
            .map(|place| u64::from(place.entries))
            .sum()
    }

    fn find(&self, key: &[u8]) -> Op<Option<Found>> {
        let after = self.places.partition_point(|place| place.first <= key);
        let Some(place) = after.checked_sub(1).and_then(|at| self.places.get(at)) else {
            return Op::ok(None);
        };
        let key = key.to_vec();
        self.source.read(&place.page).and_then(move |record| {
            let found = read_page(&record)?
                .into_iter()
                .find(|(other, _)| *other == key);
            Ok(found.map(|(_, found)| found))
        })
    }

    fn cursor(&self) -> PagesCursor {
        PagesCursor {
            view: self.clone(),
            target: Some(Some(Vec::new())),
            at: 0,
            rows: Rows::new(),
            gap: 0,
            shown: None,
        }
    }

    fn verify(&self, report: &mut Report) {
        report.height = 2;
        for (at, place) in self.places.iter().enumerate() {
            let record = self.source.read(&place.page).wait().and_then(|record| {
                check_edge(&place.page, &record)?;
                Ok((read_page(&record)?, record))
            });
            let (rows, record) = match record {
                Ok(read) => read,
                Err(error) => {
                    report.add_error(place.page.oid, &error);
                    continue;
                }
            };
            report.nodes += 1;
            report.leaves += 1;
            report.node_bytes += record.encoded().len() as u64;
            report.entries += rows.len() as u64;
            let next = self.places.get(at + 1);
            let sound = rows.len() == place.entries as usize
                && rows.first().is_some_and(|(key, _)| *key == place.first)
                && rows.is_sorted_by(|(one, _), (two, _)| one < two)
                && rows
                    .last()
                    .is_some_and(|(key, _)| next.is_none_or(|next| *key < next.first));
            if !sound {
                report.add(
                    place.page.oid,
                    "its keys or their number are not as the root says",
                );
            }
            for (_, found) in &rows {
                if let Found::Apart(value) = found {
                    apart::verify(&*self.source, value, report);
                }
            }
        }
    }
}

/// A gap between two rows. It blocks where a page must be fetched, so it never answers `Wait`.
#[derive(Debug)]
struct PagesCursor {
    view: PagesView,
    /// Where to go before the next step: to a key, or to the end.
    target: Option<Option<Vec<u8>>>,
    at: usize,
    rows: Rows,
    gap: usize,
    shown: Option<usize>,
}

impl PagesCursor {
    fn rows_of(&self, at: usize) -> Result<Option<Rows>> {
        match self.view.places.get(at) {
            None => Ok(None),
            Some(place) => read_page(&self.view.source.read(&place.page).wait()?).map(Some),
        }
    }

    fn go(&mut self, target: Option<&[u8]>) -> Result<()> {
        let places = &self.view.places;
        let after = match target {
            Some(key) => places.partition_point(|place| place.first <= key),
            None => places.len(),
        };
        let at = after.saturating_sub(1);
        if let Some(rows) = self.rows_of(at)? {
            self.gap = match target {
                Some(key) => rows.partition_point(|(other, _)| *other < key),
                None => rows.len(),
            };
            (self.at, self.rows) = (at, rows);
        }
        Ok(())
    }
}

impl Cursor for PagesCursor {
    fn seek(&mut self, key: &[u8]) {
        (self.target, self.shown) = (Some(Some(key.to_vec())), None);
    }

    fn seek_end(&mut self) {
        (self.target, self.shown) = (Some(None), None);
    }

    fn step(&mut self, direction: Direction) -> Result<Step> {
        self.shown = None;
        if let Some(target) = self.target.clone() {
            self.go(target.as_deref())?;
            self.target = None;
        }
        loop {
            let over = match direction {
                Direction::Forward => Some(self.gap).filter(|gap| *gap < self.rows.len()),
                Direction::Back => self.gap.checked_sub(1),
            };
            if let Some(over) = over {
                self.gap = match direction {
                    Direction::Forward => over + 1,
                    Direction::Back => over,
                };
                self.shown = Some(over);
                return Ok(Step::Entry);
            }
            let next = match direction {
                Direction::Forward => Some(self.at + 1),
                Direction::Back => self.at.checked_sub(1),
            };
            let Some(next) = next else {
                return Ok(Step::End);
            };
            let Some(rows) = self.rows_of(next)? else {
                return Ok(Step::End);
            };
            (self.at, self.rows) = (next, rows);
            self.gap = match direction {
                Direction::Forward => 0,
                Direction::Back => self.rows.len(),
            };
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let (key, found) = self.rows.get(self.shown?)?;
        let value = match found {
            Found::Inline(bytes) => Value::Inline(bytes),
            Found::Apart(apart) => Value::Apart(*apart),
        };
        Some(Entry { key, value })
    }
}

/// The rows of a page after some edits.
fn merge(before: &Rows, edits: &Edits, range: std::ops::Range<usize>) -> Rows {
    let mut after = Rows::with_capacity(before.len() + range.len());
    let mut old = before.iter().peekable();
    for index in range {
        let key = edits.key(index);
        while let Some(row) = old.next_if(|(other, _)| *other < key) {
            after.push(row.clone());
        }
        old.next_if(|(other, _)| *other == key);
        let found = match edits.edit(index) {
            Edit::Delete => continue,
            Edit::Put(Value::Inline(bytes)) => Found::Inline(Bytes::copy_from_slice(bytes)),
            Edit::Put(Value::Apart(apart)) => Found::Apart(apart),
        };
        after.push((Bytes::copy_from_slice(key), found));
    }
    after.extend(old.cloned());
    after
}

fn store_page(sink: &dyn Sink, rows: &[(Bytes, Found)]) -> Result<Place> {
    let (mut body, mut references) = (Vec::new(), Vec::new());
    for (key, found) in rows {
        body.extend_from_slice(&(key.len() as u32).to_le_bytes());
        match found {
            Found::Inline(bytes) => {
                body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                body.extend_from_slice(key);
                body.extend_from_slice(bytes);
            }
            Found::Apart(apart) => {
                references.push(apart.reference);
                body.extend_from_slice(&(APART | 8).to_le_bytes());
                body.extend_from_slice(key);
                body.extend_from_slice(&apart.length.to_le_bytes());
            }
        }
    }
    let record = NewRecord {
        kind: PAGE,
        references: &references,
        body: &[&body],
    };
    Ok(Place {
        first: rows.first().map(|(key, _)| key.clone()).unwrap_or_default(),
        entries: rows.len() as u32,
        page: sink.store(&record, Hint::default())?,
    })
}

fn read_page(record: &Record) -> Result<Rows> {
    let mut left = body(record, PAGE)?;
    let mut references = record.references();
    let mut rows = Rows::new();
    while !left.is_empty() {
        let (key, value) = (number(&mut left)?, number(&mut left)?);
        let key = take(&mut left, key)?;
        let bytes = take(&mut left, value & !APART)?;
        let found = match value & APART {
            0 => Found::Inline(bytes),
            _ => Found::Apart(Apart {
                reference: references.next().ok_or_else(damaged)?,
                length: u64::from_le_bytes((&bytes[..]).try_into().map_err(|_| damaged())?),
            }),
        };
        rows.push((key, found));
    }
    Ok(rows)
}

fn store_root(sink: &dyn Sink, places: &[Place]) -> Result<Reference> {
    let mut body = Vec::new();
    for place in places {
        body.extend_from_slice(&place.entries.to_le_bytes());
        body.extend_from_slice(&(place.first.len() as u32).to_le_bytes());
        body.extend_from_slice(&place.first);
    }
    let references: Vec<_> = places.iter().map(|place| place.page).collect();
    let record = NewRecord {
        kind: ROOT,
        references: &references,
        body: &[&body],
    };
    sink.store(&record, Hint::default())
}

fn read_root(record: &Record) -> Result<Vec<Place>> {
    let mut left = body(record, ROOT)?;
    let mut places = Vec::new();
    for page in record.references() {
        let (entries, length) = (number(&mut left)?, number(&mut left)?);
        places.push(Place {
            first: take(&mut left, length)?,
            entries,
            page,
        });
    }
    if places.is_sorted_by(|one, two| one.first < two.first) && left.is_empty() {
        return Ok(places);
    }
    Err(damaged())
}

fn body(record: &Record, kind: Kind) -> Result<Bytes> {
    if record.kind() != kind {
        return Err(Error::invalid(format!(
            "kind {} is not {}",
            record.kind().0,
            kind.0
        )));
    }
    Ok(record.body_bytes())
}

fn number(left: &mut Bytes) -> Result<u32> {
    let bytes = take(left, 4)?;
    Ok(u32::from_le_bytes(
        (&bytes[..]).try_into().map_err(|_| damaged())?,
    ))
}

fn take(left: &mut Bytes, length: u32) -> Result<Bytes> {
    if left.len() < length as usize {
        return Err(damaged());
    }
    Ok(left.split_to(length as usize))
}

fn damaged() -> Error {
    Error::corrupt("a record of the index of pages does not hold what it says")
}

fn main() {
    travertine_interfaces::conformance::check_index(&Pages, 1);
    println!("an index of one's own passes the suite");
}

#[cfg(test)]
travertine_interfaces::index_suite!(pages, Pages);
