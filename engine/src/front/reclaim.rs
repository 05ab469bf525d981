//! Reclaim: which records nobody keeps, a durable record of that decision, and only then the freeing.
//!
//! ```text
//!   retention ─> commits that stay ┐                            below horizon, not met: free
//!   names, tags, pins, sessions ───┴─> mark ─> what is met ──┐
//!                                                            v
//!   commit of the decision (runs of commits, ranges, hash) ─> proof ─> store.reclaim, step by step
//!        a crash up to here: nothing happened                           after: some is freed, the next
//!                                                                       reclaim decides anew
//! ```
//!
//! - What is met stays where it is. Everything else below the *horizon* is free: where each stream ended
//!   when the mark began, or where the oldest session then alive began, if that is lower. Above it
//!   nothing is touched, so what a session stored and has not committed is safe.
//! - The commits that stay are decided before the mark, and told by the record of the decision, which
//!   [time travel](super::past) goes through from then on. Commits made later stay.
//! - Nothing is free that cannot be told: a record on the way that cannot be read ends the reclaim, and
//!   it is as if it had never begun.
//! - Readers and writers go on meanwhile. A snapshot that is taken while it marks is marked as well.

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use crate::contract::env::waiting;
use crate::contract::{
    Epoch, Error, ErrorKind, Freed, Level, Oid, Position, Reclaim, Reference, Result, RootMarker,
    Stream,
};

use super::Engine;
use super::alive::Alive;
use super::mark::Mark;
use super::names::View;
use super::options::{Change, Committed};
use super::past::{self, Past, Range, Run};
use super::pins::{Ends, Held, Pin};
use super::retention::{Moment, Retention, Timeline, joined};
use super::session::Session;
use super::shared::{Shared, Shown};
use super::tags::tags_of;
use super::worst::Worst;

#[cfg(test)]
mod tests;

/// How a reclaim goes about it. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reclaiming {
    /// Mark and tell, but decide and free nothing. Default false.
    pub dry_run: bool,
    /// Most bytes of memory for the mark: it needs two for most records that it meets. Beyond that, sixteen
    /// are taken for each record of a `step`. Default 256 MiB.
    pub memory: usize,
    /// Most records that stay of which the floors are told at once, unless one part of a floor has more:
    /// between one step and the next it can be called off. Of large records fewer are told, such as take
    /// 256 MiB. Default a million.
    pub step: usize,
    /// Most bytes that the mark reads in a second. Default: as it comes.
    pub rate: Option<u64>,
    /// So much garbage may lie below afterwards, in percent of what stays or is too young: the parts with the
    /// most of it are freed, only as many as needed. Default 0: all that is worth it.
    pub spare: u32,
}

impl Default for Reclaiming {
    fn default() -> Self {
        Self {
            dry_run: false,
            memory: 256 << 20,
            step: 1_000_000,
            rate: None,
            spare: 0,
        }
    }
}

/// How far a reclaim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records met so far.
    pub records: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Whether marking is over, and what nobody keeps is being freed.
    pub freeing: bool,
}

/// Told how far it has come; answers whether to go on. Once freeing has begun, what is decided is done
/// by the next reclaim if not by this one.
///
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What a reclaim found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The commit that names the decision; `None`: nothing was decided, for it was a dry run or there is
    /// nothing yet.
    pub decided: Option<Committed>,
    /// Commits that stay, and that time travel finds.
    pub commits: u64,
    /// Records that stay.
    pub records: u64,
    /// Bytes that they take.
    pub alive: u64,
    /// Bytes below the horizon that no record that stays takes. What was freed before is among them.
    pub dead: u64,
    /// Bytes above the horizon, which were not looked at: the oldest session began there.
    pub young: u64,
    /// What the floors below did, and how far they came in the stream where they came furthest.
    pub freed: Freed,
    /// Who holds what, each counted for what nobody before it holds.
    pub holders: Vec<Holder>,
}

/// Somebody who holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub who: Who,
    /// Bytes that would not stay but for it and those after it.
    pub bytes: u64,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The newest commit leads to it.
    Newest,
    /// A tag, by its name.
    Tag(String),
    /// The commits that the policy keeps.
    Retention,
    /// A snapshot or session that is held.
    Pin(Pin),
}

