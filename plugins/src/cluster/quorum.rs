//! How many children it takes: pure arithmetic.
//!
//! ```text
//!   children  n     every batch goes to all of them
//!   ack       a     a batch is acknowledged once so many have it
//!   write     w     so many must be in line for anything to be written     a <= w <= n
//!   fence     f     so many must accept a takeover and tell what they hold
//!
//!   f = n - a + 1   whatever was acknowledged, one of the f has it
//! ```
//!
//! Two takeovers need not meet: a child serves the newest that it promised itself to, and each needs
//! `ack` children to go on, of which the other one has asked at least one.

use travertine_engine::contract::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quorum {
    pub(super) children: usize,
    pub(super) write: usize,
    pub(super) ack: usize,
}

impl Quorum {
    pub(super) fn new(children: usize, write: Option<usize>, ack: Option<usize>) -> Result<Self> {
        let majority = children / 2 + 1;
        let (ack, least) = match ack {
            Some(ack) => (ack, 0),
            // What is not said is never less than a majority.
            None => (majority, majority),
        };
        let write = write.unwrap_or(ack).max(least);
        if ack == 0 || ack > write || write > children {
            return Err(Error::invalid(format!(
                "a cluster of {children} children cannot have ack = {ack} and write = {write}: \
                 it takes 1 <= ack <= write <= {children}"
            )));
        }
        Ok(Self {
            children,
            write,
            ack,
        })
    }

    /// How many children must accept a takeover.
    pub(super) fn fence(&self) -> usize {
        self.children - self.ack + usize::from(!planted!(FenceTooSmall))
    }

    /// How many of the others must have noted a new child before anything is written to it: whoever
    /// takes over with what the lost one held meets one of them, when it asks or when it adopts.
    pub(super) fn notes(&self) -> usize {
        self.ack.min(self.children - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_meets_every_acknowledgement_and_every_other_takeover_that_goes_on() {
        for children in 2..=9 {
            for ack in 1..=children {
                let quorum = Quorum::new(children, None, Some(ack)).unwrap();
                let fence = quorum.fence();
                assert!(fence + ack > children, "{quorum:?}");
                assert!((1..=children).contains(&fence), "{quorum:?}");
                // The lost one, and others: to ask, or to adopt on.
                assert!(
                    quorum.notes() + (fence.max(ack) - 1) > children - 1,
                    "{quorum:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_said_is_a_majority() {
        let quorum = Quorum::new(3, None, None).unwrap();
        assert_eq!((quorum.ack, quorum.write, quorum.fence()), (2, 2, 2));
        let quorum = Quorum::new(3, Some(3), None).unwrap();
        assert_eq!((quorum.ack, quorum.write, quorum.fence()), (2, 3, 2));
        let quorum = Quorum::new(3, Some(1), None).unwrap();
        assert_eq!((quorum.ack, quorum.write, quorum.fence()), (2, 2, 2));
        assert!(Quorum::new(3, Some(1), Some(2)).is_err());
        let quorum = Quorum::new(5, Some(4), Some(4)).unwrap();
        assert_eq!(quorum.fence(), 2);
    }

    #[test]
    fn more_copies_than_children_or_more_acknowledged_than_written_are_refused() {
        for (children, write, ack) in [(3, 4, 2), (3, 2, 3), (2, 2, 0)] {
            assert!(Quorum::new(children, Some(write), Some(ack)).is_err());
        }
    }
}
