//! The suite over trees with small nodes, which are four levels high and more, and with the usual
//! ones; and what only a B-tree promises.

use super::*;

const SMALL: Btree = Btree {
    leaf_bytes: 128,
    inner_bytes: 160,
    inline_max: 64,
};

crate::index_suite!(small_nodes, SMALL);
crate::index_suite!(usual_nodes, Btree::default());
