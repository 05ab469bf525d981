//! Rows of a file: a key, and the row as JSON, one at a time.
//!
//! A row is bounded, so a quote that is never closed does not swallow the memory.

#![expect(clippy::disallowed_methods, reason = "the file to load is read here")]

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::Format;
use super::position::{Identity, Position, Shape};
use crate::contract::{Error, Result};

/// Longest row, in bytes.
pub(super) const ROW_MAX: u64 = 64 << 20;
const BUFFER: usize = 256 << 10;
/// Pieces that tell a file from another, and the bytes of each.
const PIECES: u64 = 64;
const PIECE: u64 = 16 << 10;

/// The rows of one file.
pub(super) struct Rows {
    path: PathBuf,
    pub(super) identity: Identity,
    shape: Shape,
    source: Source,
    /// Where the row that was read last begins.
    before: (u64, u64),
}

/// What came of asking for the next row.
pub(super) enum Next {
    Row,
    /// There is a row, and this is why it cannot be read.
    Bad(String),
    End,
}

enum Source {
    Fields(Box<Fields>),
    Lines(Lines),
}

struct Fields {
    reader: csv::Reader<Bounded>,
    /// `"name":` for each column; empty without a header.
    names: Vec<String>,
    key: usize,
    /// Fields of each row, known from the header or from the first row.
    width: Option<usize>,
    record: ByteRecord,
}

struct Lines {
    reader: BufReader<File>,
    key: String,
    byte: u64,
    line: u64,
    text: Vec<u8>,
}

impl Rows {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path, shape: &Shape) -> Result<Self> {
        let cannot = |error| Error::invalid(format!("cannot read {}: {error}", path.display()));
        let mut file = File::open(path).map_err(cannot)?;
        let facts = file.metadata().map_err(cannot)?;
        if !facts.is_file() {
            return Err(Error::invalid(format!(
                "{} is not a regular file: a load may have to go on in the middle of it",
                path.display()
            )));
        }
        let identity = identify(&mut file, facts.len()).map_err(cannot)?;
        let source = match shape.format {
            Format::Ndjson => Source::Lines(Lines {
                reader: BufReader::with_capacity(BUFFER, file),
                key: shape.key.clone(),
                byte: 0,
                line: 1,
                text: Vec::new(),
            }),
            _ => Source::Fields(Box::new(Fields::open(file, shape, path)?)),
        };
        Ok(Self {
            path: path.to_owned(),
            identity,
            shape: shape.clone(),
            source,
            before: (0, 1),
        })
    }

    /// Goes to where an earlier load ended.
    pub(super) fn go_to(&mut self, position: &Position) -> Result<()> {
        if position.rows == 0 {
            return Ok(());
        }
        let moved = match &mut self.source {
            Source::Fields(fields) => {
                let mut place = csv::Position::new();
                place
                    .set_byte(position.byte)
                    .set_line(position.line.max(1))
                    .set_record(position.rows);
                fields.reader.seek(place).map_err(io::Error::from)
            }
            Source::Lines(lines) => {
                (lines.byte, lines.line) = (position.byte, position.line);
                lines.reader.seek(SeekFrom::Start(position.byte)).map(drop)
            }
        };
        moved.map_err(|error| Error::io(format!("reading {}", self.path.display()), error))
    }

    /// Reads the next row into `key` and `value`.
    pub(super) fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Next> {
        key.clear();
        value.clear();
        self.before = self.here();
        // What was appended since is not of the file that the load began on.
        if self.before.0 >= self.identity.bytes {
            return Ok(Next::End);
        }
        let next = match &mut self.source {
            Source::Fields(fields) => fields.next(key, value),
            Source::Lines(lines) => lines.next(key, value),
        };
        match next {
            Ok(Next::Row) => {
                self.before.1 = self.line_of_row();
                Ok(self.unclosed().unwrap_or(Next::Row))
            }
            Ok(next) => {
                self.before.1 = self.line_of_row();
                Ok(next)
            }
            Err(error) => {
                let line = self.before.1;
                Err(Error::io(format!("{}:{line}", self.path.display()), error))
            }
        }
    }

    /// What is wrong with the row that was read last, with file and line.
    pub(super) fn place(&self, what: &str) -> String {
        let (byte, line) = self.before;
        let line = match self.source {
            // A parser of CSV counts blank lines to the row that follows on them.
            Source::Fields(_) => line + blank_lines(&self.path, byte).unwrap_or(0),
            Source::Lines(_) => line,
        };
        format!("{}:{line}: {what}", self.path.display())
    }

    /// How far the file has been read.
    pub(super) fn byte(&self) -> u64 {
        self.here().0
    }

    /// Notes where the next row begins.
    pub(super) fn mark(&self, position: &mut Position) {
        (position.byte, position.line) = self.here();
    }

    /// Notes where the row that was read last begins.
    pub(super) fn mark_before(&self, position: &mut Position) {
        (position.byte, position.line) = self.before;
    }

    fn here(&self) -> (u64, u64) {
        match &self.source {
            Source::Fields(fields) => {
                let place = fields.reader.position();
                (place.byte(), place.line())
            }
            Source::Lines(lines) => (lines.byte, lines.line),
        }
    }

    /// The line of the row that was read last; blank lines before it are none of it.
    fn line_of_row(&self) -> u64 {
        match &self.source {
            Source::Fields(fields) => {
                let place = fields.record.position();
                place.map_or(self.before.1, csv::Position::line)
            }
            Source::Lines(lines) => lines.line.saturating_sub(1).max(1),
        }
    }

    /// Whether the file ended within a quoted field: a parser of CSV takes that for its end.
    fn unclosed(&self) -> Option<Next> {
        let Source::Fields(fields) = &self.source else {
            return None;
        };
        let (here, _) = self.here();
        if here < self.identity.bytes || self.shape.format != Format::Csv {
            return None;
        }
        let from = fields.record.position()?.byte();
        let mut raw = Vec::new();
        let mut file = File::open(&self.path).ok()?;
        file.seek(SeekFrom::Start(from)).ok()?;
        file.take(ROW_MAX).read_to_end(&mut raw).ok()?;
        ends_quoted(&raw, self.shape.delimiter)
            .then(|| Next::Bad("a quote is opened here and never closed".to_owned()))
    }
}

