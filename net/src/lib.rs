//! Travertine over the network.
//!
//! ```text
//!   accept    connections that were let in: TLS, places, pace ──┐
//!   limits    what strangers may take of a server               ├─▶ a server of tonic's
//!   rights    who may do what                                  ─┘
//!   connect   the other end: from an address to a channel
//!   certs     certificates for a first try
//! ```
//!
//! It never names a plug-in.

pub mod accept;
pub mod certs;
pub mod connect;
pub mod limits;
pub mod rights;

mod crypto;
mod files;
mod once;
mod pace;
