//! How many are here, all together and from one address, and how many of them are still shaking hands.
//!
//! One address may not fill the house, and those who never say a word may not keep the others out: a
//! quarter of the handshakes is as much as one address gets.

use std::net::IpAddr;
use std::sync::Arc;

use super::refused::{Cause, Counts};
use crate::limits::{Lack, Limits, Share, Shares};

#[derive(Debug)]
pub(super) struct Seats {
    connections: Arc<Shares>,
    handshakes: Arc<Shares>,
    counts: Arc<Counts>,
}

impl From<Lack> for Cause {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::All => Self::Full,
            Lack::Share => Self::FullForAddress,
        }
    }
}

impl Seats {
    pub(super) fn new(limits: &Limits, counts: Arc<Counts>) -> Self {
        Self {
            connections: Shares::new(limits.connections, limits.connections_per_address),
            handshakes: Shares::quarters(limits.handshakes),
            counts,
        }
    }

    /// A seat for somebody who has not yet shaken hands.
    pub(super) fn take(&self, address: IpAddr) -> Result<Seat, Cause> {
        let connection = self.connections.take(address)?;
        let handshake = self.handshakes.take(address)?;
        self.counts.opened();
        Ok(Seat {
            counts: self.counts.clone(),
            _connection: connection,
            handshake: Some(handshake),
        })
    }
}

/// Somebody's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    counts: Arc<Counts>,
    _connection: Share,
    handshake: Option<Share>,
}

impl Seat {
    /// The hands are shaken.
    pub(super) fn sit(&mut self) {
        if self.handshake.take().is_some() {
            self.counts.accepted();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counts.closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, each: usize, handshakes: usize) -> Seats {
        let limits = Limits {
            connections,
            connections_per_address: each,
            handshakes,
            ..Limits::default()
        };
        Seats::new(&limits, Arc::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_does_not_fill_the_house() {
        let seats = seats(3, 2, 100);
        let ours = [
            seats.take(address("10.0.0.1")),
            seats.take(address("::ffff:10.0.0.1")),
        ];
        assert!(ours.iter().all(Result::is_ok));
        assert_eq!(
            seats.take(address("10.0.0.1")).unwrap_err(),
            Cause::FullForAddress
        );
        let other = seats.take(address("10.0.0.2")).unwrap();
        assert_eq!(seats.take(address("10.0.0.3")).unwrap_err(), Cause::Full);
        drop(other);
        assert!(seats.take(address("10.0.0.3")).is_ok());
        drop(ours);
        assert_eq!(seats.counts.open(), 0);
    }

    #[test]
    fn the_silent_do_not_keep_others_out() {
        let seats = seats(100, 100, 8);
        let silent = [
            seats.take(address("10.0.0.1")),
            seats.take(address("10.0.0.1")),
        ];
        assert_eq!(
            seats.take(address("10.0.0.1")).unwrap_err(),
            Cause::FullForAddress
        );
        let mut good = seats.take(address("10.0.0.2")).unwrap();
        good.sit();
        drop(silent);
        assert!(seats.take(address("10.0.0.1")).is_ok());
        assert_eq!(seats.counts.open(), 1);
    }
}
