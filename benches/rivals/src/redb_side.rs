//! redb's side: one table, the cache that its size asks for, one-phase commits.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata};
use redb::{ReadOnlyTable, TableDefinition};

use crate::kv::{CACHE, Data, Kv, Reader};
use crate::measure::Outcome;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub struct Redb(Database);

pub struct RedbReader(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Kv for Redb {
    const NAME: &'static str = "redb";
    type Reader<'s> = RedbReader;

    fn open(path: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(path)?;
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(path.join("rows.redb"))?;
        Ok(Self(database))
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(if durable {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        let mut table = transaction.open_table(TABLE)?;
        let mut value = Vec::new();
        for &number in numbers {
            data.value(number, &mut value);
            table.insert(&data.key(number)[..], &value[..])?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let sorted: Vec<_> = (0..data.rows.records()).collect();
        self.put(data, &sorted, true)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        let mut table = transaction.open_table(TABLE)?;
        for &number in numbers {
            table.remove(&data.key(number)[..])?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }

    fn reader(&self) -> Outcome<RedbReader> {
        Ok(RedbReader(self.0.begin_read()?.open_table(TABLE)?))
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        self.0.compact()?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        drop(self.0);
        Ok(())
    }
}

impl Reader for RedbReader {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            look(value.value());
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut range = self.0.range(from..)?;
        for met in 0..most {
            let Some(entry) = range.next() else {
                return Ok(met);
            };
            let (key, value) = entry?;
            look(key.value(), value.value());
        }
        Ok(most)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(self.0.len()?)
    }
}
