//! A chunk of a backup: records and commits one after the other, and a table of where they lie.
//!
//! ```text
//!   0 "TRVCHUNK"   8 number u64   16 hash of the chunk before u64
//!  24 each entry: OID u64, record as it would lie there, with its own length and check
//!   … table, of each entry: OID u64, offset u64; its top bit: a commit, the next: one that tells all names
//!   … end: table at u64, entries u64, hash of the table u64, hash of everything up to here u64
//! ```
//!
//! A chunk is written once and never touched again. Hashes are XXH3-64; that of a chunk is the last word
//! of it, and the next chunk names it. A commit is a root marker with its names alone: those that changed
//! since the commit before it in the backup, or all.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, ErrorKind, Oid, Record, Result};
use crate::medium::{Medium, MediumFile};

const MAGIC: &[u8; 8] = b"TRVCHUNK";
const HEADER: u64 = 24;
const ROW: usize = 16;
const END: usize = 32;
const COMMIT: u64 = 1 << 63;
const WHOLE: u64 = 1 << 62;
/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;
/// Bytes of an entry that are read at once: most are no longer.
const FIRST_READ: usize = 4 << 10;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Record,
    /// A commit that tells the names that changed.
    Commit,
    /// A commit that tells all names.
    Whole,
}

/// An entry, as the table tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) oid: Oid,
    pub(super) what: What,
    pub(super) offset: u64,
}

/// The name of a chunk.
pub(super) fn name(number: u64) -> String {
    format!("chunk-{number:08}")
}

/// A chunk that is being written.
pub(super) struct Writing {
    file: Arc<dyn MediumFile>,
    gathered: Vec<u8>,
    /// Bytes that were written.
    written: u64,
    hash: Xxh3,
    table: Vec<u8>,
}

impl Writing {
    /// Begins a chunk, over what a run that was broken off left of it.
    pub(super) fn begin(medium: &dyn Medium, number: u64, before: u64) -> Result<Self> {
        let name = name(number);
        medium.remove(&name)?;
        let mut gathered = MAGIC.to_vec();
        gathered.extend_from_slice(&number.to_le_bytes());
        gathered.extend_from_slice(&before.to_le_bytes());
        Ok(Self {
            file: medium.create(&name)?,
            gathered,
            written: 0,
            hash: Xxh3::new(),
            table: Vec::new(),
        })
    }

