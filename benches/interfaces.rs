//! The B-tree and the chain as criterion sees them: one operation at a time, over memory and over one log in a
//! directory, the B-tree on the rows of the workloads that the command line's `bench` runs.
//!
//! `cargo bench -p travertine-benches --bench interfaces [-- FILTER]`; the directory is `TMPDIR`, which
//! must not be in memory. Every value that is read is checked. Durable rows are one `fdatasync` each.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use travertine::contract::{Env, Error, Level, Name, Result};
use travertine::front::{Engine, Options};
use travertine::interfaces::chain::{self, Turn};
use travertine::interfaces::{Chain, Direction};
use travertine::stack::{Layer, Opening, Plan, Spec, Stack};
use travertine::workload::random::{Rng, Shuffle};
use travertine::workload::{Rows, Table, from_key, walk};
use travertine_plugins::standard;

const RECORDS: u64 = 200_000;
const VALUE: usize = 150;

/// A loaded tree on an open stack.
struct Subject {
    name: &'static str,
    table: Table,
    rows: Rows,
    engine: Engine,
    _stack: Stack,
}

/// An engine over one log.
fn engine(name: &'static str, base: &Path, level: Level) -> Result<(Stack, Engine)> {
    let bottom = match level {
        Level::Memory => Layer::new("memory"),
        _ => Layer::new("file").with("path", name),
    };
    let spec = Spec::linear([bottom]).level(&level.to_string());
    let plan = Plan::new(&spec, &standard(), base)
        .map_err(|errors| Error::invalid(format!("{errors:?}")))?;
    let env = Env::system();
    let stack = plan.open(&env, Opening::default())?;
    let options = Options {
        level,
        ..Options::default()
    };
    let engine = Engine::open(stack.store(), &env, options)?;
    Ok((stack, engine))
}

impl Subject {
    fn open(name: &'static str, base: &Path, level: Level) -> Result<Self> {
        let (stack, engine) = engine(name, base, level)?;
        let rows = Rows::new(RECORDS, VALUE, 1);
        let table = Table::new(&engine, "bench", None)?;
        let (mut number, mut value) = (0, Vec::new());
        table.load(|push| {
            if number == RECORDS {
                return Ok(false);
            }
            rows.value(number, 0, &mut value);
            push(&rows.key(number), &value)?;
            number += 1;
            Ok(true)
        })?;
        Ok(Self {
            name,
            table,
            rows,
            engine,
            _stack: stack,
        })
    }