impl Engine {
    /// Frees what nobody keeps: no name of the newest commit leads to it, none of a commit that the
    /// policy keeps, no tag, no snapshot and no session. Blocks until it is done; readers and writers do
    /// not wait for it.
    ///
    /// Errors: `Unavailable` (another reclaim is at it, or it was called off), `Invalid` (opened for
    /// reading), `Unsupported` (a floor that frees nothing; nothing was decided), `Full` (the mark needs
    /// more memory than it may take), and those of reads and of a commit.
    pub fn reclaim(&self, retention: &Retention, options: &Reclaiming) -> Result<Report> {
        self.reclaim_watched(retention, options, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`Engine::reclaim`], with somebody who is told how far it has come and may call it off.
    pub fn reclaim_watched(
        &self,
        retention: &Retention,
        options: &Reclaiming,
        watch: Watch<'_>,
    ) -> Result<Report> {
        self.reclaim_by(retention, options, watch, true)
    }

    /// As [`Engine::reclaim_watched`], where nobody asked for it: work that is done aside is spared.
    pub(super) fn reclaim_unasked(
        &self,
        retention: &Retention,
        options: &Reclaiming,
        watch: Watch<'_>,
    ) -> Result<Report> {
        self.reclaim_by(retention, options, watch, false)
    }

    fn reclaim_by(
        &self,
        retention: &Retention,
        options: &Reclaiming,
        watch: Watch<'_>,
        asked: bool,
    ) -> Result<Report> {
        if self.0.options.read_only {
            return Err(Error::invalid("this engine was opened for reading only"));
        }
        let _alone = Alone::new(&self.0.reclaiming)?;
        self.0.reclaim(retention, options, watch, asked)
    }
}

/// The right to reclaim.
struct Alone<'a>(&'a AtomicBool);

impl<'a> Alone<'a> {
    fn new(busy: &'a AtomicBool) -> Result<Self> {
        if busy.swap(true, Ordering::AcqRel) {
            return Err(Error::unavailable("another reclaim is at it"));
        }
        Ok(Self(busy))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// While it lives, what is pinned is noted; and if nothing was decided in the end, it is forgotten.
struct Noting<'a> {
    shared: &'a Shared,
    decided: bool,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        if !self.decided {
            self.shared.pins.forget();
        }
    }
}

/// Where a mark begins.
struct Ground {
    shown: Arc<Shown>,
    /// Commits that were submitted and are not shown yet.
    queued: Vec<Arc<View>>,
    /// Snapshots and sessions that are held.
    held: Vec<Held>,
    ends: Ends,
    epoch: Epoch,
    /// The newest commit that the next batches name as proven: a recovery begins with its marker.
    proven: Option<u64>,
    past: Arc<Past>,
}

/// More often than this a reclaim does not mark what was pinned meanwhile.
const NOTED_MAX: usize = 1_000;

/// About so many bytes that stay are written anew before it can be called off again.
const STEP_BYTES: u64 = 256 << 20;

/// What a reclaim calls its own session.
const OWNER: &str = "a reclaim";

