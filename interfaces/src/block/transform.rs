//! What becomes of blocks: operations on one, and the changes of many.
//!
//! For one block the order is fixed: first what is inserted stands for it, then its updates are done,
//! then it may go. To one that is not there nothing can be updated: that is an error and never nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};

use super::cbor::{self, Major, Scan};
use super::content::{Attribute, Block, Name, read_attribute, read_list};
use super::id::BlockId;
use super::value;
use super::value::Value;

/// One change of one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Replaces items of a list.
    Splice {
        /// Its name.
        name: Name,
        /// The first item that goes, and the place where others come.
        at: usize,
        /// How many go.
        delete: usize,
        /// What comes.
        insert: Vec<Value>,
    },
    /// Gives an attribute a value, whatever it had; `None` takes it away.
    Assign {
        /// Its name.
        name: Name,
        /// What it holds from now on.
        value: Option<Attribute>,
    },
}

impl Operation {
    /// Replaces items of a list.
    pub fn splice(
        name: impl Into<Name>,
        at: usize,
        delete: usize,
        insert: impl Into<Vec<Value>>,
    ) -> Self {
        Self::Splice {
            name: name.into(),
            at,
            delete,
            insert: insert.into(),
        }
    }

    /// Gives an attribute a value.
    pub fn assign(name: impl Into<Name>, value: impl Into<Attribute>) -> Self {
        Self::Assign {
            name: name.into(),
            value: Some(value.into()),
        }
    }

    /// Takes an attribute away.
    pub fn remove(name: impl Into<Name>) -> Self {
        Self::Assign {
            name: name.into(),
            value: None,
        }
    }

    /// Does it. `Invalid`: the block has no such list, or not so many items; then it is as before.
    pub fn apply(&self, block: &mut Block) -> Result<()> {
        match self {
            Self::Splice {
                name,
                at,
                delete,
                insert,
            } => block.splice(name, *at, *delete, insert),
            Self::Assign { name, value } => block.set(name.clone(), value.clone()),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Splice {
                name,
                at,
                delete,
                insert,
            } => {
                cbor::head(out, Major::List, 4);
                cbor::text(out, name);
                cbor::head(out, Major::Unsigned, *at as u64);
                cbor::head(out, Major::Unsigned, *delete as u64);
                value::list(out, insert);
            }
            Self::Assign { name, value } => {
                cbor::head(out, Major::List, 1 + u64::from(value.is_some()));
                cbor::text(out, name);
                match value {
                    Some(Attribute::One(value)) => out.extend_from_slice(value.as_bytes()),
                    Some(Attribute::List(items)) => value::list(out, items),
                    None => {}
                }
            }
        }
    }

    fn read(bytes: &Bytes, scan: &mut Scan<'_>) -> Result<Self> {
        let parts = scan.list()?;
        let name = Name::Owned(scan.text()?.to_owned());
        let place = |scan: &mut Scan<'_>| {
            usize::try_from(scan.unsigned()?).map_err(|_| Error::corrupt("a place beyond memory"))
        };
        Ok(match parts {
            1 => Self::Assign { name, value: None },
            2 => Self::Assign {
                name,
                value: Some(read_attribute(bytes, scan)?),
            },
            4 => Self::Splice {
                name,
                at: place(scan)?,
                delete: place(scan)?,
                insert: read_list(bytes, scan)?,
            },
            _ => return Err(Error::corrupt("an operation has 1, 2 or 4 parts")),
        })
    }
}

/// What becomes of one block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transform {
    /// Stands for the block from now on, whatever was there.
    pub insert: Option<Arc<Block>>,
    /// Done in this order.
    pub updates: Vec<Operation>,
    /// In the end it goes.
    pub delete: bool,
}

impl Transform {
    /// A new block.
    #[must_use]
    pub fn insert(block: impl Into<Arc<Block>>) -> Self {
        Self {
            insert: Some(block.into()),
            ..Self::default()
        }
    }

    /// One that goes.
    #[must_use]
    pub fn delete() -> Self {
        Self {
            delete: true,
            ..Self::default()
        }
    }

