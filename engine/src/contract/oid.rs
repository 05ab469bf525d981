//! Addresses: a stream, a position in it, and the two together.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::error::{Error, Result};

/// Bits of an OID that hold the position; the rest hold the stream.
const POSITION_BITS: u32 = 48;

/// Bytes in one step of a [`Position`].
pub const UNIT: u64 = 8;

/// One append-only address space with one writer at a time. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stream(pub u16);

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

/// A logical place in a stream, counted in steps of eight bytes. Which file, segment, device or
/// replica holds it is the business of the floors below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

impl Position {
    /// Where every stream begins.
    pub const START: Self = Self(0);
    /// One past the last position an OID can name.
    pub const LIMIT: Self = Self(1 << POSITION_BITS);

    /// The position this many bytes on. `bytes` must be a multiple of eight.
    #[must_use]
    pub fn plus_bytes(self, bytes: u64) -> Self {
        debug_assert!(
            bytes.is_multiple_of(UNIT),
            "positions move in steps of eight bytes"
        );
        Self(self.0 + bytes / UNIT)
    }

    /// Bytes from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) * UNIT
    }

    /// The first position at or after this one that starts a block of `bytes`.
    #[must_use]
    pub fn align_up(self, bytes: u64) -> Self {
        let step = (bytes / UNIT).max(1);
        Self(self.0.next_multiple_of(step))
    }

    /// The last position at or before this one that starts a block of `bytes`.
    #[must_use]
    pub fn align_down(self, bytes: u64) -> Self {
        let step = (bytes / UNIT).max(1);
        Self(self.0 - self.0 % step)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

/// The address of a record: final at birth, never re-used, never moved.
///
/// Sixteen bits of stream, forty-eight of position; zero is no OID, which is why position 0 of a
/// stream always holds a batch header and never a record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Oid(NonZeroU64);

impl Oid {
    /// The OID of a record at `position` of `stream`; `None` for the one value that means none, and
    /// for positions past [`Position::LIMIT`].
    #[must_use]
    pub fn new(stream: Stream, position: Position) -> Option<Self> {
        if position >= Position::LIMIT {
            return None;
        }
        Self::from_raw((u64::from(stream.0) << POSITION_BITS) | position.0)
    }

    /// The OID with these bits, `None` for zero.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).map(Self)
    }

    /// The bits.
    #[must_use]
    pub fn raw(self) -> u64 {
        self.0.get()
    }

    /// The stream that the record lies in.
    #[must_use]
    pub fn stream(self) -> Stream {
        Stream((self.raw() >> POSITION_BITS) as u16)
    }

    /// Where in its stream the record lies.
    #[must_use]
    pub fn position(self) -> Position {
        Position(self.raw() & (Position::LIMIT.0 - 1))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oid:v1:{}:{}", self.stream(), self.position())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Oid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!(
                "{text:?} is not an OID; one looks like oid:v1:b0:o512 (stream 0, position 512)"
            ))
        };
        let rest = text.strip_prefix("oid:v1:b").ok_or_else(bad)?;
        let (stream, position) = rest.split_once(":o").ok_or_else(bad)?;
        if !stream
            .bytes()
            .chain(position.bytes())
            .all(|byte| byte.is_ascii_digit())
        {
            return Err(bad());
        }
        let stream = Stream(stream.parse().map_err(|_| bad())?);
        let position = Position(position.parse().map_err(|_| bad())?);
        Self::new(stream, position).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oid_round_trips_as_bits_and_as_text() {
        let oid = Oid::new(Stream(7), Position(123_456)).unwrap();
        assert_eq!(oid.raw(), 0x0007_0000_0001_E240);
        assert_eq!(oid.to_string(), "oid:v1:b7:o123456");
        assert_eq!(oid.to_string().parse::<Oid>().unwrap(), oid);
        assert_eq!(
            (oid.stream(), oid.position()),
            (Stream(7), Position(123_456))
        );
    }

    #[test]
    fn zero_and_positions_past_the_limit_are_no_oid() {
        assert!(Oid::new(Stream(0), Position::START).is_none());
        assert!(Oid::new(Stream(0), Position::LIMIT).is_none());
        assert!("oid:v1:b0:o0".parse::<Oid>().is_err());
    }

    #[test]
    fn text_that_is_no_oid_is_refused_with_an_example() {
        for text in [
            "",
            "oid:v2:b0:o1",
            "oid:v1:b:o1",
            "oid:v1:b0:o-1",
            "oid:v1:b70000:o1",
            "x",
        ] {
            let error = text.parse::<Oid>().unwrap_err();
            assert!(error.to_string().contains("oid:v1:b0:o512"), "{error}");
        }
    }
}
