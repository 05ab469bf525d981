//! A tree that is overwritten while space is given back, killed again and again.
//!
//! ```text
//!   parent   knows what every commit holds, from the seed      kill -9 ─┐
//!     │ reads what the child says was acknowledged, compares            │
//!     └──> child  writes, reads, holds, tags; reclaim by itself  <──────┘
//! ```
//!
//! After a kill the parent opens the stack. Every acknowledged commit must be there; of those that were
//! in flight any first few may be. The newest state is compared row by row, tagged states and one of
//! the past by what all their rows come to, and the tree's nodes are verified. One kill in four comes
//! while the child still opens the stack, and the next child opens it after that.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use travertine::contract::{ErrorKind, RootAt};
use travertine::workload::Rows;
use travertine::workload::random::Rng;

use crate::desk::{Desk, Opened};
use crate::model::{Digest, Model, commit_of, scan};
use crate::page::{Page, Plot, Series};
use crate::{Common, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// How long
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How often it is killed in that time
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Threads that read
    #[arg(long, default_value_t = 2)]
    readers: u64,
    /// Commits on their way at once
    #[arg(long, default_value_t = 4)]
    flight: usize,
}

/// A tag that is there for certain, and what it names.
type Tags = BTreeMap<String, u32>;

struct Soak<'a> {
    options: &'a Options,
    desk: Desk,
    rows: Rows,
    model: Model,
    rng: Rng,
    /// The newest commit that was acknowledged; `None`: not even the load was.
    acknowledged: Option<u32>,
    tags: Tags,
    children: u64,
    counts: Counts,
    plots: Plots,
}

#[derive(Debug, Default)]
struct Counts {
    kills: u32,
    while_opening: u32,
    checks: u32,
    acknowledged: u64,
    snapshots: u64,
    tags: u64,
    pasts: u64,
    rows: u64,
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Plots {
    used: Vec<(f64, f64)>,
    live: Vec<(f64, f64)>,
    stayed: Vec<(f64, f64)>,
    freed: Vec<(f64, f64)>,
    p50: Vec<(f64, f64)>,
    p99: Vec<(f64, f64)>,
    most: Vec<(f64, f64)>,
    commits: Vec<(f64, f64)>,
    reads: Vec<(f64, f64)>,
    opening: Vec<(f64, f64)>,
    kills: Vec<f64>,
}

pub(crate) fn run(options: &Options) -> Outcome<bool> {
    let common = &options.common;
    let mut soak = Soak {
        options,
        desk: Desk::new(common)?,
        rows: Rows::new(common.rows, common.value.into(), common.seed),
        model: Model::new(common.seed, common.rows),
        rng: Rng::new(common.seed, 0x50a4),
        acknowledged: None,
        tags: Tags::new(),
        children: 0,
        counts: Counts::default(),
        plots: Plots::default(),
    };
    let ended = soak.work();
    if let Err(error) = &ended {
        soak.counts.wrong.push(error.to_string());
    }
    soak.report()?;
    Ok(soak.counts.wrong.is_empty())
}

/// A child at work, and what it says.
struct Life {
    child: Child,
    said: Receiver<String>,
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Soak<'_> {
    fn work(&mut self) -> Outcome<()> {
        let whole = Duration::from_secs_f64(self.options.minutes * 60.0);
        while self.counts.wrong.is_empty() {
            let kills = self.options.kills.saturating_sub(self.counts.kills);
            // A machine that has much else to do may need more time for as many kills; not for ever.
            let late = self.desk.age() >= whole;
            if late && (kills == 0 || self.desk.age() > whole * 2) {
                break;
            }
            let left = match late {
                false => whole.saturating_sub(self.desk.age()),
                true => whole.mul_f64(f64::from(kills) / f64::from(self.options.kills)),
            };
            let mut life = self.begin()?;
            if kills == 0 {
                self.listen(&mut life, left)?;
                self.end(life)?;
                break;
            }
            let opening = self.acknowledged.is_some() && self.rng.below(4) == 0;
            let time = match opening {
                true => Duration::from_micros(self.rng.below(30_000)),
                false => left.mul_f64((2.0 * self.rng.unit() / f64::from(kills)).min(1.0)),
            };
            self.listen(&mut life, time)?;
            self.kill(life, opening)?;
            if !opening || self.rng.below(2) == 0 {
                self.check()?;
            }
            self.progress();
        }
        self.check()
    }

