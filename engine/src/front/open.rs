//! Opening: what the streams report, what recovery chooses, and what the first write begins with.
//!
//! ```text
//!   report ─ choose ─ all clean? ──yes──> serve; fence at the first write
//!                        └─no─> fence ─ choose again ─ adopt ─> serve
//! ```
//!
//! Opening for reading looks for the newest proven commit and writes nothing.

use std::sync::Arc;

use crate::contract::marker::decode_directory;
use crate::contract::{
    Codecs, End, Env, Epoch, Error, ErrorKind, Names, Oid, Position, Record, Reference, Result,
    RootAt, RootMarker, Status, Store, Stream, StreamState,
};

use super::choose::{Choice, choose, newest_proven, newest_safe};
use super::links::{HEIGHT_MAX, Links};
use super::names::View;
use super::options::Options;
use super::place::Placer;
use super::shared::{Scratch, Shared, Shown, Writer, gone};
use super::tail::StreamTail;

/// What a writer will begin with.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The newest epoch anybody took.
    number: u32,
    /// The epoch that was taken: by recovery, if it had to, or for the first write.
    taken: Option<Epoch>,
    /// Whether that epoch has decided where the older ones end.
    adopted: bool,
    starts: Vec<Start>,
}

impl Found {
    /// Whether opening had to take an epoch and adopt.
    pub(super) fn recovered(&self) -> bool {
        self.taken.is_some()
    }
}

impl Found {
    /// Where each stream goes on.
    pub(super) fn bases(&self) -> impl Iterator<Item = (Stream, Position)> {
        self.starts.iter().map(|start| (start.stream, start.base))
    }
}

/// Where a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    stream: Stream,
    /// What the next batch follows on.
    end: End,
    /// Where it may begin.
    base: Position,
    /// What the stream reported as its end.
    reported: End,
}

/// Opens for writing: recovers, and fences only if recovery must write.
pub(super) fn recover(
    store: &Arc<dyn Store>,
    env: &Env,
    status: &Status,
) -> Result<(Found, Shown)> {
    let root = Stream(status.root_stream);
    let mut states = store.fence(Epoch::default()).wait()?;
    let mut choice = decide(store, root, status, &states)?;
    let mut found = Found::default();
    check_codecs(store, &status.codecs, choice.newest.as_ref())?;
    if choice.adopt {
        let epoch = next_epoch(newest_number(&states), env)?;
        states = store.fence(epoch).wait()?;
        choice = decide(store, root, status, &states)?;
        store.adopt(epoch, choice.cut.clone()).wait()?;
        found.taken = Some(epoch);
        found.adopted = true;
        found.number = epoch.number;
        tracing::info!(
            %epoch,
            commit = choice.newest.as_ref().map_or(0, |(_, marker)| marker.sequence),
            "recovered after an unclean end"
        );
    } else {
        found.number = newest_number(&states);
    }
    found.starts = starts(&states, &choice, status.unit);
    Ok((found, load(choice.newest, |oid| read(store, oid))?))
}

