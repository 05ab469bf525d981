//! The link: one SHA-256 that stands for every entry before a place, in its order.
//!
//! ```text
//!   link 0 = 32 zeros
//!   link n+1 = SHA-256( link n │ n u64 │ SHA-256(entry n) )
//! ```
//!
//! It depends on entries and their numbers alone, not on blocks, commits or options: two chains with
//! the same entries from zero on have the same link, and whoever kept a link of yesterday can tell
//! whether today's chain still goes through it.

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Digest = [u8; 32];

/// The link before entry 0.
pub(super) const START: Digest = [0; 32];

/// The SHA-256 of some bytes.
pub(super) fn hash(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// The link behind an entry whose hash is `entry`, given the one before it.
pub(super) fn behind(before: &Digest, number: u64, entry: &Digest) -> Digest {
    let mut bytes = [0; 72];
    bytes[..32].copy_from_slice(before);
    bytes[32..40].copy_from_slice(&number.to_le_bytes());
    bytes[40..].copy_from_slice(entry);
    hash(&bytes)
}

/// The first bytes of a link, for people.
pub(super) fn short(link: &Digest) -> String {
    link[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes bytes as they come.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
