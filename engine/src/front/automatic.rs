//! Reclaim by itself: now and then, where enough was written since the last time.
//!
//! Off unless [`Options::reclaim`](super::Options::reclaim) says otherwise. It runs on a thread of its
//! own, which a simulated environment does not have, at a bounded rate; what goes wrong is logged and
//! tried again the next time.
//!
//! ```text
//!   bytes below:   what stays │ garbage that was left │ written since, soon garbage │ more │ more ──>
//!                             └────── three quarters ─┴────────── a quarter ────────┤      │
//!                                     of what may lie there                       begins   writers are
//!                                                                                          held back
//! ```
//!
//! What may lie there is a share of what stays. To leave some of it costs room and saves writing, for a part that
//! is half full is written once for each byte that it gives back, and later it would be emptier: a reclaim frees
//! [the worst parts](super::worst), where the floors tell of them. If those were half of what had been written
//! since the last time, the next reclaim begins half way from what was left to the share, though not before a
//! quarter of it was written: as much may be nearly empty again. Elsewhere it frees all that is worth it, and the
//! whole share may be written from one to the next.
//!
//! Where the last reclaim looked up to is known from its decision, whoever made it, so a process that
//! lives for a short time gives back as much as one that lives long.
//!
//! Who writes finds that it is time, and wakes the thread. While a reclaim is at it for so long that an eighth
//! of the share more was written, writers are [held back](Brake): the more has been written beyond that, the
//! more, until they write an eighth in the time that the reclaim has taken so far. No single call waits for
//! longer than a moment, and nobody waits for a reclaim that failed. Nor for one that takes its time: once
//! they are half way to there it keeps to no rate.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::contract::{Error, ErrorKind, Position, Result, Status};

use super::Engine;
use super::reclaim::{Progress, Reclaiming, Report};
use super::retention::Retention;
use super::shared::{Shared, State};
use super::worst;

/// When to reclaim without being asked to.
#[derive(Debug, Clone, PartialEq)]
pub struct Automatic {
    /// Which commits stay.
    pub retention: Retention,
    /// How often to look whether there is enough to do, which costs next to nothing; writers who find
    /// that there is wake it earlier. At least a millisecond.
    pub every: Duration,
    /// How much garbage may lie below, as a share of what stays: 0.4 is a good value, less takes less room
    /// and writes more, and 0 is none, and a look every time. Reclaim before there is more, and leave three
    /// quarters of it at most. Less than a mebibyte is not enough otherwise. What was never looked at is
    /// looked at once. Where writers fill an eighth as much again before it is done, they are held back.
    pub garbage: f64,
    /// Most bytes that the mark reads in a second, unless it would hold writers back.
    pub rate: u64,
}

impl Automatic {
    /// Looked at every second, done where garbage may be two fifths of what stays, at 32 MiB a second.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            every: Duration::from_secs(1),
            garbage: 0.4,
            rate: 32 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.garbage) {
            return Err(Error::invalid(format!(
                "reclaim at a share of {}: write one from 0 to 1",
                self.garbage
            )));
        }
        if self.every < Duration::from_millis(1) {
            return Err(Error::invalid("reclaim more often than every millisecond"));
        }
        Ok(())
    }
}

/// What wakes the thread before its time: to end it, or since there is enough to do.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    state: Mutex<Running>,
    changed: Condvar,
    /// Once so many bytes are written it is to be woken; 0: not by writers.
    due: AtomicU64,
    brake: Brake,
}

#[derive(Debug, Default)]
struct Running {
    closed: bool,
    busy: bool,
    rung: bool,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends the thread, soon.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Ends the thread, and waits until it is no longer at it.
    pub(super) fn close_and_wait(&self) {
        self.close();
        let mut state = self.lock();
        while state.busy {
            let wait = self.changed.wait(state);
            state = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Told how many bytes are written, if anybody wants to know.
    pub(super) fn look(&self, written: impl FnOnce() -> u64) {
        let due = self.due.load(Ordering::Relaxed);
        if due > 0 && written() >= due && self.due.swap(0, Ordering::Relaxed) > 0 {
            self.lock().rung = true;
            self.changed.notify_all();
        }
    }

    /// Has writers ring once a share is written beyond what was; none: nobody does.
    fn arm(&self, before: u64, share: u64, shared: &Shared) {
        if share > 0 {
            self.due.store(before + share, Ordering::Relaxed);
            // Somebody may have written in between.
            self.look(|| shared.written());
        }
    }

    /// Waits for the time to come, or to be rung. `false`: it is over.
    fn wait(&self, time: Duration) -> bool {
        let rest = time.min(REST);
        let open = |state: &mut Running| !state.closed;
        let idle = |state: &mut Running| !state.closed && !state.rung;
        let wait = self.changed.wait_timeout_while(self.lock(), rest, open);
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_timeout_while(state, time - rest, idle);
        let (mut state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        state.busy = !state.closed;
        state.busy
    }

    fn rest(&self) {
        self.lock().busy = false;
        self.changed.notify_all();
    }
}

/// Is at it for as long as it lives, also if that ends in a panic.
struct Busy<'a>(&'a Alarm);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.brake.from.store(0, Ordering::Relaxed);
        self.0.rest();
    }
}

