//! The process that is killed: it writes, reads, holds and tags, and says on its standard output what
//! was acknowledged, a line each, when it was.
//!
//! ```text
//!   open N          the stack is open, and holds commit N
//!   ack N           commit N is answered
//!   snap N R S      a snapshot of commit N that was held for a while: so many rows, this sum
//!   tag T N         the tag T is answered; it names commit N
//!   untag T         the tag T is about to go
//!   tick {…}        figures of the last second
//!   closed          it was asked to end, by the end of its standard input, and closed the stack
//! ```

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use travertine::contract::{Op, Result};
use travertine::front::Committed;
use travertine::workload::random::Rng;
use travertine::workload::{Rows, Steps};

use crate::Outcome;
use crate::desk::{self, Opened};
use crate::model::{STATE, commit_of, edits, scan};

/// Tags that there are at once.
const TAGS: u64 = 3;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    stack: PathBuf,
    #[arg(long)]
    rows: u64,
    #[arg(long)]
    value: u16,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    readers: u64,
    #[arg(long)]
    flight: usize,
    /// Which child it is: each holds and reads at moments of its own.
    #[arg(long)]
    life: u64,
}

/// What its threads share.
struct Shared<'a> {
    options: &'a Options,
    opened: &'a Opened,
    rows: &'a Rows,
    over: &'a AtomicBool,
    reads: &'a AtomicU64,
    /// Commits, and how long they took, in this second.
    steps: &'a Mutex<Steps>,
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody hears it any more: the end of the standard input says so.
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}

pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let file = desk::load(&options.stack)?;
    let opened = Opened::new(&file, None)?;
    let rows = Rows::new(options.rows, options.value.into(), options.seed);
    if opened.table.reader()?.count() == 0 {
        opened.load(&rows, Some((&STATE, &0_u32.to_le_bytes())))?;
    }
    let first = commit_of(&opened.table.reader()?)?.ok_or("the tree does not say its commit")?;
    say(&format!("open {first}"));
    let shared = Shared {
        options,
        opened: &opened,
        rows: &rows,
        over: &AtomicBool::new(false),
        reads: &AtomicU64::new(0),
        steps: &Mutex::new(Steps::new()?),
    };
    std::thread::scope(|scope| {
        let ends = |result: Outcome<()>| {
            if let Err(error) = result {
                say(&format!("err {error}"));
                std::process::exit(1);
            }
        };
        let shared = &shared;
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            shared.over.store(true, Ordering::Relaxed);
        });
        for reader in 0..options.readers {
            scope.spawn(move || ends(shared.read(reader)));
        }
        scope.spawn(move || ends(shared.hold()));
        scope.spawn(move || ends(shared.tick()));
        ends(shared.write(first));
    });
    opened.engine.close()?;
    say("closed");
    Ok(true)
}

impl Shared<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Sleeps, in short naps.
    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while self.goes_on() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20).min(until - Instant::now().min(until)));
        }
    }

    fn write(&self, first: u32) -> Outcome<()> {
        let mut flight: VecDeque<(u32, Instant, Op<Committed>)> = VecDeque::new();
        let mut value = Vec::new();
        let land = |flight: &mut VecDeque<(u32, Instant, Op<Committed>)>| -> Outcome<()> {
            if let Some((commit, began, ticket)) = flight.pop_front() {
                ticket.wait()?;
                say(&format!("ack {commit}"));
                let took = began.elapsed().as_nanos() as u64;
                self.steps
                    .lock()
                    .map_err(|_| "a thread failed")?
                    .record(took);
            }
            Ok(())
        };
        let mut commit = first;
        while self.goes_on() {
            commit += 1;
            let began = Instant::now();
            let ((), ticket) = self.opened.table.transact(|writer| -> Result<()> {
                for (row, stays) in edits(self.options.seed, commit, self.options.rows) {
                    if stays {
                        self.rows.value(row, commit.into(), &mut value);
                        writer.put(&self.rows.key(row), &value)?;
                    } else {
                        writer.delete(&self.rows.key(row))?;
                    }
                }
                writer.put(&STATE, &commit.to_le_bytes())
            })?;
            flight.push_back((commit, began, ticket));
            while flight.len() >= self.options.flight.max(1) {
                land(&mut flight)?;
            }
        }
        while !flight.is_empty() {
            land(&mut flight)?;
        }
        Ok(())
    }

    /// Reads rows of the newest commit: each must be one of its own, and none newer than the commit.
    fn read(&self, reader: u64) -> Outcome<()> {
        let mut rng = Rng::new(self.options.seed, self.options.life << 8 | reader);
        while self.goes_on() {
            let state = self.opened.table.reader()?;
            let commit = commit_of(&state)?.ok_or("a snapshot does not say its commit")?;
            for _ in 0..500 {
                let row = rng.below(self.options.rows);
                if let Some(value) = state.get(&self.rows.key(row)).wait()? {
                    let version = self.rows.check(row, &value);
                    if version.is_none_or(|version| version > commit.into()) {
                        return Err(format!("row {row} at commit {commit}: {version:?}").into());
                    }
                }
            }
            self.reads.fetch_add(500, Ordering::Relaxed);
            // A reader that never rests leaves a machine of two cores to nobody else.
            self.rest(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Holds a snapshot for a while, tags some, and then reads all of it.
    fn hold(&self) -> Outcome<()> {
        let mut rng = Rng::new(self.options.seed, !self.options.life);
        while self.goes_on() {
            let snapshot = self.opened.engine.snapshot().held_by("a soak");
            let state = self.opened.table.reader_of(&snapshot)?;
            let commit = commit_of(&state)?.ok_or("a snapshot does not say its commit")?;
            self.rest(Duration::from_millis(rng.below(6_000)));
            if rng.below(2) == 0 {
                let name = format!("soak-{}", rng.below(TAGS));
                if self.opened.engine.at_tag(&name)?.is_some() {
                    say(&format!("untag {name}"));
                    self.opened.engine.untag(&name)?;
                }
                self.opened.engine.tag(&name, &snapshot)?;
                say(&format!("tag {name} {commit}"));
            }
            let digest = scan(&state, self.rows, |_, _| ())?;
            say(&format!("snap {commit} {} {}", digest.rows, digest.sum));
        }
        Ok(())
    }

    /// Tells figures once a second.
    fn tick(&self) -> Outcome<()> {
        let mut appended = self.opened.appended();
        let mut began = Instant::now();
        while self.goes_on() {
            self.rest(Duration::from_secs(1));
            let fresh = Steps::new()?;
            let steps = {
                let mut steps = self.steps.lock().map_err(|_| "a thread failed")?;
                std::mem::replace(&mut *steps, fresh)
            };
            let seconds = began.elapsed().as_secs_f64();
            began = Instant::now();
            let now = self.opened.appended();
            let status = self.opened.engine.status();
            let figure = |name| {
                let found = status.figures.iter().find(|figure| figure.0 == name);
                found.map_or(0, |figure| figure.1)
            };
            let of = |share| steps.quantile(share) as f64 / 1e3;
            let figures = json!({
                "commits": steps.count() as f64 / seconds,
                "p50_us": of(0.5),
                "p99_us": of(0.99),
                "most_us": of(1.0),
                "reads": self.reads.swap(0, Ordering::Relaxed) as f64 / seconds,
                "appended": now,
                "append_rate": (now - appended) as f64 / seconds,
                "reclaims": figure("reclaims"),
                "stayed": figure("stayed_bytes"),
            });
            appended = now;
            say(&format!("tick {figures}"));
        }
        Ok(())
    }
}