    fn begin(&mut self) -> Outcome<Life> {
        let common = &self.options.common;
        self.children += 1;
        let mut command = Command::new(std::env::current_exe()?);
        let stack: PathBuf = self.desk.path.join("stack.toml");
        command.arg("child").arg("--stack").arg(stack);
        for (name, value) in [
            ("--rows", common.rows),
            ("--value", common.value.into()),
            ("--seed", common.seed),
            ("--readers", self.options.readers),
            ("--flight", self.options.flight as u64),
            ("--life", self.children),
        ] {
            command.arg(name).arg(value.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("the child says nothing")?;
        let (tell, said) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.for_each(|line| drop(tell.send(line)));
        });
        Ok(Life { child, said })
    }

    /// Takes in what the child says for a time.
    fn listen(&mut self, life: &mut Life, time: Duration) -> Outcome<()> {
        let until = Instant::now() + time;
        loop {
            match life
                .said
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.hear(&line)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the child ended by itself: {}", life.child.wait()?).into());
                }
            }
        }
    }

    fn kill(&mut self, mut life: Life, opening: bool) -> Outcome<()> {
        life.child.kill()?;
        life.child.wait()?;
        // What it said before it died counts.
        while let Ok(line) = life.said.recv() {
            self.hear(&line)?;
        }
        self.counts.kills += 1;
        self.counts.while_opening += u32::from(opening);
        self.plots.kills.push(self.desk.age().as_secs_f64());
        Ok(())
    }

    /// Has a child end as it should.
    fn end(&mut self, mut life: Life) -> Outcome<()> {
        drop(life.child.stdin.take());
        let mut closed = false;
        while let Ok(line) = life.said.recv() {
            closed |= line == "closed";
            self.hear(&line)?;
        }
        match closed {
            true => Ok(()),
            false => Err("the child did not close the stack".into()),
        }
    }

    fn hear(&mut self, line: &str) -> Outcome<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open", commit] => self.recovered(commit.parse()?),
            ["ack", commit] => {
                let commit = commit.parse()?;
                self.acknowledged = self.acknowledged.max(Some(commit));
                self.model.advance(commit);
                self.counts.acknowledged += 1;
                Ok(())
            }
            ["snap", commit, rows, sum] => {
                self.counts.snapshots += 1;
                let digest = Digest {
                    rows: rows.parse()?,
                    sum: sum.parse()?,
                };
                self.compare("a snapshot that was held", commit.parse()?, digest);
                Ok(())
            }
            ["tag", name, commit] => {
                self.tags.insert(name.to_owned(), commit.parse()?);
                Ok(())
            }
            ["untag", name] => {
                self.tags.remove(name);
                Ok(())
            }
            ["tick", ..] => self.tick(&serde_json::from_str(&line["tick ".len()..])?),
            ["closed"] => Ok(()),
            _ => Err(format!("the child: {line}").into()),
        }
    }

    /// What was found after an opening: nothing acknowledged may be missing, and what is there beyond it
    /// was in flight.
    fn recovered(&mut self, commit: u32) -> Outcome<()> {
        if let Some(acknowledged) = self.acknowledged.filter(|least| commit < *least) {
            return Err(format!(
                "commit {acknowledged} was acknowledged, and {commit} is the newest that is there"
            )
            .into());
        }
        let most = self.acknowledged.unwrap_or(0) + self.options.flight.max(1) as u32;
        if commit > most {
            return Err(format!("commit {commit} is there, and was never begun").into());
        }
        self.acknowledged = Some(commit);
        self.model.advance(commit);
        Ok(())
    }

    fn compare(&mut self, what: &str, commit: u32, found: Digest) {
        // It may be in flight yet: then the model goes ahead, and what follows is held against it.
        if commit <= self.model.commit() + self.options.flight.max(1) as u32 {
            self.model.advance(commit);
        }
        let wanted = self.model.digest(commit);
        if wanted != Some(found) {
            let wrong = format!("{what} of commit {commit} holds {found:?}, not {wanted:?}");
            self.counts.wrong.push(wrong);
        }
    }

    fn tick(&mut self, figures: &Value) -> Outcome<()> {
        let at = self.desk.age().as_secs_f64();
        let figure = |name: &str| figures[name].as_f64().unwrap_or(0.0);
        let used = self.desk.used() as f64;
        let plots = &mut self.plots;
        plots.used.push((at, used));
        plots.freed.push((at, (figure("appended") - used).max(0.0)));
        if figure("stayed") > 0.0 {
            plots.stayed.push((at, figure("stayed")));
        }
        plots.commits.push((at, figure("commits")));
        plots.reads.push((at, figure("reads")));
        if figure("commits") > 0.0 {
            plots.p50.push((at, figure("p50_us")));
            plots.p99.push((at, figure("p99_us")));
            plots.most.push((at, figure("most_us")));
        }
        let mut line = figures.clone();
        line["seconds"] = at.into();
        line["used"] = used.into();
        self.desk.tell(&line)
    }

    /// Opens the stack and looks at all of it.
    fn check(&mut self) -> Outcome<()> {
        let began = Instant::now();
        let opened = self.open()?;
        let opening = began.elapsed();
        let reader = opened.table.reader()?;
        let Some(commit) = commit_of(&reader)? else {
            return match self.acknowledged {
                None => Ok(()),
                Some(_) => Err("nothing is there any more".into()),
            };
        };
        self.recovered(commit)?;
        let mut differs = None;
        let model = &self.model;
        let digest = scan(&reader, &self.rows, |row, version| {
            differs = differs.take().or_else(|| model.differs(row, version));
        })?;
        if let Some(differs) = differs {
            self.counts
                .wrong
                .push(format!("at commit {commit}: {differs}"));
        }
        self.compare("the newest state", commit, digest);
        for (name, commit) in self.tags.clone() {
            let Some(snapshot) = opened.engine.at_tag(&name)? else {
                self.counts.wrong.push(format!("the tag {name} is gone"));
                continue;
            };
            let digest = scan(&opened.table.reader_of(&snapshot)?, &self.rows, |_, _| ())?;
            self.compare(&name, commit, digest);
            self.counts.tags += 1;
        }
        self.look_back(&opened)?;
        let verified = reader.verify();
        if !verified.is_clean() {
            self.counts.wrong.push(verified.to_string());
        }
        let at = self.desk.age().as_secs_f64();
        let live = verified.node_bytes + verified.apart_bytes;
        self.plots.live.push((at, live as f64));
        self.plots.opening.push((at, opening.as_secs_f64() * 1e3));
        self.counts.checks += 1;
        self.counts.rows += digest.rows;
        opened.engine.close()?;
        self.desk.tell(&json!({
            "seconds": at,
            "check": self.counts.checks,
            "kills": self.counts.kills,
            "commit": commit,
            "live": live,
            "opening_ms": opening.as_secs_f64() * 1e3,
            "wrong": self.counts.wrong,
        }))
    }

    /// Reads one of the last commits, if it is one that can still be asked for.
    fn look_back(&mut self, opened: &Opened) -> Outcome<()> {
        let back = self.rng.below(40);
        let newest = opened.engine.snapshot().sequence();
        let at = RootAt::Sequence(newest.saturating_sub(back));
        let Some(snapshot) = opened.engine.at(at)? else {
            return Ok(());
        };
        let reader = opened.table.reader_of(&snapshot)?;
        if let Some(commit) = commit_of(&reader)? {
            let digest = scan(&reader, &self.rows, |_, _| ())?;
            self.compare("a past state", commit, digest);
            self.counts.pasts += 1;
        }
        Ok(())
    }

    /// The system takes a moment to take the locks of a killed process away.
    fn open(&self) -> Outcome<Opened> {
        for _ in 0..1_000 {
            match Opened::new(&self.desk.file, None) {
                Err(error) if unavailable(&*error) => std::thread::sleep(Duration::from_millis(10)),
                opened => return opened,
            }
        }
        Err("somebody still holds the stack".into())
    }

    fn progress(&self) {
        let counts = &self.counts;
        let used = self.plots.used.last().map_or(0.0, |used| used.1);
        eprintln!(
            "{:>6.0} s  {:>4} kills  {:>9} acknowledged  {:>7.1} MiB on disk  {} wrong",
            self.desk.age().as_secs_f64(),
            counts.kills,
            counts.acknowledged,
            used / f64::from(1 << 20),
            counts.wrong.len()
        );
    }

    fn report(&mut self) -> Outcome<()> {
        let counts = &self.counts;
        let least = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        let facts = [
            (
                "kills",
                format!("{}, {} while opening", counts.kills, counts.while_opening),
            ),
            ("commits acknowledged", counts.acknowledged.to_string()),
            (
                "checks after a kill",
                format!("{}, {} rows", counts.checks, counts.rows),
            ),
            ("snapshots held and read", counts.snapshots.to_string()),
            ("tagged states read", counts.tags.to_string()),
            ("past states read", counts.pasts.to_string()),
            ("most on disk", mib(least(&self.plots.used))),
            ("most live", mib(least(&self.plots.live))),
            (
                "slowest commit",
                format!("{:.1} ms", least(&self.plots.most) / 1e3),
            ),
            ("lost or wrong", counts.wrong.len().to_string()),
        ];
        for (name, fact) in &facts {
            eprintln!("{name:<26}{fact}");
        }
        for wrong in &counts.wrong {
            eprintln!("WRONG: {wrong}");
        }
        let ended = json!({
            "ended": true,
            "kills": counts.kills,
            "acknowledged": counts.acknowledged,
            "checks": counts.checks,
            "snapshots": counts.snapshots,
            "tags": counts.tags,
            "pasts": counts.pasts,
            "wrong": counts.wrong,
        });
        self.desk.tell(&ended)?;
        let Some(report) = &self.options.common.report else {
            return Ok(());
        };
        let mut page = Page::new("Reclaim soak", &facts, &self.counts.wrong);
        let kills = &self.plots.kills;
        let plots = &self.plots;
        let line = |name, points: &Vec<(f64, f64)>| Series {
            name,
            points: points.clone(),
        };
        for (title, unit, log, series) in [
            (
                "On disk",
                "MiB",
                false,
                vec![
                    line("on disk", &scaled(&plots.used)),
                    line("live: reached by the newest commit", &scaled(&plots.live)),
                ],
            ),
            (
                "Given back since the beginning",
                "MiB",
                false,
                vec![line(
                    "appended and not there any more",
                    &scaled(&plots.freed),
                )],
            ),
            (
                "Commits",
                "µs",
                true,
                vec![
                    line("median", &plots.p50),
                    line("99 of 100 below", &plots.p99),
                    line("slowest", &plots.most),
                ],
            ),
            (
                "Commits",
                "a second",
                false,
                vec![line("commits", &plots.commits)],
            ),
            (
                "Reads",
                "a second",
                false,
                vec![line("reads", &plots.reads)],
            ),
            (
                "Opening after a kill",
                "ms",
                false,
                vec![line("opening", &plots.opening)],
            ),
        ] {
            page.plot(&Plot {
                title,
                unit,
                log,
                series,
                marks: kills,
            });
        }
        std::fs::write(report, page.end())?;
        eprintln!("{}", report.display());
        Ok(())
    }
}

fn scaled(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mib = f64::from(1 << 20);
    points
        .iter()
        .map(|(at, bytes)| (*at, bytes / mib))
        .collect()
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<travertine::contract::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::Unavailable)
}
