//! Travertine over the network: the protocol that carries a stack between processes.
//!
//! ```text
//!   engine ── remote ───┐ connect                    accept ┌── store_service ── floors of a stack
//!                       ├────────── limits, rights ─────────┤       one engine elsewhere writes it
//!   program ── client ──┘                            server └── engine_service ── an engine
//!                                                                   shared by many clients
//! ```
//!
//! - [`accept`], [`limits`], [`rights`]: who gets in, what strangers may take, who may do what.
//! - [`server`] carries services and drains; [`connect`] is the other end, from an address to a channel.
//! - [`remote`] is the floor that goes on in another process, [`store_service`] what it finds there.
//! - [`client`] speaks to an [`engine_service`]. Any language with gRPC does, from the files in `proto`.
//! - [`certs`] makes certificates for a first try.
//!
//! `docs/protocol.md` is the protocol. Nothing here names a plug-in of another package.

pub mod accept;
pub mod certs;
pub mod client;
pub mod connect;
pub mod engine_service;
pub mod hop;
#[cfg(any(test, feature = "conformance"))]
pub mod hostile;
pub mod limits;
pub mod proto;
pub mod remote;
pub mod rights;
pub mod server;
pub mod store_service;
pub mod wire;

mod convert;
mod crypto;
mod files;
mod once;
mod pace;
mod traces;
