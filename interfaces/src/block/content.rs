//! A block: a header, and attributes by name.
//!
//! ```text
//!   {"header": {"id": "orders", "type": "TRE", "collection": "orders"},
//!    "rootId": "x7Rq…",                 one value
//!    "entries": [ …, … ]}               a list of values, which can be spliced
//! ```
//!
//! Its bytes are this map in canonical CBOR: equal blocks have equal bytes, and equal hashes.

use std::borrow::Cow;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use travertine_engine::contract::{Error, Result};

use super::cbor::{self, Major, Scan};
use super::id::{BlockId, Code};
use super::value::{self, Value};

/// Most bytes of a block, as it is kept.
pub const BLOCK_MAX: usize = 16 << 20;
/// Most attributes of a block.
pub const ATTRIBUTES_MAX: usize = 1024;
/// Longest name of an attribute, in bytes.
pub const NAME_MAX: usize = 255;
const HEADER: &str = "header";

/// What every block says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub id: BlockId,
    /// What kind it is.
    pub code: Code,
    /// The collection that it belongs to: the id of that collection's header.
    pub collection: BlockId,
}

/// What an attribute holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A value that is no list.
    One(Value),
    /// The items of a list.
    List(Vec<Value>),
}

impl From<Value> for Attribute {
    fn from(value: Value) -> Self {
        match value.items() {
            Some(items) => Self::List(items),
            None => Self::One(value),
        }
    }
}

/// The name of an attribute.
pub type Name = Cow<'static, str>;

/// A block. It is passed round as it is and never changed in place while two hold it: see
/// [`WriteBlocks`](super::WriteBlocks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    header: Header,
    /// By length and bytes of the name: the order in which they are written.
    attributes: Vec<(Name, Attribute)>,
}

impl Block {
    /// The header of a collection, without attributes: its id is the collection's.
    #[must_use]
    pub fn of_collection(id: &BlockId, code: Code) -> Self {
        Self::new(Header {
            id: id.clone(),
            code,
            collection: id.clone(),
        })
    }

