//! Values through serde, as CBOR: the same value has the same bytes, as long as it hands its parts over
//! in the same order. A `HashMap` does not; a `BTreeMap` does. Bytes alone are better kept in a
//! [`Map`](crate::Map) as they are.
//!
//! What is read may be anything: its size, its depth and what it allocates are bounded.

use std::io;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use travertine_engine::contract::{Error, Result};

/// Most bytes of a value.
pub const VALUE_MAX: usize = 16 << 20;
/// How deep lists, maps and variants may lie in each other.
pub const DEPTH_MAX: usize = 64;

/// A type of values: whatever serde can write and read.
pub trait Storable: Serialize + DeserializeOwned + Send + 'static {}

impl<V: Serialize + DeserializeOwned + Send + 'static> Storable for V {}

/// The bytes of a value. Refuses with `Invalid` what could not be read again.
pub fn to_bytes<V: Serialize + ?Sized>(value: &V) -> Result<Vec<u8>> {
    use ciborium::ser::Error as Failure;
    let mut bytes = Bounded(Vec::new());
    ciborium::into_writer(value, &mut bytes).map_err(|error| match error {
        Failure::Io(_) => Error::invalid(format!("a value has more than {VALUE_MAX} bytes")),
        Failure::Value(what) => Error::invalid(format!("a value cannot be written: {what}")),
    })?;
    let bytes = bytes.0;
    // Each level takes a byte.
    if bytes.len() > DEPTH_MAX {
        let read = read::<IgnoredAny>(&bytes, DEPTH_MAX);
        read.map_err(|error| Error::invalid(error.message()))?;
    }
    Ok(bytes)
}

/// The value that has these bytes, all of them.
pub fn from_bytes<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
    if bytes.len() > VALUE_MAX {
        return Err(Error::corrupt(format!(
            "a value has {} bytes, {VALUE_MAX} are the limit",
            bytes.len()
        )));
    }
    // Types may ask for a level more than the bytes show.
    read(bytes, 2 * DEPTH_MAX)
}

fn read<V: DeserializeOwned>(mut bytes: &[u8], depth: usize) -> Result<V> {
    use ciborium::de::Error as Failure;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut bytes, depth);
    let value = value.map_err(|error| match error {
        Failure::Io(_) => Error::corrupt("a value ends early"),
        Failure::Syntax(at) => Error::corrupt(format!("a value is no CBOR at byte {at}")),
        Failure::Semantic(_, what) => Error::corrupt(format!(
            "a value is not of the type that was asked for: {what}"
        )),
        Failure::RecursionLimitExceeded => {
            Error::corrupt(format!("a value is more than {DEPTH_MAX} deep"))
        }
    })?;
    match bytes {
        [] => Ok(value),
        rest => Err(Error::corrupt(format!(
            "{} bytes follow a value",
            rest.len()
        ))),
    }
}

/// Bytes up to the limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > VALUE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