/// What holds writers back while a reclaim lags.
#[derive(Debug, Default)]
struct Brake {
    /// Nobody is held back until so many bytes are written; 0: however many are.
    from: AtomicU64,
    /// So many bytes more in the time since the reclaim began are fine.
    more: AtomicU64,
    began_ns: AtomicU64,
    /// How many were written when somebody was held back last.
    seen: AtomicU64,
}

/// From one reclaim to the next, whoever rings.
const REST: Duration = Duration::from_millis(100);
/// The longest that one call is held back.
const HELD_MAX: Duration = Duration::from_millis(50);
/// Nobody is held back for less, which a thread would sleep longer than: it adds up until it is more.
const HELD_LEAST: Duration = Duration::from_millis(1);
/// Who stores is held back once for so many bytes.
const HELD_STEP: u64 = 64 << 10;

impl Brake {
    fn set(&self, from: u64, more: u64, now_ns: u64) {
        self.more.store(more, Ordering::Relaxed);
        self.began_ns.store(now_ns, Ordering::Relaxed);
        self.seen.store(from, Ordering::Relaxed);
        self.from.store(from, Ordering::Relaxed);
    }
}

/// How long to wait for bytes that were written, where so many lie beyond what is free of it: at most so
/// long that `more` of them take as long as the reclaim has by now.
fn held_back(bytes: u64, beyond: u64, more: u64, gone_ns: u64) -> Duration {
    let more = u128::from(more.max(1));
    let full = u128::from(bytes) * u128::from(gone_ns) / more;
    let part = full * u128::from(beyond).min(more) / more;
    let most = HELD_MAX.as_nanos();
    Duration::from_nanos(u64::try_from(part.min(most)).unwrap_or(u64::MAX))
}

/// The thread's body. Ends when the alarm is closed, the engine is gone, or its floors free nothing.
pub(super) fn run(alarm: &Alarm, shared: &Weak<Shared>, automatic: &Automatic) {
    let mut looks = Looks::new(automatic);
    looks.own = 1;
    while alarm.wait(looks.rest) {
        let _busy = Busy(alarm);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if looks.look(&Engine(shared), alarm).is_break() {
            return;
        }
    }
}

/// After what went wrong it waits longer each time, up to this.
const REST_MAX: Duration = Duration::from_secs(300);

/// What is known from one look to the next.
struct Looks<'a> {
    automatic: &'a Automatic,
    /// How long until the next one.
    rest: Duration,
    /// How the last reclaim ended; `None`: as the newest decision tells.
    last: Option<Last>,
    /// So many handles of the engine are the thread's own: once there are no others, nobody wants it to go
    /// on.
    own: usize,
}

/// How a reclaim ended.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Bytes that were written when it decided.
    looked: u64,
    /// Of what lay there after it, what stays, and what is garbage.
    stays: u64,
    garbage: u64,
    /// Whether it freed half of what was written since the one before, and chose what: then as much may be
    /// had for little again.
    plenty: bool,
}

impl Last {
    /// Of which is known what lay there after it.
    fn read(looked: u64, left: u64, share: f64, choice: bool) -> Self {
        let stays = match choice {
            true => (left as f64 / (1.0 + share * SPARE)) as u64,
            false => left,
        };
        Self {
            looked,
            stays,
            garbage: left - stays,
            plenty: false,
        }
    }

    /// After a reclaim that is over just now, and one before it that looked so far.
    fn told(report: &Report, shared: &Shared, before: u64) -> Self {
        let looked = report.alive + report.dead + report.young;
        let status = shared.store.status();
        let left = lying(&status).saturating_sub(shared.written().saturating_sub(looked));
        // What is too young to be looked at may be held for long. Where everything was offered, what is
        // left is not worth it.
        let choice = worst::is_choice(&status);
        let stays = match choice {
            true => left.min(report.alive + report.young),
            false => left,
        };
        Self {
            looked,
            stays,
            garbage: left - stays,
            plenty: choice && report.freed.bytes >= looked.saturating_sub(before) / 2,
        }
    }

