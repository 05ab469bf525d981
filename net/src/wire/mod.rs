//! What goes over the wire: the words of the contract as messages, and back.
//!
//! It promises that what comes from outside is bounded before anything is made of it, and that bytes
//! that are no record or batch are told as damage. It refuses nothing by itself: whoever receives a
//! message decides what to do about it.

pub(crate) mod codec;
pub(crate) mod convert;
pub mod error;
pub(crate) mod parts;
pub(crate) mod room;
pub(crate) mod status;

use prost::Message;
use travertine_engine::contract::limits::BATCH_MAX;

use crate::proto::call::Verb;

/// The oldest version of the protocol that is spoken here.
pub const OLDEST: u32 = 1;
/// The newest version of the protocol that is spoken here.
pub const NEWEST: u32 = 1;

/// Most calls or answers of one message of a session.
pub(crate) const ITEMS: usize = 128;
/// A message of a session is sent once it holds so many bytes.
pub(crate) const FLUSH: usize = 64 << 10;
/// Bytes of a call or an answer above which it goes in parts, and of each part.
pub(crate) const PART: usize = 512 << 10;
/// Longest message of a session, and of a unary call.
pub const MESSAGE_MAX: usize = 4 << 20;
/// Longest call or answer, put together from its parts: the longest batch, what a scan may add to
/// one, and room for what stands around them.
pub(crate) const WHOLE_MAX: usize = 2 * BATCH_MAX;
/// Most servers that stand behind one another.
pub const HOPS_MAX: u32 = 8;

/// About what a call takes, in memory and on the wire.
pub(crate) fn weight(verb: &Verb) -> usize {
    let bytes = match verb {
        Verb::Store(call) => call.batch.len(),
        Verb::Commit(call) => call.last.iter().map(|batch| batch.len() + 8).sum(),
        Verb::Reclaim(call) => call.encoded_len(),
        Verb::Adopt(call) => call.encoded_len(),
        _ => 0,
    };
    bytes + 64
}
