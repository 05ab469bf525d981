//! Rows by number: a key and a value that can be checked by whoever reads them.
//!
//! ```text
//!   key    place in the order 8 | the number, disguised 8 | chance 8
//!   value  number 8 | version 8 | chance, the rest              shorter values are chance alone
//! ```
//!
//! The rows that are loaded first lie in the order of their numbers, evenly over the key space, so
//! loading in order needs no list of keys; rows that come later fall between them. Bytes do not
//! compress.

use super::random::{Rng, Shuffle, mix};

/// Bytes of a key.
pub const KEY: usize = 24;
/// Bytes of a value that say what it is.
const HEAD: usize = 16;
/// Shorter values have no such bytes: what they say could not be checked.
const HEADED: usize = 24;
/// Values begin anywhere in so many bytes of chance.
const SPREAD: u64 = 64 << 10;

/// The rows of one seed.
#[derive(Debug, Clone)]
pub struct Rows {
    records: u64,
    step: u64,
    order: Shuffle,
    seed: u64,
    size: usize,
    pool: Vec<u8>,
}

impl Rows {
    /// Rows of which so many are loaded, with values of this many bytes.
    #[must_use]
    pub fn new(records: u64, size: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed, u64::MAX);
        let words = (SPREAD as usize + size).div_ceil(8);
        Self {
            records,
            step: u64::MAX / records.max(1),
            order: Shuffle::new(records.max(1), mix(seed)),
            seed,
            size,
            pool: (0..words)
                .flat_map(|_| rng.next_u64().to_le_bytes())
                .collect(),
        }
    }

    /// How many are loaded.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether values tell their version.
    #[must_use]
    pub fn versioned(&self) -> bool {
        self.size >= HEADED
    }

    /// Bytes of a value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The key of a row.
    #[must_use]
    pub fn key(&self, number: u64) -> [u8; KEY] {
        let half = self.step / 2;
        let within = mix(number ^ self.seed) % half.max(1);
        let place = if number < self.records {
            number * self.step + within
        } else {
            // Between two loaded rows, wherever the shuffle says.
            self.order.at((number - self.records) % self.records.max(1)) * self.step + half + within
        };
        let mut key = [0; KEY];
        key[..8].copy_from_slice(&place.to_be_bytes());
        key[8..16].copy_from_slice(&mix(number).to_be_bytes());
        key[16..].copy_from_slice(&mix(number ^ !self.seed).to_be_bytes());
        key
    }

    /// A key that no row has, near that of a row.
    #[must_use]
    pub fn absent(&self, number: u64) -> [u8; KEY] {
        let mut key = self.key(number);
        key[KEY - 1] ^= 1;
        key
    }

    /// The value of a row, written to `value`.
    pub fn value(&self, number: u64, version: u64, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(self.chance(number, version));
        if self.size >= HEADED {
            value[..8].copy_from_slice(&number.to_le_bytes());
            value[8..HEAD].copy_from_slice(&version.to_le_bytes());
        }
    }

    /// The version of a value that was read for a row; `None` if it is not one of that row.
    #[must_use]
    pub fn check(&self, number: u64, value: &[u8]) -> Option<u64> {
        if value.len() != self.size {
            return None;
        }
        if self.size < HEADED {
            return (value == self.chance(number, 0)).then_some(0);
        }
        let version = word(&value[8..]);
        let fine = word(value) == number && value[HEAD..] == self.chance(number, version)[HEAD..];
        fine.then_some(version)
    }

    /// The number and the version of an entry that a scan met; `None` if they do not belong
    /// together. Values too short to say their number are checked by their key's.
    #[must_use]
    pub fn check_entry(&self, key: &[u8], value: &[u8]) -> Option<(u64, u64)> {
        let number = if self.size >= HEADED {
            word(value.get(..HEAD)?)
        } else {
            unmix(u64::from_be_bytes(key.get(8..16)?.try_into().ok()?))
        };
        let version = self.check(number, value)?;
        (self.key(number) == *key).then_some((number, version))
    }

    fn chance(&self, number: u64, version: u64) -> &[u8] {
        // A value without a head cannot say its version, so it has none.
        let version = if self.size < HEADED { 0 } else { version };
        let at = (mix(number ^ mix(version)) % SPREAD) as usize;
        &self.pool[at..at + self.size]
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The word that [`mix`] makes `mixed` of.
fn unmix(mixed: u64) -> u64 {
    let unshift = |word: u64, by: u32| {
        let mut whole = word;
        for _ in 0..64 / by {
            whole = word ^ (whole >> by);
        }
        whole
    };
    let mut word = unshift(mixed, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
    word = unshift(word, 27).wrapping_mul(0x96de_1b17_3f11_9089);
    unshift(word, 30).wrapping_sub(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaded_keys_lie_in_the_order_of_their_numbers_and_none_is_twice() {
        for records in [1, 7, 1000] {
            let rows = Rows::new(records, 20, 3);
            let mut keys: Vec<_> = (0..records).map(|number| rows.key(number)).collect();
            assert!(keys.is_sorted(), "{records}");
            keys.extend((records..3 * records).map(|number| rows.key(number)));
            keys.sort_unstable();
            assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{records}");
        }
    }

    #[test]
    fn a_value_is_known_by_its_row_alone() {
        for size in [0, 1, 15, 23, 24, 150, 5000] {
            let rows = Rows::new(100, size, 3);
            let mut value = Vec::new();
            rows.value(5, 9, &mut value);
            let version = if size < HEADED { 0 } else { 9 };
            assert_eq!(rows.check(5, &value), Some(version), "{size}");
            assert_eq!(rows.check_entry(&rows.key(5), &value), Some((5, version)));
            value.push(0);
            assert_eq!(rows.check(5, &value), None, "{size}");
            if size > 0 {
                value.pop();
                value[size - 1] ^= 1;
                assert_eq!(rows.check(5, &value), None, "{size}");
                assert_eq!(rows.check(6, &value), None, "{size}");
            }
        }
    }

    #[test]
    fn mixing_can_be_undone() {
        for word in [0, 1, 77, u64::MAX, 1 << 63] {
            assert_eq!(unmix(mix(word)), word);
        }
    }
}
