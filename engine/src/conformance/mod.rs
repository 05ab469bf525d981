//! The conformance kit: what our tests and an outsider's share.

pub mod crash;
pub mod env;
pub mod fixture;
pub mod hostile;
pub mod kit;
pub mod model;
pub mod rng;
pub mod sim;
pub mod trace;