    /// So many bytes since then are enough, and so many are all that may come. 0: any are.
    fn enough(&self, share: f64) -> (u64, u64) {
        if share == 0.0 {
            return (0, 0);
        }
        let may = (share * self.stays as f64) as u64;
        let least = (may - (may as f64 * SPARE) as u64).max(WRITTEN_MIN);
        let all = may.saturating_sub(self.garbage);
        let enough = all / if self.plenty { 2 } else { 1 };
        (enough.max(least), all.max(least))
    }
}

impl<'a> Looks<'a> {
    fn new(automatic: &'a Automatic) -> Self {
        Self {
            automatic,
            rest: automatic.every,
            last: None,
            own: 0,
        }
    }

    /// Reclaims if that is due. `Break`: it never will be.
    fn look(&mut self, engine: &Engine, alarm: &Alarm) -> ControlFlow<()> {
        let share = self.automatic.garbage;
        let last = match self.last {
            Some(known) => known,
            None => match engine.0.decided_last(share) {
                Ok(known) => *self.last.insert(known),
                Err(error) => {
                    tracing::warn!(%error, "what the last reclaim decided cannot be read");
                    Last::read(0, 0, share, false)
                }
            },
        };
        let (before, (enough, all)) = (last.looked, last.enough(share));
        if engine.0.written().saturating_sub(before) < enough.max(1) {
            alarm.arm(before, enough, &engine.0);
            return ControlFlow::Continue(());
        }
        if enough > 0 {
            let now = engine.0.env.clock.monotonic_ns();
            let more = ((share * last.stays as f64) as u64 / 8).max(WRITTEN_MIN / 4);
            alarm.brake.set(before + all + more, more, now);
        }
        let options = Reclaiming {
            rate: Some(self.automatic.rate),
            spare: (share * SPARE * 100.0) as u32,
            ..Reclaiming::default()
        };
        let own = self.own;
        // While it marks, the reclaim has a session of its own.
        let left = |marking: bool| Arc::strong_count(&engine.0) <= own + usize::from(marking);
        let mut go_on = |now: Progress| match alarm.is_closed() || own > 0 && left(!now.freeing) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        match engine.reclaim_unasked(&self.automatic.retention, &options, &mut go_on) {
            Ok(report) => {
                let last = *self.last.insert(Last::told(&report, &engine.0, before));
                self.rest = self.automatic.every;
                alarm.arm(last.looked, last.enough(share).0, &engine.0);
                tracing::info!(
                    commits = report.commits,
                    alive = report.alive,
                    dead = report.dead,
                    young = report.young,
                    freed = report.freed.bytes,
                    left = report.freed.kept,
                    "reclaimed"
                );
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::warn!(%error, "this stack frees nothing; no reclaim is tried again");
                return ControlFlow::Break(());
            }
            Err(_) if alarm.is_closed() => {}
            Err(error) => {
                // What was decided all the same need not be decided again.
                self.last = None;
                self.rest = (self.rest * 2).min(REST_MAX).max(self.automatic.every);
                tracing::warn!(%error, wait = ?self.rest, "a reclaim ended early");
            }
        }
        ControlFlow::Continue(())
    }
}

/// Fewer bytes than this are not worth a reclaim, which itself writes some.
const WRITTEN_MIN: u64 = 1 << 20;

/// So much of the garbage that may lie below is left there.
const SPARE: f64 = 0.75;

/// Bytes that lie below, as far as its floors tell: of replicas, the most that one has.
fn lying(status: &Status) -> u64 {
    // Room that is claimed and holds nothing yet is nobody's.
    let begun = status.parts.iter().filter(|part| part.begins.is_some());
    let parts: u64 = begun.filter_map(|part| part.bytes).sum();
    if parts > 0 {
        return parts;
    }
    let mut each = BTreeMap::new();
    for below in &status.below {
        let streams: Vec<_> = below.streams.iter().map(|stream| stream.stream).collect();
        let most: &mut u64 = each.entry(streams).or_default();
        *most = lying(below).max(*most);
    }
    each.into_values().sum()
}

impl Shared {
    /// How the last reclaim ended that decided anything, as far as its decision tells.
    fn decided_last(&self, share: f64) -> Result<Last> {
        let looked = self.decided()?;
        let looked = looked.iter().map(|range| range.to.bytes_since(range.from));
        let before = looked.sum();
        let since = self.written().saturating_sub(before);
        let status = self.store.status();
        let left = lying(&status).saturating_sub(since);
        Ok(Last::read(before, left, share, worst::is_choice(&status)))
    }

    /// Bytes of positions that were handed out, over all streams.
    fn written(&self) -> u64 {
        self.lock().written()
    }

