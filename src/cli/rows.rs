//! Rows in which two states of a tree differ, as lines.
//!
//! ```text
//!   + k1  new             {"key":"k1","new":"…"}
//!   - k2  old             {"key":"k2","old":"…"}
//!   ~ k3  old -> new      {"key":"k3","old":"…","new":"…"}      base64 as `key_b64` and so on
//! ```
//!
//! Lines for programs hold values whole; those for people show the beginning of long ones.

use std::io::Write;

use super::tree::TreeReader;
use super::{Failure, Terminal, text};
use crate::contract::Result;
use crate::interfaces::diff::Differs;
use crate::interfaces::{CursorExt, Value};

/// Most bytes of a key or value that are shown to people.
const SHOWN_MAX: usize = 60;

/// What printing rows needs over and over.
pub(super) struct Rows {
    /// For programs; with the number of the commit where one is given.
    pub(super) json: bool,
    line: Vec<u8>,
}

impl Rows {
    pub(super) fn new(json: bool) -> Self {
        let line = Vec::new();
        Self { json, line }
    }

    /// Prints the rows in which `new` differs from `old`, at most so many, and answers how many. Without
    /// `old` all are new.
    pub(super) fn tell(
        &mut self,
        terminal: &mut Terminal<'_>,
        sequence: Option<u64>,
        (old, new): (Option<&TreeReader>, &TreeReader),
        limit: u64,
    ) -> std::result::Result<u64, Failure> {
        let mut told = 0;
        let mut print = |differs: &Differs<'_>| -> std::result::Result<bool, Failure> {
            self.line.clear();
            if self.json {
                self.for_programs(sequence, differs, new)?;
            } else {
                self.for_people(differs);
            }
            terminal.bytes(&self.line)?;
            told += 1;
            Ok(told < limit)
        };
        if limit == 0 {
            return Ok(0);
        }
        if let Some(old) = old {
            let mut diff = old.diff(new);
            while let Some(differs) = diff.next()?
                && print(&differs)?
            {}
        } else {
            let mut cursor = new.cursor();
            while let Some(entry) = cursor.next()?
                && print(&Differs {
                    key: entry.key,
                    old: None,
                    new: Some(entry.value),
                })?
            {}
        }
        Ok(told)
    }

    fn for_programs(
        &mut self,
        sequence: Option<u64>,
        differs: &Differs<'_>,
        reader: &TreeReader,
    ) -> Result<()> {
        let line = &mut self.line;
        line.push(b'{');
        if let Some(sequence) = sequence {
            // Writing to memory cannot fail.
            let _ = write!(line, "\"sequence\":{sequence},");
        }
        text::field(line, "key", differs.key);
        for (name, value) in [("old", differs.old), ("new", differs.new)] {
            match value {
                None => {}
                Some(Value::Inline(bytes)) => {
                    line.push(b',');
                    text::field(line, name, bytes);
                }
                // Records are had by their addresses, whichever state the reader is of.
                Some(apart) => {
                    let bytes = reader.value(apart).wait()?;
                    line.push(b',');
                    text::field(line, name, &bytes);
                }
            }
        }
        line.extend_from_slice(b"}\n");
        Ok(())
    }

    fn for_people(&mut self, differs: &Differs<'_>) {
        let sign = match (differs.old, differs.new) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        let key = shown(Value::Inline(differs.key));
        let mut values = [differs.old, differs.new].into_iter().flatten().map(shown);
        let (first, second) = (values.next().unwrap_or_default(), values.next());
        let second = second.map_or_else(String::new, |second| format!(" -> {second}"));
        let _ = writeln!(self.line, "{sign} {key}  {first}{second}");
    }
}

fn shown(value: Value<'_>) -> String {
    let bytes = match value {
        Value::Inline(bytes) => bytes,
        Value::Apart(apart) => return format!("({} bytes)", apart.length),
    };
    let start = &bytes[..bytes.len().min(SHOWN_MAX)];
    let text = String::from_utf8_lossy(start).escape_debug().to_string();
    if bytes.len() > SHOWN_MAX {
        return format!("{text}… ({} bytes)", bytes.len());
    }
    text
}
