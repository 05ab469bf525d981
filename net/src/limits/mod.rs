//! What strangers may take of a server: one value, every bound in it.
//!
//! | limit | default | what happens beyond it |
//! | --- | --- | --- |
//! | `connections` | 4,096 | closed at once, logged once a peer |
//! | `connections_per_address` | 1,024 | the same; an IPv6 address counts by its first 64 bits |
//! | `handshakes` | 512 | the same; one address may have a quarter of them |
//! | `handshake` | 5 s | a TLS handshake that takes longer is ended |
//! | `item` | 20 s | a TLS record, an HTTP/2 frame or the greeting, once begun, must end in this time |
//! | `message` | 30 s | so must a message, not counting the time in which the server did not listen; and all that a request waits for before it is answered |
//! | `write` | 30 s | a connection that takes less than 16 KiB in this time while more waits is ended |
//! | `idle` | 15 min | a connection without a request is ended, and one that gives an answer no window for so long |
//! | `keepalive` | 30 s | how often a silent peer is asked whether it is there |
//! | `keepalive_timeout` | 20 s | a peer that does not answer that is gone |
//! | `requests` | 8,192 | refused as `RESOURCE_EXHAUSTED` before anything is touched |
//! | `health` | 1,024 | the same, for requests about health and reflection, which have places of their own: whoever may do nothing takes none from those who may. One address may have a quarter |
//! | `requests_per_connection` | 256 | HTTP/2 opens no further stream |
//! | `message_bytes` | 32 MiB + 64 KiB | no service takes a longer one, and each refuses from the header what is too long for it |
//! | `unfinished_bytes` | 256 MiB | of messages that have begun and not ended, all together; one connection may hold a quarter, yet always one message |
//! | `frame_bytes` | 16 KiB | the connection is ended, as HTTP/2 says |
//! | `header_bytes` | 16 KiB | refused as HTTP/2 says |
//! | `resets` | 64 | requests called back before they were begun; then the connection is ended |
//! | `stream_window`, `connection_window` | 1 MiB, 4 MiB | how much comes unasked |
//!
//! [`Limits::server`] sets what HTTP/2 enforces and puts [`Bounds`] in front of every service;
//! [`accept`](crate::accept) enforces the rest. How long a message may be is said to the generated
//! services, by each of ours.

mod bounds;
mod shares;

use std::time::Duration;

use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};
use travertine_engine::contract::{Error, Result};

pub(crate) use bounds::Activity;
pub use bounds::{Bounded, Bounds};
pub(crate) use shares::{Lack, Share, Shares, whose};

/// Every bound; the module's table says what each means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table of the module says it, in one place")]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub handshakes: usize,
    pub handshake: Duration,
    pub item: Duration,
    pub message: Duration,
    pub write: Duration,
    pub idle: Duration,
    pub keepalive: Duration,
    pub keepalive_timeout: Duration,
    pub requests: usize,
    pub health: usize,
    pub requests_per_connection: u32,
    pub message_bytes: usize,
    pub unfinished_bytes: usize,
    pub frame_bytes: u32,
    pub header_bytes: u32,
    pub resets: usize,
    pub stream_window: u32,
    pub connection_window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 1_024,
            handshakes: 512,
            handshake: Duration::from_secs(5),
            item: Duration::from_secs(20),
            message: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(15 * 60),
            keepalive: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            requests: 8_192,
            health: 1_024,
            requests_per_connection: 256,
            message_bytes: (32 << 20) + (64 << 10),
            unfinished_bytes: 256 << 20,
            // Longer ones are read into memory that the allocator has given back to the system each time.
            frame_bytes: 16 << 10,
            header_bytes: 16 << 10,
            resets: 64,
            stream_window: 1 << 20,
            connection_window: 4 << 20,
        }
    }
}

/// The server that [`Limits::server`] begins: every service added to it lies behind [`Bounds`].
pub type LimitedServer = Server<Stack<Bounds, Identity>>;

impl Limits {
    /// Refuses what could serve nobody, and what HTTP/2 does not allow.
    ///
    /// Errors: `Invalid`, naming the limit.
    pub fn check(&self) -> Result<()> {
        let wrong = |name: &str, why: String| Err(Error::invalid(format!("limit `{name}` {why}")));
        for (name, value) in [
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("handshakes", self.handshakes),
            ("requests", self.requests),
            ("health", self.health),
            (
                "requests_per_connection",
                self.requests_per_connection as usize,
            ),
            ("resets", self.resets),
        ] {
            if value == 0 {
                return wrong(name, "is zero: nobody could be served".into());
            }
        }
        for (name, value) in [
            ("handshake", self.handshake),
            ("item", self.item),
            ("message", self.message),
            ("write", self.write),
            ("idle", self.idle),
            ("keepalive", self.keepalive),
            ("keepalive_timeout", self.keepalive_timeout),
        ] {
            if value.is_zero() || value > DAY {
                return wrong(
                    name,
                    format!("is {value:?}: more than nothing, a day at most"),
                );
            }
        }
        for (name, value, least, most) in [
            ("message_bytes", self.message_bytes as u64, 1 << 10, 1 << 30),
            (
                "frame_bytes",
                self.frame_bytes.into(),
                16 << 10,
                (1 << 24) - 1,
            ),
            ("header_bytes", self.header_bytes.into(), 1 << 10, 1 << 20),
            (
                "stream_window",
                self.stream_window.into(),
                65_535,
                (1 << 31) - 1,
            ),
            (
                "connection_window",
                self.connection_window.into(),
                65_535,
                (1 << 31) - 1,
            ),
        ] {
            if !(least..=most).contains(&value) {
                return wrong(name, format!("is {value}: from {least} to {most}"));
            }
        }
        if self.unfinished_bytes < self.message_bytes {
            return wrong("unfinished_bytes", "is less than one message".into());
        }
        Ok(())
    }

    /// A server that keeps these limits, as far as HTTP/2 and requests go.
    #[must_use]
    pub fn server(&self) -> LimitedServer {
        self.server_behind(Bounds::new(self))
    }

    pub(crate) fn server_behind(&self, bounds: Bounds) -> LimitedServer {
        Server::builder()
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_concurrent_streams(self.requests_per_connection)
            .max_frame_size(self.frame_bytes)
            .http2_max_header_list_size(self.header_bytes)
            .http2_keepalive_interval(Some(self.keepalive))
            .http2_keepalive_timeout(Some(self.keepalive_timeout))
            .http2_max_pending_accept_reset_streams(Some(self.resets))
            .http2_max_local_error_reset_streams(Some(self.resets))
            .layer(bounds)
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_is_in_order() {
        Limits::default().check().unwrap();
    }

    #[test]
    fn a_limit_that_serves_nobody_is_refused_by_name() {
        let refused = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check().unwrap_err().to_string()
        };
        assert!(refused(|limits| limits.connections = 0).contains("`connections`"));
        assert!(refused(|limits| limits.idle = Duration::ZERO).contains("`idle`"));
        assert!(refused(|limits| limits.frame_bytes = 100).contains("`frame_bytes`"));
        assert!(refused(|limits| limits.unfinished_bytes = 1).contains("`unfinished_bytes`"));
    }
}
