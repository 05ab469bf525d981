//! Packing and unpacking one body, and what the libraries need for it kept for the next.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use travertine_engine::contract::codec::{LZ4, RATIO_MAX, ZSTD};
use travertine_engine::contract::{Error, Packer, Result};
use zstd::bulk::{Compressor, Decompressor};

/// Packs bodies by one method, unpacks those of all.
#[derive(Debug)]
pub struct Packing {
    /// The level of Zstandard; `None`: LZ4 packs.
    zstd: Option<i32>,
    least: usize,
    compressors: Pool<Compressor<'static>>,
    decompressors: Pool<Decompressor<'static>>,
    tried: AtomicU64,
    packed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Packing {
    /// Packs bodies of `least` bytes and more by LZ4.
    #[must_use]
    pub fn lz4(least: usize) -> Self {
        Self {
            zstd: None,
            least,
            compressors: Pool::default(),
            decompressors: Pool::default(),
            tried: AtomicU64::new(0),
            packed: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    /// Packs bodies of `least` bytes and more by Zstandard.
    #[must_use]
    pub fn zstd(level: i32, least: usize) -> Self {
        Self {
            zstd: Some(level),
            ..Self::lz4(least)
        }
    }

    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        vec![
            ("tried", count(&self.tried)),
            ("packed", count(&self.packed)),
            ("packed_from", count(&self.bytes_in)),
            ("packed_to", count(&self.bytes_out)),
        ]
    }

    fn pack_whole(&self, body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let packed = match self.zstd {
            Some(level) => {
                let packed = self.by_zstd(level, body)?;
                if packed.len().saturating_mul(RATIO_MAX) < body.len() {
                    (LZ4, lz4_flex::block::compress(body))
                } else {
                    (ZSTD, packed)
                }
            }
            None => (LZ4, lz4_flex::block::compress(body)),
        };
        // To unpack it again and again for less than a sixteenth is not worth it.
        (packed.1.len() < body.len() - body.len() / 16).then_some(packed)
    }

    /// `None` where the library has no memory: the body goes as it is.
    fn by_zstd(&self, level: i32, body: &[u8]) -> Option<Vec<u8>> {
        let compressor = self.compressors.take();
        let mut compressor = compressor.or_else(|| Compressor::new(level).ok())?;
        let packed = compressor.compress(body).ok();
        self.compressors.give(compressor);
        packed
    }
}

impl Packer for Packing {
    fn bits(&self) -> u8 {
        LZ4 | ZSTD
    }

    fn pack(&self, body: &[&[u8]]) -> Option<(u8, Vec<u8>)> {
        let length: usize = body.iter().map(|part| part.len()).sum();
        if length < self.least {
            return None;
        }
        self.tried.fetch_add(1, Ordering::Relaxed);
        let whole = match body {
            [whole] => Cow::Borrowed(*whole),
            parts => Cow::Owned(parts.concat()),
        };
        let (bit, packed) = self.pack_whole(&whole)?;
        self.packed.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(length as u64, Ordering::Relaxed);
        self.bytes_out
            .fetch_add(packed.len() as u64, Ordering::Relaxed);
        Some((bit, packed))
    }

    fn unpack(&self, bit: u8, packed: &[u8], into: &mut [u8]) -> Result<()> {
        let unpacked = if bit == LZ4 {
            lz4_flex::block::decompress_into(packed, into).map_err(|error| error.to_string())
        } else {
            let decompressor = self.decompressors.take().map_or_else(Decompressor::new, Ok);
            let mut decompressor = decompressor
                .map_err(|error| Error::io("beginning to unpack by Zstandard", error))?;
            let unpacked = decompressor.decompress_to_buffer(packed, into);
            self.decompressors.give(decompressor);
            unpacked.map_err(|error| error.to_string())
        };
        match unpacked {
            Ok(length) if length == into.len() => Ok(()),
            Ok(length) => Err(Error::corrupt(format!(
                "a packed body states {} bytes and unpacks to {length}",
                into.len()
            ))),
            Err(error) => Err(Error::corrupt(format!(
                "a packed body does not unpack: {error}"
            ))),
        }
    }
}

/// Things that are dear to make, for whoever needs one next.
struct Pool<T>(Mutex<Vec<T>>);

/// Most that are kept: more are needed only while more threads pack at once.
const KEPT: usize = 8;

impl<T> Pool<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, one: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(one);
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}
