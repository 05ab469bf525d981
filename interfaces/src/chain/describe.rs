//! What a record of a chain says of itself, for people who look at one.

use travertine_engine::contract::{Record, Result};

use super::block::Block;
use super::directory::Seen;
use super::link::Digest;
use super::root::Root;
use super::{CHAIN_BLOCK, CHAIN_CONSUMERS, CHAIN_NODE, CHAIN_POSITION, CHAIN_ROOT, consumers};

/// What a record of a chain says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Described {
    /// What the name of a chain points to.
    Root {
        /// The number of the first entry.
        first: u64,
        /// One past that of the last.
        end: u64,
        /// Entries of a full block.
        block_entries: u64,
        /// The link behind the last entry, if the chain is linked.
        link: Option<Digest>,
    },
    /// A node of the directory; one that names blocks has level 0.
    Node {
        /// Its distance from the nodes that name blocks.
        level: usize,
        /// The number of its first child among those of their level.
        from: u64,
        /// How many it has.
        children: usize,
    },
    /// A block.
    Block {
        /// The number of its first entry.
        first: u64,
        /// One past that of its last.
        end: u64,
        /// How many entries lie apart.
        apart: usize,
        /// The link before the first entry, if the chain is linked.
        link: Option<Digest>,
    },
    /// The list of consumers.
    Consumers(Vec<String>),
    /// How far a consumer got.
    Position(u64),
}

/// Reads what a record says of itself; `None` if it is none of a chain.
pub fn describe(record: &Record) -> Result<Option<Described>> {
    Ok(Some(match record.kind() {
        CHAIN_ROOT => {
            let root = Root::decode(record)?;
            Described::Root {
                first: root.first,
                end: root.end,
                block_entries: root.block,
                link: root.link,
            }
        }
        CHAIN_NODE => {
            let (level, seen) = Seen::describe(record)?;
            Described::Node {
                level,
                from: seen.from,
                children: record.reference_count(),
            }
        }
        CHAIN_BLOCK => {
            let block = Block::describe(record.clone())?;
            Described::Block {
                first: block.first(),
                end: block.until(),
                apart: block.apart(),
                link: block.link(),
            }
        }
        CHAIN_CONSUMERS => Described::Consumers(consumers::decode(record)?),
        CHAIN_POSITION => Described::Position(consumers::position(record)?),
        _ => return Ok(None),
    }))
}
