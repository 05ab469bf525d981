//! CBOR written the one way that is allowed, and one pass over bytes that tells whether they are.
//!
//! The way is that of RFC 8949, section 4.2.1: heads as short as they can be, lengths known, the keys
//! of a map ascending by their bytes and each once, floats in the shortest form that keeps them, one
//! NaN. So equal contents have equal bytes, and whoever has the bytes has the content.

use travertine_engine::contract::{Error, Result};

/// How deep lists, maps and tags may lie in each other.
pub(crate) const DEPTH_MAX: usize = 64;

/// What a head is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    List,
    Map,
    Tag,
    Simple,
}

use Major::{Bytes, List, Map, Negative, Simple, Tag, Text, Unsigned};

/// Appends the head of an item.
pub(crate) fn head(out: &mut Vec<u8>, major: Major, argument: u64) {
    let major = (major as u8) << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// Appends a text.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    head(out, Text, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Appends `true` or `false`.
pub(crate) fn truth(out: &mut Vec<u8>, truth: bool) {
    head(out, Simple, if truth { TRUE } else { FALSE });
}

/// Appends what stands for nothing.
pub(crate) fn null(out: &mut Vec<u8>) {
    head(out, Simple, NULL);
}

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;

/// A place in bytes that somebody says are CBOR. Whatever they are, it reads no further than they go,
/// and takes no memory by what they say.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<()> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            more => Err(misfit(self.at, &format!("{more} bytes follow"))),
        }
    }

    /// Passes over one item, with all that is in it, and returns its bytes.
    pub(crate) fn item(&mut self) -> Result<&'a [u8]> {
        let from = self.at;
        self.pass(0)?;
        Ok(&self.bytes[from..self.at])
    }

    /// The same, and so many levels may lie in it at most.
    pub(crate) fn item_within(&mut self, levels: usize) -> Result<&'a [u8]> {
        let from = self.at;
        self.pass(DEPTH_MAX.saturating_sub(levels))?;
        Ok(&self.bytes[from..self.at])
    }

    /// What comes next, without passing it.
    pub(crate) fn peek(&self) -> Result<Major> {
        self.clone().head().map(|(major, _)| major)
    }

    /// Passes over what stands for nothing, if that comes next.
    pub(crate) fn is_null(&mut self) -> Result<bool> {
        let mut next = self.clone();
        let null = next.head()? == (Simple, NULL);
        if null {
            *self = next;
        }
        Ok(null)
    }

    /// The count of the items of a list, which come next.
    pub(crate) fn list(&mut self) -> Result<usize> {
        self.count(List, "a list")
    }

    /// The count of the entries of a map, which come next.
    pub(crate) fn map(&mut self) -> Result<usize> {
        self.count(Map, "a map")
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let from = self.at;
        match self.head()? {
            (Text, length) => {
                let bytes = self.take(length)?;
                std::str::from_utf8(bytes).map_err(|_| misfit(from, "a text is not UTF-8"))
            }
            _ => Err(misfit(from, "a text is wanted")),
        }
    }

    pub(crate) fn byte_string(&mut self) -> Result<&'a [u8]> {
        let from = self.at;
        match self.head()? {
            (Bytes, length) => self.take(length),
            _ => Err(misfit(from, "a string of bytes is wanted")),
        }
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64> {
        let from = self.at;
        match self.head()? {
            (Unsigned, number) => Ok(number),
            _ => Err(misfit(from, "a number of zero or more is wanted")),
        }
    }

    pub(crate) fn truth(&mut self) -> Result<bool> {
        let from = self.at;
        match self.head()? {
            (Simple, TRUE) => Ok(true),
            (Simple, FALSE) => Ok(false),
            _ => Err(misfit(from, "true or false is wanted")),
        }
    }

    fn count(&mut self, wanted: Major, name: &str) -> Result<usize> {
        let from = self.at;
        match self.head()? {
            // Each takes a byte at least.
            (major, count) if major == wanted => match usize::try_from(count) {
                Ok(count) if count <= self.bytes.len() - self.at => Ok(count),
                _ => Err(misfit(from, "there are fewer items than it says")),
            },
            _ => Err(misfit(from, &format!("{name} is wanted"))),
        }
    }

    fn pass(&mut self, depth: usize) -> Result<()> {
        let from = self.at;
        if depth > DEPTH_MAX {
            return Err(misfit(from, &format!("it is more than {DEPTH_MAX} deep")));
        }
        match self.peek()? {
            List => {
                for _ in 0..self.list()? {
                    self.pass(depth + 1)?;
                }
            }
            Map => {
                let mut last: Option<&[u8]> = None;
                for _ in 0..self.map()? {
                    let from = self.at;
                    self.pass(depth + 1)?;
                    let key = &self.bytes[from..self.at];
                    if last.is_some_and(|last| key <= last) {
                        return Err(misfit(from, "the keys of a map do not ascend"));
                    }
                    last = Some(key);
                    self.pass(depth + 1)?;
                }
            }
            Text => drop(self.text()?),
            Bytes => drop(self.byte_string()?),
            Tag => {
                self.head()?;
                self.pass(depth + 1)?;
            }
            Unsigned | Negative | Simple => drop(self.head()?),
        }
        Ok(())
    }

    fn head(&mut self) -> Result<(Major, u64)> {
        let from = self.at;
        let first = self.take(1)?[0];
        let major =
            [Unsigned, Negative, Bytes, Text, List, Map, Tag, Simple][usize::from(first >> 5)];
        let info = first & 31;
        let width = match info {
            0..24 => 0,
            24..28 => 1 << (info - 24),
            _ => return Err(misfit(from, "a length is not told")),
        };
        let told = self.take(width)?;
        let argument = match width {
            0 => u64::from(info),
            _ => told.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        let short = match (major, width) {
            (Simple, 0) => (FALSE..=NULL).contains(&argument),
            (Simple, 2) => argument == NAN || argument & 0x7c00 != 0x7c00 || argument & 0x3ff == 0,
            (Simple, 4) => shortest_single(f32::from_bits(argument as u32)),
            (Simple, 8) => shortest_double(f64::from_bits(argument)),
            (Simple, _) => false,
            (_, 1) => argument >= 24,
            (_, 2) => argument >> 8 != 0,
            (_, 4) => argument >> 16 != 0,
            (_, 8) => argument >> 32 != 0,
            _ => true,
        };
        match short {
            true => Ok((major, argument)),
            false => Err(misfit(from, "it is not written the shortest way")),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(length) {
            Ok(length) if length <= rest.len() => {
                self.at += length;
                Ok(&rest[..length])
            }
            _ => Err(misfit(self.at, "it ends early")),
        }
    }
}

/// The one NaN, a half.
const NAN: u64 = 0x7e00;

/// Whether a half would not hold it.
fn shortest_single(float: f32) -> bool {
    const SUBNORMAL: f32 = 1.0 / 16_384.0;
    const SMALLEST: f32 = 1.0 / 16_777_216.0;
    let size = float.abs();
    let half = match size {
        _ if float.is_nan() || float.is_infinite() => true,
        size if size >= SUBNORMAL => size <= 65_504.0 && float.to_bits() & 0x1fff == 0,
        size => (size / SMALLEST).fract() == 0.0,
    };
    !half
}

/// Whether a single would not hold it.
fn shortest_double(float: f64) -> bool {
    !float.is_nan() && f64::from(float as f32).to_bits() != float.to_bits()
}

fn misfit(at: usize, what: &str) -> Error {
    Error::corrupt(format!("at byte {at} of a value: {what}"))
}