impl Fields {
    fn open(file: File, shape: &Shape, path: &Path) -> Result<Self> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(shape.delimiter)
            .quoting(shape.format == Format::Csv)
            .buffer_capacity(BUFFER)
            .from_reader(Bounded::new(file));
        let mut fields = ByteRecord::new();
        let (mut names, mut width) = (Vec::new(), None);
        let mut known = HashSet::new();
        let place = path.display();
        if shape.header {
            reader.get_mut().begin_row();
            let found = reader
                .read_byte_record(&mut fields)
                .map_err(|error| Error::io(format!("{place}:1"), error.into()))?;
            if !found {
                return Err(Error::invalid(format!(
                    "{place} is empty, not even a header: say --no-header if that is as it should be"
                )));
            }
            for field in &fields {
                let name = std::str::from_utf8(field).map_err(|_| {
                    Error::invalid(format!("{place}:1: a name in the header is not UTF-8"))
                })?;
                if !known.insert(name.to_owned()) {
                    return Err(Error::invalid(format!(
                        "{place}:1: two columns are called {name:?}"
                    )));
                }
                names.push(name.to_owned());
            }
            width = Some(names.len());
        }
        let key = column(&shape.key, &names, shape.header, path)?;
        let quoted = |name: &String| Ok(format!("{}:", serde_json::to_string(name)?));
        let names: serde_json::Result<_> = names.iter().map(quoted).collect();
        Ok(Self {
            reader,
            names: names.map_err(|error| Error::invalid(format!("{place}:1: {error}")))?,
            key,
            width,
            record: ByteRecord::new(),
        })
    }

    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> io::Result<Next> {
        self.reader.get_mut().begin_row();
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(Next::End);
        }
        let found = self.record.len();
        let width = *self.width.get_or_insert(found);
        if found != width {
            return Ok(Next::Bad(format!(
                "the row has {found} fields, {} has {width}",
                if self.names.is_empty() {
                    "the first one"
                } else {
                    "the header"
                }
            )));
        }
        let Some(field) = self.record.get(self.key) else {
            return Ok(Next::Bad(format!(
                "there is no field {} in a row of {found}, counted from 0",
                self.key
            )));
        };
        key.extend_from_slice(field);
        let (open, close) = if self.names.is_empty() {
            (b'[', b']')
        } else {
            (b'{', b'}')
        };
        value.push(open);
        for (index, field) in self.record.iter().enumerate() {
            let Ok(text) = std::str::from_utf8(field) else {
                return Ok(Next::Bad(format!("field {index} is not UTF-8")));
            };
            if index > 0 {
                value.push(b',');
            }
            if let Some(name) = self.names.get(index) {
                value.extend_from_slice(name.as_bytes());
            }
            serde_json::to_writer(&mut *value, text)?;
        }
        value.push(close);
        Ok(Next::Row)
    }
}