    /// Whether writers are on half their way to where they are held back, or beyond.
    pub(super) fn is_pressed(&self) -> bool {
        let brake = &self.alarm.brake;
        let from = brake.from.load(Ordering::Relaxed);
        let half = brake.more.load(Ordering::Relaxed) / 2;
        from > 0 && self.written() >= from.saturating_sub(half)
    }

    /// Holds back who writes, while a reclaim lags; `always`: however few bytes they wrote.
    pub(super) fn hold_back(&self, always: bool) {
        let brake = &self.alarm.brake;
        let from = brake.from.load(Ordering::Relaxed);
        if from == 0 {
            return;
        }
        let written = self.written();
        let seen = brake.seen.load(Ordering::Relaxed);
        let bytes = written.saturating_sub(seen);
        if bytes == 0 || !always && bytes < HELD_STEP {
            return;
        }
        let now = self.env.clock.monotonic_ns();
        let gone = now.saturating_sub(brake.began_ns.load(Ordering::Relaxed));
        let more = brake.more.load(Ordering::Relaxed);
        let beyond = written.saturating_sub(from);
        let time = held_back(bytes, beyond, more, gone);
        if time < HELD_LEAST {
            return;
        }
        brake.seen.store(written, Ordering::Relaxed);
        let nanos = time.as_nanos() as u64;
        self.figures.held_ns.fetch_add(nanos, Ordering::Relaxed);
        self.env.clock.sleep(time);
    }
}

