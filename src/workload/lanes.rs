//! Threads that share the operations of a run, each with chance and latencies of its own.

use std::sync::Barrier;

use super::figures::{Process, Steps, Written};
use super::random::Rng;
use super::timeline::Timeline;
use super::{Bench, Run};
use crate::contract::{Env, Error, Result};

/// One thread of a run.
#[derive(Debug)]
pub(super) struct Lane<'e> {
    pub(super) number: u64,
    pub(super) rng: Rng,
    env: &'e Env,
    began_ns: u64,
    last_ns: u64,
    steps: Steps,
    timeline: Timeline,
}

/// What one thread did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Did {
    pub(super) ops: u64,
    pub(super) given: u64,
}

impl Lane<'_> {
    /// A step ends here, and the next begins.
    #[inline]
    pub(super) fn step(&mut self) {
        let now = self.env.clock.monotonic_ns();
        let took = now - self.last_ns;
        self.steps.record(took);
        self.timeline.record(now - self.began_ns, took);
        self.last_ns = now;
    }
}

/// Runs `work` in every thread, all begun at once, and measures.
pub(super) fn run(
    bench: &Bench<'_>,
    work: impl Fn(&mut Lane<'_>) -> Result<Did> + Sync,
) -> Result<Run> {
    run_in(bench, bench.params.threads, work)
}

/// The same in so many threads.
pub(super) fn run_in(
    bench: &Bench<'_>,
    threads: u64,
    work: impl Fn(&mut Lane<'_>) -> Result<Did> + Sync,
) -> Result<Run> {
    let env = bench.env;
    let lanes = (0..threads)
        .map(|number| {
            Ok(Lane {
                number,
                rng: Rng::new(bench.params.seed, number),
                env,
                began_ns: 0,
                last_ns: 0,
                steps: Steps::new()?,
                timeline: Timeline::default(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let start = Barrier::new(lanes.len());
    let go = |mut lane: Lane<'_>| {
        start.wait();
        let began = env.clock.monotonic_ns();
        (lane.began_ns, lane.last_ns) = (began, began);
        let did = work(&mut lane);
        let ended = env.clock.monotonic_ns();
        (began, ended, did, lane.steps, lane.timeline)
    };
    // Where the peak cannot be forgotten, it is that of the whole process.
    let _ = Process::reset_peak();
    let written = Written::of(&bench.engine.status());
    let process = Process::now();
    let outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .into_iter()
            .map(|lane| scope.spawn(|| go(lane)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                let died = |_| Error::closed("a thread of the run died");
                thread.join().map_err(died)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let after = Process::now();
    let mut run = Run {
        ops: 0,
        ns: 0,
        steps: Steps::new()?,
        timeline: Timeline::default(),
        given: 0,
        written: Written::of(&bench.engine.status()).since(written),
        cpu_ns: after.cpu_ns.saturating_sub(process.cpu_ns),
        peak: after.peak,
    };
    let (mut first, mut last) = (u64::MAX, 0);
    for (began, ended, did, steps, timeline) in outcomes {
        let did = did?;
        run.ops += did.ops;
        run.given += did.given;
        run.steps.add(&steps)?;
        run.timeline.add(&timeline);
        first = first.min(began);
        last = last.max(ended);
    }
    run.ns = last.saturating_sub(first).max(1);
    Ok(run)
}
