//! Keys as bytes that order as the keys do.
//!
//! ```text
//!   u8 … u128        big-endian                        bool      0, 1
//!   i8 … i128        the same, with the sign turned    char      its number, u32
//!   f32, f64         total order: -NaN … -0, +0 … NaN  [u8; N]   as they are
//!   str, [u8]        bytes, 00 as 00 FF, then 00 00    Option    0, or 1 and what is in it
//!   ( … )            one after the other
//! ```
//!
//! No encoding begins another of its type, so a tuple orders by its first part, then by its second, and
//! all keys that begin with the same parts lie side by side. Each value has one encoding; bytes that are
//! none are `Corrupt`. There is none for `usize`, which is another number elsewhere.
//!
//! A type of one's own is a key through one of these:
//!
//! ```
//! use travertine_engine::contract::Result;
//! use travertine_interfaces::typed::{AsKey, Key};
//!
//! #[derive(Debug, PartialEq)]
//! struct Account(u64);
//!
//! impl AsKey for Account {
//!     fn append_to(&self, out: &mut Vec<u8>) {
//!         self.0.append_to(out);
//!     }
//! }
//!
//! impl Key for Account {
//!     fn take(bytes: &mut &[u8]) -> Result<Self> {
//!         u64::take(bytes).map(Self)
//!     }
//! }
//! ```

use travertine_engine::contract::{Error, Result};

/// What can be looked for: bytes that order as the values do.
pub trait AsKey {
    /// Appends its bytes. No value's bytes begin with another's.
    fn append_to(&self, out: &mut Vec<u8>);
}

/// A key that can be told from its bytes.
///
/// Where a key can be borrowed as something else, as `String` as `str`, both must have the same bytes.
pub trait Key: AsKey + Sized + Send + 'static {
    /// Takes a key off the front of `bytes`. Bytes that are none are
    /// [`Corrupt`](travertine_engine::contract::ErrorKind::Corrupt).
    fn take(bytes: &mut &[u8]) -> Result<Self>;
}

/// The bytes of a key.
pub fn to_bytes(key: &(impl AsKey + ?Sized)) -> Vec<u8> {
    // Most keys fit: their parts come one by one, and each that does not costs another allocation.
    let mut bytes = Vec::with_capacity(64);
    key.append_to(&mut bytes);
    bytes
}

/// The key that has these bytes, all of them.
pub fn from_bytes<K: Key>(mut bytes: &[u8]) -> Result<K> {
    let key = K::take(&mut bytes)?;
    match bytes {
        [] => Ok(key),
        rest => Err(Error::corrupt(format!(
            "{} bytes follow a key of the type that was asked for",
            rest.len()
        ))),
    }
}

