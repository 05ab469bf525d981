//! What the tree must hold after so many commits, known from the seed alone, and read back.
//!
//! ```text
//!   commit n   some rows, by the seed and n: most become version n, a few are deleted
//!              and one row beyond all others, which says n
//! ```
//!
//! A state is known by a digest: the sum of a word for each row and its version, so that a model keeps
//! it up to date with every commit, and a scan in any order finds the same.

use travertine::contract::Result;
use travertine::workload::random::{Rng, mix};
use travertine::workload::{Rows, TreeReader, from_key, walk};

use crate::Outcome;

/// The key of the row that says how many commits there were. It lies behind all others.
pub(crate) const STATE: [u8; 32] = [0xff; 32];

const ABSENT: u32 = u32::MAX;

/// The edits of a commit: a row and whether it stays. A row may come twice, with one fate.
pub(crate) fn edits(seed: u64, commit: u32, rows: u64) -> impl Iterator<Item = (u64, bool)> {
    let mut rng = Rng::new(seed, commit.into());
    let count = match rng.below(100) {
        0..70 => 1 + rng.below(10),
        70..97 => 100,
        _ => 1_000,
    };
    (0..count).map(move |_| {
        let row = rng.below(rows);
        (
            row,
            !mix(seed ^ mix(u64::from(commit) ^ mix(row))).is_multiple_of(16),
        )
    })
}

fn word(row: u64, version: u32) -> u64 {
    mix(row ^ mix(version.into()))
}

/// What a whole state comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

/// All states up to the newest, the newest row by row.
#[derive(Debug)]
pub(crate) struct Model {
    seed: u64,
    versions: Vec<u32>,
    rows: u64,
    digests: Vec<Digest>,
}

impl Model {
    /// What was loaded: every row, of version 0.
    pub(crate) fn new(seed: u64, rows: u64) -> Self {
        let sum = (0..rows).fold(0, |sum: u64, row| sum.wrapping_add(word(row, 0)));
        Self {
            seed,
            versions: vec![0; rows as usize],
            rows,
            digests: vec![Digest { rows, sum }],
        }
    }

    /// The newest commit.
    pub(crate) fn commit(&self) -> u32 {
        (self.digests.len() - 1) as u32
    }

    /// Does everything up to this commit.
    pub(crate) fn advance(&mut self, to: u32) {
        while self.commit() < to {
            let commit = self.commit() + 1;
            let mut digest = self.digests[self.digests.len() - 1];
            for (row, stays) in edits(self.seed, commit, self.rows) {
                let version = &mut self.versions[row as usize];
                if *version != ABSENT {
                    digest.rows -= 1;
                    digest.sum = digest.sum.wrapping_sub(word(row, *version));
                }
                *version = if stays { commit } else { ABSENT };
                if stays {
                    digest.rows += 1;
                    digest.sum = digest.sum.wrapping_add(word(row, commit));
                }
            }
            self.digests.push(digest);
        }
    }

    /// What the state after a commit comes to; `None`: the model has not come so far.
    pub(crate) fn digest(&self, commit: u32) -> Option<Digest> {
        self.digests.get(commit as usize).copied()
    }

    /// What is wrong with a row of the newest state, for people.
    pub(crate) fn differs(&self, row: u64, version: u32) -> Option<String> {
        let wanted = self.versions[row as usize];
        (wanted != version).then(|| match wanted {
            ABSENT => format!("row {row} has version {version}, and was deleted"),
            wanted => format!("row {row} has version {version}, not {wanted}"),
        })
    }
}

/// What a state says of itself: its commit.
pub(crate) fn commit_of(reader: &TreeReader) -> Result<Option<u32>> {
    let found = reader.get(&STATE).wait()?;
    Ok(found.and_then(|value| Some(u32::from_le_bytes(*value.first_chunk()?))))
}

/// Reads a whole state, checks every row by itself, and has it looked at.
pub(crate) fn scan(
    reader: &TreeReader,
    rows: &Rows,
    mut look: impl FnMut(u64, u32),
) -> Outcome<Digest> {
    let mut digest = Digest { rows: 0, sum: 0 };
    let mut wrong = None;
    walk(
        reader,
        &mut from_key(reader, &[]),
        u64::MAX,
        |key, value| {
            if key == STATE {
                return Ok(());
            }
            match rows.check_entry(key, value) {
                Some((row, version)) => {
                    let version = version as u32;
                    digest.rows += 1;
                    digest.sum = digest.sum.wrapping_add(word(row, version));
                    look(row, version);
                }
                None => wrong = Some(format!("{} bytes under {key:02x?} are no row", value.len())),
            }
            Ok(())
        },
    )?;
    wrong.map_or(Ok(digest), |wrong| Err(wrong.into()))
}
