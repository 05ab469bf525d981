//! Structures made of blocks: a B+ tree, and more to come beside it.
//!
//! They are functions on [blocks](crate::block): whatever is read comes from a
//! [`ReadBlocks`](crate::block::ReadBlocks), whatever is changed is told to a
//! [`WriteBlocks`](crate::block::WriteBlocks), and a change of several blocks is a section that is done
//! as a whole. They hold nothing themselves.
//!
//! They share no code with the indexes on the log. There a node never changes and its parents are written
//! anew up to the root; here a node keeps its name and is changed in place by an operation, so that two
//! writers far apart in a tree touch different blocks.

pub mod tree;