impl Shared {
    fn reclaim(
        self: &Arc<Self>,
        retention: &Retention,
        options: &Reclaiming,
        watch: Watch<'_>,
        asked: bool,
    ) -> Result<Report> {
        self.begin()?;
        let session = Session::new(self.clone(), OWNER)?;
        let (ground, mut noting) = self.ground(asked)?;
        if ground.shown.marker.is_none() {
            return Ok(Report::of_nothing());
        }
        if !options.dry_run {
            self.ask_floors(&ground)?;
        }
        let tags = tags_of(&ground.shown.view);
        let kept = self.kept(&ground, retention, &tags)?;
        let runs = kept.all.iter().map(|range| self.run(&ground, range));
        let past = Arc::new(Past {
            runs: runs.collect::<Result<_>>()?,
        });
        let mut pace = Pace::new(self, options, watch);
        let mut tell = |records, bytes, read| pace.go_on(records, bytes, read);
        let mut mark = Mark::new(self, options.memory, &mut tell);
        let holders = self.mark_all(&mut mark, &ground, &kept, &tags)?;
        if !options.dry_run {
            self.decide(&mut mark, &past)?;
        }
        let (alive, bytes) = (mark.alive, mark.bytes);
        let horizon = ground.horizon();
        let below = horizon
            .iter()
            .map(|(_, to)| to.bytes_since(Position::START));
        let mut report = Report {
            decided: None,
            commits: kept.count(),
            records: alive.len(),
            alive: bytes,
            dead: below.sum::<u64>().saturating_sub(bytes),
            young: ground.young(),
            freed: Freed::default(),
            holders,
        };
        if options.dry_run {
            return Ok(report);
        }
        let range = |(stream, to)| Range::of(&alive, stream, to);
        let ranges: Vec<_> = horizon.iter().map(range).collect();
        report.decided = Some(self.log_decision(&ranges, &past.runs)?);
        noting.decided = true;
        self.pins.settle();
        drop(session);
        let mut freeing = Freeing {
            shared: self,
            sender: ground.epoch,
            alive: &alive,
            step: options.step.min(large(report.records, report.alive)).max(1),
            damage: None,
        };
        let mut done = Ok(());
        let mut came = Vec::with_capacity(ranges.len());
        let worst = self.worst(&ranges, &alive, &report, options.spare);
        report.freed.kept += worst.left;
        for (range, runs) in ranges.iter().zip(worst.runs) {
            let mut to = range.from;
            if done.is_ok() {
                done = freeing.free(range, &runs, &mut to, &mut pace, &mut report);
            }
            came.push((range.stream, to));
        }
        let figures = &self.figures;
        figures
            .reclaimed
            .fetch_add(report.freed.bytes, Ordering::Relaxed);
        if pace.called_off {
            // So whoever opens it next knows that the rest is not done.
            let came: Vec<_> = came.into_iter().map(range).collect();
            if let Err(error) = self.log_decision(&came, &past.runs) {
                tracing::warn!(%error, "how far a reclaim came that was called off is not known later");
            }
        }
        done?;
        if let Some(error) = freeing.damage {
            return Err(error);
        }
        figures.reclaims.fetch_add(1, Ordering::Relaxed);
        figures.stayed.store(report.alive, Ordering::Relaxed);
        Ok(report)
    }

    /// What of these ranges is freed, where some garbage may be left.
    fn worst(&self, ranges: &[Range], alive: &Alive, report: &Report, spare: u32) -> Worst {
        if spare == 0 {
            return Worst::all(ranges);
        }
        let stays = report.alive + report.young;
        let most = u128::from(stays) * (100 + u128::from(spare)) / 100;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Worst::of(ranges, alive, &self.store.status(), most)
    }

