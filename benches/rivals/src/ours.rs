//! Travertine's side: one log in one directory, with the options of a stack file that says nothing. The tree's
//! says that old states are not kept, as the others keep none: space comes back by itself.
//!
//! Before it closes, its journal is merged, so that the next opening has nothing to read back. Nobody need ask
//! for that: a close by itself takes two flushes and merges nothing, and the first reader after it reads the
//! deltas back instead, 90 ms of the processor for 28 MB of them where the merge takes 200 to 320 ms.
//!
//! A commit that is not synced is one of [`Level::Memory`]: it lies in this process until a mebibyte of it
//! has come, or a second has passed, and then in the page cache. redb's and sled's lie in the process too;
//! fjall, LMDB and SQLite hand each to the kernel, so that it survives the end of the process.
//!
//! Where the time of a commit of one row goes, in a tree of a million (`perf record --call-graph=dwarf`):
//!
//! ```text
//!   not synced   25 % three records: delta, root, marker         17 % what is remembered for readers
//!                16 % is the key there already? so that the count is exact and an edit that changes
//!                     nothing stores nothing; of keys that are new a filter says so, one in a hundred is
//!                     looked for in the tree
//!                     no system call, no hand-over, 9 allocations
//!   durable      three quarters in the kernel: one call that writes 4 KiB past the page cache into blocks
//!                that were written before, and flushes them; the rest in the tree, cold after each flush
//! ```
//!
//! An LSM writes blindly and pays for a count with a walk: that is its lead in the first row.
//!
//! Opening takes 45 µs again and again. After a close that merged and beside engines that compact it takes 0.3 to
//! 0.4 ms, for little of it is in the processor's caches: 60 to 100 µs the plan of the stack, 100 to 180 the
//! directory (four files that are found and locked, the newest segment mapped), 60 to 90 the records that are read.
//! LMDB opens two files and reads two pages. It took 1.5 ms while every small delta was an allocation of its own: the
//! close let go of them all, and the first who then asked for a kibibyte waited for `malloc` to sort 10,000 of them.

use std::path::Path;

use travertine::contract::{Env, Error, Kind, Level, Name, NewRecord, Reference};
use travertine::front::{Automatic, Change, Engine, Hint, Options, Reclaiming, Retention, Session};
use travertine::stack::{Layer, Opening, Plan, Spec, Stack};
use travertine::workload::{Table, TreeReader, from_key, walk};

use crate::kv::{Data, Kv, Reader};
use crate::log::LogSide;
use crate::measure::Outcome;

fn open(path: &Path, reclaim: Option<Automatic>) -> Outcome<(Stack, Engine)> {
    let base = path.parent().ok_or("no directory")?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or("no name")?;
    let spec = Spec::linear([Layer::new("file").with("path", name)]);
    let plan = Plan::new(&spec, &travertine::standard(), base)
        .map_err(|errors| Error::invalid(format!("{errors:?}")))?;
    let env = Env::system();
    let stack = plan.open(&env, Opening::default())?;
    let options = Options {
        reclaim,
        ..Options::default()
    };
    let engine = Engine::open(stack.store(), &env, options)?;
    Ok((stack, engine))
}

/// A B-tree.
pub struct OurTree {
    engine: Engine,
    durable: Table,
    loose: Table,
    _stack: Stack,
}

impl Kv for OurTree {
    const NAME: &'static str = "Travertine";
    type Reader<'s> = TreeReader;

    fn open(path: &Path) -> Outcome<Self> {
        let automatic = Automatic::new(Retention::newest());
        let (stack, engine) = open(path, Some(automatic))?;
        Ok(Self {
            durable: Table::new(&engine, "rows", Some(Level::Disk))?,
            loose: Table::new(&engine, "rows", Some(Level::Memory))?,
            engine,
            _stack: stack,
        })
    }

    fn put(&self, data: &Data, numbers: &[u64], durable: bool) -> Outcome<()> {
        let table = if durable { &self.durable } else { &self.loose };
        let mut value = Vec::new();
        let (_, ticket) = table.transact(|writer| {
            for &number in numbers {
                data.value(number, &mut value);
                writer.put(data.key(number), &value)?;
            }
            Ok(())
        })?;
        ticket.wait()?;
        Ok(())
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let (mut number, mut value) = (0, Vec::new());
        self.durable.load(|push| {
            if number == data.rows.records() {
                return Ok(false);
            }
            data.value(number, &mut value);
            push(data.key(number), &value)?;
            number += 1;
            Ok(true)
        })?;
        Ok(())
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        let (_, ticket) = self.durable.transact(|writer| {
            for &number in numbers {
                writer.delete(data.key(number))?;
            }
            Ok(())
        })?;
        ticket.wait()?;
        Ok(())
    }

    fn reader(&self) -> Outcome<TreeReader> {
        Ok(self.durable.reader()?)
    }

    /// Written anew in the order of the keys; then everything else is freed.
    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        self.durable.compact()?;
        self.engine
            .reclaim(&Retention::newest(), &Reclaiming::default())?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        self.durable.checkpoint()?;
        Ok(self.engine.close()?)
    }
}

impl Reader for TreeReader {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = self.get(key).wait()?;
        if let Some(value) = &found {
            look(value);
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let mut range = from_key(self, from);
        let met = walk(self, &mut range, most, |key, value| {
            look(key, value);
            Ok(())
        })?;
        Ok(met)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(self.count())
    }
}

/// A log.
pub struct OurLog {
    engine: Engine,
    _stack: Stack,
}

impl OurLog {
    fn store(session: &Session, body: &[u8]) -> Outcome<Reference> {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        Ok(session.store(&record, Hint::default())?)
    }
}

impl LogSide for OurLog {
    type Place = Reference;

    fn open(path: &Path) -> Outcome<Self> {
        let (stack, engine) = open(path, None)?;
        Ok(Self {
            engine,
            _stack: stack,
        })
    }

    fn append(
        &self,
        count: u64,
        mut body: impl FnMut(u64, &mut Vec<u8>),
        keep: impl Fn(u64) -> bool,
    ) -> Outcome<Vec<(u64, Reference)>> {
        let session = self.engine.session()?;
        let (mut bytes, mut kept) = (Vec::new(), Vec::new());
        for number in 0..count {
            body(number, &mut bytes);
            let reference = Self::store(&session, &bytes)?;
            if keep(number) {
                kept.push((number, reference));
            }
        }
        session.commit(&[], Some(Level::Disk)).wait()?;
        Ok(kept)
    }

    fn commit(&self, lane: u64, body: &[u8]) -> Outcome<Reference> {
        let session = self.engine.session()?;
        let reference = Self::store(&session, body)?;
        let change = Change::set(Name::new(format!("lane-{lane}"))?, reference);
        session.commit(&[change], Some(Level::Disk)).wait()?;
        Ok(reference)
    }

    fn read(&self, place: &Reference, look: impl FnOnce(&[u8])) -> Outcome<()> {
        let record = self
            .engine
            .read(place.oid)
            .wait()?
            .ok_or("a record is missing")?;
        look(record.body());
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(self.engine.close()?)
    }
}