/// Which column a field given by name or by number is.
fn column(field: &str, names: &[String], header: bool, path: &Path) -> Result<usize> {
    if let Some(index) = names.iter().position(|name| name == field) {
        return Ok(index);
    }
    match field.parse() {
        Ok(index) if !header || index < names.len() => Ok(index),
        _ if header => Err(Error::invalid(format!(
            "{} has no column {field:?}; its header says: {}",
            path.display(),
            names.join(", ")
        ))),
        _ => Err(Error::invalid(format!(
            "without a header a field is a number counted from 0, and {field:?} is none"
        ))),
    }
}

impl Lines {
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> io::Result<Next> {
        loop {
            self.text.clear();
            let mut bounded = (&mut self.reader).take(ROW_MAX);
            let read = bounded.read_until(b'\n', &mut self.text)? as u64;
            if read == 0 {
                return Ok(Next::End);
            }
            let first = self.byte == 0;
            self.byte += read;
            self.line += 1;
            if read == ROW_MAX && !self.text.ends_with(b"\n") {
                self.byte += self.reader.skip_until(b'\n')? as u64;
                return Ok(Next::Bad(format!("a row of more than {ROW_MAX} bytes")));
            }
            let mut text = self.text.as_slice();
            if first {
                text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
            }
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let Ok(text) = std::str::from_utf8(text) else {
                return Ok(Next::Bad("the line is not UTF-8".to_owned()));
            };
            let mut parser = serde_json::Deserializer::from_str(text);
            let field = KeyField(&self.key);
            let found = parser.deserialize_any(field);
            let found = found.and_then(|found| parser.end().map(|()| found));
            return Ok(match found {
                Err(error) => {
                    // A line is a text of one line to the parser.
                    let why = error
                        .to_string()
                        .replace(" at line 1 column ", " at column ");
                    Next::Bad(format!("not one JSON object or array: {why}"))
                }
                Ok(None) => Next::Bad(format!("the row has no field {:?}", self.key)),
                Ok(Some(raw)) => match key_bytes(&raw) {
                    Some(bytes) => {
                        key.extend_from_slice(&bytes);
                        value.extend_from_slice(text.as_bytes());
                        Next::Row
                    }
                    None => Next::Bad(format!(
                        "field {:?} is {}, so it is no key",
                        self.key,
                        if raw.get().starts_with('"') {
                            "a string that is not Unicode"
                        } else {
                            "neither a string nor a number"
                        }
                    )),
                },
            });
        }
    }
}

/// A string's own bytes, a number as it is written.
fn key_bytes(raw: &RawValue) -> Option<Vec<u8>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok().map(String::into_bytes),
        b'-' | b'0'..=b'9' => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// Looks for one field of an object or array and lets the others pass.
struct KeyField<'a>(&'a str);

