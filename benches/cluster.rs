//! A cluster of three directories against one: latency of durable commits, interleaved; and what a
//! writer and a reader feel when a child dies under load.
//!
//! `cargo bench -p travertine-benches --bench cluster [-- --quick]`; the directory is `TMPDIR`, which
//! must not be in memory. All children lie on the one device that is there, so their syncs compete:
//! three devices would do better. Sync: `fdatasync`.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use travertine::stack::{Layer, Media, Opening, Plan, Spec};
use travertine_engine::contract::{Env, Error, Kind, Level, Name, NewRecord, Oid, Op, Result};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::medium::file::FileMedium;
use travertine_engine::medium::{Medium, MediumFile};

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let commits = if quick { 300 } else { 2000 };
    latency(commits)?;
    death(commits)
}

/// Commits in turn on one directory, on three at once that know nothing of each other, and on a
/// cluster of three.
fn latency(commits: usize) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let media = Arc::new(Mortal::default());
    let alone = Spec::linear([file("alone")]);
    let alone = open(&alone, directory.path(), &media)?;
    let mut trio = Vec::new();
    for name in ["x", "y", "z"] {
        trio.push(open(&Spec::linear([file(name)]), directory.path(), &media)?);
    }
    let cluster = open(&of_three(), directory.path(), &media)?;
    let (mut one, mut slowest, mut three) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..commits {
        one.push(timed(|| commit(&alone).map(drop))?);
        three.push(timed(|| commit(&cluster).map(drop))?);
        // Side by side: the slowest of three that share the device as the children do.
        let took: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = trio
                .iter()
                .map(|engine| scope.spawn(move || timed(|| commit(engine).map(drop))))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        let took: std::result::Result<Vec<_>, _> = took.into_iter().collect();
        slowest.push(took?.into_iter().max().unwrap_or_default());
    }
    row("one directory", &mut one);
    row("slowest of three side by side", &mut slowest);
    row("cluster of three, ack = 2", &mut three);
    let ratio =
        |of: &[Duration], to: &[Duration]| at(of, 99).as_secs_f64() / at(to, 99).as_secs_f64();
    println!("p99: cluster / one directory {:.2}", ratio(&three, &one));
    println!(
        "p99: cluster / slowest of three {:.2}",
        ratio(&three, &slowest)
    );
    Ok(())
}

/// One child dies in the middle, and comes back.
fn death(commits: usize) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let media = Arc::new(Mortal::default());
    let engine = open(&of_three(), directory.path(), &media)?;
    let written: Vec<_> = (0..commits / 4)
        .map(|_| commit(&engine))
        .collect::<Result<_>>()?;
    let stop = AtomicBool::new(false);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (reads, failed) = std::thread::scope(|scope| -> Outcome<(u64, u64)> {
        let reader = scope.spawn(|| {
            let (mut reads, mut failed) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for oid in &written {
                    reads += 1;
                    failed += u64::from(!matches!(engine.read(*oid).wait(), Ok(Some(_))));
                }
            }
            (reads, failed)
        });
        for _ in 0..commits / 2 {
            before.push(timed(|| commit(&engine).map(drop))?);
        }
        media.dead.store(true, Ordering::SeqCst);
        for _ in 0..commits / 2 {
            after.push(timed(|| commit(&engine).map(drop))?);
        }
        stop.store(true, Ordering::Relaxed);
        Ok(reader.join().unwrap_or_default())
    })?;
    row("before a child dies", &mut before);
    row("after it", &mut after);
    println!("reads {reads}, failed {failed}");
    media.dead.store(false, Ordering::SeqCst);
    let began = Instant::now();
    let in_line = || {
        let status = engine.status();
        let figures = &status.below[0].figures;
        figures
            .iter()
            .any(|(name, value)| *name == "children_in_line" && *value == 3)
    };
    while !in_line() {
        commit(&engine)?;
        if began.elapsed() > Duration::from_secs(60) {
            return Err("the child did not come back".into());
        }
    }
    println!("back in line after {:?}", began.elapsed());
    engine.close()?;
    Ok(())
}

