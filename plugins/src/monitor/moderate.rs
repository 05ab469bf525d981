//! Moderation: what is measured below, and what writers are told.
//!
//! ```text
//!   engine ── may this begin? ──> gate ──┐   refused before an address is handed out
//!   engine ── store, commit ──> monitor ─┼─> pause: the answer comes later, nothing is blocked
//!                                        └── measures ──> judge ──> stage
//! ```
//!
//! Nothing runs by itself: who asks, stores or commits has the judge look again, at most once in some
//! milliseconds. What was begun always goes down as it came: a batch holds addresses that were handed
//! out, and a commit that was acknowledged is never taken back.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use travertine_engine::contract::{Begins, Env, Error, ErrorKind, Gate, Level, Op, Result, Status};

use super::look::Look;
use super::probe::Watch;
use super::rules::{Judge, Measures, RULES, Rule, Rules, Stage};

/// The judge looks no more often.
const AGAIN_NS: u64 = 2_000_000;
/// The status of the floors is looked at no more often.
const STATUS_NS: u64 = 50_000_000;
/// In how many steps the window moves on.
const SLICES: usize = 8;
/// A share of errors is of so many calls at least.
const CALLS_LEAST: u64 = 8;

/// Measures, and holds writes back.
#[derive(Debug)]
pub(super) struct Moderator {
    env: Env,
    rules: Rules,
    watch: Arc<Watch>,
    look: Arc<Look>,
    /// Kinds of floors that keep copies: only below those does a replica lag.
    copies: Vec<&'static str>,
    stage: AtomicU8,
    again_ns: AtomicU64,
    dirty: AtomicU64,
    refused: AtomicU64,
    paused: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    judge: Judge,
    measures: Measures,
    /// Where the fullest medium is.
    fullest: String,
    slices: [Slice; SLICES],
    /// Calls and errors of each boundary when the judge looked last.
    blamed: Vec<(u64, u64)>,
    /// When each commit began that is on its way.
    commits: Vec<(u64, u64)>,
    next_commit: u64,
}

/// What happened in one step of the window.
#[derive(Debug, Default)]
struct Slice {
    number: u64,
    commits: u64,
    commit_ns: u64,
    /// Calls and errors of each boundary.
    blame: Vec<(u64, u64)>,
}

