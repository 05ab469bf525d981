//! fjall's side: one keyspace, its journal synced by `fdatasync` where a row is durable, no compression.

use std::path::Path;

use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use crate::kv::{CACHE, Data, Kv, Reader};
use crate::measure::Outcome;

pub struct Fjall {
    database: Database,
    rows: Keyspace,
}

pub struct FjallReader {
    snapshot: Snapshot,
    rows: Keyspace,
}

impl Kv for Fjall {
    const NAME: &'static str = "fjall";
    type Reader<'s> = FjallReader;

    fn open(path: &Path) -> Outcome<Self> {
        let database = Database::builder(path).cache_size(CACHE as u64).open()?;
        let rows = database.keyspace("rows", || {
            KeyspaceCreateOptions::default()
                .data_block_compression_policy(CompressionPolicy::disabled())
                .index_block_compression_policy(CompressionPolicy::disabled())
        })?;
        Ok(Self { database, rows })
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let mode = durable.then_some(PersistMode::SyncData);
        let mut batch = self.database.batch().durability(mode);
        let mut value = Vec::new();
        for &number in numbers {
            data.value(number, &mut value);
            batch.insert(&self.rows, &data.key(number)[..], &value[..]);
        }
        Ok(batch.commit()?)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let mut load = self.rows.start_ingestion()?;
        let mut value = Vec::new();
        for number in 0..data.rows.records() {
            data.value(number, &mut value);
            load.write(&data.key(number)[..], &value[..])?;
        }
        load.finish()?;
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        for &number in numbers {
            batch.remove(&self.rows, &data.key(number)[..]);
        }
        Ok(batch.commit()?)
    }

    fn reader(&self) -> Outcome<FjallReader> {
        Ok(FjallReader {
            snapshot: self.database.snapshot(),
            rows: self.rows.clone(),
        })
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        self.rows.rotate_memtable_and_wait()?;
        self.rows.major_compact()?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Reader for FjallReader {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = self.snapshot.get(&self.rows, key)?;
        if let Some(value) = &found {
            look(value);
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut range = self.snapshot.range(&self.rows, from..);
        for met in 0..most {
            let Some(entry) = range.next() else {
                return Ok(met);
            };
            let (key, value) = entry.into_inner()?;
            look(&key, &value);
        }
        Ok(most)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(self.snapshot.len(&self.rows)? as u64)
    }
}
