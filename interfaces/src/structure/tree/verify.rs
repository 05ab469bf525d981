//! Whether a tree is one.

use std::collections::BTreeSet;

use travertine_engine::contract::{Error, Result};

use super::{DEPTH_MAX, ENTRIES, Keyed, NODES, PARTITIONS, Tree, child, is_leaf};
use crate::block::{BlockId, ReadBlocks};
use crate::structure::read;

/// What a walk over all nodes met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries.
    pub entries: u64,
    /// Leaves and branches.
    pub nodes: u64,
    /// Levels.
    pub depth: usize,
}

/// A node to be looked at, and what its keys must be.
struct Due {
    id: BlockId,
    depth: usize,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl<K: Keyed> Tree<K> {
    /// Looks at every node: order, bounds, sizes, depth, and that none is reached twice. `Corrupt`: the
    /// first that is wrong.
    pub async fn verify(&self, blocks: &impl ReadBlocks) -> Result<Verified> {
        let mut seen = BTreeSet::new();
        let mut all = Verified::default();
        let root = self.root(blocks).await?;
        let mut due: Vec<_> = root
            .iter()
            .map(|root| Due {
                id: root.id().clone(),
                depth: 1,
                from: None,
                to: None,
            })
            .collect();
        while let Some(Due {
            id,
            depth,
            from,
            to,
        }) = due.pop()
        {
            let wrong = |what: &str| Err(Error::corrupt(format!("node {id}: {what}")));
            let node = read(blocks, &id).await?;
            if !seen.insert(id.clone()) {
                return wrong("it is reached twice");
            }
            all.nodes += 1;
            let least = if depth == 1 { 1 } else { self.capacity / 2 };
            let leaf = is_leaf(&node)?;
            let mut last = from.clone();
            let keys: Vec<_> = if leaf {
                let keys = node.list(ENTRIES)?.iter();
                keys.map(|entry| Ok(self.keyed.key(entry)?.to_vec()))
                    .collect::<Result<_>>()?
            } else {
                let keys = node.list(PARTITIONS)?.iter();
                keys.map(|key| key.as_byte_string().unwrap_or_default().to_vec())
                    .collect()
            };
            for (nth, key) in keys.iter().enumerate() {
                let first = leaf && nth == 0;
                if last
                    .as_ref()
                    .is_some_and(|last| key < last || key == last && !first)
                {
                    return wrong("its keys do not ascend from its bound on");
                }
                last = Some(key.clone());
            }
            if last.is_some() && to.is_some() && !keys.is_empty() && last >= to {
                return wrong("it has keys of its neighbour");
            }
            if leaf {
                if all.depth != 0 && all.depth != depth {
                    return wrong("it does not lie as deep as other leaves");
                }
                all.depth = depth;
                all.entries += keys.len() as u64;
                if keys.len() < least || keys.len() > self.capacity {
                    return wrong("it has too few entries, or too many");
                }
                continue;
            }
            let children = node.list(NODES)?.len();
            if children < least.max(2) || children > self.capacity || depth == DEPTH_MAX {
                return wrong("it has too few children, or too many, or is too deep");
            }
            for at in 0..children {
                due.push(Due {
                    id: child(&node, at)?,
                    depth: depth + 1,
                    from: at
                        .checked_sub(1)
                        .map(|at| keys[at].clone())
                        .or(from.clone()),
                    to: keys.get(at).cloned().or(to.clone()),
                });
            }
        }
        Ok(all)
    }
}
