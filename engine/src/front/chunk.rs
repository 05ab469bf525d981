//! Values of any size: one record where it fits a piece, else a tree of pieces.
//!
//! ```text
//!                 index: length, depth 2
//!                /          |           \            every piece but the last is full, every
//!        index, depth 1    …         index, depth 1  index but the last of its depth too, so
//!        /      |    \                 |      \      an offset leads straight to its piece
//!     piece  piece   piece           piece   piece
//! ```
//!
//! A piece is a record of kind [`Kind::CHUNK`], its body the bytes. An index is one of kind
//! [`Kind::CHUNK_INDEX`], its references the pieces or indexes below, its body (little-endian):
//!
//! ```text
//!  0 length u64: bytes of the value below     8 depth u8: 1 above pieces     9 zeros to 16
//! ```
//!
//! Memory is bounded by a few pieces in both directions, depth by [`DEPTH_MAX`]; what a damaged or
//! hostile tree states is held against what its parent stated before anything is allocated for it.
//! Calls block: they wait for reads below and for room in the tail buffer.

use std::io::{self, Seek, SeekFrom};

use bytes::Bytes;

use crate::contract::{Error, Kind, NewRecord, Record, Reference, Result};

use super::options::Hint;
use super::session::Session;
use super::snapshot::{Read, Write};

/// Bytes of one piece.
pub const PIECE: usize = 1 << 20;
/// References of one index.
pub const FAN_OUT: usize = 1_024;
/// Most indexes above a piece: enough for 2^60 bytes.
pub const DEPTH_MAX: usize = 4;

const INDEX_BODY: usize = 16;

/// Stores a value and returns the reference to read it by.
pub fn store(session: &impl Write, value: &[u8], hint: Hint) -> Result<Reference> {
    if value.len() <= PIECE {
        return store_piece(session, value, hint);
    }
    let mut writer = Writer::new(session, hint);
    for piece in value.chunks(PIECE) {
        let reference = store_piece(session, piece, hint)?;
        writer.add(0, reference, piece.len() as u64)?;
    }
    writer.finish().map(|(reference, _)| reference)
}

/// Stores what `from` gives until its end; returns the reference and how many bytes it was.
pub fn store_from(
    session: &impl Write,
    from: &mut (impl io::Read + ?Sized),
    hint: Hint,
) -> Result<(Reference, u64)> {
    let mut writer = Writer::new(session, hint);
    io::copy(from, &mut writer).map_err(|error| match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(foreign) => Error::io("reading the value to store", foreign),
    })?;
    writer.finish()
}

/// How long the value of a reference is.
pub fn length(from: &impl Read, reference: &Reference) -> Result<u64> {
    Ok(Root::open(from, reference)?.length())
}

/// The whole value of a reference, refused if it is longer than `most` bytes.
pub fn read(from: &impl Read, reference: &Reference, most: usize) -> Result<Bytes> {
    let root = Root::open(from, reference)?;
    let length = root.length();
    if length > most as u64 {
        return Err(Error::invalid(format!(
            "the value at {} has {length} bytes, at most {most} were asked for",
            reference.oid
        )));
    }
    let mut reader = match root {
        Root::Piece(piece) => return Ok(piece.body_bytes()),
        Root::Tree(node) => Reader::of(from, Root::Tree(node)),
    };
    let mut value = Vec::with_capacity(length as usize);
    while reader.at < length {
        let piece = reader.rest()?;
        value.extend_from_slice(&piece);
        reader.at += piece.len() as u64;
    }
    Ok(value.into())
}

/// Takes a value as it comes. Nothing refers to it until [`Writer::finish`] has told the reference.
#[derive(Debug)]
pub struct Writer<'a, W: Write = Session> {
    session: &'a W,
    hint: Hint,
    buffer: Vec<u8>,
    /// For each depth what waits for an index above it, with the bytes it stands for.
    levels: Vec<Vec<(Reference, u64)>>,
    length: u64,
}

