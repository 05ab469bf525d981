//! Places for strangers: so many in all, and of these no more than a share for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(crate) struct Shares {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

/// Only addresses that hold a place are in the table, so it is no longer than there are places.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// All are taken.
    All,
    /// The address has its share.
    Share,
}

impl Shares {
    /// So many places, and for one address so many of them.
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            each,
            taken: Mutex::default(),
        })
    }

    /// So many places, and a quarter of them for one address.
    pub(crate) fn quarters(all: usize) -> Arc<Self> {
        Self::new(all, all.div_ceil(4))
    }

    /// A place for this address.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Share, Lack> {
        let address = whose(address);
        let mut taken = self.lock();
        if taken
            .by
            .get(&address)
            .is_some_and(|ours| *ours >= self.each)
        {
            return Err(Lack::Share);
        }
        if taken.all >= self.all {
            return Err(Lack::All);
        }
        *taken.by.entry(address).or_default() += 1;
        taken.all += 1;
        Ok(Share {
            shares: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all -= 1;
        if let Some(ours) = taken.by.get_mut(&self.address) {
            *ours -= 1;
            if *ours == 0 {
                taken.by.remove(&self.address);
            }
        }
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

    #[test]
    fn one_address_gets_its_share_and_gives_it_back() {
        let shares = Shares::quarters(8);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let ours = [take("10.0.0.1"), take("::ffff:10.0.0.1")];
        assert!(ours.iter().all(Result::is_ok));
        assert_eq!(take("10.0.0.1").unwrap_err(), Lack::Share);
        let others: Vec<_> = (2..8).map(|last| take(&format!("10.0.0.{last}"))).collect();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(take("10.0.0.9").unwrap_err(), Lack::All);
        drop(ours);
        assert!(take("10.0.0.1").is_ok());
        drop(others);
        let taken = shares.lock();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn a_network_of_the_sixth_version_counts_as_one() {
        let shares = Shares::new(10, 1);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let _one = take("2001:db8:1:2:3::4").unwrap();
        assert!(take("2001:db8:1:2:ffff::1").is_err());
        assert!(take("2001:db8:1:3::4").is_ok());
    }
}
