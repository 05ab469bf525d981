//! RocksDB's side, by its C interface: the library that the system has (`librocksdb-dev` on Debian), for
//! the bundled one takes most of an hour to build. Built with `--features rocksdb` only. A bloom filter of
//! 10 bits a key, no compression, a durable commit syncs the write-ahead log (`fdatasync`).

use std::ffi::{CStr, CString, c_char, c_double, c_int, c_uchar};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::slice;

use crate::kv::{CACHE, Data, Kv, Reader};
use crate::measure::Outcome;

/// What stands behind a pointer of the library.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}
type Handle = *mut Opaque;

#[link(name = "rocksdb")]
unsafe extern "C" {
    fn rocksdb_options_create() -> Handle;
    fn rocksdb_options_destroy(options: Handle);
    fn rocksdb_options_set_create_if_missing(options: Handle, yes: c_uchar);
    fn rocksdb_options_set_compression(options: Handle, kind: c_int);
    fn rocksdb_options_increase_parallelism(options: Handle, threads: c_int);
    fn rocksdb_options_set_block_based_table_factory(options: Handle, table: Handle);
    fn rocksdb_block_based_options_create() -> Handle;
    fn rocksdb_block_based_options_destroy(table: Handle);
    fn rocksdb_block_based_options_set_filter_policy(table: Handle, filter: Handle);
    fn rocksdb_block_based_options_set_block_cache(table: Handle, cache: Handle);
    fn rocksdb_filterpolicy_create_bloom_full(bits: c_double) -> Handle;
    fn rocksdb_cache_create_lru(bytes: usize) -> Handle;
    fn rocksdb_cache_destroy(cache: Handle);
    fn rocksdb_open(options: Handle, path: *const c_char, error: *mut *mut c_char) -> Handle;
    fn rocksdb_close(store: Handle);
    fn rocksdb_writeoptions_create() -> Handle;
    fn rocksdb_writeoptions_destroy(options: Handle);
    fn rocksdb_writeoptions_set_sync(options: Handle, yes: c_uchar);
    fn rocksdb_writebatch_create() -> Handle;
    fn rocksdb_writebatch_destroy(batch: Handle);
    fn rocksdb_writebatch_put(
        batch: Handle,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        value_len: usize,
    );
    fn rocksdb_writebatch_delete(batch: Handle, key: *const u8, key_len: usize);
    fn rocksdb_write(store: Handle, options: Handle, batch: Handle, error: *mut *mut c_char);
    fn rocksdb_readoptions_create() -> Handle;
    fn rocksdb_readoptions_destroy(options: Handle);
    fn rocksdb_get_pinned(
        store: Handle,
        options: Handle,
        key: *const u8,
        key_len: usize,
        error: *mut *mut c_char,
    ) -> Handle;
    fn rocksdb_pinnableslice_value(slice: Handle, len: *mut usize) -> *const u8;
    fn rocksdb_pinnableslice_destroy(slice: Handle);
    fn rocksdb_create_iterator(store: Handle, options: Handle) -> Handle;
    fn rocksdb_iter_destroy(cursor: Handle);
    fn rocksdb_iter_seek(cursor: Handle, key: *const u8, key_len: usize);
    fn rocksdb_iter_valid(cursor: Handle) -> c_uchar;
    fn rocksdb_iter_next(cursor: Handle);
    fn rocksdb_iter_key(cursor: Handle, len: *mut usize) -> *const u8;
    fn rocksdb_iter_value(cursor: Handle, len: *mut usize) -> *const u8;
    fn rocksdb_iter_get_error(cursor: Handle, error: *mut *mut c_char);
    fn rocksdb_compact_range(
        store: Handle,
        from: *const u8,
        from_len: usize,
        to: *const u8,
        to_len: usize,
    );
    fn rocksdb_free(text: *mut c_char);
}

/// Takes what the library says of a failure.
fn checked(error: *mut c_char) -> Outcome<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a failure is told as text that ends in a zero and is ours to free, once.
    let text = unsafe { CStr::from_ptr(error).to_string_lossy().into_owned() };
    // SAFETY: as above; it is not used again.
    unsafe { rocksdb_free(error) };
    Err(text.into())
}

pub struct Rocks {
    store: Handle,
    synced: Handle,
    loose: Handle,
    reading: Handle,
}

// SAFETY: the library lets any number of threads use one store and options that nobody changes.
unsafe impl Send for Rocks {}
// SAFETY: as above.
unsafe impl Sync for Rocks {}

/// Rows on their way in, freed with the last use.
struct Batch(Handle);

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { rocksdb_writebatch_destroy(self.0) }
    }
}

impl Rocks {
    fn write(&self, batch: &Batch, durable: bool) -> Outcome<()> {
        let mut error = null_mut();
        let options = if durable { self.synced } else { self.loose };
        // SAFETY: store, options and batch are alive.
        unsafe { rocksdb_write(self.store, options, batch.0, &mut error) };
        checked(error)
    }
}

impl Drop for Rocks {
    fn drop(&mut self) {
        // SAFETY: each was made by the library and is freed once, the store first.
        unsafe {
            rocksdb_close(self.store);
            rocksdb_writeoptions_destroy(self.synced);
            rocksdb_writeoptions_destroy(self.loose);
            rocksdb_readoptions_destroy(self.reading);
        }
    }
}