impl<'a, W: Write> Writer<'a, W> {
    /// A value yet without bytes.
    #[must_use]
    pub fn new(session: &'a W, hint: Hint) -> Self {
        Self {
            session,
            hint,
            buffer: Vec::new(),
            levels: vec![Vec::new()],
            length: 0,
        }
    }

    /// The reference to all that was written, and how many bytes that was.
    pub fn finish(mut self) -> Result<(Reference, u64)> {
        if !self.buffer.is_empty() || self.length == 0 {
            self.cut()?;
        }
        let mut depth = 0;
        loop {
            let top = depth + 1 == self.levels.len();
            if let ([(reference, length)], true) = (self.levels[depth].as_slice(), top) {
                return Ok((*reference, *length));
            }
            if !self.levels[depth].is_empty() {
                self.index(depth)?;
            }
            depth += 1;
        }
    }

    fn cut(&mut self) -> Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        let reference = store_piece(self.session, &piece, self.hint)?;
        self.add(0, reference, piece.len() as u64)?;
        self.buffer = piece;
        self.buffer.clear();
        Ok(())
    }

    fn add(&mut self, depth: usize, reference: Reference, length: u64) -> Result<()> {
        if depth == 0 {
            self.length += length;
        }
        if self.levels.len() == depth {
            self.levels.push(Vec::new());
        }
        self.levels[depth].push((reference, length));
        if self.levels[depth].len() == FAN_OUT {
            self.index(depth)?;
        }
        Ok(())
    }

    /// Puts an index over what waits at `depth`.
    fn index(&mut self, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX {
            return Err(Error::invalid("a value is too long for a tree of chunks"));
        }
        let children = std::mem::take(&mut self.levels[depth]);
        let references: Vec<_> = children.iter().map(|(reference, _)| *reference).collect();
        let length: u64 = children.iter().map(|(_, length)| length).sum();
        let mut body = [0; INDEX_BODY];
        body[..8].copy_from_slice(&length.to_le_bytes());
        body[8] = depth as u8 + 1;
        let record = NewRecord {
            kind: Kind::CHUNK_INDEX,
            references: &references,
            body: &[&body],
        };
        let reference = self.session.store(&record, self.hint)?;
        self.add(depth + 1, reference, length)
    }
}

