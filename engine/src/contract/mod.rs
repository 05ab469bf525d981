//! The contract: words and bytes that every floor shares. Imports nothing else of ours.

pub mod batch;
pub mod codec;
pub mod env;
pub mod error;
pub mod extent;
mod forward;
pub mod history;
pub mod level;
pub mod limits;
pub mod marker;
pub mod memory;
pub mod near;
pub mod oid;
pub mod op;
pub mod pool;
pub mod record;
pub mod store;
pub mod trace;

pub use batch::{Batch, BatchBuilder, BatchHeader, End, Proven};
pub use codec::{Codecs, Packer, Sealer};
pub use env::{Clock, Drivers, Env, Random};
pub use error::{Error, ErrorKind, Result};
pub use extent::Extent;
pub use history::find_root;
pub use level::{Epoch, Level};
pub use marker::{Changes, Name, Names, RootMarker, Vector};
pub use memory::Memory;
pub use oid::{Oid, Position, Stream};
pub use op::{Op, Pending, Promise, block_on};
pub use record::{Kind, NewRecord, Record, Reference};
pub use store::{
    Batches, Begins, ChainLink, Commit, Freed, Gate, PartState, PartStatus, Placement, Reclaim,
    RootAt, Sparse, Status, Store, StreamState, StreamStatus, Tail,
};
pub use trace::TraceParent;
