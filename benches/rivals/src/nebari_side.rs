//! nebari's side: one unversioned tree, keys sorted before a change as it asks. It offers no commit
//! without a sync.

use std::path::Path;

use nebari::io::fs::StdFile;
use nebari::tree::{Operation, Root, ScanEvaluation, Unversioned};
use nebari::{ArcBytes, ChunkCache, Config, Roots, Tree};

use crate::kv::{Data, Kv, Reader};
use crate::measure::Outcome;

pub struct Nebari {
    roots: Roots<StdFile>,
    rows: Tree<Unversioned, StdFile>,
}

impl Nebari {
    fn change(&self, data: &Data, numbers: &[u64], put: bool) -> Outcome<()> {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable_by_key(|number| data.key(*number));
        let keys = sorted
            .iter()
            .map(|number| ArcBytes::from(data.key(*number).to_vec()))
            .collect();
        let values = || {
            let mut values = Vec::with_capacity(sorted.len());
            for &number in &sorted {
                let mut value = Vec::new();
                data.value(number, &mut value);
                values.push(ArcBytes::from(value));
            }
            values
        };
        let operation = if put {
            Operation::SetEach(values())
        } else {
            Operation::Remove
        };
        let transaction = self.roots.transaction(&[Unversioned::tree("rows")])?;
        transaction
            .tree::<Unversioned>(0)
            .ok_or("the tree is not in its transaction")?
            .modify(keys, operation)?;
        Ok(transaction.commit()?)
    }
}

impl Kv for Nebari {
    const NAME: &'static str = "nebari";
    const LOOSE: bool = false;
    type Reader<'s> = &'s Nebari;

    fn open(path: &Path) -> Outcome<Self> {
        let cache = ChunkCache::new(100_000, 160 << 10);
        let roots = Config::default_for(path).cache(cache).open()?;
        let rows = roots.tree(Unversioned::tree("rows"))?;
        Ok(Self { roots, rows })
    }

    fn put(&self, data: &Data, numbers: &[u64], _: bool) -> Outcome<()> {
        self.change(data, numbers, true)
    }

    fn load_sorted(&self, data: &Data) -> Outcome<()> {
        let sorted: Vec<_> = (0..data.rows.records()).collect();
        self.change(data, &sorted, true)
    }

    fn remove(&self, data: &Data, numbers: &[u64]) -> Outcome<()> {
        self.change(data, numbers, false)
    }

    fn reader(&self) -> Outcome<&Nebari> {
        Ok(self)
    }

    fn compact(&mut self, _: &Path) -> Outcome<bool> {
        self.rows.compact()?;
        Ok(true)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }
}

impl Reader for &Nebari {
    fn get(&self, key: &[u8], mut look: impl FnMut(&[u8])) -> Outcome<bool> {
        let found = self.rows.get(key)?;
        if let Some(value) = &found {
            look(value);
        }
        Ok(found.is_some())
    }

    fn range(&self, from: &[u8], most: u64, mut look: impl FnMut(&[u8], &[u8])) -> Outcome<u64> {
        let (mut asked, mut met) = (0, 0);
        let read = self.rows.scan::<std::convert::Infallible, _, _, _, _>(
            &(from..),
            true,
            |_, _, _| ScanEvaluation::ReadData,
            |_, _| {
                asked += 1;
                if asked <= most {
                    ScanEvaluation::ReadData
                } else {
                    ScanEvaluation::Stop
                }
            },
            |key, _, value| {
                look(&key, &value);
                met += 1;
                Ok(())
            },
        );
        read.map_err(|error| format!("{error:?}"))?;
        Ok(met)
    }

    fn len(&self) -> Outcome<u64> {
        Ok(self.rows.count())
    }
}