impl<W: Write> io::Write for Writer<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == PIECE {
            self.cut().map_err(io::Error::other)?;
        }
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: pieces are stored when they are full, and the last by [`Writer::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a value piece by piece, from anywhere in it.
#[derive(Debug)]
pub struct Reader<'a, R: Read> {
    from: &'a R,
    root: Root,
    /// Indexes from the root down to the piece last read.
    path: Vec<Node>,
    /// The piece last read, and where it begins.
    piece: Option<(u64, Bytes)>,
    at: u64,
}

impl<'a, R: Read> Reader<'a, R> {
    /// A reader at the beginning of the value of `reference`.
    pub fn open(from: &'a R, reference: &Reference) -> Result<Self> {
        Ok(Self::of(from, Root::open(from, reference)?))
    }

    fn of(from: &'a R, root: Root) -> Self {
        Self {
            from,
            root,
            path: Vec::new(),
            piece: None,
            at: 0,
        }
    }

    /// Bytes of the whole value.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.root.length()
    }

    /// The bytes from here to the end of the piece that holds them; empty at the end of the value.
    fn rest(&mut self) -> Result<Bytes> {
        if self.at >= self.length() {
            return Ok(Bytes::new());
        }
        let holds =
            |piece: &&(u64, Bytes)| (piece.0..piece.0 + piece.1.len() as u64).contains(&self.at);
        let (start, piece) = match self.piece.as_ref().filter(holds) {
            Some(piece) => piece.clone(),
            None => self.descend()?,
        };
        self.piece = Some((start, piece.clone()));
        Ok(piece.slice((self.at - start) as usize..))
    }

    fn descend(&mut self) -> Result<(u64, Bytes)> {
        let root = match &self.root {
            Root::Piece(piece) => return Ok((0, piece.body_bytes())),
            Root::Tree(node) => node,
        };
        let at = self.at;
        let covers = |node: &&Node| (node.start..node.start + node.length).contains(&at);
        let keep = self.path.iter().take_while(covers).count();
        self.path.truncate(keep);
        loop {
            let node = self.path.last().unwrap_or(root);
            let child = node.child(at)?;
            let record = self.from.read(&child.reference).wait()?;
            if node.depth > 1 {
                let below = Node::open(&record, &child.reference, child.start)?;
                if below.depth + 1 != node.depth || below.length != child.length {
                    return Err(damaged(&child.reference));
                }
                self.path.push(below);
                continue;
            }
            let sound = record.kind() == Kind::CHUNK && record.body().len() as u64 == child.length;
            if !sound {
                return Err(damaged(&child.reference));
            }
            return Ok((child.start, record.body_bytes()));
        }
    }
}

impl<R: Read> io::Read for Reader<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest().map_err(io::Error::other)?;
        let taken = rest.len().min(into.len());
        into[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken as u64;
        Ok(taken)
    }
}

impl<R: Read> Seek for Reader<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[derive(Debug)]
enum Root {
    Piece(Record),
    Tree(Node),
}

impl Root {
    fn open(from: &impl Read, reference: &Reference) -> Result<Self> {
        let record = from.read(reference).wait()?;
        match record.kind() {
            Kind::CHUNK => Ok(Self::Piece(record)),
            _ => Node::open(&record, reference, 0).map(Self::Tree),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Piece(piece) => piece.body().len() as u64,
            Self::Tree(node) => node.length,
        }
    }
}

/// An index whose words were found sound.
#[derive(Debug)]
struct Node {
    record: Record,
    start: u64,
    length: u64,
    depth: usize,
}

struct Child {
    reference: Reference,
    start: u64,
    length: u64,
}

impl Node {
    fn open(record: &Record, reference: &Reference, start: u64) -> Result<Self> {
        let words = || {
            let body: &[u8; INDEX_BODY] = record.body().try_into().ok()?;
            let mut length = [0; 8];
            length.copy_from_slice(&body[..8]);
            let length = u64::from_le_bytes(length);
            let depth = usize::from(body[8]);
            let sound = record.kind() == Kind::CHUNK_INDEX
                && (1..=DEPTH_MAX).contains(&depth)
                && length > 0
                && length <= span(depth)
                && record.reference_count() as u64 == length.div_ceil(span(depth - 1));
            sound.then_some((length, depth))
        };
        let (length, depth) = words().ok_or_else(|| damaged(reference))?;
        Ok(Self {
            record: record.clone(),
            start,
            length,
            depth,
        })
    }

    /// The child that holds the byte at `at`, which lies in this node.
    fn child(&self, at: u64) -> Result<Child> {
        let span = span(self.depth - 1);
        let index = (at - self.start) / span;
        let reference = self.record.reference(index as usize);
        let start = index * span;
        Ok(Child {
            reference: reference.ok_or_else(|| {
                Error::corrupt(format!("a tree of chunks lacks its child {index}"))
            })?,
            start: self.start + start,
            length: span.min(self.length - start),
        })
    }
}

/// Most bytes below one node of this depth; zero is a piece.
fn span(depth: usize) -> u64 {
    PIECE as u64 * (FAN_OUT as u64).pow(depth as u32)
}

fn store_piece(session: &impl Write, piece: &[u8], hint: Hint) -> Result<Reference> {
    let record = NewRecord {
        kind: Kind::CHUNK,
        references: &[],
        body: &[piece],
    };
    session.store(&record, hint)
}

fn damaged(reference: &Reference) -> Error {
    Error::corrupt(format!(
        "the record at {} is no sound part of a tree of chunks",
        reference.oid
    ))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;

    use super::*;
    use crate::conformance::env::SimEnv;
    use crate::conformance::model::ModelStore;
    use crate::conformance::rng::Rng;
    use crate::contract::ErrorKind;
    use crate::front::{Engine, Options};

    fn session() -> Session {
        let store = Arc::new(ModelStore::default());
        let engine = Engine::open(store, SimEnv::new(1).env(), Options::default()).unwrap();
        engine.session().unwrap()
    }

    #[test]
    fn values_around_a_piece_read_back_whole() {
        let session = session();
        let bytes = Rng::new(1).bytes(3 * PIECE);
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 7] {
            let value = &bytes[..length];
            let reference = store(&session, value, Hint::default()).unwrap();
            assert_eq!(super::length(&session, &reference).unwrap(), length as u64);
            assert_eq!(read(&session, &reference, length).unwrap(), value);
            assert_eq!(reference.leaf, length <= PIECE);
            let mut from = value;
            let (other, count) = store_from(&session, &mut from, Hint::default()).unwrap();
            assert_eq!(count, length as u64);
            assert_eq!(read(&session, &other, length).unwrap(), value);
        }
    }

    #[test]
    fn a_value_longer_than_asked_for_is_refused_before_it_is_read() {
        let session = session();
        let reference = store(&session, &vec![0; 2 * PIECE], Hint::default()).unwrap();
        let error = read(&session, &reference, 2 * PIECE - 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_reader_finds_any_byte() {
        let session = session();
        let value = Rng::new(2).bytes(5 * PIECE + 123);
        let mut writer = Writer::new(&session, Hint::default());
        for part in value.chunks(77_777) {
            writer.write_all(part).unwrap();
        }
        let (reference, _) = writer.finish().unwrap();
        let mut reader = Reader::open(&session, &reference).unwrap();
        let mut rng = Rng::new(3);
        for _ in 0..200 {
            let at = rng.below_usize(value.len());
            let length = rng.below_usize(2 * PIECE).min(value.len() - at);
            let mut found = vec![0; length];
            reader.seek(SeekFrom::Start(at as u64)).unwrap();
            reader.read_exact(&mut found).unwrap();
            assert_eq!(found, value[at..at + length]);
        }
        reader.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert!(reader.seek(SeekFrom::Current(i64::MIN)).is_err());
    }

    #[test]
    fn deep_trees_keep_their_shape() {
        // Pieces are pretended: only the indexes are built and walked.
        let session = session();
        let piece = store_piece(&session, &vec![1; PIECE], Hint::default()).unwrap();
        let mut writer = Writer::new(&session, Hint::default());
        let pieces = FAN_OUT as u64 * 3 + 5;
        for _ in 0..pieces {
            writer.add(0, piece, PIECE as u64).unwrap();
        }
        let (reference, length) = writer.finish().unwrap();
        assert_eq!(length, pieces * PIECE as u64);
        let mut reader = Reader::open(&session, &reference).unwrap();
        for at in [0, FAN_OUT as u64 * PIECE as u64 - 1, length - 1] {
            let mut byte = [0];
            reader.seek(SeekFrom::Start(at)).unwrap();
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [1], "at {at}");
        }
        assert_eq!(reader.path.len(), 1);
    }

    #[test]
    fn a_tree_that_states_what_is_not_so_is_corrupt() {
        let session = session();
        let piece = store_piece(&session, b"short", Hint::default()).unwrap();
        let index = |length: u64, depth: u8, references: &[Reference]| {
            let mut body = [0; INDEX_BODY];
            body[..8].copy_from_slice(&length.to_le_bytes());
            body[8] = depth;
            let record = NewRecord {
                kind: Kind::CHUNK_INDEX,
                references,
                body: &[&body],
            };
            session.store(&record, Hint::default()).unwrap()
        };
        let wrong = [
            index(6, 1, &[piece]),
            index(5, 0, &[piece]),
            index(5, 200, &[piece]),
            index(0, 1, &[]),
            index(u64::MAX, 4, &[piece]),
            index(5, 1, &[piece, piece]),
            index(5, 2, &[piece]),
            index(5, 2, &[index(4, 1, &[piece])]),
        ];
        for reference in wrong {
            let error = read(&session, &reference, 1 << 30).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let right = index(5, 1, &[piece]);
        assert_eq!(read(&session, &right, 5).unwrap(), b"short".as_slice());
    }
}
