//! The engine of Travertine.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod contract;
pub mod front;
pub mod log;
pub mod medium;
pub mod stack;