impl Moderator {
    pub(super) fn new(
        env: &Env,
        rules: Rules,
        watch: Arc<Watch>,
        look: Arc<Look>,
        copies: Vec<&'static str>,
    ) -> Self {
        let state = State {
            judge: Judge::new(rules.clone()),
            measures: [0.0; RULES],
            fullest: String::new(),
            slices: std::array::from_fn(|_| Slice::default()),
            blamed: vec![(0, 0); watch.spots().len()],
            commits: Vec::new(),
            next_commit: 0,
        };
        Self {
            env: env.clone(),
            rules,
            watch,
            look,
            copies,
            stage: AtomicU8::new(Stage::Ok as u8),
            again_ns: AtomicU64::new(0),
            dirty: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// The stage, looked at anew if that is due.
    pub(super) fn stage(&self) -> Stage {
        let now = self.env.clock.monotonic_ns();
        let again = self.again_ns.load(Ordering::Relaxed);
        let claim = || {
            let next = now.saturating_add(AGAIN_NS);
            let claimed =
                self.again_ns
                    .compare_exchange(again, next, Ordering::Relaxed, Ordering::Relaxed);
            claimed.is_ok()
        };
        if now >= again && claim() {
            return self.judge(now);
        }
        Stage::from_number(self.stage.load(Ordering::Relaxed))
    }

    /// The stage and why it is so.
    pub(super) fn verdict(&self) -> (Stage, String) {
        let stage = self.stage();
        (stage, self.lock().why())
    }

    pub(super) fn figures(&self) -> [(&'static str, u64); 9] {
        let stage = self.stage();
        let state = self.lock();
        let measure = |rule: Rule| state.measures[rule as usize];
        [
            ("stage", stage as u64),
            ("stage_changes", state.judge.changes()),
            ("refused", self.refused.load(Ordering::Relaxed)),
            ("paused", self.paused.load(Ordering::Relaxed)),
            ("dirty_bytes", self.dirty.load(Ordering::Relaxed)),
            ("commit_ns", measure(Rule::Sync) as u64),
            ("lag_bytes", measure(Rule::Lag) as u64),
            ("fill_per_mille", (measure(Rule::Fill) * 1e3) as u64),
            ("errors_per_mille", (measure(Rule::Errors) * 1e3) as u64),
        ]
    }

    fn judge(&self, now: u64) -> Stage {
        let looked = self.looked();
        let status = looked.as_ref().map(|looked| &looked.status);
        let blame: Vec<_> = if self.rules.looks_at(Rule::Errors) {
            let spots = self.watch.spots().iter();
            spots.map(|spot| spot.seen.blame()).collect()
        } else {
            Vec::new()
        };
        let mut state = self.lock();
        let number = self.slice_of(now);
        state.note_blame(number, &blame);
        let mut measures = [0.0; RULES];
        if let Some((share, at)) = status.and_then(|status| fullest(status, "0".to_owned())) {
            measures[Rule::Fill as usize] = share;
            state.fullest = at;
        }
        measures[Rule::Dirty as usize] = self.dirty.load(Ordering::Relaxed) as f64;
        measures[Rule::Sync as usize] = state.commit_ns(number, now);
        measures[Rule::Lag as usize] = status.map_or(0.0, |status| self.lag(status) as f64);
        measures[Rule::Errors as usize] = state.errors(number);
        state.measures = measures;
        let before = state.judge.stage();
        let stage = state.judge.judge(now, &measures);
        self.stage.store(stage as u8, Ordering::Relaxed);
        let why = (stage != before).then(|| state.why());
        drop(state);
        if let Some(why) = why {
            let (from, to) = (before.name(), stage.name());
            if stage > before {
                tracing::warn!(from, to, why, "writes are held back");
            } else {
                tracing::info!(from, to, why, "writes are held back less");
            }
        }
        stage
    }

    /// The newest status that is there, if any rule wants one.
    fn looked(&self) -> Option<Arc<super::look::Looked>> {
        if !self.rules.looks_at(Rule::Fill) && !self.rules.looks_at(Rule::Lag) {
            return None;
        }
        self.look.refresh(STATUS_NS);
        self.look.latest()
    }

    /// Bytes that the last of several replicas lacks: what one has of a stream and another has not, or
    /// what the floor that keeps them says of one that cannot be asked.
    fn lag(&self, status: &Status) -> u64 {
        let deeper = status.below.iter().map(|below| self.lag(below));
        let deepest = deeper.max().unwrap_or(0);
        if !self.copies.contains(&status.kind) {
            return deepest;
        }
        let ends = || status.below.iter().flat_map(|below| &below.streams);
        let behind = |end: &travertine_engine::contract::StreamStatus| {
            let same = ends().filter(|other| other.stream == end.stream);
            let newest = same.map(|other| other.end).max().unwrap_or(0);
            newest.saturating_sub(end.end).saturating_mul(8)
        };
        let away = figure(status, "bytes_behind").unwrap_or(0);
        let seen = ends().map(behind).max().unwrap_or(0);
        seen.max(away).max(deepest)
    }

    fn slice_of(&self, now: u64) -> u64 {
        let step = (self.rules.window.as_nanos() as u64 / SLICES as u64).max(1);
        // From one on: a slice that was never used is of no time.
        now / step + SLICES as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch goes down.
    pub(super) fn stores(&self, bytes: u64) {
        self.dirty.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A commit goes down; what it answers is told to what is returned.
    pub(super) fn commits(self: &Arc<Self>, bytes: u64, syncs: bool) -> Committing {
        let dirty = self.dirty.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let now = self.env.clock.monotonic_ns();
        let mut state = self.lock();
        let number = state.next_commit;
        if syncs {
            state.next_commit += 1;
            state.commits.push((number, now));
        }
        Committing {
            moderator: self.clone(),
            number,
            began: now,
            dirty,
            syncs,
        }
    }

    /// An answer that comes no sooner than the stage wants it.
    pub(super) fn paced<T: Send + 'static>(&self, op: Op<T>) -> Op<T> {
        if self.stage() != Stage::Slow {
            return op;
        }
        self.paused.fetch_add(1, Ordering::Relaxed);
        let pause = self.rules.pause.as_nanos() as u64;
        let until = self.env.clock.monotonic_ns().saturating_add(pause);
        let env = self.env.clone();
        op.then(move |value| {
            let clock = env.clock.clone();
            env.offload(move || {
                let left = until.saturating_sub(clock.monotonic_ns());
                clock.sleep(Duration::from_nanos(left));
                Ok(value)
            })
        })
    }
}

impl Gate for Moderator {
    fn admit(&self, what: Begins) -> Result<()> {
        let stage = self.stage();
        if stage < Stage::Shed {
            return Ok(());
        }
        let state = self.lock();
        // Only commits make clean what is dirty.
        if what == Begins::Commit && state.judge.cause() == Some(Rule::Dirty) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let kind = match state.judge.cause() {
            Some(Rule::Fill) => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        let why = state.why();
        drop(state);
        let text = match stage {
            Stage::ReadOnly => format!("nothing is written until all is well again: {why}"),
            _ => format!("nothing new begins for now: {why}"),
        };
        Err(Error::new(kind, text)
            .with_retry(self.rules.dwell)
            .at("monitor"))
    }
}

impl State {
    /// Why the stage is what it is.
    fn why(&self) -> String {
        match self.judge.cause() {
            Some(Rule::Fill) => format!("{} (it is the one {})", self.judge.why(), self.fullest),
            _ => self.judge.why(),
        }
    }

    fn slice(&mut self, number: u64) -> &mut Slice {
        let slice = &mut self.slices[(number % SLICES as u64) as usize];
        if slice.number != number {
            *slice = Slice {
                number,
                ..Slice::default()
            };
        }
        slice
    }

    /// The slices that are within the window now.
    fn window(&self, number: u64) -> impl Iterator<Item = &Slice> {
        let within = move |slice: &&Slice| slice.number + SLICES as u64 > number;
        self.slices.iter().filter(within)
    }

    /// Takes in how often what failed since the last look.
    fn note_blame(&mut self, number: u64, blame: &[(u64, u64)]) {
        let before = self.blamed.iter().chain(std::iter::repeat(&(0, 0)));
        let since: Vec<_> = blame
            .iter()
            .zip(before)
            .map(|(now, before)| {
                (
                    now.0.saturating_sub(before.0),
                    now.1.saturating_sub(before.1),
                )
            })
            .collect();
        self.blamed = blame.to_vec();
        let slice = self.slice(number);
        slice.blame.resize(blame.len(), (0, 0));
        for (sum, more) in slice.blame.iter_mut().zip(since) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }

    /// The share of errors at the worst boundary.
    fn errors(&self, number: u64) -> f64 {
        let share = |boundary: usize| {
            let seen = self
                .window(number)
                .filter_map(|slice| slice.blame.get(boundary));
            let (calls, errors) = seen.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
            if calls < CALLS_LEAST {
                return 0.0;
            }
            errors as f64 / calls as f64
        };
        (0..self.blamed.len()).map(share).fold(0.0, f64::max)
    }

    /// How long a commit takes: the mean of the window, or the one that is waited for if longer.
    fn commit_ns(&self, number: u64, now: u64) -> f64 {
        let sum = self.window(number).fold((0, 0), |sum, slice| {
            (sum.0 + slice.commits, sum.1 + slice.commit_ns)
        });
        let mean = sum.1.checked_div(sum.0).unwrap_or(0);
        let began = self.commits.iter().map(|(_, began)| *began).min();
        mean.max(began.map_or(0, |began| now.saturating_sub(began))) as f64
    }
}

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Committing {
    moderator: Arc<Moderator>,
    number: u64,
    began: u64,
    dirty: u64,
    syncs: bool,
}

impl Committing {
    /// The answer came.
    pub(super) fn end(self, answer: &Result<Level>) {
        if !self.syncs {
            return;
        }
        let now = self.moderator.env.clock.monotonic_ns();
        let number = self.moderator.slice_of(now);
        let mut state = self.moderator.lock();
        let slice = state.slice(number);
        slice.commits += 1;
        slice.commit_ns += now.saturating_sub(self.began);
        drop(state);
        if answer.is_ok() {
            let _ =
                self.moderator
                    .dirty
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |dirty| {
                        Some(dirty.saturating_sub(self.dirty))
                    });
        }
    }
}

impl Drop for Committing {
    /// Nobody waits for it any more.
    fn drop(&mut self) {
        if self.syncs {
            let mut state = self.moderator.lock();
            state.commits.retain(|(number, _)| *number != self.number);
        }
    }
}

/// The share of the fullest medium that is taken, and where it is: its place in the status, as figures of
/// floors have it, with its name or its kind. A floor that tells of its room tells for all below.
fn fullest(status: &Status, at: String) -> Option<(f64, String)> {
    match (figure(status, "space_total"), figure(status, "space_free")) {
        (Some(total), Some(free)) if total > 0 => {
            let called = status.name.as_deref().unwrap_or(status.kind);
            let share = 1.0 - free as f64 / total as f64;
            Some((share, format!("of `{called}` at {at}")))
        }
        _ => {
            let below = status.below.iter().enumerate();
            let each = below.filter_map(|(index, below)| fullest(below, format!("{at}.{index}")));
            each.max_by(|one, other| one.0.total_cmp(&other.0))
        }
    }
}

fn figure(status: &Status, name: &str) -> Option<u64> {
    let mut figures = status.figures.iter();
    figures.find(|(of, _)| *of == name).map(|(_, value)| *value)
}