    fn get(&self, criterion: &mut Criterion) -> Result<()> {
        let (rows, reader) = (&self.rows, self.table.reader()?);
        let mut rng = Rng::new(1, 0);
        let mut group = criterion.benchmark_group("get");
        group.bench_function(BenchmarkId::new("present", self.name), |bench| {
            bench.iter(|| {
                let number = rng.below(RECORDS);
                let value = must(must(reader.get(&rows.key(number)).wait()).ok_or_else(gone));
                assert_eq!(rows.check(number, &value), Some(0));
            });
        });
        group.throughput(Throughput::Elements(16));
        group.bench_function(BenchmarkId::new("16 at once", self.name), |bench| {
            bench.iter(|| {
                let numbers: [_; 16] = std::array::from_fn(|_| rng.below(RECORDS));
                let keys = numbers.map(|number| rows.key(number));
                let values = must(reader.get_many(&keys.each_ref().map(|key| &key[..])).wait());
                for (number, value) in numbers.into_iter().zip(values) {
                    assert_eq!(rows.check(number, &must(value.ok_or_else(gone))), Some(0));
                }
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("absent", self.name), |bench| {
            bench.iter(|| {
                let key = rows.absent(rng.below(RECORDS));
                assert!(must(reader.get(&key).wait()).is_none());
            });
        });
        group.finish();
        Ok(())
    }

    fn range(&self, criterion: &mut Criterion) -> Result<()> {
        let (rows, reader) = (&self.rows, self.table.reader()?);
        let mut rng = Rng::new(1, 0);
        let mut group = criterion.benchmark_group("range");
        for length in [1, 10, 1000] {
            group.throughput(Throughput::Elements(length));
            group.bench_function(BenchmarkId::new(length.to_string(), self.name), |bench| {
                bench.iter(|| {
                    let from = rng.below(RECORDS - length);
                    let mut range = from_key(&reader, &rows.key(from));
                    let met = must(walk(&reader, &mut range, length, |key, value| {
                        black_box(rows.check_entry(key, value)).ok_or_else(gone)?;
                        Ok(())
                    }));
                    assert_eq!(met, length);
                });
            });
        }
        group.finish();
        Ok(())
    }

    fn put(&self, criterion: &mut Criterion) {
        let (rows, table) = (&self.rows, &self.table);
        let order = Shuffle::new(RECORDS, 1);
        let (mut next, mut value) = (0, Vec::new());
        let mut group = criterion.benchmark_group("put and commit");
        for batch in [1, 100, 1000] {
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(batch.to_string(), self.name), |bench| {
                bench.iter(|| {
                    let (_, ticket) = must(table.transact(|writer| {
                        for _ in 0..batch {
                            let number = order.at(next % RECORDS);
                            next += 1;
                            rows.value(number, next, &mut value);
                            writer.put(&rows.key(number), &value)?;
                        }
                        Ok(())
                    }));
                    must(ticket.wait())
                });
            });
        }
        group.finish();
    }
}

fn btree(criterion: &mut Criterion) {
    let directory = must(tempfile::tempdir().map_err(|error| Error::io("TMPDIR", error)));
    for (name, level) in [("memory", Level::Memory), ("file", Level::Disk)] {
        let subject = must(Subject::open(name, directory.path(), level));
        must(subject.get(criterion));
        must(subject.range(criterion));
        subject.put(criterion);
        must(subject.engine.close());
    }
}

/// Entries of 100 bytes, pushed and popped in turns of some, from a chain that keeps its length.
fn chains(criterion: &mut Criterion) {
    let directory = must(tempfile::tempdir().map_err(|error| Error::io("TMPDIR", error)));
    for (place, level) in [("memory", Level::Memory), ("file", Level::Disk)] {
        let (_stack, engine) = must(engine(place, directory.path(), level));
        for linked in [false, true] {
            let kind = if linked { "linked" } else { "plain" };
            let name = must(Name::new(kind));
            let options = chain::Options {
                linked,
                ..chain::Options::default()
            };
            let chain = Chain::new(name, options);
            let turn = |work: &mut dyn FnMut(&mut Turn<'_>) -> Result<()>| {
                let session = must(engine.session());
                let mut turn = must(chain.writer(&session));
                must(work(&mut turn));
                must(must(turn.commit(None)).wait())
            };
            let fill = |entries: u64| {
                turn(&mut |turn| {
                    for _ in 0..entries {
                        turn.push(&[7; 100])?;
                    }
                    Ok(())
                })
            };
            fill(100_000);
            let mut group = criterion.benchmark_group(format!("chain, {kind}"));
            for some in [1_u64, 100] {
                group.throughput(Throughput::Elements(some));
                group.bench_function(BenchmarkId::new(format!("push {some}"), place), |bench| {
                    bench.iter(|| fill(some));
                });
                let name = format!("push and pop {some}");
                group.bench_function(BenchmarkId::new(name, place), |bench| {
                    bench.iter(|| {
                        fill(some);
                        turn(&mut |turn| {
                            for _ in 0..some {
                                turn.pop()?.ok_or_else(gone)?;
                            }
                            Ok(())
                        })
                    });
                });
                let name = format!("push and shift {some}");
                group.bench_function(BenchmarkId::new(name, place), |bench| {
                    bench.iter(|| {
                        fill(some);
                        turn(&mut |turn| {
                            for _ in 0..some {
                                turn.shift()?.ok_or_else(gone)?;
                            }
                            Ok(())
                        })
                    });
                });
            }
            let reader = must(chain.reader(&engine.snapshot()).wait());
            let mut rng = Rng::new(1, 0);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new("get", place), |bench| {
                bench.iter(|| {
                    let number = reader.first() + rng.below(reader.len());
                    must(must(reader.get(number).wait()).ok_or_else(gone))
                });
            });
            group.throughput(Throughput::Elements(1000));
            for direction in [Direction::Forward, Direction::Back] {
                let name = format!("scan 1000 {direction:?}");
                group.bench_function(BenchmarkId::new(name, place), |bench| {
                    bench.iter(|| {
                        let mut cursor = reader.cursor();
                        cursor.seek(reader.first() + 1000 + rng.below(reader.len() - 2000));
                        for _ in 0..1000 {
                            black_box(must(cursor.move_on(direction))).unwrap_or_default();
                        }
                    });
                });
            }
            group.finish();
        }
        must(engine.close());
    }
}

fn gone() -> Error {
    Error::corrupt("a row is missing or not its own")
}

/// A bench has nobody to hand an error to.
fn must<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{error}"))
}

criterion_group!(benches, btree, chains);
criterion_main!(benches);
