//! Logs: buffered and durable appends by size, group commit, point reads.

use std::path::Path;
use std::time::Instant;

use travertine::workload::Rows;
use travertine::workload::random::Rng;

use crate::Asked;
use crate::measure::{Better, Outcome, Report, Side, turns};
use crate::okaywal_side::Okaywal;
use crate::ours::OurLog;

/// A log that is compared.
pub trait LogSide: Sized {
    /// Where a record lies.
    type Place;

    fn open(path: &Path) -> Outcome<Self>;
    /// Appends so many records and makes them durable at the end. Answers where some lie.
    fn append(
        &self,
        count: u64,
        body: impl FnMut(u64, &mut Vec<u8>),
        keep: impl Fn(u64) -> bool,
    ) -> Outcome<Vec<(u64, Self::Place)>>;
    /// Appends one record and makes it durable.
    fn commit(&self, lane: u64, body: &[u8]) -> Outcome<Self::Place>;
    fn read(&self, place: &Self::Place, look: impl FnOnce(&[u8])) -> Outcome<()>;
    fn close(self) -> Outcome<()>;
}

/// Places that are kept to be read again.
const KEPT: u64 = 50_000;

/// All rows, all rounds.
pub fn run(asked: &Asked, report: &mut Report) -> Outcome<()> {
    report.sides = vec!["Travertine", "okaywal"];
    for round in 0..asked.rounds {
        eprintln!("round {} of {}", round + 1, asked.rounds);
        for (label, size, total) in [
            ("100 B", 100, 128 << 20),
            ("1 KiB", 1 << 10, 512 << 20),
            ("16 KiB", 16 << 10, 512 << 20),
            ("1 MiB", 1 << 20, 512 << 20),
        ] {
            let total = if asked.quick { total / 4 } else { total };
            let durable = match size {
                0..100_000 => 2000,
                _ => 500,
            };
            let durable = if asked.quick { durable / 4 } else { durable };
            let job = Job {
                label,
                count: total / size as u64,
                durable,
                rows: Rows::new(1, size, 5),
            };
            for side in turns(round, 2) {
                match side {
                    0 => sized::<OurLog>(asked, &job, side, report)?,
                    _ => sized::<Okaywal>(asked, &job, side, report)?,
                }
            }
        }
        for threads in [1, 4, 16, 64] {
            for side in turns(round, 2) {
                match side {
                    0 => group::<OurLog>(asked, threads, side, report)?,
                    _ => group::<Okaywal>(asked, threads, side, report)?,
                }
            }
        }
    }
    Ok(())
}

struct Job {
    label: &'static str,
    count: u64,
    durable: u64,
    rows: Rows,
}

fn sized<L: LogSide>(asked: &Asked, job: &Job, side: Side, report: &mut Report) -> Outcome<()> {
    let names = ["buffered", "reads", "durable"].map(|what| format!("{what} {}", job.label));
    if !names.iter().any(|name| report.wants(name)) {
        return Ok(());
    }
    let [buffered, reads, durable] = names;
    let Job { rows, count, .. } = job;
    let ground = tempfile::Builder::new()
        .prefix("rivals-")
        .tempdir_in(&asked.directory)?;
    let log = L::open(&ground.path().join("log"))?;
    let stride = count.div_ceil(KEPT);
    let kept = report.rate(&buffered, side, *count, || {
        log.append(
            *count,
            |number, body| rows.value(number, 0, body),
            |number| number.is_multiple_of(stride),
        )
    })?;
    let mut rng = Rng::new(9, 0);
    let wanted = (2 << 30) / (rows.size() as u64 + 4000) / 8;
    let order: Vec<_> = (0..wanted)
        .map(|_| rng.below(kept.len() as u64) as usize)
        .collect();
    report.rate(&reads, side, wanted, || {
        for &at in &order {
            let (number, place) = &kept[at];
            read(&log, rows, *number, place)?;
        }
        Ok(())
    })?;
    let (mut steps, mut body) = (Vec::new(), Vec::new());
    let places = report.rate(&durable, side, job.durable, || {
        let mut places = Vec::new();
        for number in 0..job.durable {
            rows.value(number, 1, &mut body);
            let began = Instant::now();
            places.push((number, log.commit(0, &body)?));
            steps.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(places)
    })?;
    steps.sort_by(f64::total_cmp);
    for (name, share) in [("p50", 50), ("p99", 99)] {
        let name = format!("{durable} {name}");
        let at = steps.len() * share / 100;
        report.add(
            &name,
            "us",
            Better::Less,
            side,
            steps[at.min(steps.len() - 1)],
            None,
        );
    }
    for (number, place) in &places {
        read(&log, rows, *number, place)?;
    }
    log.close()
}

fn read<L: LogSide>(log: &L, rows: &Rows, number: u64, place: &L::Place) -> Outcome<()> {
    let mut fine = false;
    log.read(place, |body| fine = rows.check(number, body).is_some())?;
    if fine {
        return Ok(());
    }
    Err(format!("record {number} is not what was appended").into())
}

fn group<L: LogSide + Sync>(
    asked: &Asked,
    threads: u64,
    side: Side,
    report: &mut Report,
) -> Outcome<()>
where
    L::Place: Send,
{
    let name = format!("commits of 100 B, {threads} writers");
    if !report.wants(&name) {
        return Ok(());
    }
    let rows = Rows::new(1, 100, 5);
    let each = 8000 / threads.max(4) / if asked.quick { 4 } else { 1 };
    let ground = tempfile::Builder::new()
        .prefix("rivals-")
        .tempdir_in(&asked.directory)?;
    let log = L::open(&ground.path().join("log"))?;
    let lane = |lane: u64| {
        let (mut body, mut places) = (Vec::new(), Vec::new());
        for number in lane * each..(lane + 1) * each {
            rows.value(number, 0, &mut body);
            places.push((number, log.commit(lane, &body)?));
        }
        Outcome::Ok(places)
    };
    let places = report.rate(&name, side, threads * each, || {
        std::thread::scope(|scope| {
            let lane = &lane;
            let lanes: Vec<_> = (0..threads)
                .map(|number| scope.spawn(move || lane(number)))
                .collect();
            let mut places = Vec::new();
            for lane in lanes {
                places.extend(lane.join().map_err(|_| "a thread died")??);
            }
            Ok(places)
        })
    })?;
    for (number, place) in &places {
        read(&log, &rows, *number, place)?;
    }
    log.close()
}
