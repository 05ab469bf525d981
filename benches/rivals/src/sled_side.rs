//! sled's side: one tree, no compression. Its flush writes to the page cache and no further
//! (`sync_file_range`): its durable rows survive a kill, not a power cut, and lead nothing.

use std::path::Path;

use sled::{Batch, Config, Db};

use crate::kv::{CACHE, Data, Kv, Reader};
use crate::measure::Outcome;

pub struct Sled(Db);

impl Sled {
    fn apply(&self, batch: Batch, durable: bool) -> Outcome<()> {
        self.0.apply_batch(batch)?;
        if durable {
            self.0.flush()?;
        }
        Ok(())
    }
}

impl Kv for Sled {
    const NAME: &'static str = "sled";
    const FLUSHES: bool = false;
    type Reader<'s> = &'s Db;

    fn open(path: &Path) -> Outcome<Self> {
        let config = Config::new()
            .path(path)
            .cache_capacity(CACHE as u64)
            .flush_every_ms(None);
        Ok(Self(config.open()?))
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let mut value = Vec::new();
        let mut batch = Batch::default();
        for &number in numbers {
            data.value(number, &mut value);
            batch.insert(&data.key(number)[..], &value[..]);
        }
        self.apply(batch, durable)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let sorted: Vec<_> = (0..data.rows.records()).collect();
        self.put(data, &sorted, true)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        let mut batch = Batch::default();
        for &number in numbers {
            batch.remove(&data.key(number)[..]);
        }
        self.apply(batch, true)
    }

    fn reader(&self) -> Outcome<&Db> {
        Ok(&self.0)
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        Ok(false)
    }

    fn close(self) -> Outcome<()> {
        self.0.flush()?;
        Ok(())
    }
}

impl Reader for &Db {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = sled::Tree::get(self, key)?;
        if let Some(value) = &found {
            look(value);
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut range = sled::Tree::range(self, from..);
        for met in 0..most {
            let Some(entry) = range.next() else {
                return Ok(met);
            };
            let (key, value) = entry?;
            look(&key, &value);
        }
        Ok(most)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(sled::Tree::len(self) as u64)
    }
}