impl Kv for Rocks {
    const NAME: &'static str = "RocksDB";
    type Reader<'s> = &'s Rocks;

    fn open(path: &Path) -> Outcome<Self> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())?;
        let mut error = null_mut();
        // SAFETY: made, handed on and freed as the C interface asks: a table takes its filter for itself
        // and shares the cache, options share the table, the store copies the options.
        let store = unsafe {
            let (options, table) = (
                rocksdb_options_create(),
                rocksdb_block_based_options_create(),
            );
            let cache = rocksdb_cache_create_lru(CACHE);
            let filter = rocksdb_filterpolicy_create_bloom_full(10.0);
            rocksdb_block_based_options_set_filter_policy(table, filter);
            rocksdb_block_based_options_set_block_cache(table, cache);
            rocksdb_options_set_block_based_table_factory(options, table);
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_compression(options, 0);
            rocksdb_options_increase_parallelism(options, 2);
            let store = rocksdb_open(options, path.as_ptr(), &mut error);
            rocksdb_cache_destroy(cache);
            rocksdb_block_based_options_destroy(table);
            rocksdb_options_destroy(options);
            store
        };
        checked(error)?;
        // SAFETY: these only make values.
        let (synced, loose, reading) = unsafe {
            let synced = rocksdb_writeoptions_create();
            rocksdb_writeoptions_set_sync(synced, 1);
            (
                synced,
                rocksdb_writeoptions_create(),
                rocksdb_readoptions_create(),
            )
        };
        Ok(Self {
            store,
            synced,
            loose,
            reading,
        })
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let mut value = Vec::new();
        // SAFETY: this only makes a value.
        let batch = Batch(unsafe { rocksdb_writebatch_create() });
        for &number in numbers {
            data.value(number, &mut value);
            let key = data.key(number);
            // SAFETY: key and value are copied before the call returns.
            unsafe {
                rocksdb_writebatch_put(
                    batch.0,
                    key.as_ptr(),
                    key.len(),
                    value.as_ptr(),
                    value.len(),
                );
            }
        }
        self.write(&batch, durable)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let sorted: Vec<_> = (0..data.rows.records()).collect();
        self.put(data, &sorted, true)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        // SAFETY: this only makes a value.
        let batch = Batch(unsafe { rocksdb_writebatch_create() });
        for &number in numbers {
            let key = data.key(number);
            // SAFETY: the key is copied before the call returns.
            unsafe { rocksdb_writebatch_delete(batch.0, key.as_ptr(), key.len()) };
        }
        self.write(&batch, true)
    }

    fn reader(&self) -> Outcome<&Rocks> {
        Ok(self)
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        // SAFETY: no bounds at all are the whole store.
        unsafe { rocksdb_compact_range(self.store, null(), 0, null(), 0) };
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }
}

/// A cursor, freed with the last use.
struct Cursor(Handle);

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { rocksdb_iter_destroy(self.0) }
    }
}

/// A part of a cursor's row.
type Part = unsafe extern "C" fn(Handle, *mut usize) -> *const u8;

impl Cursor {
    /// The bytes live until the cursor moves.
    fn part(&self, part: Part) -> &[u8] {
        let mut len = 0;
        // SAFETY: asked of a cursor that stands on a row: so many bytes stand there until it moves.
        unsafe {
            let start = part(self.0, &mut len);
            slice::from_raw_parts(start, len)
        }
    }

    fn error(&self) -> Outcome<()> {
        let mut error = null_mut();
        // SAFETY: the cursor is alive.
        unsafe { rocksdb_iter_get_error(self.0, &mut error) };
        checked(error)
    }
}

impl Reader for &Rocks {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let (mut error, mut len) = (null_mut(), 0);
        // SAFETY: the store is alive; what is found stays until it is freed, after the look.
        unsafe {
            let found = rocksdb_get_pinned(
                self.store,
                self.reading,
                key.as_ptr(),
                key.len(),
                &mut error,
            );
            checked(error)?;
            if found.is_null() {
                return Ok(false);
            }
            let value = rocksdb_pinnableslice_value(found, &mut len);
            look(slice::from_raw_parts(value, len));
            rocksdb_pinnableslice_destroy(found);
        }
        Ok(true)
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        // SAFETY: the store outlives the cursor; the key is copied.
        let cursor = unsafe {
            let cursor = Cursor(rocksdb_create_iterator(self.store, self.reading));
            rocksdb_iter_seek(cursor.0, from.as_ptr(), from.len());
            cursor
        };
        let mut met = 0;
        // SAFETY: the cursor is alive.
        while met < most && unsafe { rocksdb_iter_valid(cursor.0) } != 0 {
            look(
                cursor.part(rocksdb_iter_key),
                cursor.part(rocksdb_iter_value),
            );
            // SAFETY: it stands on a row, and its bytes are not used again.
            unsafe { rocksdb_iter_next(cursor.0) };
            met += 1;
        }
        cursor.error()?;
        Ok(met)
    }

    /// By a walk: the library only estimates.
    fn len(&self) -> Outcome<u64> {
        self.range(&[], u64::MAX, |_, _| {})
    }
}