impl<'de> Visitor<'de> for KeyField<'_> {
    type Value = Option<Box<RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = map.next_value::<Box<RawValue>>()?;
            if name == self.0 {
                found = Some(value);
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut row: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let (mut found, mut index) = (None, 0);
        let wanted = self.0.parse::<usize>().ok();
        while let Some(value) = row.next_element::<Box<RawValue>>()? {
            if Some(index) == wanted {
                found = Some(value);
            }
            index += 1;
        }
        Ok(found)
    }
}

/// A file of which only so much may be read for one row.
struct Bounded {
    file: File,
    left: u64,
}

impl Bounded {
    fn new(file: File) -> Self {
        Self {
            file,
            left: ROW_MAX,
        }
    }

    fn begin_row(&mut self) {
        self.left = ROW_MAX;
    }
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_long)?;
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn too_long() -> io::Error {
    io::Error::other(format!(
        "a row of more than {ROW_MAX} bytes begins here; is a quote never closed, or a line never \
         ended?"
    ))
}

/// Tells a file from another by its length and by pieces spread over it.
fn identify(file: &mut File, bytes: u64) -> io::Result<Identity> {
    let mut hash = Xxh3::new();
    let mut piece = Vec::new();
    for index in 0..PIECES {
        let start = bytes.saturating_sub(PIECE) / (PIECES - 1) * index;
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        (&mut *file).take(PIECE).read_to_end(&mut piece)?;
        hash.update(&piece);
    }
    file.seek(SeekFrom::End(-(PIECE.min(bytes) as i64)))?;
    piece.clear();
    (&mut *file).take(PIECE).read_to_end(&mut piece)?;
    hash.update(&piece);
    file.rewind()?;
    Ok(Identity {
        bytes,
        hash: format!("{:032x}", hash.digest128()),
    })
}

/// Line ends before the next thing that is none.
fn blank_lines(path: &Path, byte: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(byte))?;
    let mut lines = 0;
    for byte in BufReader::new(file).take(ROW_MAX).bytes() {
        match byte? {
            b'\n' => lines += 1,
            b'\r' => {}
            _ => break,
        }
    }
    Ok(lines)
}

/// Whether these bytes, which begin with a row, end within a quoted field.
fn ends_quoted(raw: &[u8], delimiter: u8) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let step = |at, byte: &u8| match (at, *byte) {
        // The second of a doubled quote opens the field again.
        (At::Start | At::Closed, b'"') => At::Quoted,
        (At::Quoted, b'"') => At::Closed,
        (At::Quoted, _) => At::Quoted,
        (_, b'\n' | b'\r') => At::Start,
        (_, byte) if byte == delimiter => At::Start,
        _ => At::Plain,
    };
    raw.iter().fold(At::Start, step) == At::Quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_that_is_never_closed_is_noticed_and_a_doubled_one_is_none() {
        for (raw, open) in [
            (&b"a,\"b\""[..], false),
            (b"a,\"b\nc", true),
            (b"a,\"b\"\"c\"", false),
            (b"a,\"b\"\"", true),
            (b"a,5\" pipe", false),
            (b"a,5\"\" pipe", false),
            (b"\"", true),
            (b"\"\"", false),
            (b"", false),
        ] {
            assert_eq!(ends_quoted(raw, b','), open, "{:?}", raw.escape_ascii());
        }
    }

    #[test]
    fn a_key_is_a_string_or_a_number_as_it_is_written() {
        for (row, key) in [
            (r#"{"a":1,"k":"x\u0041"}"#, Some("xA")),
            (
                r#"{"k":12345678901234567890.10,"a":{"k":2}}"#,
                Some("12345678901234567890.10"),
            ),
            (r#"{"k":null}"#, None),
            (r#"["a","b"]"#, None),
        ] {
            let mut parser = serde_json::Deserializer::from_str(row);
            let found = parser.deserialize_any(KeyField("k")).unwrap();
            let found = found.and_then(|raw| key_bytes(&raw));
            assert_eq!(found.as_deref(), key.map(str::as_bytes), "{row}");
        }
    }
}
