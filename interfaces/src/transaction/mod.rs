//! Transactions over several collections: all of it lands, or none.
//!
//! ```text
//!   begin      a stamp: who, when, by which engine, for how long
//!   execute    statements: an engine turns each into actions of collections, seen by this session alone
//!   commit     every collection's entry and blocks, and every block that was read still as it was:
//!              one commit of the store, or, over several stores, one decision
//! ```
//!
//! A transaction takes effect as if it had been alone at the moment of its commit: of two that each read
//! what the other writes one lands. What it does depends on its stamp and its statements alone, the ids of
//! new blocks included, so whoever has them can [do it again](validate) and compare.
//!
//! Over several stores that each decide for themselves nobody can commit at once. Without more it is told
//! where a transaction landed and where it did not, and what it read may have changed by then. With
//! [`Decisions`] the parts are
//! *held* in each store, and a [record](decision) in one of them decides; what a crash leaves undecided is
//! completed or undone by [`World::recover`](session::World::recover).

pub mod decision;
#[cfg(feature = "ed25519")]
pub mod ed25519;
pub mod engine;
pub mod session;
pub mod stamp;
pub mod validate;

#[cfg(test)]
mod tests;

pub use decision::Decisions;
pub use engine::{Actions, Engine, Work};
pub use session::{Places, Schema, Session, TransactionError, World};
pub use stamp::{Sign, Stamp, Transaction, TransactionId};
pub use validate::{Rejection, Validator};
