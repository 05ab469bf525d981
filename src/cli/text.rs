//! Keys and values as text: on the command line, and as lines of JSON.
//!
//! ```text
//!   {"key":"k1","value":"v1"}            where both are UTF-8
//!   {"key_b64":"/w==","value":"v1"}      base64 where one is not
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;

use super::{Failure, Terminal};
use crate::contract::{Error, Result};
use crate::front::Committed;

/// Most bytes of a key that are shown in words about it.
const SHOWN_MAX: usize = 100;

/// A key on the command line.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyArg {
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// KEY is base64, for keys that no shell can say
    #[arg(long)]
    key_b64: bool,
}

impl KeyArg {
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let bytes = self.key.as_bytes();
        if !self.key_b64 {
            return Ok(bytes.to_vec());
        }
        STANDARD.decode(bytes).map_err(|error| {
            Error::invalid(format!(
                "{} is not base64, as --key-b64 says: {error}",
                self.key.display()
            ))
        })
    }
}

impl fmt::Display for KeyArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.key.as_bytes();
        match bytes.get(..SHOWN_MAX) {
            Some(start) if bytes.len() > SHOWN_MAX => {
                let start = OsStr::from_bytes(start);
                write!(f, "{start:?}… of {} bytes", bytes.len())
            }
            _ => fmt::Debug::fmt(&self.key, f),
        }
    }
}

/// So many of a thing: `1 commit`, `2 commits`, `2 entries`.
pub(super) fn count(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// A commit, for programs.
#[derive(Debug, serde::Serialize)]
pub(super) struct CommitFacts {
    sequence: u64,
    epoch: String,
    level: String,
    marker: String,
}

impl From<Committed> for CommitFacts {
    fn from(committed: Committed) -> Self {
        Self {
            sequence: committed.sequence,
            epoch: committed.epoch.to_string(),
            level: committed.level.to_string(),
            marker: committed.marker.to_string(),
        }
    }
}

/// Prints an entry as a line of JSON.
pub(super) fn entry(
    terminal: &mut Terminal<'_>,
    line: &mut Vec<u8>,
    key: &[u8],
    value: &[u8],
) -> std::result::Result<(), Failure> {
    line.clear();
    line.push(b'{');
    field(line, "key", key);
    line.push(b',');
    field(line, "value", value);
    line.extend_from_slice(b"}\n");
    terminal.bytes(line)
}

/// Prints an entry of a chain as a line of JSON.
pub(super) fn numbered(
    terminal: &mut Terminal<'_>,
    line: &mut Vec<u8>,
    number: u64,
    entry: &[u8],
) -> std::result::Result<(), Failure> {
    line.clear();
    // Writing to memory cannot fail.
    let _ = write!(line, "{{\"number\":{number},");
    field(line, "entry", entry);
    line.extend_from_slice(b"}\n");
    terminal.bytes(line)
}

/// Bytes as hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends `"name":"bytes"`, as base64 where the bytes are not UTF-8.
pub(super) fn field(line: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    // Writing to memory cannot fail.
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let _ = write!(line, "\"{name}\":");
            let _ = serde_json::to_writer(line, text);
        }
        Err(_) => {
            let _ = write!(line, "\"{name}_b64\":\"{}\"", STANDARD.encode(bytes));
        }
    }
}

/// An entry as it stands in a line of JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryLine {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
}

impl EntryLine {
    /// Key and value; an error says what is wrong with the line.
    pub(super) fn bytes(self) -> std::result::Result<(Vec<u8>, Vec<u8>), String> {
        Ok((
            one("key", self.key, self.key_b64)?,
            one("value", self.value, self.value_b64)?,
        ))
    }
}

fn one(
    name: &str,
    text: Option<String>,
    b64: Option<String>,
) -> std::result::Result<Vec<u8>, String> {
    match (text, b64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(b64)) => STANDARD
            .decode(b64)
            .map_err(|error| format!("{name}_b64 is not base64: {error}")),
        _ => Err(format!("an entry has either {name} or {name}_b64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &[u8], value: &[u8]) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal::plain(&mut out, &mut err);
        entry(&mut terminal, &mut Vec::new(), key, value).unwrap();
        terminal.flush().unwrap();
        drop(terminal);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_entry_is_text_where_it_can_be_and_reads_back() {
        for (key, value, text) in [
            (
                &b"k"[..],
                &b"v\n\"\x00"[..],
                r#"{"key":"k","value":"v\n\"\u0000"}"#,
            ),
            (b"\xff", b"v", r#"{"key_b64":"/w==","value":"v"}"#),
            (b"", b"\xfe\xff", r#"{"key":"","value_b64":"/v8="}"#),
        ] {
            let printed = line(key, value);
            assert_eq!(printed.trim_end(), text);
            let read: EntryLine = serde_json::from_str(&printed).unwrap();
            assert_eq!(read.bytes().unwrap(), (key.to_vec(), value.to_vec()));
        }
    }

    #[test]
    fn of_a_long_key_the_beginning_is_shown() {
        let shown = |key: &str| {
            let key = key.into();
            KeyArg {
                key,
                key_b64: false,
            }
            .to_string()
        };
        assert_eq!(shown("k"), "\"k\"");
        let long = shown(&"k".repeat(65_536));
        assert!(
            long.len() < 200 && long.ends_with("… of 65536 bytes"),
            "{long}"
        );
    }

    #[test]
    fn an_entry_with_two_keys_or_none_is_refused() {
        for text in [
            r#"{"value":"v"}"#,
            r#"{"key":"a","key_b64":"YQ==","value":"v"}"#,
            r#"{"key_b64":"?","value":"v"}"#,
        ] {
            let read: EntryLine = serde_json::from_str(text).unwrap();
            assert!(read.bytes().is_err(), "{text}");
        }
    }
}
