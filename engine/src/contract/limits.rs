//! Every size and count that the formats and the contract bound. `engine/docs/format.md` shows the
//! same table to people.

/// Longest record body, in bytes. A larger value is a tree of chunks ([`crate::front::chunk`]).
pub const RECORD_BODY_MAX: usize = 16 << 20;
/// Most references in one record.
pub const REFERENCES_MAX: usize = u16::MAX as usize;
/// Longest batch, frame and header included, in bytes.
pub const BATCH_MAX: usize = 32 << 20;
/// Longest name of a root, in bytes of UTF-8.
pub const NAME_MAX: usize = 255;
/// Most names that one commit changes.
pub const NAMES_PER_COMMIT_MAX: usize = 1_024;
/// Most names alive in one store.
pub const NAMES_MAX: usize = 60_000;
/// Most streams of one stack.
pub const STREAMS_MAX: usize = 4_096;
