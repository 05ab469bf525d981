//! Places for what strangers may ask without any right: so many in all, and of these no more than a
//! quarter for one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::accept::whose;

#[derive(Debug)]
pub(crate) struct Shares {
    all: usize,
    taken: Mutex<Taken>,
}

/// Only addresses that hold a place are in the table, so it is no longer than there are places.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

impl Shares {
    pub(crate) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            taken: Mutex::default(),
        })
    }

    /// A place for this address; `None`: it has its share, or there are no more.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = whose(address);
        let mut taken = self.lock();
        if taken.all >= self.all {
            return None;
        }
        let ours = taken.by.entry(address).or_default();
        // Who is refused here holds a place already, so the entry is not one too many.
        if *ours >= self.all.div_ceil(4) {
            return None;
        }
        *ours += 1;
        taken.all += 1;
        Some(Share {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_a_quarter_and_gives_it_back() {
        let shares = Shares::new(8);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let ours = [take("10.0.0.1"), take("::ffff:10.0.0.1")];
        assert!(ours.iter().all(Option::is_some));
        assert!(take("10.0.0.1").is_none());
        let others: Vec<_> = (2..8).map(|last| take(&format!("10.0.0.{last}"))).collect();
        assert!(others.iter().all(Option::is_some));
        assert!(take("10.0.0.9").is_none(), "there are no more than eight");
        drop(ours);
        assert!(take("10.0.0.1").is_some());
        drop(others);
        let taken = shares.lock();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }
}