    /// Nothing becomes of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.insert.is_none() && self.updates.is_empty() && !self.delete
    }

    /// Whether it can be done without knowing the block.
    #[must_use]
    pub fn needs_base(&self) -> bool {
        self.insert.is_none() && !self.updates.is_empty()
    }

    /// What is there afterwards. `Invalid`: an update is of nothing, or does not fit.
    pub fn apply(&self, base: Option<Arc<Block>>) -> Result<Option<Arc<Block>>> {
        let mut block = self.insert.clone().or(base);
        for update in &self.updates {
            let Some(block) = &mut block else {
                return Err(Error::invalid("a block that is not there is updated"));
            };
            update.apply(Arc::make_mut(block))?;
        }
        Ok(block.filter(|_| !self.delete))
    }

    /// This, and then `later`. `Invalid`: it updates what is gone by then, and nothing is changed.
    pub fn then(&mut self, later: Self) -> Result<()> {
        if later.insert.is_some() || later.delete {
            *self = later;
        } else if self.delete && !later.updates.is_empty() {
            return Err(Error::invalid("a block that is deleted is updated"));
        } else {
            self.updates.extend(later.updates);
        }
        Ok(())
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out.into()
    }

    /// The transform that has these bytes. `Corrupt`: none has.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = Scan::new(bytes);
        let transform = Self::read(bytes, &mut scan)?;
        scan.end()?;
        Ok(transform)
    }

    /// `[[block] or [], [operation …], whether it goes]`
    fn write(&self, out: &mut Vec<u8>) {
        cbor::head(out, Major::List, 3);
        cbor::head(out, Major::List, u64::from(self.insert.is_some()));
        if let Some(block) = &self.insert {
            block.write(out);
        }
        cbor::head(out, Major::List, self.updates.len() as u64);
        self.updates.iter().for_each(|update| update.write(out));
        cbor::truth(out, self.delete);
    }

    fn read(bytes: &Bytes, scan: &mut Scan<'_>) -> Result<Self> {
        let (3, inserts @ 0..=1) = (scan.list()?, scan.list()?) else {
            return Err(Error::corrupt("a transform does not begin as one"));
        };
        let insert = match inserts {
            0 => None,
            _ => Some(Arc::new(Block::read(bytes, scan)?)),
        };
        let updates = (0..scan.list()?).map(|_| Operation::read(bytes, scan));
        Ok(Self {
            insert,
            updates: updates.collect::<Result<_>>()?,
            delete: scan.truth()?,
        })
    }
}

/// What becomes of several blocks, by id: the same changes are the same bytes, in whatever order they
/// were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transforms(BTreeMap<BlockId, Transform>);

impl Transforms {
    /// Of none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What becomes of one block.
    #[must_use]
    pub fn of(&self, id: &BlockId) -> Option<&Transform> {
        self.0.get(id)
    }

    /// All, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&BlockId, &Transform)> {
        self.0.iter()
    }

    /// How many blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing becomes of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Afterwards this happens to a block as well. `Invalid`: it updates what is gone by then.
    pub fn push(&mut self, id: BlockId, transform: Transform) -> Result<()> {
        match transform.is_empty() {
            true => Ok(()),
            false => self.0.entry(id).or_default().then(transform),
        }
    }

    /// This, and then `later`. After an error a part of it.
    pub fn then(&mut self, later: Self) -> Result<()> {
        later
            .0
            .into_iter()
            .try_for_each(|(id, one)| self.push(id, one))
    }

    /// Its bytes: `{id: transform …}`, ids by length and bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(256);
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(id, _)| (id.as_str().len(), id.as_str()));
        cbor::head(&mut out, Major::Map, all.len() as u64);
        for (id, transform) in all {
            cbor::text(&mut out, id.as_str());
            transform.write(&mut out);
        }
        out.into()
    }

    /// The changes that have these bytes. `Corrupt`: none have.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        let mut scan = Scan::new(bytes);
        let mut all = BTreeMap::new();
        let mut last: Option<(usize, &str)> = None;
        for _ in 0..scan.map()? {
            let id = scan.text()?;
            if last >= Some((id.len(), id)) {
                return Err(Error::corrupt("the blocks of a change do not ascend"));
            }
            last = Some((id.len(), id));
            let id = BlockId::new(id).map_err(|error| Error::corrupt(error.message()))?;
            let transform = Transform::read(bytes, &mut scan)?;
            if transform.is_empty() {
                return Err(Error::corrupt(format!("nothing becomes of block {id}")));
            }
            all.insert(id, transform);
        }
        scan.end()?;
        Ok(Self(all))
    }
}

/// One for each block; of two for the same the later one.
impl FromIterator<(BlockId, Transform)> for Transforms {
    fn from_iter<I: IntoIterator<Item = (BlockId, Transform)>>(all: I) -> Self {
        let all = all.into_iter();
        Self(all.filter(|(_, one)| !one.is_empty()).collect())
    }
}

impl IntoIterator for Transforms {
    type Item = (BlockId, Transform);
    type IntoIter = std::collections::btree_map::IntoIter<BlockId, Transform>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
