//! Links from marker to marker: the one before, and a jump further back by Myers' skew-binary rule.
//!
//! The targets of the newest marker's jump, of that one's jump, and so on are kept in memory: a stack
//! of logarithmic height that tells the jump of the next marker without a read.
//!
//! ```text
//!   commits   1   2   3   4   5   6   7   8
//!   jump to   -   1   2   1   4   5   4   1        stack after 7: 1 4 7
//! ```

use crate::contract::{Error, Reference, Result};

/// Higher than any stack of jumps over 2^64 commits.
pub(super) const HEIGHT_MAX: usize = 130;

/// The newest marker and the jumps that lead back from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Links(Vec<(Reference, u64)>);

impl Links {
    /// From the newest marker, its jump, that one's jump and so on.
    pub(super) fn from_newest(mut chain: Vec<(Reference, u64)>) -> Result<Self> {
        let falling = chain.windows(2).all(|pair| pair[0].1 > pair[1].1);
        if !falling || chain.len() > HEIGHT_MAX {
            return Err(Error::corrupt(
                "jump links of root markers do not lead back",
            ));
        }
        chain.reverse();
        Ok(Self(chain))
    }

    /// The newest marker.
    pub(super) fn previous(&self) -> Option<Reference> {
        self.0.last().map(|(marker, _)| marker.weakened())
    }

    /// Where the next marker jumps to.
    pub(super) fn jump(&self) -> Option<(Reference, u64)> {
        let target = match *self.0 {
            [.., c, b, a] if a.1 - b.1 == b.1 - c.1 => Some(c),
            [.., a] => Some(a),
            [] => None,
        };
        target.map(|(marker, sequence)| (marker.weakened(), sequence))
    }

    /// Takes the next marker.
    pub(super) fn push(&mut self, marker: Reference, sequence: u64) {
        if let [.., c, b, a] = *self.0
            && a.1 - b.1 == b.1 - c.1
        {
            self.0.truncate(self.0.len() - 2);
        }
        self.0.push((marker, sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Oid;

    fn marker(sequence: u64) -> Reference {
        Reference {
            oid: Oid::from_raw(sequence).unwrap(),
            length: 64,
            check: 0,
            weak: false,
            leaf: false,
        }
    }

    #[test]
    fn jumps_follow_the_skew_binary_rule() {
        let mut links = Links::default();
        let mut jumps = Vec::new();
        for sequence in 1..=8 {
            jumps.push(links.jump().map_or(0, |(_, to)| to));
            links.push(marker(sequence), sequence);
        }
        assert_eq!(jumps, [0, 1, 2, 1, 4, 5, 4, 1]);
    }

    #[test]
    fn any_commit_is_a_logarithmic_number_of_steps_away() {
        let mut links = Links::default();
        let mut jumps = vec![0];
        for sequence in 1..=100_000 {
            jumps.push(links.jump().map_or(0, |(_, to)| to));
            links.push(marker(sequence), sequence);
        }
        assert!(links.0.len() < 40);
        for target in [1, 2, 777, 50_000, 99_999] {
            let (mut at, mut steps) = (100_000, 0);
            while at != target {
                let jump = jumps[at as usize];
                at = if jump >= target { jump } else { at - 1 };
                steps += 1;
            }
            assert!(steps < 60, "{steps} steps to {target}");
        }
    }

    #[test]
    fn a_rebuilt_chain_goes_on_as_the_first_did() {
        let mut links = Links::default();
        let mut jumps = std::collections::BTreeMap::new();
        for sequence in 1..=1_000 {
            jumps.insert(sequence, links.jump().map(|(_, to)| to));
            links.push(marker(sequence), sequence);
            let mut chain = vec![(marker(sequence), sequence)];
            while let Some(Some(to)) = chain.last().map(|(_, at)| jumps[at]) {
                chain.push((marker(to), to));
            }
            assert_eq!(Links::from_newest(chain).unwrap().0, links.0);
        }
    }

    #[test]
    fn a_chain_that_leads_forward_is_refused() {
        let chain = vec![(marker(3), 3), (marker(4), 4)];
        assert!(Links::from_newest(chain).is_err());
    }
}
