//! Chance that a seed decides: a small generator, a skewed choice, an order without a list.
//!
//! Two runs with one seed do the same operations on the same rows, on whatever stack.

/// A word that looks nothing like `word`; different words give different words.
#[must_use]
pub fn mix(word: u64) -> u64 {
    let mut word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A small fast generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed and of a lane: one lane a thread.
    #[must_use]
    pub fn new(seed: u64, lane: u64) -> Self {
        Self(mix(seed ^ mix(lane)))
    }

    /// Sixty-four bits.
    pub fn next_u64(&mut self) -> u64 {
        let word = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word
    }

    /// A number below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to, and not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks of which the first are asked for most: rank `k` in proportion to `1 / (k + 1)^0.99`.
#[derive(Debug, Clone)]
pub struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

/// The skew that YCSB made customary.
const THETA: f64 = 0.99;

impl Zipf {
    /// Over this many ranks. Takes a moment where there are many.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let count = count.max(1);
        let zeta = zeta(count);
        let two = 1.0 + 0.5_f64.powf(THETA);
        Self {
            count: count as f64,
            zeta,
            alpha: 1.0 / (1.0 - THETA),
            eta: (1.0 - (2.0 / count as f64).powf(1.0 - THETA))
                / (1.0 - two.min(zeta) / zeta).max(f64::EPSILON),
        }
    }

    /// A rank.
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let chance = rng.unit();
        let scaled = chance * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.count as u64 - 1);
        }
        let rank = self.count * (self.eta * chance - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

/// The sum of `1 / k^theta`: exact for the first ranks, by the integral for the long tail.
fn zeta(count: u64) -> f64 {
    const EXACT: u64 = 100_000;
    let term = |rank: u64| (rank as f64).powf(-THETA);
    let exact: f64 = (1..=count.min(EXACT)).map(term).sum();
    if count <= EXACT {
        return exact;
    }
    let integral = |to: u64| (to as f64 + 0.5).powf(1.0 - THETA) / (1.0 - THETA);
    exact + integral(count) - integral(EXACT)
}

/// Every number below a count, once each, in an order that a seed decides, without a list of them.
#[derive(Debug, Clone, Copy)]
pub struct Shuffle {
    count: u64,
    half: u32,
    seed: u64,
}

impl Shuffle {
    /// Over the numbers below `count`.
    #[must_use]
    pub fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self {
            count,
            half: bits.div_ceil(2).max(1),
            seed,
        }
    }

    /// Where `index` goes, which must be below the count. Four rounds over two halves never meet
    /// twice; what falls outside is sent round again.
    #[must_use]
    pub fn at(&self, index: u64) -> u64 {
        let mask = (1_u64 << self.half) - 1;
        let mut word = index;
        loop {
            let (mut left, mut right) = (word >> self.half, word & mask);
            for round in 0..4 {
                let next = left ^ (mix(right ^ self.seed ^ (round << 56)) & mask);
                (left, right) = (right, next);
            }
            word = (left << self.half) | right;
            if word < self.count {
                return word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_meets_every_number_once() {
        for count in [1, 2, 3, 10, 255, 256, 257, 5000] {
            let shuffle = Shuffle::new(count, 7);
            let mut met: Vec<_> = (0..count).map(|index| shuffle.at(index)).collect();
            met.sort_unstable();
            assert!(met.iter().copied().eq(0..count), "{count}");
        }
    }

    #[test]
    fn a_skewed_choice_prefers_the_first_ranks_and_stays_below_the_count() {
        for count in [1, 2, 10, 1000, 1_000_000] {
            let (zipf, mut rng) = (Zipf::new(count), Rng::new(1, 0));
            let ranks: Vec<_> = (0..20_000).map(|_| zipf.rank(&mut rng)).collect();
            assert!(ranks.iter().all(|&rank| rank < count), "{count}");
            let first = ranks
                .iter()
                .filter(|&&rank| rank < count.div_ceil(10))
                .count();
            assert!(first * 10 > ranks.len() * 3, "{count}: {first}");
        }
    }

    #[test]
    fn the_long_tail_is_summed_closely() {
        let exact: f64 = (1..=400_000_u64)
            .map(|rank| (rank as f64).powf(-THETA))
            .sum();
        assert!((zeta(400_000) - exact).abs() < 1e-6);
    }
}