impl State {
    pub(super) fn written(&self) -> u64 {
        let ends = self.ends();
        let bytes = ends.iter().map(|(_, end)| end.bytes_since(Position::START));
        bytes.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::env::SimEnv;
    use crate::contract::{Env, Kind, Level, Name, NewRecord};
    use crate::front::{Change, Hint, Options};
    use crate::log::{Log, LogOptions};
    use crate::medium::memory::MemoryMedium;

    #[test]
    fn it_is_due_once_enough_was_written() {
        let left = |stays, garbage, share| {
            let looked = 0;
            let last = Last {
                looked,
                stays,
                garbage,
                plenty: true,
            };
            last.enough(share)
        };
        let mib = |(enough, all): (u64, u64)| (enough >> 20, all >> 20);
        assert_eq!(left(1_000 << 20, 0, 0.0), (0, 0));
        assert_eq!(mib(left(1_000 << 20, 0, 0.5)), (250, 500));
        assert_eq!(mib(left(1_000 << 20, 200 << 20, 0.5)), (150, 300));
        assert_eq!(mib(left(1_000 << 20, 300 << 20, 0.5)), (125, 200));
        // Where little was found there is no hurry.
        let last = Last {
            looked: 0,
            stays: 1_000 << 20,
            garbage: 0,
            plenty: false,
        };
        assert_eq!(mib(last.enough(0.5)), (500, 500));
        // What cannot be freed brings on no reclaim after another.
        assert_eq!(mib(left(1_000 << 20, 900 << 20, 0.5)), (125, 125));
        // Nor does what a reclaim itself writes.
        assert_eq!(left(1_000, 0, 0.3), (WRITTEN_MIN, WRITTEN_MIN));
        let alarm = Alarm::default();
        alarm.look(|| panic!("nobody asked"));
        alarm.due.store(100, Ordering::Relaxed);
        alarm.look(|| 99);
        assert!(!alarm.lock().rung);
        alarm.look(|| 100);
        assert!(alarm.lock().rung && alarm.wait(Duration::from_secs(1_000)));
        assert!(!alarm.lock().rung, "once");
    }

    #[test]
    fn who_writes_is_held_back_the_more_the_further_a_reclaim_lags() {
        let (more, second) = (64 << 20, 1_000_000_000);
        let kib = |beyond| held_back(64 << 10, beyond, more, second).as_micros();
        assert_eq!([kib(0), kib(more / 2), kib(more)], [0, 488, 976]);
        // Then so many take as long as the reclaim so far, and no longer.
        assert_eq!(kib(9 * more), kib(more));
        assert_eq!(held_back(more, more, more, 1_000 * second), HELD_MAX);
        assert_eq!(held_back(1, 1, 0, 0), Duration::ZERO);
    }

    fn open(medium: &Arc<MemoryMedium>, env: &Env) -> Engine {
        let options = LogOptions {
            segment: 64 << 10,
            ..LogOptions::default()
        };
        let log = Log::open("memory", medium.clone(), env, options).unwrap();
        let options = Options {
            level: Level::Memory,
            ..Options::default()
        };
        Engine::open(Arc::new(log), env, options).unwrap()
    }

    /// Commits so many records of 20,000 bytes, of which only the last is kept.
    fn write(engine: &Engine, records: u32) {
        for record in 0..records {
            let session = engine.session().unwrap();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&record.to_le_bytes().repeat(5_000)],
            };
            let stored = session.store(&record, Hint::default()).unwrap();
            let change = Change::set(Name::new("a").unwrap(), stored);
            session.commit(&[change], None).wait().unwrap();
        }
    }

    #[test]
    fn what_the_last_reclaim_looked_at_is_known_after_an_opening() {
        let (medium, sim) = (Arc::new(MemoryMedium::new()), SimEnv::new(1));
        let open = || open(&medium, sim.env());
        let engine = open();
        write(&engine, 100);
        let written = |engine: &Engine, before| engine.0.written() - before;
        let Last { looked, stays, .. } = engine.0.decided_last(0.5).unwrap();
        assert!(looked == 0 && stays < 200_000, "{looked} {stays}");
        assert!(written(&engine, looked) > 2_000_000);
        engine
            .reclaim(&Retention::newest(), &Reclaiming::default())
            .unwrap();
        engine.close().unwrap();
        let engine = open();
        let Last { looked, stays, .. } = engine.0.decided_last(0.5).unwrap();
        assert!(written(&engine, looked) < 50_000 && stays < 300_000);
        write(&engine, 20);
        assert!((400_000..500_000).contains(&written(&engine, looked)));
    }

    #[test]
    fn a_session_that_is_held_does_not_bring_on_one_reclaim_after_another() {
        let sim = SimEnv::new(1);
        let engine = open(&Arc::default(), sim.env());
        write(&engine, 1);
        let _held = engine.session().unwrap();
        let automatic = Automatic {
            garbage: 1.0,
            ..Automatic::new(Retention::newest())
        };
        let (mut looks, alarm) = (Looks::new(&automatic), Alarm::default());
        for _ in 0..16 {
            write(&engine, 60);
            assert!(looks.look(&engine, &alarm).is_continue());
        }
        // As much again each time, of 19 MB: not at each of them.
        let reclaims = engine.0.figures.reclaims.load(Ordering::Relaxed);
        assert!((3..=5).contains(&reclaims), "{reclaims} reclaims");
    }

    #[test]
    fn a_mark_that_writers_would_wait_for_keeps_to_no_rate() {
        let sim = SimEnv::new(1);
        let engine = open(&Arc::default(), sim.env());
        write(&engine, 10);
        let options = Reclaiming {
            rate: Some(1),
            ..Reclaiming::default()
        };
        let clock = &sim.env().clock;
        let took = || {
            let before = clock.monotonic_ns();
            engine.reclaim(&Retention::newest(), &options).unwrap();
            clock.monotonic_ns() - before
        };
        assert!(took() > 10_000_000_000);
        let brake = &engine.0.alarm.brake;
        brake.set(engine.0.written() + 2_000_000, 4_000_000, 0);
        assert!(took() < 10_000_000_000, "half way");
        brake.set(engine.0.written() + 3_000_000, 4_000_000, 0);
        assert!(took() > 10_000_000_000, "a quarter of the way");
    }

    #[test]
    fn what_goes_wrong_is_tried_again_later_each_time() {
        let sim = SimEnv::new(1);
        let engine = open(&Arc::default(), sim.env());
        write(&engine, 100);
        let automatic = Automatic::new(Retention::newest());
        let (mut looks, alarm) = (Looks::new(&automatic), Alarm::default());
        // Somebody else is at it.
        engine.0.reclaiming.store(true, Ordering::Release);
        let mut rests = Vec::new();
        for _ in 0..12 {
            assert!(looks.look(&engine, &alarm).is_continue());
            rests.push(looks.rest.as_secs());
        }
        assert_eq!(rests[..4], [2, 4, 8, 16]);
        assert_eq!(rests[11], REST_MAX.as_secs());
        engine.0.reclaiming.store(false, Ordering::Release);
        assert!(looks.look(&engine, &alarm).is_continue());
        assert_eq!(looks.rest, automatic.every);
        assert_eq!(engine.0.figures.reclaims.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_share_or_a_pause_that_makes_no_sense_is_refused() {
        let good = Automatic::new(Retention::newest());
        assert!(good.check().is_ok());
        for garbage in [-0.1, 1.1, f64::NAN] {
            let bad = Automatic {
                garbage,
                ..good.clone()
            };
            assert!(bad.check().is_err());
        }
        let often = Automatic {
            every: Duration::ZERO,
            ..good
        };
        assert!(often.check().is_err());
    }
}
