//! Travertine: a storage engine composed of floors.
//!
//! An append-only log of immutable objects lies at the bottom; floors on it change where and how the
//! bytes live; indexes stand on top.
//!
//! ```text
//!    cli, workload       every command; what stacks are compared by
//!         │
//!    interfaces          B-tree, yours ─── on a session or a snapshot
//!         │
//!    front               Engine: names, commits, history
//!         │  the contract: ten verbs
//!    plugins             monitor, cache, sequence, yours ─── as the stack file puts them
//!         │  the contract again, at every boundary
//!    log on a medium     file, memory
//! ```
//!
//! This package is the front door:
//!
//! - without default features, the embedded engine: [`contract`], [`front`], [`log`], [`medium`] and
//!   [`stack`];
//! - feature `config`: stack files ([`config`]), and [`standard`], the registry of the plug-ins that come along;
//! - feature `interfaces`: [`interfaces`], the indexes; with `config` all that a program needs that has its
//!   data in stack files: `default-features = false, features = ["config", "interfaces"]`;
//! - feature `workload`: [`workload`], what stacks are compared by;
//! - feature `conformance`: the kit that checks a plug-in or an index of one's own, for tests;
//! - feature `net` (default): [`net`], stacks over the network, the kind `remote`, and the command line's
//!   `serve`;
//! - feature `cli` (default): the command line as a function of a registry, so that a program with
//!   plug-ins of its own has every command:
//!
//! ```no_run
//! # #[cfg(feature = "cli")]
//! fn main() -> std::process::ExitCode {
//!     travertine::cli::main(travertine::standard())
//! }
//! # #[cfg(not(feature = "cli"))]
//! # fn main() {}
//! ```
//!
//! `examples/plugin.rs` is a plug-in of one's own with such a program, `examples/index.rs` an index of
//! one's own; each is one file and passes the kit.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "workload")]
pub mod workload;

#[cfg(feature = "conformance")]
pub use travertine_engine::{conformance, conformance_suite};
pub use travertine_engine::{contract, forward, front, log, medium, stack};
#[cfg(feature = "interfaces")]
pub use travertine_interfaces as interfaces;
#[cfg(feature = "net")]
pub use travertine_net as net;
#[cfg(feature = "config")]
pub use travertine_plugins as plugins;

/// Every kind that comes with Travertine: those of [`plugins`], and with feature `net` the kind `remote`.
#[cfg(feature = "config")]
#[must_use]
pub fn standard() -> stack::Registry {
    let registry = plugins::standard();
    #[cfg(feature = "net")]
    let registry = registry.with::<net::remote::Remote>();
    registry
}

/// The programs of the README, compiled and run as tests.
#[cfg(all(doctest, feature = "cli"))]
#[doc = include_str!("../README.md")]
struct Readme;
