//! Values too long for an entry: records of their own, as the engine keeps values of any size
//! ([`chunk`]).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::{Error, Kind, Op, Result};
use travertine_engine::front::{Hint, chunk};

use crate::index::Apart;
use crate::records::{Sink, Source};
use crate::report::Report;

/// Longest value that is read whole, in bytes. A longer one is read by its pieces, with
/// [`chunk::Reader`].
pub const WHOLE_MAX: usize = 1 << 30;

/// Stores a value.
pub fn store(sink: &dyn Sink, value: &[u8]) -> Result<Apart> {
    Ok(Apart {
        reference: chunk::store(&sink, value, Hint::default())?,
        length: value.len() as u64,
    })
}

/// Reads a value whole. One of more than a piece is fetched before the call returns.
pub fn read(source: &Arc<dyn Source>, apart: &Apart) -> Op<Bytes> {
    let apart = *apart;
    if apart.length > chunk::PIECE as u64 {
        return Op::ready(read_blocking(&**source, &apart));
    }
    source.read(&apart.reference).and_then(move |record| {
        if record.kind() != Kind::CHUNK || record.body().len() as u64 != apart.length {
            return Err(wrong(&apart, record.body().len() as u64));
        }
        Ok(record.body_bytes())
    })
}

/// Reads a value whole, blocking where a piece must be fetched.
pub fn read_blocking(source: &dyn Source, apart: &Apart) -> Result<Bytes> {
    let most = WHOLE_MAX.min(usize::try_from(apart.length).unwrap_or(WHOLE_MAX));
    let bytes = chunk::read(&source, &apart.reference, most)?;
    if bytes.len() as u64 != apart.length {
        return Err(wrong(apart, bytes.len() as u64));
    }
    Ok(bytes)
}

/// Looks at every piece of a value.
pub fn verify(source: &dyn Source, apart: &Apart, report: &mut Report) {
    report.apart += 1;
    let found = chunk::Reader::open(&source, &apart.reference).and_then(|mut reader| {
        if reader.length() != apart.length {
            return Err(wrong(apart, reader.length()));
        }
        io::copy(&mut reader, &mut io::sink()).map_err(|error| match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(foreign) => Error::io("reading a value", foreign),
        })
    });
    match found {
        Ok(found) => report.apart_bytes += found,
        Err(error) => report.add_error(apart.reference.oid, &error),
    }
}

fn wrong(apart: &Apart, found: u64) -> Error {
    Error::corrupt(format!(
        "the value at {} should have {} bytes and has {found}",
        apart.reference.oid, apart.length
    ))
}
