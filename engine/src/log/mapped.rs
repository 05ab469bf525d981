//! Records read in place from a map of proven bytes.
//!
//! A record of [`LARGE`] bytes or more is checked at its first use since the map was made; a byte for
//! each [`HALF`] bytes of the file remembers where in it the checked record begins (no two such
//! records begin in one half). Smaller ones are checked at each use: for them the check is cheaper
//! than the memory of it.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use crate::contract::record::{RECORD_HEADER, stated_len};
use crate::contract::{Error, Oid, Record, Result};

const LARGE: usize = 1024;
const HALF: usize = LARGE / 2;

#[derive(Debug)]
pub(super) struct Map {
    bytes: Bytes,
    checked: Box<[AtomicU8]>,
}

impl Map {
    pub(super) fn new(bytes: Bytes) -> Self {
        let checked = (0..bytes.len().div_ceil(HALF))
            .map(|_| AtomicU8::new(0))
            .collect();
        Self { bytes, checked }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The record at `oid`, which begins at byte `at`. `None`: it reaches past the map.
    pub(super) fn record(&self, oid: Oid, at: usize) -> Result<Option<Record>> {
        let Some(rest) = self
            .bytes
            .get(at..)
            .filter(|rest| rest.len() >= RECORD_HEADER)
        else {
            return Ok(None);
        };
        let length =
            stated_len(rest).ok_or_else(|| Error::corrupt(format!("no record begins at {oid}")))?;
        if length > rest.len() {
            return Ok(None);
        }
        if length < LARGE {
            return Record::decode_at(oid, &self.bytes, at).map(Some);
        }
        let record = Record::decode_unverified(oid, self.bytes.slice(at..at + length))?;
        // Records begin at multiples of eight, so the place within a half fits a byte; zero is none.
        let (checked, place) = (&self.checked[at / HALF], (at % HALF / 8 + 1) as u8);
        if checked.load(Ordering::Relaxed) != place {
            record.verify(oid)?;
            checked.store(place, Ordering::Relaxed);
        }
        Ok(Some(record))
    }
}
