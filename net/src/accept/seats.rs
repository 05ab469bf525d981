//! How many are here, all together and from one address, and how many of them are still shaking hands.
//!
//! One address may not fill the house, and those who never say a word may not keep the others out: a
//! quarter of the handshakes is as much as one address gets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::refused::{Cause, Counts};
use crate::limits::Limits;

#[derive(Debug)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
    connections: usize,
    each: usize,
    handshakes: usize,
    handshakes_each: usize,
    counts: Arc<Counts>,
}

/// Only addresses that have somebody here are in the table, so it is no longer than `connections`.
#[derive(Debug, Default)]
struct Taken {
    open: usize,
    shaking: usize,
    by: HashMap<IpAddr, Share>,
}

#[derive(Debug, Default)]
struct Share {
    open: usize,
    shaking: usize,
}

impl Seats {
    pub(super) fn new(limits: &Limits, counts: Arc<Counts>) -> Self {
        Self {
            taken: Mutex::default(),
            connections: limits.connections,
            each: limits.connections_per_address,
            handshakes: limits.handshakes,
            handshakes_each: limits.handshakes.div_ceil(4),
            counts,
        }
    }

    /// A seat for somebody who has not yet shaken hands.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Cause> {
        let address = whose(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (open, shaking) = taken
            .by
            .get(&address)
            .map_or((0, 0), |share| (share.open, share.shaking));
        if taken.open >= self.connections {
            return Err(Cause::Full);
        }
        if open >= self.each || shaking >= self.handshakes_each {
            return Err(Cause::FullForAddress);
        }
        if taken.shaking >= self.handshakes {
            return Err(Cause::Full);
        }
        taken.open += 1;
        taken.shaking += 1;
        let share = taken.by.entry(address).or_default();
        share.open += 1;
        share.shaking += 1;
        drop(taken);
        self.counts.opened();
        Ok(Seat {
            seats: self.clone(),
            address,
            shaking: true,
        })
    }
}

/// Somebody's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    shaking: bool,
}

impl Seat {
    /// The hands are shaken.
    pub(super) fn sit(&mut self) {
        if std::mem::take(&mut self.shaking) {
            let mut taken = self
                .seats
                .taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            taken.shaking -= 1;
            if let Some(share) = taken.by.get_mut(&self.address) {
                share.shaking -= 1;
            }
            drop(taken);
            self.seats.counts.accepted();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shaking = usize::from(self.shaking);
        let mut taken = self
            .seats
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        taken.open -= 1;
        taken.shaking -= shaking;
        if let Some(share) = taken.by.get_mut(&self.address) {
            share.open -= 1;
            share.shaking -= shaking;
            if share.open == 0 {
                taken.by.remove(&self.address);
            }
        }
        drop(taken);
        self.seats.counts.closed();
    }
}

/// Whom an address belongs to: one host has as many IPv6 addresses as it likes within its network.
pub(crate) fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: usize, each: usize, handshakes: usize) -> Arc<Seats> {
        let limits = Limits {
            connections,
            connections_per_address: each,
            handshakes,
            ..Limits::default()
        };
        Arc::new(Seats::new(&limits, Arc::default()))
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
        let taken = seats.taken.lock().unwrap();
        assert_eq!((taken.open, taken.shaking, taken.by.len()), (0, 0, 0));
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
        assert_eq!(seats.taken.lock().unwrap().open, 1);
    }

    #[test]
    fn a_network_of_the_sixth_version_counts_as_one() {
        let seats = seats(10, 1, 100);
        let _one = seats.take(address("2001:db8:1:2:3::4")).unwrap();
        assert!(seats.take(address("2001:db8:1:2:ffff::1")).is_err());
        assert!(seats.take(address("2001:db8:1:3::4")).is_ok());
    }
}
