//! A backup: chunks that are only ever added, and a small file for each run that added some.
//!
//! ```text
//!   chunk-00000001  chunk-00000002          chunk-00000003
//!   └──────── run-00000001 ──────┘          └ run-00000002 ┘       a line of JSON, a line with its hash
//! ```
//!
//! The file of a run is made durable last, under a name of its own, and says how many chunks there are and
//! what the hash of the last is. So a crash leaves the backup that was there before, and what it left of
//! new chunks is written over by the next run. Nothing that was finished is ever written to again.
//!
//! Where a run is damaged, the runs before it are a backup still; what later ones added may need what it has.
//! Nothing is added to such a backup.
//!
//! Memory: at most 80 bytes for each record, of where it lies.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::chunk::{self, Chunk, Row, What, Writing};
use crate::contract::{
    Epoch, Error, ErrorKind, Kind, Names, NewRecord, Oid, Record, Reference, Result, RootAt,
    RootMarker,
};
use crate::medium::{Medium, replace_small};

/// A chunk that has become so long is ended.
pub(super) const CHUNK: u64 = 64 << 20;
const FORMAT: u32 = 1;
const BACKUP: &str = "backup";
/// Most bytes of the file of a run. With its tags it has far fewer.
const RUN_MAX: usize = 32 << 20;

/// What a run added, and what there is since.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    travertine: String,
    format: u32,
    pub(super) run: u64,
    /// The identity of the stack that it was made of.
    pub(super) stack: String,
    /// How many chunks there are, and the hash of the last.
    pub(super) chunks: u64,
    hash: String,
    /// Commits that it added: the numbers of the first and of the last, and how many.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) commits: u64,
    /// Of the last of them, to tell whether a history went another way since.
    pub(super) epoch: String,
    pub(super) time: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// All tags that there were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<Tagged>,
}

/// A tag, and the number of the commit that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tagged {
    pub(super) tag: String,
    pub(super) sequence: u64,
}

/// A backup, opened.
#[derive(Debug)]
pub(super) struct Book {
    medium: Arc<dyn Medium>,
    pub(super) runs: Vec<Run>,
    chunks: Vec<Chunk>,
    places: HashMap<Oid, (u32, u64)>,
    /// In order: the chunk, and where in it.
    commits: Vec<(u32, Row)>,
    broken: Option<Broken>,
}

/// The first run that is damaged.
#[derive(Debug)]
struct Broken {
    run: u64,
    error: Error,
}