/// The first bytes that order behind all that begin with these; `None`, if nothing does.
pub(super) fn behind(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xFF {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

impl<T: AsKey + ?Sized> AsKey for &T {
    fn append_to(&self, out: &mut Vec<u8>) {
        (**self).append_to(out);
    }
}

macro_rules! numbers {
    ($($type:ident as $bits:ident: $to:expr, $from:expr;)*) => {$(
        impl AsKey for $type {
            fn append_to(&self, out: &mut Vec<u8>) {
                let to: fn($type) -> $bits = $to;
                out.extend_from_slice(&to(*self).to_be_bytes());
            }
        }

        impl Key for $type {
            fn take(bytes: &mut &[u8]) -> Result<Self> {
                let from: fn($bits) -> $type = $from;
                Ok(from($bits::from_be_bytes(take_array(bytes)?)))
            }
        }
    )*};
}

numbers! {
    u8 as u8: |number| number, |bits| bits;
    u16 as u16: |number| number, |bits| bits;
    u32 as u32: |number| number, |bits| bits;
    u64 as u64: |number| number, |bits| bits;
    u128 as u128: |number| number, |bits| bits;
    i8 as u8: |number| number.cast_unsigned() ^ (1 << 7), |bits| (bits ^ (1 << 7)).cast_signed();
    i16 as u16: |number| number.cast_unsigned() ^ (1 << 15), |bits| (bits ^ (1 << 15)).cast_signed();
    i32 as u32: |number| number.cast_unsigned() ^ (1 << 31), |bits| (bits ^ (1 << 31)).cast_signed();
    i64 as u64: |number| number.cast_unsigned() ^ (1 << 63), |bits| (bits ^ (1 << 63)).cast_signed();
    i128 as u128: |number| number.cast_unsigned() ^ (1 << 127), |bits| (bits ^ (1 << 127)).cast_signed();
    f32 as u32: |number| turn32(number.to_bits(), number.is_sign_negative()),
        |bits| f32::from_bits(turn32(bits, bits >> 31 == 0));
    f64 as u64: |number| turn64(number.to_bits(), number.is_sign_negative()),
        |bits| f64::from_bits(turn64(bits, bits >> 63 == 0));
}

/// Negative numbers order backwards by their bits, and before all others.
fn turn32(bits: u32, negative: bool) -> u32 {
    bits ^ if negative { u32::MAX } else { 1 << 31 }
}

fn turn64(bits: u64, negative: bool) -> u64 {
    bits ^ if negative { u64::MAX } else { 1 << 63 }
}

impl AsKey for bool {
    fn append_to(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Key for bool {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        match take_array(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(bad(format!("{other} is neither false nor true"))),
        }
    }
}

impl AsKey for char {
    fn append_to(&self, out: &mut Vec<u8>) {
        u32::from(*self).append_to(out);
    }
}

impl Key for char {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let number = u32::take(bytes)?;
        Self::from_u32(number).ok_or_else(|| bad(format!("{number:#x} is no character")))
    }
}

impl<const N: usize> AsKey for [u8; N] {
    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        take_array(bytes)
    }
}

impl AsKey for [u8] {
    fn append_to(&self, out: &mut Vec<u8>) {
        let mut parts = self.split(|byte| *byte == 0);
        out.extend_from_slice(parts.next().unwrap_or_default());
        for part in parts {
            out.extend_from_slice(&[0, 0xFF]);
            out.extend_from_slice(part);
        }
        out.extend_from_slice(&[0, 0]);
    }
}

impl AsKey for Vec<u8> {
    fn append_to(&self, out: &mut Vec<u8>) {
        self[..].append_to(out);
    }
}

impl Key for Vec<u8> {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let mut found = Self::new();
        loop {
            let zero = bytes.iter().position(|byte| *byte == 0);
            let zero = zero.ok_or_else(|| bad("a string does not end"))?;
            found.extend_from_slice(&bytes[..zero]);
            match bytes.get(zero + 1) {
                Some(0) => {
                    *bytes = &bytes[zero + 2..];
                    return Ok(found);
                }
                Some(0xFF) => {
                    found.push(0);
                    *bytes = &bytes[zero + 2..];
                }
                _ => return Err(bad("a string has a zero that nothing explains")),
            }
        }
    }
}

impl AsKey for str {
    fn append_to(&self, out: &mut Vec<u8>) {
        self.as_bytes().append_to(out);
    }
}

impl AsKey for String {
    fn append_to(&self, out: &mut Vec<u8>) {
        self.as_bytes().append_to(out);
    }
}

impl Key for String {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        let text = Self::from_utf8(Vec::take(bytes)?);
        text.map_err(|error| bad(format!("a string is no UTF-8: {}", error.utf8_error())))
    }
}

impl<T: AsKey> AsKey for Option<T> {
    fn append_to(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.append_to(out);
        }
    }
}

impl<T: Key> Key for Option<T> {
    fn take(bytes: &mut &[u8]) -> Result<Self> {
        match bool::take(bytes)? {
            true => T::take(bytes).map(Some),
            false => Ok(None),
        }
    }
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk().ok_or_else(|| {
        bad(format!(
            "{} bytes are left where {N} should be",
            bytes.len()
        ))
    })?;
    *bytes = rest;
    Ok(*array)
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::corrupt(format!(
        "a key is not of the type that was asked for: {what}"
    ))
}