    /// One without attributes.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self {
            header,
            attributes: Vec::new(),
        }
    }

    /// The same with one more attribute, or another value of it. `Invalid`: the name cannot be one.
    pub fn with(mut self, name: impl Into<Name>, attribute: impl Into<Attribute>) -> Result<Self> {
        self.set(name.into(), Some(attribute.into()))?;
        Ok(self)
    }

    /// What it says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &BlockId {
        &self.header.id
    }

    /// An attribute; `None` if it has none of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        let at = self.place(name).ok()?;
        Some(&self.attributes[at].1)
    }

    /// A value by name. `Corrupt`: there is none, or it is a list.
    pub fn one(&self, name: &str) -> Result<&Value> {
        match self.get(name) {
            Some(Attribute::One(value)) => Ok(value),
            _ => Err(self.lacks("value", name)),
        }
    }

    /// The items of a list by name. `Corrupt`: there is none of this name.
    pub fn list(&self, name: &str) -> Result<&[Value]> {
        match self.get(name) {
            Some(Attribute::List(items)) => Ok(items),
            _ => Err(self.lacks("list", name)),
        }
    }

    /// All attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.attributes
            .iter()
            .map(|(name, attribute)| (name.as_ref(), attribute))
    }

    /// Gives an attribute a value, or takes it away.
    pub(super) fn set(&mut self, name: Name, attribute: Option<Attribute>) -> Result<()> {
        match (self.place(&name), attribute) {
            (Ok(at), Some(attribute)) => self.attributes[at].1 = attribute,
            (Ok(at), None) => drop(self.attributes.remove(at)),
            (Err(_), None) => {}
            (Err(at), Some(attribute)) => {
                if name.is_empty() || name.len() > NAME_MAX || name == HEADER {
                    return Err(Error::invalid(format!(
                        "an attribute is called by 1 to {NAME_MAX} bytes that are not {HEADER:?}, not {name:?}"
                    )));
                }
                if self.attributes.len() == ATTRIBUTES_MAX {
                    return Err(Error::invalid(format!(
                        "a block has {ATTRIBUTES_MAX} attributes at most"
                    )));
                }
                self.attributes.insert(at, (name, attribute));
            }
        }
        Ok(())
    }

    /// Replaces items of a list. `Invalid`: it has no such list, or not so many items.
    pub(super) fn splice(
        &mut self,
        name: &str,
        at: usize,
        delete: usize,
        insert: &[Value],
    ) -> Result<()> {
        let place = self.place(name).ok().map(|at| &mut self.attributes[at].1);
        let Some(Attribute::List(items)) = place else {
            return Err(Error::invalid(self.lacks("list", name).message()));
        };
        match at.checked_add(delete) {
            Some(end) if end <= items.len() => {
                items.splice(at..end, insert.iter().cloned());
                Ok(())
            }
            _ => Err(Error::invalid(format!(
                "block {} has {} items in {name:?}: {delete} from {at} on cannot be replaced",
                self.header.id,
                items.len()
            ))),
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        let wanted = (name.len(), name);
        self.attributes
            .binary_search_by(|(name, _)| (name.len(), name.as_ref()).cmp(&wanted))
    }

    fn lacks(&self, what: &str, name: &str) -> Error {
        Error::corrupt(format!(
            "block {}, a {}, has no {what} {name:?}",
            self.header.id, self.header.code
        ))
    }

    /// Its bytes. `Invalid`: there would be more than [`BLOCK_MAX`].
    pub fn to_bytes(&self) -> Result<Bytes> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        match out.len() {
            0..=BLOCK_MAX => Ok(out.into()),
            length => Err(Error::invalid(format!(
                "block {} has {length} bytes, {BLOCK_MAX} are the limit",
                self.header.id
            ))),
        }
    }

    /// About how many bytes it takes in memory: more than in writing.
    #[must_use]
    pub fn weight(&self) -> usize {
        let value = |value: &Value| value.as_bytes().len() + size_of::<Value>();
        let weigh = |(name, attribute): &(Name, Attribute)| {
            let held = match attribute {
                Attribute::One(one) => value(one),
                Attribute::List(items) => items.iter().map(value).sum(),
            };
            name.len() + size_of::<(Name, Attribute)>() + held
        };
        let header = &self.header;
        let names = header.id.as_str().len() + header.collection.as_str().len();
        size_of::<Self>() + names + self.attributes.iter().map(weigh).sum::<usize>()
    }

    /// `Invalid`: its bytes would be more than [`BLOCK_MAX`].
    pub(crate) fn check_size(&self) -> Result<()> {
        match self.weight() {
            0..=BLOCK_MAX => Ok(()),
            _ => self.to_bytes().map(drop),
        }
    }

    /// The SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        Sha256::digest(&out).into()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        cbor::head(out, Major::Map, self.attributes.len() as u64 + 1);
        let before = self.place(HEADER).unwrap_or_else(|at| at);
        let (short, long) = self.attributes.split_at(before);
        short.iter().for_each(|entry| write_attribute(out, entry));
        cbor::text(out, HEADER);
        cbor::head(out, Major::Map, 3);
        cbor::text(out, "id");
        cbor::text(out, self.header.id.as_str());
        cbor::text(out, "type");
        cbor::text(out, self.header.code.as_str());
        cbor::text(out, "collection");
        cbor::text(out, self.header.collection.as_str());
        long.iter().for_each(|entry| write_attribute(out, entry));
    }

    /// The block that has these bytes. `Corrupt`: none has.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = Scan::new(bytes);
        let block = Self::read(bytes, &mut scan)?;
        scan.end()?;
        Ok(block)
    }

    pub(crate) fn read(bytes: &Bytes, scan: &mut Scan<'_>) -> Result<Self> {
        let (mut header, mut attributes) = (None, Vec::new());
        let entries = scan.map()?;
        if entries > ATTRIBUTES_MAX + 1 {
            return Err(Error::corrupt("a block has too many attributes"));
        }
        let mut last: Option<(usize, &str)> = None;
        for _ in 0..entries {
            let name = scan.text()?;
            if name.is_empty() || name.len() > NAME_MAX || last >= Some((name.len(), name)) {
                return Err(Error::corrupt(format!(
                    "the attribute {name:?} of a block does not stand in order"
                )));
            }
            last = Some((name.len(), name));
            if name == HEADER {
                header = Some(read_header(scan)?);
            } else {
                attributes.push((Cow::Owned(name.to_owned()), read_attribute(bytes, scan)?));
            }
        }
        let header = header.ok_or_else(|| Error::corrupt("a block has no header"))?;
        Ok(Self { header, attributes })
    }
}

fn read_header(scan: &mut Scan<'_>) -> Result<Header> {
    let (3, "id") = (scan.map()?, scan.text()?) else {
        return Err(Error::corrupt(
            "the header of a block does not begin with its id",
        ));
    };
    let damaged = |error: Error| Error::corrupt(error.message());
    let id = BlockId::new(scan.text()?).map_err(damaged)?;
    let ("type", code) = (scan.text()?, scan.text()?) else {
        return Err(Error::corrupt("the header of a block has no type"));
    };
    let code = Code::new(code).map_err(damaged)?;
    let ("collection", collection) = (scan.text()?, scan.text()?) else {
        return Err(Error::corrupt("the header of a block has no collection"));
    };
    let collection = BlockId::new(collection).map_err(damaged)?;
    Ok(Header {
        id,
        code,
        collection,
    })
}

fn write_attribute(out: &mut Vec<u8>, (name, attribute): &(Name, Attribute)) {
    cbor::text(out, name);
    match attribute {
        Attribute::One(value) => out.extend_from_slice(value.as_bytes()),
        Attribute::List(items) => value::list(out, items),
    }
}

pub(super) fn read_attribute(bytes: &Bytes, scan: &mut Scan<'_>) -> Result<Attribute> {
    match scan.peek()? {
        Major::List => Ok(Attribute::List(read_list(bytes, scan)?)),
        _ => Ok(Attribute::One(Value::trusted(
            bytes.slice_ref(scan.item()?),
        ))),
    }
}

pub(super) fn read_list(bytes: &Bytes, scan: &mut Scan<'_>) -> Result<Vec<Value>> {
    (0..scan.list()?)
        .map(|_| Ok(Value::trusted(bytes.slice_ref(scan.item()?))))
        .collect()
}