fn row(name: &str, took: &mut [Duration]) {
    took.sort_unstable();
    println!(
        "{name:<32} p50 {:>9.1?}  p90 {:>9.1?}  p99 {:>9.1?}  most {:>9.1?}",
        at(took, 50),
        at(took, 90),
        at(took, 99),
        took.last().copied().unwrap_or_default()
    );
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    let index = sorted.len() * percent / 100;
    sorted.get(index).copied().unwrap_or_default()
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn file(path: &str) -> Layer {
    Layer::new("file").with("path", path)
}

fn of_three() -> Spec {
    let children = ["a", "b", "c"].map(|name| vec![file(name)]);
    Spec::linear([Layer::new("cluster").over(children.into())])
}

fn open(spec: &Spec, base: &Path, media: &Arc<Mortal>) -> Outcome<Engine> {
    let registry = travertine::standard();
    let plan = Plan::new(spec, &registry, base).map_err(|errors| format!("{errors:?}"))?;
    let env = Env::system();
    let opening = Opening {
        media: Some(media.clone()),
        ..Opening::default()
    };
    let stack = plan.open(&env, opening)?;
    Ok(Engine::open(stack.store(), &env, Options::default())?)
}

fn commit(engine: &Engine) -> Result<Oid> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&[7; 100]],
    };
    let stored = session.store(&record, Hint::default())?;
    let change = Change {
        name: Name::new("it")?,
        expect: Expect::Any,
        to: Some(stored),
    };
    session.commit(&[change], None).wait()?;
    Ok(stored.oid)
}

/// Directories, of which the one named `a` can die.
#[derive(Debug, Default)]
struct Mortal {
    dead: Arc<AtomicBool>,
}

impl Media for Mortal {
    fn medium(&self, place: &Path, unit: u64) -> Arc<dyn Medium> {
        let medium = FileMedium::new(place, unit);
        if place.ends_with("a") {
            return Arc::new(May {
                inner: medium,
                dead: self.dead.clone(),
            });
        }
        Arc::new(medium)
    }
}

/// Something that answers nothing once it is dead.
#[derive(Debug)]
struct May<T> {
    inner: T,
    dead: Arc<AtomicBool>,
}

impl<T> May<T> {
    fn alive(&self) -> Result<&T> {
        match self.dead.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the device is gone")),
            false => Ok(&self.inner),
        }
    }

    fn file(&self, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(May {
            inner: file,
            dead: self.dead.clone(),
        })
    }
}

impl Medium for May<FileMedium> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn list(&self) -> Result<Vec<String>> {
        self.alive()?.list()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        Ok(self.file(self.alive()?.create(name)?))
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        Ok(self.file(self.alive()?.open(name, write)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.alive()?.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.alive()?.remove(name)
    }

    fn sync_dir(&self) -> Result<()> {
        self.alive()?.sync_dir()
    }

    fn lock(&self) -> Result<()> {
        self.alive()?.lock()
    }

    fn unlock(&self) {
        self.inner.unlock();
    }

    fn unit(&self) -> u64 {
        self.inner.unit()
    }

    fn level(&self) -> Level {
        self.inner.level()
    }
}

impl MediumFile for May<Arc<dyn MediumFile>> {
    fn len(&self) -> Result<u64> {
        self.alive()?.len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.alive()?.read_at(offset, length)
    }

    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        match self.alive() {
            Ok(inner) => inner.fetch(env, offset, length),
            Err(error) => Op::err(error),
        }
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.alive()?.write_at(offset, parts)
    }

    fn claim(&self, end: u64) -> Result<()> {
        self.alive()?.claim(end)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.alive()?.set_len(length)
    }

    fn sync(&self) -> Result<()> {
        self.alive()?.sync()
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        // What was mapped stays readable on a real device too, until the page is needed.
        self.inner.map(length)
    }
}