impl Book {
    /// Opens the backup in a directory, up to the first run that is damaged; an empty one, if there is none.
    pub(super) fn open(medium: Arc<dyn Medium>) -> Result<Self> {
        let files = medium.list()?;
        let mut book = Self {
            medium,
            runs: Vec::new(),
            chunks: Vec::new(),
            places: HashMap::new(),
            commits: Vec::new(),
            broken: None,
        };
        let runs = files.iter().filter_map(|file| file.strip_prefix("run-"));
        let last = runs.filter_map(|run| run.parse().ok()).max().unwrap_or(0);
        for number in 1..=last {
            let chunks = book.chunks.len();
            let run = book.run(number).map_err(|error| error.at(run_name(number)));
            match run.and_then(|run| book.load(&run).map(|()| run)) {
                Ok(run) => book.runs.push(run),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    book.forget(chunks);
                    book.broken = Some(Broken { run: number, error });
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(book)
    }

    /// Forgets what was loaded beyond so many chunks.
    fn forget(&mut self, chunks: usize) {
        self.chunks.truncate(chunks);
        self.commits.retain(|(chunk, _)| (*chunk as usize) < chunks);
        self.places
            .retain(|_, (chunk, _)| (*chunk as usize) < chunks);
    }

    /// Whether a run is damaged. The backup ends before it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Refuses what would need more than the runs before the first that is damaged.
    pub(super) fn refuse_broken(&self) -> Result<()> {
        let Some(Broken { run, error }) = &self.broken else {
            return Ok(());
        };
        let left = match self.runs.last() {
            Some(whole) => format!(
                "what came before it can be restored, with --at {} or earlier",
                whole.last
            ),
            None => "nothing came before it".to_owned(),
        };
        Err(Error::corrupt(format!(
            "run {run} of the backup is damaged: {error}; {left}; what the stack has now goes into a backup \
             in another directory"
        )))
    }

    /// Whether a damaged run has nothing to do with which commit this is.
    fn is_before_damage(&self, at: RootAt) -> bool {
        self.broken.is_none()
            || self.runs.last().is_some_and(|whole| match at {
                RootAt::Newest | RootAt::Proven => false,
                RootAt::Sequence(sequence) => sequence <= whole.last,
                RootAt::Time(time) => time < whole.time,
            })
    }

    fn run(&self, number: u64) -> Result<Run> {
        let bytes = match self.medium.open(&run_name(number), false) {
            Ok(file) => file.read_at(0, (RUN_MAX as u64).min(file.len()?) as usize)?,
            Err(error) if error.kind() == ErrorKind::Invalid => {
                return Err(Error::corrupt("it is missing, and a later one is there"));
            }
            Err(error) => return Err(error),
        };
        let bad = || Error::corrupt("it is not as it was written");
        let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
        let (line, hash) = text.split_once('\n').ok_or_else(bad)?;
        if hash != format!("{:016x}\n", xxh3_64(line.as_bytes())) {
            return Err(bad());
        }
        let run: Run = serde_json::from_str(line).map_err(|_| bad())?;
        if run.travertine != BACKUP || run.format != FORMAT {
            return Err(Error::unsupported(format!(
                "this is {:?} of format {}; this version reads {BACKUP:?} of format {FORMAT}",
                run.travertine, run.format
            )));
        }
        let before = self.runs.last();
        let follows = run.run == number
            && run.chunks > self.chunks.len() as u64
            && before.is_none_or(|before| before.last < run.first && before.stack == run.stack);
        if follows { Ok(run) } else { Err(bad()) }
    }

    fn load(&mut self, run: &Run) -> Result<()> {
        while (self.chunks.len() as u64) < run.chunks {
            let before = self.hash();
            let number = self.chunks.len() as u64 + 1;
            let (chunk, rows) = Chunk::open(&*self.medium, number, before)?;
            self.take(chunk, rows)?;
        }
        if run.hash != format!("{:016x}", self.hash()) {
            return Err(Error::corrupt(format!(
                "{} has another hash than {} says",
                chunk::name(run.chunks),
                run_name(run.run)
            )));
        }
        Ok(())
    }

    fn take(&mut self, chunk: Chunk, rows: Vec<Row>) -> Result<()> {
        let index = u32::try_from(self.chunks.len())
            .map_err(|_| Error::unsupported("a backup of more chunks than are counted"))?;
        for row in rows {
            if row.what != What::Record {
                self.commits.push((index, row));
                continue;
            }
            if self.has(row.oid) {
                let place = chunk.place(&row);
                return Err(Error::corrupt(format!("{} is there twice", row.oid)).at(place));
            }
            self.places.insert(row.oid, (index, row.offset));
        }
        self.chunks.push(chunk);
        Ok(())
    }

    /// The hash of the last chunk.
    fn hash(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.hash)
    }

    /// How many bytes the chunks have.
    pub(super) fn bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// How many commits there are.
    pub(super) fn commits(&self) -> usize {
        self.commits.len()
    }

    /// The commit of this index.
    pub(super) fn commit(&self, index: usize) -> Result<RootMarker> {
        let (chunk, row) = &self.commits[index];
        let chunk = &self.chunks[*chunk as usize];
        let record = chunk.read(row)?;
        RootMarker::decode(row.oid, &record).map_err(|error| error.at(chunk.place(row)))
    }

    /// The index of a commit; `None` if the backup has none such.
    pub(super) fn find(&self, at: RootAt) -> Result<Option<usize>> {
        if !self.is_before_damage(at) {
            self.refuse_broken()?;
        }
        let wanted = |marker: &RootMarker| match at {
            RootAt::Newest | RootAt::Proven => true,
            RootAt::Sequence(sequence) => marker.sequence <= sequence,
            RootAt::Time(time) => marker.time <= time,
        };
        let (mut low, mut high) = (0, self.commits.len());
        while low < high {
            let middle = low.midpoint(high);
            if wanted(&self.commit(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(found) = low.checked_sub(1) else {
            return Ok(None);
        };
        Ok(match at {
            RootAt::Sequence(sequence) if self.commit(found)?.sequence != sequence => None,
            _ => Some(found),
        })
    }

    /// The names of a commit.
    pub(super) fn names(&self, index: usize) -> Result<Names> {
        let before = &self.commits[..=index];
        let whole = before.iter().rposition(|(_, row)| row.what == What::Whole);
        let mut names = Names::new();
        for index in whole.unwrap_or(0)..=index {
            self.change(index, &mut names)?;
        }
        Ok(names)
    }

    /// Does to the names of the commit before what a commit did to them, and answers it.
    pub(super) fn change(&self, index: usize, names: &mut Names) -> Result<RootMarker> {
        let marker = self.commit(index)?;
        if self.commits[index].1.what == What::Whole {
            names.clear();
        }
        for (name, to) in &marker.changes {
            match to {
                Some(to) => names.insert(name.clone(), *to),
                None => names.remove(name),
            };
        }
        Ok(marker)
    }

    /// The record of an address, checked; `None`: the backup does not have it.
    pub(super) fn read(&self, oid: Oid) -> Result<Option<Record>> {
        let Some((chunk, offset)) = self.places.get(&oid).copied() else {
            return Ok(None);
        };
        let row = Row {
            oid,
            what: What::Record,
            offset,
        };
        self.chunks[chunk as usize].read(&row).map(Some)
    }

    /// The tags that there were when the newest run ended.
    pub(super) fn tags(&self) -> &[Tagged] {
        self.runs.last().map_or(&[], |run| &run.tags)
    }

    /// Whether the backup has the record of an address.
    pub(super) fn has(&self, oid: Oid) -> bool {
        self.places.contains_key(&oid)
    }

    /// Looks at every byte, every entry and every reference, up to the first run that is damaged. `tick` is
    /// told how many bytes were read.
    pub(super) fn verify(
        &self,
        mut tick: impl FnMut(u64),
        mut found: impl FnMut(String, String),
    ) -> Result<()> {
        for chunk in &self.chunks {
            let before = match chunk.number {
                1 => 0,
                number => self.chunks[number as usize - 2].hash,
            };
            if !chunk.is_whole(&mut tick)? {
                found(
                    chunk::name(chunk.number),
                    "its bytes are not those that were written".into(),
                );
            }
            let (_, rows) = Chunk::open(&*self.medium, chunk.number, before)?;
            for row in rows {
                match chunk.read(&row) {
                    Ok(record) => {
                        for edge in record.references() {
                            if !edge.weak && !self.has(edge.oid) {
                                let what = format!("it names {}, which is not here", edge.oid);
                                found(chunk.place(&row), what);
                            }
                        }
                    }
                    Err(error) => found(chunk.place(&row), error.to_string()),
                }
            }
        }
        if let Some(Broken { run, error }) = &self.broken {
            found(format!("run {run}"), error.to_string());
        }
        Ok(())
    }
}

/// Refuses a directory that holds something else than a backup, the one of a stack above all.
pub(super) fn refuse_foreign(medium: &dyn Medium) -> Result<()> {
    let ours = |name: &String| {
        let mut kinds = ["run-", "chunk-"].into_iter();
        name == "lock" || kinds.any(|kind| name.starts_with(kind))
    };
    match medium.list()?.iter().find(|name| !ours(name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "{} is no backup, and not empty either: it holds {name:?}; give the backup a directory of \
             its own",
            medium.place()
        ))),
    }
}

fn run_name(number: u64) -> String {
    format!("run-{number:08}")
}

/// A run under way. What it added counts once it is [finished](Adding::finish).
#[derive(Debug)]
pub(super) struct Adding<'b> {
    book: &'b mut Book,
    most: u64,
    writing: Option<Writing>,
    /// Of the chunk written last, and how many there are.
    hash: u64,
    chunks: u64,
    commits: u64,
    first: u64,
    newest: Option<(u64, Epoch, u64)>,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl<'b> Adding<'b> {
    /// Begins a run. Chunks are ended when they are so long.
    pub(super) fn begin(book: &'b mut Book, most: u64) -> Self {
        let (hash, chunks) = (book.hash(), book.chunks.len() as u64);
        Self {
            book,
            most,
            writing: None,
            hash,
            chunks,
            commits: 0,
            first: 0,
            newest: None,
            records: 0,
            bytes: 0,
        }
    }

    /// Whether a record is there already.
    pub(super) fn has(&self, oid: Oid) -> bool {
        self.book.has(oid)
    }

    /// Adds a record.
    pub(super) fn record(&mut self, oid: Oid, record: &Record) -> Result<()> {
        let references: Vec<Reference> = (0..record.reference_count())
            .map(|index| {
                record.reference(index).ok_or_else(|| {
                    Error::corrupt(format!("reference {index} of {oid} names nothing"))
                })
            })
            .collect::<Result<_>>()?;
        let new = NewRecord {
            kind: record.kind(),
            references: &references,
            body: &[record.body()],
        };
        let (epoch, index) = (record.epoch(), self.chunks as u32);
        let offset = self.chunk()?.add(oid, What::Record, |out| {
            new.encode(oid, epoch, out);
        })?;
        self.book.places.insert(oid, (index, offset));
        self.records += 1;
        self.ended()
    }

    /// Adds a commit, after all that it leads to: `at` is where its marker lay. The first one of a run
    /// tells all its names.
    pub(super) fn commit(&mut self, at: Oid, marker: &RootMarker) -> Result<()> {
        let what = match self.commits {
            0 => What::Whole,
            _ => What::Commit,
        };
        let (references, body) = marker.encode();
        let new = NewRecord {
            kind: Kind::MARKER,
            references: &references,
            body: &[&body],
        };
        let epoch = marker.epoch.number;
        self.chunk()?.add(at, what, |out| {
            new.encode(at, epoch, out);
        })?;
        if self.commits == 0 {
            self.first = marker.sequence;
        }
        self.commits += 1;
        self.newest = Some((marker.sequence, marker.epoch, marker.time));
        self.ended()
    }

    fn chunk(&mut self) -> Result<&mut Writing> {
        let writing = match self.writing.take() {
            Some(writing) => writing,
            None => Writing::begin(&*self.book.medium, self.chunks + 1, self.hash)?,
        };
        Ok(self.writing.insert(writing))
    }

    /// Ends the chunk if it is long enough.
    fn ended(&mut self) -> Result<()> {
        match &self.writing {
            Some(writing) if writing.len() >= self.most => self.end(),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let (hash, bytes) = writing.finish()?;
            self.hash = hash;
            self.chunks += 1;
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Makes it all durable, and says so last. Nothing was added: nothing is written. What the book had in
    /// memory is opened anew.
    pub(super) fn finish(mut self, stack: &str, tags: Vec<Tagged>) -> Result<Option<Run>> {
        self.end()?;
        let Some((last, epoch, time)) = self.newest else {
            return Ok(None);
        };
        // The names of the chunks, before what tells of them.
        self.book.medium.sync_dir()?;
        let run = Run {
            travertine: BACKUP.to_owned(),
            format: FORMAT,
            run: self.book.runs.len() as u64 + 1,
            stack: stack.to_owned(),
            chunks: self.chunks,
            hash: format!("{:016x}", self.hash),
            first: self.first,
            last,
            commits: self.commits,
            epoch: epoch.to_string(),
            time,
            records: self.records,
            bytes: self.bytes,
            tags,
        };
        let line = serde_json::to_string(&run)
            .map_err(|error| Error::invalid(format!("a run cannot be told: {error}")))?;
        let text = format!("{line}\n{:016x}\n", xxh3_64(line.as_bytes()));
        if text.len() > RUN_MAX {
            let what = format!("a backup with {} tags", run.tags.len());
            return Err(Error::unsupported(what));
        }
        replace_small(&*self.book.medium, &run_name(run.run), text.as_bytes())?;
        Ok(Some(run))
    }
}
