//! Blocks: pieces of data with a name that stays, changed by operations.
//!
//! What lies under an OID never changes; a block does. It is a header and some attributes, and what
//! becomes of it is told in operations, so that changes can be sent, kept, and done again.
//!
//! ```text
//!   structures, collections      chain, tree, log: in terms of blocks alone
//!        │ get, insert, update, delete
//!   Tracker                      what is changed and not stored: read as if it were
//!        │ get
//!   Cache                        what was read, with its revision; tells what a transaction read
//!        │ get
//!   a transactor                 where blocks are stored, in revisions
//! ```
//!
//! Equal contents have equal bytes, so blocks and changes are compared, hashed and signed by their bytes:
//! [`Value`] is CBOR written the one way that is allowed. Bytes that come from elsewhere may be anything;
//! what does not fit is `Corrupt`.

pub(crate) mod cbor;
mod content;
mod id;
#[cfg(test)]
mod tests;
mod tracker;
mod transform;
mod types;
mod value;

pub use content::{ATTRIBUTES_MAX, Attribute, BLOCK_MAX, Block, Header, NAME_MAX, Name};
pub(crate) use id::random_letters;
pub use id::{BlockId, CODE_MAX, Code, ID_MAX};
pub use tracker::{Changes, ReadBlocks, Tracker, WriteBlocks};
pub use transform::{Operation, Transform, Transforms};
pub use types::Types;
pub use value::{ByteString, VALUE_DEPTH_MAX, Value};
