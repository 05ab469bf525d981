//! okaywal's side: a buffer of 1 MiB, and no checkpoint within a run, which would recycle what is
//! still to be read.

use std::io::Read;
use std::path::Path;

use okaywal::{ChunkRecord, Configuration, LogVoid, WriteAheadLog};

use crate::log::LogSide;
use crate::measure::Outcome;

pub struct Okaywal(WriteAheadLog);

impl LogSide for Okaywal {
    type Place = ChunkRecord;

    fn open(path: &Path) -> Outcome<Self> {
        let configuration = Configuration::default_for(path)
            .preallocate_bytes(64 << 20)
            .checkpoint_after_bytes(1 << 40)
            .buffer_bytes(1 << 20);
        Ok(Self(configuration.open(LogVoid)?))
    }

    fn append(
        &self,
        count: u64,
        mut body: impl FnMut(u64, &mut Vec<u8>),
        keep: impl Fn(u64) -> bool,
    ) -> Outcome<Vec<(u64, ChunkRecord)>> {
        // A commit of its own is a flush of its own, so what is buffered is one entry.
        let mut entry = self.0.begin_entry()?;
        let (mut bytes, mut kept) = (Vec::new(), Vec::new());
        for number in 0..count {
            body(number, &mut bytes);
            let record = entry.write_chunk(&bytes)?;
            if keep(number) {
                kept.push((number, record));
            }
        }
        entry.commit()?;
        Ok(kept)
    }

    fn commit(&self, _lane: u64, body: &[u8]) -> Outcome<ChunkRecord> {
        let mut entry = self.0.begin_entry()?;
        let record = entry.write_chunk(body)?;
        entry.commit()?;
        Ok(record)
    }

    fn read(&self, place: &ChunkRecord, look: impl FnOnce(&[u8])) -> Outcome<()> {
        let mut reader = self.0.read_at(place.position)?;
        let mut body = vec![0; reader.chunk_length() as usize];
        reader.read_exact(&mut body)?;
        if !reader.crc_is_valid()? {
            return Err("okaywal read a damaged chunk".into());
        }
        look(&body);
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(self.0.shutdown()?)
    }
}
