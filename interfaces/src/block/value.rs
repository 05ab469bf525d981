//! Values of blocks: anything that serde can write, in bytes that depend on the content alone.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use travertine_engine::contract::{Error, ErrorKind, Result};

use super::cbor::{self, Major, Scan};
use crate::typed::value::{from_bytes, to_bytes};

/// How deep lists, maps and tags may lie in each other in a value: it lies in lists of a block itself.
pub const VALUE_DEPTH_MAX: usize = 32;

/// One value: CBOR, written the one way that is allowed. Equal values are equal bytes, whatever map they
/// were collected in; clones share them.
///
/// ```
/// use std::collections::HashMap;
/// use travertine_interfaces::block::Value;
///
/// let of = |rows: &[(&str, u32)]| Value::of(&rows.iter().copied().collect::<HashMap<_, _>>());
/// let (one, other) = (of(&[("a", 1), ("b", 2)])?, of(&[("b", 2), ("a", 1)])?);
/// assert_eq!(one.as_bytes(), other.as_bytes());
/// assert_eq!(one.to::<HashMap<String, u32>>()?["b"], 2);
/// # Ok::<(), travertine_engine::contract::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Bytes);

impl Value {
    /// The value of a type of yours. Refuses with `Invalid` what is larger than 16 MiB or deeper than
    /// [`VALUE_DEPTH_MAX`] levels, and a map with one key twice.
    pub fn of<T: Serialize + ?Sized>(content: &T) -> Result<Self> {
        let bytes = to_bytes(content)?;
        match whole(&bytes) {
            Ok(()) => Ok(Self(bytes.into())),
            // Maps out of order, most likely.
            Err(_) => Self::sorted(&bytes),
        }
    }

    /// A value as your type. `Corrupt`: it is none.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T> {
        from_bytes(&self.0)
    }

    /// The value that has these bytes. `Corrupt`: none has, or it would be written in another way.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        whole(&bytes)?;
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Bytes that were passed over as one item, or written as one.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// A string of bytes.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        let mut out = Vec::with_capacity(bytes.len() + 9);
        cbor::head(&mut out, Major::Bytes, bytes.len() as u64);
        out.extend_from_slice(bytes);
        Self(out.into())
    }

    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 9);
        cbor::text(&mut out, text);
        Self(out.into())
    }

    /// A list of values. Refuses with `Invalid` what would be deeper than [`VALUE_DEPTH_MAX`] levels.
    pub fn list(items: &[Self]) -> Result<Self> {
        let mut out = Vec::with_capacity(9 + items.iter().map(|item| item.0.len()).sum::<usize>());
        list(&mut out, items);
        whole(&out).map_err(|error| Error::invalid(error.message()))?;
        Ok(Self(out.into()))
    }

    /// The bytes, if it is a string of bytes.
    #[must_use]
    pub fn as_byte_string(&self) -> Option<&[u8]> {
        Scan::new(&self.0).byte_string().ok()
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        Scan::new(&self.0).text().ok()
    }

    /// The bytes of the first item, if it is a list that begins with a string of bytes.
    #[must_use]
    pub fn first_byte_string(&self) -> Option<&[u8]> {
        let mut scan = Scan::new(&self.0);
        match scan.list().ok()? {
            0 => None,
            _ => scan.byte_string().ok(),
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Self>> {
        let mut scan = Scan::new(&self.0);
        if scan.peek().ok()? != Major::List {
            return None;
        }
        (0..scan.list().ok()?)
            .map(|_| Some(Self(self.0.slice_ref(scan.item().ok()?))))
            .collect()
    }

    /// What was written in another way, written as it should be.
    fn sorted(bytes: &[u8]) -> Result<Self> {
        let mut value: ciborium::Value = from_bytes(bytes)?;
        sort(&mut value)?;
        let bytes = to_bytes(&value)?;
        whole(&bytes).map_err(|error| Error::invalid(error.message()))?;
        Ok(Self(bytes.into()))
    }
}

/// In the notation for people of RFC 8949, section 8.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to::<ciborium::Value>() {
            Ok(value) => write!(f, "{value:?}"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

fn whole(bytes: &[u8]) -> Result<()> {
    let mut scan = Scan::new(bytes);
    scan.item_within(VALUE_DEPTH_MAX)?;
    scan.end()
}

/// Puts maps in order, and makes every NaN the one.
fn sort(value: &mut ciborium::Value) -> Result<()> {
    use ciborium::Value as Any;
    match value {
        Any::Float(float) if float.is_nan() => *float = f64::NAN,
        Any::Tag(_, inner) => sort(inner)?,
        Any::Array(items) => items.iter_mut().try_for_each(sort)?,
        Any::Map(entries) => {
            let mut keyed = Vec::with_capacity(entries.len());
            for (mut key, mut value) in std::mem::take(entries) {
                sort(&mut key)?;
                sort(&mut value)?;
                keyed.push((to_bytes(&key)?, (key, value)));
            }
            keyed.sort_by(|one, two| one.0.cmp(&two.0));
            if keyed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::new(ErrorKind::Invalid, "a map has one key twice"));
            }
            entries.extend(keyed.into_iter().map(|(_, entry)| entry));
        }
        _ => {}
    }
    Ok(())
}

/// Appends a list of values.
pub(super) fn list(out: &mut Vec<u8>, values: &[Value]) {
    cbor::head(out, Major::List, values.len() as u64);
    for value in values {
        out.extend_from_slice(&value.0);
    }
}

/// As what it holds: a value within a value is no string of bytes.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let held = self.to::<ciborium::Value>();
        held.map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let held = ciborium::Value::deserialize(deserializer)?;
        Self::of(&held).map_err(serde::de::Error::custom)
    }
}

/// Bytes that serde writes as a string of bytes, and not as a list of numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteString(pub Vec<u8>);

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match ciborium::Value::deserialize(deserializer)? {
            ciborium::Value::Bytes(bytes) => Ok(Self(bytes)),
            _ => Err(serde::de::Error::custom("a string of bytes is wanted")),
        }
    }
}