    /// How long it is so far.
    pub(super) fn len(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    /// Adds an entry: `lay` appends the record.
    pub(super) fn add(
        &mut self,
        oid: Oid,
        what: What,
        lay: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64> {
        let offset = self.len();
        let flags = match what {
            What::Record => 0,
            What::Commit => COMMIT,
            What::Whole => COMMIT | WHOLE,
        };
        self.table.extend_from_slice(&oid.raw().to_le_bytes());
        self.table
            .extend_from_slice(&(offset | flags).to_le_bytes());
        self.gathered.extend_from_slice(&oid.raw().to_le_bytes());
        lay(&mut self.gathered);
        if self.gathered.len() >= GATHERED {
            self.write()?;
        }
        Ok(offset)
    }

    fn write(&mut self) -> Result<()> {
        self.hash.update(&self.gathered);
        self.file.write_at(self.written, &[&self.gathered])?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Ends the chunk and makes it durable, but for its name. Answers its hash and its length.
    pub(super) fn finish(mut self) -> Result<(u64, u64)> {
        let at = self.len();
        let table = std::mem::take(&mut self.table);
        self.gathered.extend_from_slice(&table);
        for word in [at, (table.len() / ROW) as u64, xxh3_64(&table)] {
            self.gathered.extend_from_slice(&word.to_le_bytes());
        }
        self.write()?;
        let hash = self.hash.digest();
        self.file.write_at(self.written, &[&hash.to_le_bytes()])?;
        self.file.sync()?;
        Ok((hash, self.written + 8))
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writing({} bytes)", self.len())
    }
}

/// A chunk that is there.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) number: u64,
    pub(super) hash: u64,
    file: Arc<dyn MediumFile>,
    length: u64,
    /// Where the table begins.
    end: u64,
}

impl Chunk {
    /// Opens a chunk that follows on the one of this hash, and reads its table.
    pub(super) fn open(medium: &dyn Medium, number: u64, before: u64) -> Result<(Self, Vec<Row>)> {
        let opened = || {
            let file = match medium.open(&name(number), false) {
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    return Err(Error::corrupt("it is missing, and a run had it"));
                }
                file => file?,
            };
            let length = file.len()?;
            let bad = |what: &str| Error::corrupt(what.to_owned());
            if length < HEADER + END as u64 {
                return Err(bad("it is shorter than any chunk"));
            }
            let head = exact(&*file, 0, HEADER as usize)?;
            if &head[..8] != MAGIC || word(&head, 8) != number {
                return Err(bad("its beginning is not that of this chunk"));
            }
            if word(&head, 16) != before {
                return Err(Error::corrupt(format!(
                    "it does not follow on {} as that is now",
                    name(number.saturating_sub(1))
                )));
            }
            let end = exact(&*file, length - END as u64, END)?;
            let (at, entries) = (word(&end, 0), word(&end, 8));
            let bytes = entries.checked_mul(ROW as u64);
            let stated = bytes.and_then(|bytes| bytes.checked_add(at));
            if at < HEADER || stated != Some(length - END as u64) {
                return Err(bad("its end does not say how long its table is"));
            }
            let table = exact(&*file, at, (length - END as u64 - at) as usize)?;
            if xxh3_64(&table) != word(&end, 16) {
                return Err(bad("the hash of its table is another one"));
            }
            let rows = table.chunks_exact(ROW).map(|row| row_of(row, at));
            let rows = rows.collect::<Option<_>>();
            let rows = rows.ok_or_else(|| bad("its table names what cannot be"))?;
            let chunk = Self {
                number,
                hash: word(&end, 24),
                file,
                length,
                end: at,
            };
            Ok((chunk, rows))
        };
        opened().map_err(|error: Error| error.at(name(number)))
    }

    /// The record of an entry, checked.
    pub(super) fn read(&self, row: &Row) -> Result<Record> {
        let read = || {
            let most = usize::try_from(self.end.saturating_sub(row.offset)).unwrap_or(usize::MAX);
            let mut bytes = exact(&*self.file, row.offset, most.min(FIRST_READ))?;
            if bytes.len() < 8 + RECORD_HEADER || word(&bytes, 0) != row.oid.raw() {
                return Err(Error::corrupt("what lies there is not what the table says"));
            }
            let length = stated_len(&bytes[8..]).map(|length| 8 + length);
            let length = length.filter(|length| *length <= most);
            let length =
                length.ok_or_else(|| Error::corrupt("a record states an absurd length"))?;
            if length > bytes.len() {
                bytes = exact(&*self.file, row.offset, length)?;
            }
            Record::decode(row.oid, bytes.slice(8..length))
        };
        read().map_err(|error| error.at(self.place(row)))
    }

    /// Where an entry lies, in words.
    pub(super) fn place(&self, row: &Row) -> String {
        format!("{} at byte {}", name(self.number), row.offset)
    }

    /// Whether every byte is as it was written. `tick` is told how many were read.
    pub(super) fn is_whole(&self, mut tick: impl FnMut(u64)) -> Result<bool> {
        let mut hash = Xxh3::new();
        let mut at = 0;
        while at < self.length - 8 {
            let length = (self.length - 8 - at).min(GATHERED as u64);
            hash.update(&exact(&*self.file, at, length as usize)?);
            at += length;
            tick(length);
        }
        Ok(hash.digest() == self.hash)
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }
}

fn row_of(row: &[u8], end: u64) -> Option<Row> {
    let place = word(row, 8);
    let offset = place & !(COMMIT | WHOLE);
    let what = match place & (COMMIT | WHOLE) {
        0 => What::Record,
        COMMIT => What::Commit,
        WHOLE => return None,
        _ => What::Whole,
    };
    let oid = Oid::from_raw(word(row, 0))?;
    let row = Row { oid, what, offset };
    (offset >= HEADER && offset < end).then_some(row)
}

fn exact(file: &dyn MediumFile, offset: u64, length: usize) -> Result<Bytes> {
    let bytes = file.read_at(offset, length)?;
    if bytes.len() < length {
        return Err(Error::corrupt(format!(
            "it ends at byte {}, short of what it should hold",
            offset + bytes.len() as u64
        )));
    }
    Ok(bytes)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
