//! The conformance kit: one list of checks that every stack must pass, ours and yours.
//!
//! ```text
//!   CHECKS ──one #[test] each──> conformance_suite!(name, fixture)
//!                                      │ opens, crashes, opens again
//!                                   Fixture ── any stack: a plan, a log on a medium, the model
//!                                      │ between: jitter, recorders, callers back, wrong stores
//! ```
//!
//! A [`Fixture`] is one stack in one place and says what it promises; a [`Check`] says what it needs.
//! A check that needs what is not promised is not run, and the test prints `skipped: NAME needs X`.
//! A new check reaches every stack by itself.
//!
//! ```
//! use travertine_engine::conformance::kit::ModelFixture;
//!
//! travertine_engine::conformance_suite!(the_model, ModelFixture::default());
//! # fn main() {}
//! ```
//!
//! A plug-in is checked in a stack: [`StackFixture`] opens a spec on a simulated machine, with the
//! registry that knows the plug-in.

mod between;
mod bones;
mod cancel;
mod check;
mod commits;
mod durability;
mod fixture;
mod jitter;
pub mod law;
mod laws;
mod levels;
mod list;
mod machine;
mod objects;
mod readers;
mod ready;
mod reclaims;
mod reenter;
mod roots;
mod scans;
mod senders;
mod stack;
#[cfg(test)]
mod tests;
mod verbs;
#[cfg(test)]
mod wrong;

pub use between::{Between, Nothing, Twist, Twisted};
pub use check::{CHECKS, Check, Failure, Need, Verdict, conduct, find};
pub use fixture::{Crash, Fixture, LogFixture, ModelFixture, Promises};
pub use jitter::{Jitter, Jittered};
pub use machine::Machine;
pub use stack::StackFixture;
