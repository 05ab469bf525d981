//! Chance for the kinds that are there for tests: numbers that a seed decides, for any number of
//! threads without a lock. Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

use travertine_engine::stack::{OpenContext, OptionRow, OptionType};

/// The option that says which numbers.
pub(crate) const SEED: OptionRow = OptionRow::optional(
    "seed",
    OptionType::Integer {
        min: 0,
        max: i64::MAX,
    },
    "drawn at each opening",
    "decides every choice; each part of a stack that is opened in parts makes choices of its own",
);

/// A stream of numbers.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    drawn: AtomicU64,
}

impl Chance {
    /// As the seed says, or the environment where there is none.
    pub(crate) fn new(context: &OpenContext, seed: Option<i64>) -> Self {
        let seed = match seed {
            Some(seed) => seed.unsigned_abs(),
            None => context.env.random.next_u64(),
        };
        let parts = context.parts().iter();
        Self {
            seed: parts.fold(seed, |seed, part| mixed(seed ^ u64::from(*part))),
            drawn: AtomicU64::new(0),
        }
    }

    /// The next number.
    pub(crate) fn draw(&self) -> u64 {
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed);
        mixed(self.seed ^ mixed(turn))
    }

    /// The next number below a bound.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }
}

/// How far up the numbers reach that are drawn in so large a share of all draws.
pub(crate) fn reach(share: f64) -> u64 {
    (share * u64::MAX as f64) as u64
}

fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
