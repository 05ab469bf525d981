//! The engine of Travertine: an append-only log of immutable objects, a contract that floors stack
//! on, and the front that programs write through.
//!
//! ```text
//!     interfaces: B-tree, chain, yours               your program
//!            │  sessions, snapshots, names                │
//!   ┌────────▼─────────────────────────────────────────────▼───────┐
//!   │ front     positions, tail buffer, group commit, history      │  Engine
//!   └────────┬──────────────────────────────────────────────────────┘
//!            │  ten verbs: store read commit root fence adopt scan reclaim status close
//!   ┌────────▼────────┐
//!   │ floors          │  plug-ins, any number: cache, sequence, monitor, yours
//!   └────────┬────────┘
//!   ┌────────▼────────┐
//!   │ log             │  segments, frames, recovery: the bottom of every stack
//!   └────────┬────────┘
//!   ┌────────▼────────┐
//!   │ medium          │  where bytes physically go: memory, a directory, a simulated disk
//!   └─────────────────┘
//! ```
//!
//! Modules, from the bottom up, each importing only what stands above it here:
//!
//! - [`contract`]: words and bytes that all share. Imports nothing of ours.
//! - [`medium`]: named files, written at an offset, synced and listed.
//! - [`log`]: turns a medium into a [`contract::Store`].
//! - [`stack`]: kinds of floors, stacks as data, legality with blame, opening.
//! - [`front`]: what a program opens on a stack.
//! - `conformance` (feature): the checks that every stack must pass, for ours and for yours.
//!
//! # What holds everywhere
//!
//! Invariant: **every legal stack behaves as the one-file stack.** Plug-ins change cost, capacity,
//! placement and survival; they never change answers. Where the one-file stack answers, another may
//! answer *unknown*, never something else.
//!
//! Invariant: **an OID is final at birth and never means two things.** The engine knows the position
//! of a record before a byte is written; only it cuts batches; floors pass, keep, refuse or copy a
//! whole batch.
//!
//! Invariant: **answers have three values.** Found; absent, with proof; unknown, an error that says
//! who could not answer and why. Only absent may change a decision.
//!
//! Invariant: **nothing acknowledged is ever lost.** A commit names the durability it needs and the
//! reply names what was reached. Recovery never cuts below what was known durable: it reports.
//!
//! # What this is not
//!
//! No network, no async runtime, no query language, no consensus. The crate never spawns a thread,
//! asks the time or draws a random number except through [`contract::Env`].
//!
//! The formats are written down in `docs/format.md`, with byte maps and limits.

#[macro_use]
mod planted;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
pub mod front;
pub mod log;
pub mod medium;
pub mod stack;
