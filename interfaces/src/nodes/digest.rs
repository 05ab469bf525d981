//! What is in and under a node, told by 32 bytes: SHA-256 of its body.
//!
//! A body holds no address. It holds the digests of what it names instead, so equal digests are equal
//! contents, wherever the records lie and whoever wrote them.

use std::io;

use sha2::{Digest as _, Sha256};
use travertine_engine::contract::{Error, Result};
use travertine_engine::front::chunk;

use crate::index::Apart;
use crate::records::Source;

/// Bytes of a digest.
pub const DIGEST: usize = 32;

/// SHA-256 of a node's body, or of a value that lies apart.
pub type Digest = [u8; DIGEST];

/// The digest of the bytes that these parts make.
pub(super) fn of(parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The digest of a value that lies apart. It is read by its pieces.
pub(super) fn of_value(source: &dyn Source, apart: &Apart) -> Result<Digest> {
    let mut hasher = Hasher(Sha256::new());
    let mut reader = chunk::Reader::open(&source, &apart.reference)?;
    let length = io::copy(&mut reader, &mut hasher).map_err(|error| {
        error
            .downcast::<Error>()
            .unwrap_or_else(|foreign| Error::io("reading a value", foreign))
    })?;
    match length == apart.length {
        true => Ok(hasher.0.finalize().into()),
        false => Err(Error::corrupt(format!(
            "the value at {} should have {} bytes and has {length}",
            apart.reference.oid, apart.length
        ))),
    }
}

struct Hasher(Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
