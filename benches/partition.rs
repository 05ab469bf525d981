//! A partition over so many media beside one log on one medium, in one interleaved run: how long a
//! durable commit takes that has written to every medium, and how many bytes a second go in. Prints
//! medians over rounds and ratios to the one medium.
//!
//! `cargo bench -p travertine-benches --bench partition [-- --quick]`. Media are simulated: bytes lie in
//! memory, a flush takes 2 ms and a second for each 100 MB, on whichever thread asks for it. The rows
//! that say so lie in directories of `TMPDIR` instead, all on one real disk.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures with the system's clock"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use travertine_benches::raw::compare;
use travertine_engine::contract::{Env, Kind, Level, NewRecord, Op, Result};
use travertine_engine::front::{Engine, Hint, Options};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::medium::{Medium, MediumFile};
use travertine_engine::stack::{Layer, Media, Opening, Plan, Spec};

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How long a flush takes, whatever there is to flush.
const LATENCY: Duration = Duration::from_millis(2);
/// Bytes a second beyond that.
const BANDWIDTH: f64 = 100e6;

fn main() -> Outcome<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, commits) = if quick { (5, 40) } else { (9, 200) };
    let real = tempfile::tempdir()?;
    println!(
        "{:<44} {:>12} {:>12} {:>7}  spread",
        "row", "one", "partition", "ratio"
    );
    for media in [2, 4, 8] {
        for on in [None, Some(real.path())] {
            let place = if on.is_some() {
                "one real disk"
            } else {
                "simulated"
            };
            let name = format!("commit on all of {media}, {place}, µs");
            compare(&name, rounds, || {
                let one = commit_us(&open(1, on)?, media, commits)?;
                Ok((one, commit_us(&open(media, on)?, media, commits)?))
            })?;
        }
        compare(
            &format!("load over {media}, simulated, MB/s"),
            rounds,
            || Ok((megabytes(&open(1, None)?)?, megabytes(&open(media, None)?)?)),
        )?;
    }
    Ok(())
}

/// An engine on so many media: one log, or a partition over logs. On a real disk it has a directory of
/// its own, and what was there before stays: taking it away would keep the disk busy for a while.
fn open(media: usize, directory: Option<&Path>) -> Outcome<Engine> {
    let file = |n: usize| Layer::new("file").with("path", format!("place-{n}").as_str());
    let spec = match media {
        1 => Spec::linear([file(0)]),
        _ => {
            let stacks = (0..media).map(|n| vec![file(n)]);
            Spec::linear([Layer::new("partition").over(stacks.collect())])
        }
    };
    static STACKS: AtomicU64 = AtomicU64::new(0);
    let number = STACKS.fetch_add(1, Ordering::Relaxed);
    let base = directory.map_or(PathBuf::new(), |directory| {
        directory.join(number.to_string())
    });
    let plan = Plan::new(&spec, &travertine_plugins::standard(), &base)
        .map_err(|errors| format!("{errors:?}"))?;
    let slow: Arc<dyn Media> = Arc::new(SlowMedia::default());
    let opening = Opening {
        media: directory.is_none().then_some(slow),
        ..Opening::default()
    };
    let env = Env::system();
    let stack = plan.open(&env, opening)?;
    Ok(Engine::open(stack.store(), &env, Options::default())?)
}

fn store(engine: &Engine, count: usize, body: &[u8]) -> Outcome<()> {
    let session = engine.session()?;
    for _ in 0..count {
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        session.store(&record, Hint::default())?;
    }
    session.commit(&[], Some(Level::Disk)).wait()?;
    Ok(())
}

/// Mean time of a commit of as many small records as there are media.
fn commit_us(engine: &Engine, records: usize, commits: usize) -> Outcome<f64> {
    let body = [7; 100];
    for _ in 0..5 {
        store(engine, records, &body)?;
    }
    let began = Instant::now();
    for _ in 0..commits {
        store(engine, records, &body)?;
    }
    let took = began.elapsed();
    engine.close()?;
    Ok(took.as_secs_f64() * 1e6 / commits as f64)
}

/// How fast records of 64 KiB go in, committed every 16 MiB.
fn megabytes(engine: &Engine) -> Outcome<f64> {
    let body = vec![7; 64 << 10];
    store(engine, 8, &body)?;
    let began = Instant::now();
    for _ in 0..2 {
        store(engine, 256, &body)?;
    }
    let took = began.elapsed();
    engine.close()?;
    Ok((2 * 256 * body.len()) as f64 / 1e6 / took.as_secs_f64())
}

/// A medium for each place.
#[derive(Debug, Default)]
struct SlowMedia(Mutex<BTreeMap<PathBuf, MemoryMedium>>);

impl Media for SlowMedia {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::new(Slow(places.entry(place.to_owned()).or_default().clone()))
    }
}

/// Files in memory, whose flush takes as long as on a device.
#[derive(Debug)]
struct Slow(MemoryMedium);

impl Slow {
    fn file(file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(SlowFile {
            file,
            dirty: AtomicU64::new(0),
        })
    }
}

impl Medium for Slow {
    fn place(&self) -> String {
        self.0.place()
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        self.0.create(name).map(Self::file)
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        self.0.open(name, write).map(Self::file)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> Result<()> {
        std::thread::sleep(LATENCY);
        Ok(())
    }

    fn lock(&self) -> Result<()> {
        self.0.lock()
    }

    fn unlock(&self) {
        self.0.unlock();
    }

    fn unit(&self) -> u64 {
        4096
    }

    fn level(&self) -> Level {
        Level::Disk
    }
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn MediumFile>,
    /// Bytes written since the last flush.
    dirty: AtomicU64,
}

impl MediumFile for SlowFile {
    fn len(&self) -> Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.file.read_at(offset, length)
    }

    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        self.file.fetch(env, offset, length)
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.dirty.fetch_add(bytes as u64, Ordering::Relaxed);
        self.file.write_at(offset, parts)
    }

    fn claim(&self, end: u64) -> Result<()> {
        self.file.claim(end)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> Result<()> {
        let dirty = self.dirty.swap(0, Ordering::Relaxed);
        std::thread::sleep(LATENCY + Duration::from_secs_f64(dirty as f64 / BANDWIDTH));
        Ok(())
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        self.file.map(length)
    }
}