    /// Marks everything that somebody holds, and answers who holds what.
    fn mark_all(
        &self,
        mark: &mut Mark<'_>,
        ground: &Ground,
        kept: &Kept,
        tags: &[(String, Reference)],
    ) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        let mut hold = |who, bytes| holders.push(Holder { who, bytes });
        // What the engine's own names lead to comes after what the user's do, to tell tags apart.
        let mut newest = mark.from(ground.shown.view.merged().values().copied())?;
        for view in &ground.queued {
            newest += mark.from(view.references())?;
        }
        let tagged = tags
            .iter()
            .map(|(name, tag)| Ok((Who::Tag(name.clone()), mark.from([*tag])?)))
            .collect::<Result<Vec<_>>>()?;
        newest += mark.from(ground.shown.marker)?;
        hold(Who::Newest, newest);
        for (who, bytes) in tagged {
            hold(who, bytes);
        }
        let mut retained = 0;
        for range in &kept.by_policy {
            retained += self.mark_commits(mark, ground, range)?;
        }
        hold(Who::Retention, retained);
        let own = |held: &&Held| held.began.is_some() && held.owner == OWNER;
        for held in ground.held.iter().filter(|held| !own(held)) {
            let bytes = mark.from(held.view.references())?;
            hold(Who::Pin(Pin::from(held)), bytes);
        }
        let rest = kept
            .all
            .iter()
            .filter(|range| !kept.by_policy.contains(range));
        for range in rest {
            self.mark_commits(mark, ground, range)?;
        }
        Ok(holders)
    }

    /// Decides what is left of the past, once everything that was pinned meanwhile is marked.
    fn decide(&self, mark: &mut Mark<'_>, past: &Arc<Past>) -> Result<()> {
        for _ in 0..NOTED_MAX {
            let noted = self.pins.decide(past);
            if noted.is_empty() {
                return Ok(());
            }
            for view in noted {
                mark.from(view.references())?;
            }
        }
        Err(Error::unavailable(
            "old commits are asked for faster than they can be marked",
        ))
    }

    /// Carries out what was submitted, and looks at everything that holds something, at one moment.
    fn ground(self: &Arc<Self>, asked: bool) -> Result<(Ground, Noting<'_>)> {
        let turn = self.take_turn();
        self.lead(None);
        self.prove_newest()?;
        let mut state = self.lock();
        let Some(writer) = state.writing()? else {
            return Err(Error::closed("the writer is gone"));
        };
        let (epoch, proven) = (writer.epoch, writer.proven);
        let ends = state.ends();
        let queued = state
            .queue
            .iter()
            .map(|submitted| submitted.view.clone())
            .collect();
        let shown = self.shown();
        let held = self.pins.begin_noting(&shown.view, asked);
        drop(state);
        drop(turn);
        let noting = Noting {
            shared: self,
            decided: false,
        };
        let ground = Ground {
            shown,
            queued,
            held,
            ends,
            epoch,
            proven: proven.map(|proven| proven.sequence),
            past: self.past()?,
        };
        Ok((ground, noting))
    }

    /// Whether the floors free anything at all: asked before a decision takes commits away, and for each
    /// stream, for not all need lie on floors of one kind.
    fn ask_floors(&self, ground: &Ground) -> Result<()> {
        for (stream, _) in ground.ends.iter() {
            let nothing = Reclaim {
                sender: ground.epoch,
                stream,
                from: Position::START,
                to: Position::START,
                alive: Arc::default(),
                left: None,
            };
            waiting(|| self.store.reclaim(nothing)).wait()?;
        }
        Ok(())
    }

    /// Stores what was decided and commits the name that points to it, durably and proven.
    fn log_decision(self: &Arc<Self>, ranges: &[Range], runs: &[Run]) -> Result<Committed> {
        let time = self.env.clock.unix_us();
        let decision = past::store(time, ranges, runs, |kind, references, body| {
            self.store_own(kind, references, body)
        })?;
        let level: Level = self.options.level.max(self.level_proven);
        let change = [Change::set(past::name()?, decision)];
        let done = match self.commit_with(&change, level, true).wait() {
            // Without room for a directory it still frees, only less.
            Err(error) if error.kind() == ErrorKind::Full => {
                self.commit_with(&change, level, false).wait()?
            }
            done => done?,
        };
        let _turn = self.take_turn();
        self.prove()?;
        Ok(done)
    }

    /// The commits that stay.
    fn kept(
        &self,
        ground: &Ground,
        retention: &Retention,
        tags: &[(String, Reference)],
    ) -> Result<Kept> {
        let newest = ground.shown.view.sequence;
        let left = ground.past.numbers(newest);
        let timeline = Left {
            shared: self,
            ground,
        };
        let mut wanted = retention.retained(&timeline, self.env.clock.unix_us())?;
        for (_, tag) in tags {
            let sequence = self.tagged_sequence(tag)?;
            wanted.push(sequence..=sequence);
        }
        let by_policy = common(&left, &joined(wanted.clone()));
        let held = ground.held.iter().map(|held| held.view.sequence);
        // What was committed in memory while the newest was brought to its proof is newer than that.
        let held = held.chain(ground.proven);
        wanted.extend(held.filter(|held| *held <= newest).map(|held| held..=held));
        Ok(Kept {
            by_policy,
            all: common(&left, &joined(wanted)),
        })
    }

    /// Marks the commits of a range, from the newest back, and answers how many bytes more stay for them.
    fn mark_commits(
        &self,
        mark: &mut Mark<'_>,
        ground: &Ground,
        range: &RangeInclusive<u64>,
    ) -> Result<u64> {
        let before = mark.bytes;
        let mut next = Some(self.commit_at(ground, *range.end())?.0);
        while let Some(reference) = next {
            let record = mark.through(&Reference {
                weak: false,
                ..reference
            })?;
            let marker = RootMarker::decode(reference.oid, &record)?;
            next = marker.previous.filter(|_| marker.sequence > *range.start());
        }
        Ok(mark.bytes - before)
    }

    fn run(&self, ground: &Ground, range: &RangeInclusive<u64>) -> Result<Run> {
        let (newest, last) = self.commit_at(ground, *range.end())?;
        let (_, first) = self.commit_at(ground, *range.start())?;
        Ok(Run {
            first: first.sequence,
            last: last.sequence,
            first_time: first.time,
            last_time: last.time,
            newest,
        })
    }

    /// A commit that is said to be there.
    fn commit_at(&self, ground: &Ground, sequence: u64) -> Result<(Reference, RootMarker)> {
        let found = self.by_sequence(&ground.shown, sequence)?;
        found.ok_or_else(|| Error::corrupt(format!("commit {sequence} is not there")))
    }
}