/// Tells of a layer or a key that is missing before anything is written: some of what the newest commit
/// names must be readable. What is damaged or cannot be asked now is for who reads it.
fn check_codecs(
    store: &Arc<dyn Store>,
    codecs: &Codecs,
    newest: Option<&(Oid, RootMarker)>,
) -> Result<()> {
    let Some((_, marker)) = newest.filter(|_| !codecs.is_empty()) else {
        return Ok(());
    };
    let names = directory(|reference| read(store, reference.oid), marker);
    let changed = marker.changes.values().flatten().copied();
    let named = names.into_iter().flat_map(|names| names.into_values());
    for reference in changed.chain(named).take(NAMES_TRIED) {
        if let Ok(Some(record)) = store.read(reference.oid).wait()
            && let Err(error) = codecs.decode(reference.oid, record)
            && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unsupported)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Names whose records are read while opening, where the stack has codecs.
const NAMES_TRIED: usize = 16;

/// The newest commit that a batch names as proven.
pub(super) fn newest_named(store: &Arc<dyn Store>) -> Result<Option<(Oid, RootMarker)>> {
    store.root(RootAt::Proven).wait()
}

/// The newest proven commit: one that a batch names so, or one that is seen to be. A writer that was killed
/// could say nothing of its last ones. Seeing takes a look at all that was written of late.
fn newest_seen(store: &Arc<dyn Store>) -> Result<Option<(Oid, RootMarker)>> {
    // How the streams lie comes first: what is named later than that lies further on.
    let states = store.fence(Epoch::default()).wait();
    let named = newest_named(store)?;
    // Who cannot tell how they lie tells of nothing more.
    let Ok(states) = states else { return Ok(named) };
    let root = Stream(store.status().root_stream);
    Ok(newest_safe(&states, root, named))
}

/// Looks, for reading: the newest proven commit, as far as `newest` tells.
///
/// Whoever writes may reclaim between two reads: then there is a newer commit.
pub(super) fn look(
    store: &Arc<dyn Store>,
    newest: impl Fn(&Arc<dyn Store>) -> Result<Option<(Oid, RootMarker)>>,
) -> Result<Shown> {
    const TIMES: usize = 4;
    let once = || {
        load(newest(store)?, |oid| {
            store.read(oid).wait()?.ok_or_else(|| gone(oid))
        })
    };
    for _ in 1..TIMES {
        match once() {
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            looked => return looked,
        }
    }
    once()
}

fn decide(
    store: &Arc<dyn Store>,
    root: Stream,
    status: &Status,
    states: &[StreamState],
) -> Result<Choice> {
    for stream in &status.streams {
        if !states.iter().any(|state| state.stream.0 == stream.stream) {
            return Err(Error::unavailable(format!(
                "stream b{} cannot be asked",
                stream.stream
            )));
        }
    }
    let proven = newest_proven(states).map(|proven| read_marker(store, proven.oid));
    choose(states, root, proven.transpose()?)
}

fn newest_number(states: &[StreamState]) -> u32 {
    let numbers = states.iter().map(|state| state.epoch.number);
    numbers.max().unwrap_or_default()
}

fn next_epoch(number: u32, env: &Env) -> Result<Epoch> {
    let number = number.checked_add(1).ok_or_else(|| {
        Error::corrupt(format!(
            "something names epoch {number}, after which there is none; no writer ever got so far"
        ))
    })?;
    Ok(Epoch {
        number,
        tag: env.random.next_u64(),
    })
}

fn starts(states: &[StreamState], choice: &Choice, unit: u64) -> Vec<Start> {
    let start = |state: &StreamState| {
        let cut = choice
            .cut
            .iter()
            .find(|(stream, _)| *stream == state.stream);
        let end = cut.map_or(state.end, |(_, end)| *end);
        // After an unclean end anything below the ceiling may have been handed out.
        let base = if state.clean {
            end.position
        } else {
            state.ceiling
        };
        Start {
            stream: state.stream,
            end,
            base: base.max(end.position).align_up(unit),
            reported: state.end,
        }
    };
    states.iter().map(start).collect()
}

fn read(store: &Arc<dyn Store>, oid: Oid) -> Result<Record> {
    let found = store.read(oid).wait()?;
    found.ok_or_else(|| Error::corrupt(format!("there is no record at {oid}")))
}

fn read_marker(store: &Arc<dyn Store>, oid: Oid) -> Result<(Oid, RootMarker)> {
    Ok((oid, RootMarker::decode(oid, &read(store, oid)?)?))
}

/// The names of a commit's directory.
pub(super) fn directory(
    record: impl FnOnce(&Reference) -> Result<Record>,
    marker: &RootMarker,
) -> Result<Names> {
    match &marker.directory {
        Some(reference) => decode_directory(reference.oid, &record(reference)?),
        None => Ok(Names::new()),
    }
}

fn load(newest: Option<(Oid, RootMarker)>, read: impl Fn(Oid) -> Result<Record>) -> Result<Shown> {
    let Some((oid, marker)) = newest else {
        return Ok(Shown::default());
    };
    let reference = read(oid)?.reference_to(oid);
    let names = directory(|reference| read(reference.oid), &marker)?;
    Ok(Shown::new(
        Arc::new(View::of(&marker, names)),
        Some(reference),
    ))
}

/// The engine's shared part, opened as the options say.
pub(super) fn open(store: Arc<dyn Store>, env: &Env, options: Options) -> Result<Shared> {
    options.check()?;
    let status = store.status();
    let placer = Placer::new(&status)?;
    if options.level > status.level && !options.read_only {
        return Err(Error::invalid(format!(
            "commits would ask for {}, this stack reaches {}: ask for that in the options",
            options.level, status.level
        )));
    }
    let (found, shown) = if options.read_only {
        let newest = newest_named(&store)?;
        check_codecs(&store, &status.codecs, newest.as_ref())?;
        (Found::default(), look(&store, newest_seen)?)
    } else {
        recover(&store, env, &status)?
    };
    Ok(Shared::new(
        store,
        env.clone(),
        options,
        placer,
        &status,
        found,
        shown,
    ))
}

impl Shared {
    /// Makes this engine the writer: takes an epoch, if recovery did not, and begins a tail in each
    /// stream.
    pub(super) fn begin(self: &Arc<Self>) -> Result<()> {
        if self.options.read_only {
            return Err(Error::invalid("this engine was opened for reading only"));
        }
        let _turn = self.take_turn();
        let mut state = self.lock();
        if state.writing()?.is_some() {
            return Ok(());
        }
        let starts = state.found.starts.clone();
        let (taken, adopted) = (state.found.taken, state.found.adopted);
        let number = state.found.number;
        drop(state);
        let epoch = match taken {
            Some(epoch) => epoch,
            None => {
                let epoch = next_epoch(number, &self.env)?;
                // Also if this attempt fails: a part of the stack may have heard of it.
                self.lock().found.number = epoch.number;
                self.take_over(epoch, &starts)?;
                self.lock().found.taken = Some(epoch);
                epoch
            }
        };
        if !adopted {
            // Nothing is cut, but a store takes no batch of an epoch that has not decided so.
            let vector = starts.iter().map(|start| (start.stream, start.end));
            self.store.adopt(epoch, vector.collect()).wait()?;
            self.lock().found.adopted = true;
        }
        let shown = self.shown();
        let links = self.links(&shown)?;
        let proven = shown.marker.map(|marker| shown.view.proven(marker));
        let tails = starts.iter().map(|start| {
            // A ceiling of before was announced for a writer of before: nothing is handed out until
            // the store has announced one for this epoch.
            StreamTail::new(start.stream, epoch, start.base, start.end)
        });
        let tails: Vec<_> = tails.collect();
        if !self.env.drivers.inline() {
            let (bell, weak) = (self.bell.clone(), Arc::downgrade(self));
            let body = move || super::bell::tick(&bell, &weak);
            self.env
                .drivers
                .thread("travertine-ticker", Box::new(body))?;
            if let Some(automatic) = self.options.reclaim.clone() {
                let (alarm, weak) = (self.alarm.clone(), Arc::downgrade(self));
                let body = move || super::automatic::run(&alarm, &weak, &automatic);
                self.env
                    .drivers
                    .thread("travertine-reclaim", Box::new(body))?;
            }
        }
        let mut state = self.lock();
        for tail in &tails {
            self.floors.set(tail.stream(), tail.floor());
        }
        state.writer = Some(Writer {
            epoch,
            tails,
            links,
            proven,
            scratch: Scratch::default(),
        });
        Ok(())
    }

    /// Takes an epoch on a store that was left cleanly, if it still is as it was when it was opened.
    fn take_over(&self, epoch: Epoch, starts: &[Start]) -> Result<()> {
        // Looking comes first: who wrote since is not to be stopped by somebody who must give up.
        let look = self.store.fence(Epoch::default()).wait()?;
        are_as_opened(&look, starts)?;
        let states = self.store.fence(epoch).wait()?;
        are_as_opened(&states, starts)
    }

    /// The links that lead back from the newest commit.
    fn links(&self, shown: &Shown) -> Result<Links> {
        let mut chain = Vec::new();
        let mut next = shown.marker.map(|marker| (marker, shown.view.sequence));
        while let Some((marker, sequence)) = next {
            if chain.len() > HEIGHT_MAX {
                return Err(Error::corrupt("jump links of root markers do not end"));
            }
            // Jumps may lead to what was freed: nothing further back is jumped to any more.
            let Some(found) = self.marker(&marker)? else {
                if chain.is_empty() {
                    let text = format!("the newest root marker is not there, at {}", marker.oid);
                    return Err(Error::corrupt(text));
                }
                break;
            };
            chain.push((marker, sequence));
            next = found.jump;
        }
        Links::from_newest(chain)
    }
}

/// Checks that nobody wrote since the streams were looked at.
fn are_as_opened(states: &[StreamState], starts: &[Start]) -> Result<()> {
    for state in states {
        let known = starts.iter().any(|start| {
            start.stream == state.stream && start.reported == state.end && state.clean
        });
        if !known {
            return Err(Error::fenced(format!(
                "another writer wrote to stream {} since this engine opened; open it again",
                state.stream
            )));
        }
    }
    Ok(())
}
