//! SQLite's side: one table without row ids, a write-ahead log, `synchronous` full where a row is
//! durable.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, params};

use crate::kv::{CACHE, Data, Kv, Reader};
use crate::measure::Outcome;

pub struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
}

pub struct SqliteReader(Connection);

fn connect(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA cache_size = -{}; PRAGMA mmap_size = {};
         CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID;",
        CACHE >> 10,
        16_u64 << 30,
    ))?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

impl Sqlite {
    fn writer(&self) -> Outcome<MutexGuard<'_, Connection>> {
        Ok(self.writer.lock().map_err(|_| "a writer died")?)
    }
}

impl Kv for Sqlite {
    const NAME: &'static str = "SQLite";
    type Reader<'s> = SqliteReader;

    fn open(path: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(path)?;
        let path = path.join("rows.sqlite");
        Ok(Self {
            writer: Mutex::new(connect(&path)?),
            path,
        })
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let mut writer = self.writer()?;
        writer.execute_batch(if durable {
            "PRAGMA synchronous = FULL"
        } else {
            "PRAGMA synchronous = OFF"
        })?;
        let transaction = writer.transaction()?;
        let mut value = Vec::new();
        {
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO rows VALUES (?1, ?2)")?;
            for &number in numbers {
                data.value(number, &mut value);
                insert.execute(params![&data.key(number)[..], &value[..]])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let sorted: Vec<_> = (0..data.rows.records()).collect();
        self.put(data, &sorted, true)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        let mut writer = self.writer()?;
        writer.execute_batch("PRAGMA synchronous = FULL")?;
        let transaction = writer.transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE key = ?1")?;
            for &number in numbers {
                delete.execute(params![&data.key(number)[..]])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn reader(&self) -> Outcome<SqliteReader> {
        let connection = connect(&self.path)?;
        // One snapshot for all that is read.
        connection.execute_batch("BEGIN")?;
        Ok(SqliteReader(connection))
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        self.writer()?
            .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        let writer = self.writer.into_inner().map_err(|_| "a writer died")?;
        writer.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}

impl Reader for SqliteReader {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let mut select = self
            .0
            .prepare_cached("SELECT value FROM rows WHERE key = ?1")?;
        let found = select
            .query_row([key], |row| {
                look(row.get_ref(0)?.as_blob()?);
                Ok(())
            })
            .optional()?;
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut select = self
            .0
            .prepare_cached("SELECT key, value FROM rows WHERE key >= ?1 ORDER BY key LIMIT ?2")?;
        let most = i64::try_from(most).unwrap_or(-1);
        let mut rows = select.query(params![from, most])?;
        let mut met = 0;
        while let Some(row) = rows.next()? {
            look(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            met += 1;
        }
        Ok(met)
    }

    fn len(&self) -> Outcome<u64> {
        let count: i64 = self
            .0
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))?;
        Ok(count as u64)
    }
}