/// Commits that stay, as ranges in rising order; each lies within a run of those that are left.
struct Kept {
    /// By the policy and by tags.
    by_policy: Vec<RangeInclusive<u64>>,
    /// Those, the ones that are held, and the one that is proven.
    all: Vec<RangeInclusive<u64>>,
}

impl Kept {
    fn count(&self) -> u64 {
        let counts = self.all.iter().map(|range| range.end() - range.start() + 1);
        counts.sum()
    }
}

/// What is in both lists of ranges.
fn common(a: &[RangeInclusive<u64>], b: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut common = Vec::new();
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let both = *one.start().max(other.start())..=*one.end().min(other.end());
        if !both.is_empty() {
            common.push(both);
        }
        if one.end() < other.end() {
            a.next();
        } else {
            b.next();
        }
    }
    common
}

impl Ground {
    /// Below it everything is looked at.
    fn horizon(&self) -> Ends {
        let mut horizon = self.ends.clone();
        for began in self.held.iter().filter_map(|held| held.began.as_ref()) {
            horizon.lower(began);
        }
        horizon
    }

    fn young(&self) -> u64 {
        let horizon = self.horizon();
        let pairs = self.ends.iter().zip(horizon.iter());
        pairs.map(|((_, end), (_, to))| end.bytes_since(to)).sum()
    }
}

/// The commits that are left, for a policy to choose from.
struct Left<'a> {
    shared: &'a Shared,
    ground: &'a Ground,
}

impl Timeline for Left<'_> {
    fn newest(&self) -> Result<Option<Moment>> {
        let view = &self.ground.shown.view;
        Ok(Some(Moment {
            sequence: view.sequence,
            time: view.time,
        }))
    }

    fn at(&self, time: u64) -> Result<Option<Moment>> {
        let found = self.shared.by_time(&self.ground.shown, time)?;
        Ok(found.map(|(_, marker)| Moment {
            sequence: marker.sequence,
            time: marker.time,
        }))
    }

    fn back(&self, mut newer: u64) -> Result<Option<Moment>> {
        let newest = self.ground.shown.view.sequence;
        let mut oldest = newest;
        for range in self.ground.past.numbers(newest).iter().rev() {
            oldest = range.end().saturating_sub(newer).max(*range.start());
            match newer.checked_sub(range.end() - range.start() + 1) {
                Some(more) => newer = more,
                None => break,
            }
        }
        let (_, marker) = self.shared.commit_at(self.ground, oldest)?;
        Ok(Some(Moment {
            sequence: oldest,
            time: marker.time,
        }))
    }
}

/// Carries out what was decided, step by step.
struct Freeing<'a> {
    shared: &'a Shared,
    sender: Epoch,
    alive: &'a Alive,
    /// Most records that are told at once, but for parts that hold more.
    step: usize,
    /// What is damaged keeps its own part only, and is told once all the rest is done.
    damage: Option<Error>,
}

