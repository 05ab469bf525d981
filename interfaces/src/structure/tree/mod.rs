//! A B+ tree of blocks: entries in leaves, in the order of their keys.
//!
//! ```text
//!   trunk   {rootId}                        a block of its own, or the header of a collection
//!             │
//!   branch  {partitions: [k, p], nodes: [·, ·, ·]}     partitions[i] bounds nodes[i+1] from below
//!                              │    │   └─ keys ≥ p
//!   leaf    {entries: [e, e, e …]}  └ k ≤ keys < p
//! ```
//!
//! A node has [`CAPACITY`] entries or children at most, and half of that at least unless it is the root.
//! Where an insert makes one too many, its upper half goes into a new block *first*, and then both
//! halves and their parent are told; the place in the parent is that of the node that was split, never
//! one that was kept from the way down.

mod cursor;
mod insert;
mod remove;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use crate::block::{Block, BlockId, Code, Header, ReadBlocks, Value};
use crate::structure::{name, named, pass, read};

pub use cursor::Cursor;
pub use verify::Verified;

/// Most entries of a leaf, and children of a branch.
pub const CAPACITY: usize = 64;
/// A leaf.
pub const LEAF: Code = Code::of("TL");
/// A branch.
pub const BRANCH: Code = Code::of("TB");
/// A trunk of its own.
pub const TRUNK: Code = Code::of("TR");

const ENTRIES: &str = "entries";
const PARTITIONS: &str = "partitions";
const NODES: &str = "nodes";
const ROOT: &str = "rootId";
/// Most levels: with two children each, more leaves than there can be.
const DEPTH_MAX: usize = 64;

/// What is the key of an entry. Keys order by their bytes.
pub trait Keyed: Clone + Send + Sync + 'static {
    /// The key of an entry. `Corrupt`: it has none.
    fn key<'e>(&self, entry: &'e Value) -> Result<&'e [u8]>;
}

/// Entries that are lists and begin with their key, a string of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pairs;

impl Keyed for Pairs {
    fn key<'e>(&self, entry: &'e Value) -> Result<&'e [u8]> {
        let key = entry.first_byte_string();
        key.ok_or_else(|| Error::corrupt("an entry does not begin with its key"))
    }
}

/// Entries that are their keys: a set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys;

impl Keyed for Keys {
    fn key<'e>(&self, entry: &'e Value) -> Result<&'e [u8]> {
        let key = entry.as_byte_string();
        key.ok_or_else(|| Error::corrupt("an entry is no key"))
    }
}

/// A tree whose root is named in one block. See the [module](self).
#[derive(Debug, Clone)]
pub struct Tree<K = Pairs> {
    trunk: BlockId,
    collection: BlockId,
    keyed: K,
    capacity: usize,
}

/// A leaf or branch on the way to a key.
#[derive(Debug, Clone)]
struct Step {
    id: BlockId,
    /// Of the child that was taken; in a leaf, of the entry.
    at: usize,
}

/// The way to a key.
struct Path {
    branches: Vec<Step>,
    leaf: Step,
    /// Whether the key is there.
    found: bool,
}

impl<K: Keyed> Tree<K> {
    /// The tree whose root `trunk` names, in its attribute `rootId`; without one it is empty. New nodes
    /// belong to `collection`.
    pub fn new(trunk: BlockId, collection: BlockId, keyed: K) -> Self {
        Self {
            trunk,
            collection,
            keyed,
            capacity: CAPACITY,
        }
    }

    /// The same with smaller nodes, for tests and for large entries: 4 at least. All who change a tree
    /// should agree.
    #[must_use]
    pub fn with_capacity(self, capacity: usize) -> Self {
        Self {
            capacity: capacity.clamp(4, CAPACITY),
            ..self
        }
    }

    /// A trunk for a tree of this collection, to be inserted once.
    #[must_use]
    pub fn trunk_block(&self) -> Block {
        Block::new(Header {
            id: self.trunk.clone(),
            code: TRUNK,
            collection: self.collection.clone(),
        })
    }

    /// The entry with this key.
    pub async fn get(&self, blocks: &impl ReadBlocks, key: &[u8]) -> Result<Option<Value>> {
        let Some(mut node) = self.root(blocks).await? else {
            return Ok(None);
        };
        for _ in 0..DEPTH_MAX {
            if is_leaf(&node)? {
                let entries = node.list(ENTRIES)?;
                let found = self.place(entries, key)?.ok();
                return Ok(found.map(|at| entries[at].clone()));
            }
            let child = child(&node, partition(&node, key)?)?;
            node = self::node(blocks, &child).await?;
        }
        Err(too_deep(&self.trunk))
    }

