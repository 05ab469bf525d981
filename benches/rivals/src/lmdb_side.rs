//! LMDB's side, by heed: one database, `fdatasync` and a synced meta page for a durable commit, no sync
//! at all for one that is not.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{
    CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, PutFlags, RoTxn,
    WithTls,
};

use crate::kv::{Data, Kv, Reader};
use crate::measure::Outcome;

/// Address space; the file grows by need.
const MAP: usize = 16 << 30;

/// LMDB; `MAPPED`: writes go through the map (`WRITEMAP`).
pub struct Lmdb<const MAPPED: bool> {
    environment: Env,
    rows: Database<Bytes, Bytes>,
}

pub struct LmdbReader<'s> {
    transaction: RoTxn<'s, WithTls>,
    rows: Database<Bytes, Bytes>,
}

impl<const MAPPED: bool> Lmdb<MAPPED> {
    fn sync(&self, durable: bool) -> Outcome<()> {
        let mode = if durable {
            FlagSetMode::Disable
        } else {
            FlagSetMode::Enable
        };
        // SAFETY: no transaction is open, and nothing needs what a crash may lose.
        Ok(unsafe { self.environment.set_flags(EnvFlags::NO_SYNC, mode) }?)
    }
}

impl<const MAPPED: bool> Kv for Lmdb<MAPPED> {
    const NAME: &'static str = if MAPPED { "LMDB, write map" } else { "LMDB" };
    const MAPPED: bool = MAPPED;
    type Reader<'s> = LmdbReader<'s>;

    fn open(path: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(path)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP);
        // SAFETY: nobody else opens or changes these files.
        let environment = unsafe {
            if MAPPED {
                options.flags(EnvFlags::WRITE_MAP);
            }
            options.open(path)
        }?;
        let mut transaction = environment.write_txn()?;
        let rows = environment.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { environment, rows })
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        self.sync(durable)?;
        let mut transaction = self.environment.write_txn()?;
        let mut value = Vec::new();
        for &number in numbers {
            data.value(number, &mut value);
            self.rows.put(&mut transaction, data.key(number), &value)?;
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let mut transaction = self.environment.write_txn()?;
        let mut value = Vec::new();
        for number in 0..data.rows.records() {
            data.value(number, &mut value);
            let key = data.key(number);
            self.rows
                .put_with_flags(&mut transaction, PutFlags::APPEND, key, &value)?;
        }
        Ok(transaction.commit()?)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        self.sync(true)?;
        let mut transaction = self.environment.write_txn()?;
        for &number in numbers {
            self.rows.delete(&mut transaction, data.key(number))?;
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<LmdbReader<'_>> {
        Ok(LmdbReader {
            transaction: self.environment.read_txn()?,
            rows: self.rows,
        })
    }

    /// A copy without free pages; it does not merge leaves.
    fn compact(&mut self, path: &Path) -> Outcome<bool> {
        let copy = path.join("copy.mdb");
        self.environment
            .copy_to_path(&copy, CompactionOption::Enabled)?
            .sync_all()?;
        std::fs::rename(copy, path.join("data.mdb"))?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        self.environment.force_sync()?;
        self.environment.prepare_for_closing().wait();
        Ok(())
    }
}

impl Reader for LmdbReader<'_> {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = self.rows.get(&self.transaction, key)?;
        if let Some(value) = found {
            look(value);
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        // An empty key is none to LMDB.
        let from = match from {
            [] => Bound::Unbounded,
            from => Bound::Included(from),
        };
        let bounds = (from, Bound::Unbounded);
        let mut range = self.rows.range(&self.transaction, &bounds)?;
        for met in 0..most {
            let Some(entry) = range.next() else {
                return Ok(met);
            };
            let (key, value) = entry?;
            look(key, value);
        }
        Ok(most)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(self.rows.len(&self.transaction)?)
    }
}