impl Freeing<'_> {
    /// Frees what nobody keeps of some runs of a range, and tells how far it came also where that goes wrong.
    fn free(
        &mut self,
        range: &Range,
        runs: &[(Position, Position)],
        came: &mut Position,
        pace: &mut Pace<'_>,
        report: &mut Report,
    ) -> Result<()> {
        for &(from, to) in runs {
            *came = from;
            self.free_run(range.stream, to, came, pace, report)?;
            report.freed.to = report.freed.to.max(*came);
        }
        *came = range.to;
        Ok(())
    }

    /// Frees what lies from where it came to up to where a run ends.
    fn free_run(
        &mut self,
        stream: Stream,
        end: Position,
        came: &mut Position,
        pace: &mut Pace<'_>,
        report: &mut Report,
    ) -> Result<()> {
        while *came < end {
            pace.freeing(report)?;
            let from = *came;
            let mut stays = self.alive.within(stream, from, end);
            let alive = stays.by_ref().take(self.step).collect();
            let to = stays.next().unwrap_or(end);
            let decision = Reclaim {
                sender: self.sender,
                stream,
                from,
                to,
                alive,
                left: None,
            };
            match waiting(|| self.shared.store.reclaim(decision)).wait() {
                Ok(freed) => {
                    report.freed.bytes += freed.bytes;
                    report.freed.kept += freed.kept;
                    let got = freed.to.clamp(from, to);
                    *came = got;
                    if to == end {
                        // No part ends there: what is open yet stays as it is.
                        report.freed.kept += to.bytes_since(got);
                        *came = to;
                    } else if got == from {
                        self.step = self.step.saturating_mul(2);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(%error, "what is damaged gives nothing back");
                    self.damage.get_or_insert(error);
                    *came = to;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Of so many records that take so many bytes, as many as take [`STEP_BYTES`].
fn large(records: u64, bytes: u64) -> usize {
    let some = u128::from(STEP_BYTES) * u128::from(records) / u128::from(bytes.max(1));
    usize::try_from(some).unwrap_or(usize::MAX)
}

impl Range {
    /// What stays of the beginning of a stream.
    fn of(alive: &Alive, stream: Stream, to: Position) -> Self {
        let (mut hash, mut count) = (Xxh3::new(), 0);
        let stays = alive.within(stream, Position::START, to);
        for oid in stays.filter_map(|at| Oid::new(stream, at)) {
            hash.update(&oid.raw().to_le_bytes());
            count += 1;
        }
        Self {
            stream,
            from: Position::START,
            to,
            alive: count,
            hash: hash.digest(),
        }
    }
}

impl Report {
    fn of_nothing() -> Self {
        Self {
            decided: None,
            commits: 0,
            records: 0,
            alive: 0,
            dead: 0,
            young: 0,
            freed: Freed::default(),
            holders: Vec::new(),
        }
    }
}

/// Holds a reclaim to its rate, and tells whoever watches.
struct Pace<'a> {
    shared: &'a Shared,
    rate: Option<u64>,
    began_ns: u64,
    read: u64,
    watch: Watch<'a>,
    called_off: bool,
}

/// Longest time that a reclaim sleeps before it looks whether it was called off, or is waited for.
const NAP: Duration = Duration::from_millis(10);

impl<'a> Pace<'a> {
    fn new(shared: &'a Shared, options: &Reclaiming, watch: Watch<'a>) -> Self {
        Self {
            shared,
            rate: options.rate,
            began_ns: shared.env.clock.monotonic_ns(),
            read: 0,
            watch,
            called_off: false,
        }
    }

    fn go_on(&mut self, records: u64, bytes: u64, read: u64) -> Result<()> {
        self.read += read;
        loop {
            self.ask(Progress {
                records,
                bytes,
                freeing: false,
            })?;
            let Some(rate) = self.rate else {
                return Ok(());
            };
            let due = u128::from(self.read) * 1_000_000_000 / u128::from(rate.max(1));
            let gone = self
                .shared
                .env
                .clock
                .monotonic_ns()
                .saturating_sub(self.began_ns);
            let ahead = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(gone);
            if ahead == 0 || self.shared.is_pressed() {
                return Ok(());
            }
            self.shared
                .env
                .clock
                .sleep(Duration::from_nanos(ahead).min(NAP));
        }
    }

    fn freeing(&mut self, report: &Report) -> Result<()> {
        self.ask(Progress {
            records: report.records,
            bytes: report.alive,
            freeing: true,
        })
    }

    fn ask(&mut self, progress: Progress) -> Result<()> {
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                self.called_off = true;
                Err(Error::unavailable("the reclaim was called off"))
            }
        }
    }
}