    /// How many entries there are; every leaf is read.
    pub async fn count(&self, blocks: &impl ReadBlocks) -> Result<u64> {
        let mut cursor = self.cursor(blocks);
        let mut count = 0;
        cursor.seek(&[]).await?;
        while let Some(left) = cursor.skip_leaf().await? {
            count += left as u64;
        }
        Ok(count)
    }

    /// A cursor, which stands nowhere until it seeks.
    pub fn cursor<'b, B: ReadBlocks>(&self, blocks: &'b B) -> Cursor<'b, B, K> {
        Cursor::new(self.clone(), blocks)
    }

    async fn root(&self, blocks: &impl ReadBlocks) -> Result<Option<Arc<Block>>> {
        let trunk = pass(blocks, &self.trunk).await?;
        match named(&trunk, ROOT)? {
            // That there is no leaf is all that there is to know.
            None => read(blocks, &self.trunk).await.map(|_| None),
            Some(root) => node(blocks, &root).await.map(Some),
        }
    }

    /// The way to a key; `None` in an empty tree.
    async fn path(&self, blocks: &impl ReadBlocks, key: &[u8]) -> Result<Option<Path>> {
        let Some(mut node) = self.root(blocks).await? else {
            return Ok(None);
        };
        let mut branches = Vec::new();
        while branches.len() < DEPTH_MAX {
            let id = node.id().clone();
            if is_leaf(&node)? {
                let place = self.place(node.list(ENTRIES)?, key)?;
                let (Ok(at) | Err(at)) = place;
                return Ok(Some(Path {
                    branches,
                    leaf: Step { id, at },
                    found: place.is_ok(),
                }));
            }
            let at = partition(&node, key)?;
            node = self::node(blocks, &child(&node, at)?).await?;
            branches.push(Step { id, at });
        }
        Err(too_deep(&self.trunk))
    }

    /// Where a key is among entries, or would be.
    fn place(&self, entries: &[Value], key: &[u8]) -> Result<Result<usize, usize>> {
        let (mut low, mut high) = (0, entries.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.keyed.key(&entries[middle])?.cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Ok(middle)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }

    fn node(&self, id: BlockId, code: Code) -> Block {
        Block::new(Header {
            id,
            code,
            collection: self.collection.clone(),
        })
    }
}

/// A node on the way down. What is concluded from it rests on the leaf at the end: no key comes into a
/// leaf's range, or leaves it, but by a change of that leaf.
async fn node(blocks: &impl ReadBlocks, id: &BlockId) -> Result<Arc<Block>> {
    let node = pass(blocks, id).await?;
    if is_leaf(&node)? {
        blocks.rest(id).await?;
    }
    Ok(node)
}

fn is_leaf(node: &Block) -> Result<bool> {
    match &node.header().code {
        code if *code == LEAF => Ok(true),
        code if *code == BRANCH => Ok(false),
        code => Err(Error::corrupt(format!(
            "block {}, a {code}, is no node of a tree",
            node.id()
        ))),
    }
}

/// Which child keys like this are in.
fn partition(branch: &Block, key: &[u8]) -> Result<usize> {
    let partitions = branch.list(PARTITIONS)?;
    let (mut low, mut high) = (0, partitions.len());
    while low < high {
        let middle = low.midpoint(high);
        let bound = partitions[middle].as_byte_string();
        let bound = bound.ok_or_else(|| Error::corrupt("a partition is no key"))?;
        if bound <= key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn child(branch: &Block, at: usize) -> Result<BlockId> {
    let nodes = branch.list(NODES)?;
    if nodes.len() != branch.list(PARTITIONS)?.len() + 1 {
        return Err(Error::corrupt(format!(
            "branch {} has {} children, which is not one more than it has partitions",
            branch.id(),
            nodes.len()
        )));
    }
    let node = nodes.get(at);
    name(node.ok_or_else(|| Error::corrupt(format!("branch {} has no child {at}", branch.id())))?)
}

fn too_deep(trunk: &BlockId) -> Error {
    Error::corrupt(format!("the tree of {trunk} is more than {DEPTH_MAX} deep"))
}
