//! The disk itself: files, names, faults, the countdown to the crash, and the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::file::{BLOCK, Mishap, SimFile};
use super::medium::SimMedium;
use super::names::{Directory, FileNumber};
use super::plan::{Fault, NameRule, Plan, one};
use crate::conformance::rng::Rng;
use crate::contract::{Error, Result};
use crate::medium::Space;

/// Name of the file that stands for the writer's lock, as a real directory has one.
pub(super) const LOCK: &str = "lock";

/// A disk that outlives the processes that use it. Clones share it.
///
/// One seed and the same calls give the same run, told by [`SimDisk::trace`].
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What the disk did and was asked so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Calls of any kind.
    pub calls: u64,
    /// Calls that may change something: those that the countdown counts.
    pub changes: u64,
    /// Reads of files, maps included.
    pub reads: u64,
    /// Bytes that they gave.
    pub bytes_read: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of the directory.
    pub directory_syncs: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// How often each fault fired, in the order of [`Fault::ALL`].
    pub fired: [u64; Fault::COUNT],
}

impl Tally {
    /// How often this fault fired.
    #[must_use]
    pub fn fired(&self, fault: Fault) -> u64 {
        self.fired[fault as usize]
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            calls: 0,
            changes: 0,
            reads: 0,
            bytes_read: 0,
            syncs: 0,
            directory_syncs: 0,
            writes: 0,
            bytes: 0,
            fired: [0; Fault::COUNT],
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) files: Vec<SimFile>,
    pub(super) names: Directory,
    /// Whether the directory was made.
    pub(super) made: bool,
    /// Which processes are alive: those with at least this number, unless the power is gone.
    pub(super) process: u64,
    pub(super) down: bool,
    /// Who holds the writer's lock.
    pub(super) holder: Option<String>,
    /// Directories within that have a writer.
    pub(super) held_within: BTreeSet<String>,
    /// Directories within that have this much room of their own.
    volumes: BTreeMap<String, u64>,
    countdown: Option<u64>,
    failing_sync: Option<u64>,
    pub(super) tally: Tally,
    trace: u64,
    violations: Vec<String>,
    story: Option<Vec<String>>,
}

impl SimDisk {
    /// An empty disk of this plan.
    #[must_use]
    pub fn new(seed: u64, plan: Plan) -> Self {
        let state = State {
            plan,
            rng: Rng::new(seed ^ 0x4449_534B),
            files: Vec::new(),
            names: Directory::default(),
            made: false,
            process: 0,
            down: false,
            holder: None,
            held_within: BTreeSet::new(),
            volumes: BTreeMap::new(),
            countdown: None,
            failing_sync: None,
            tally: Tally::default(),
            trace: seed,
            violations: Vec::new(),
            story: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The directory as a process sees it that starts now. Several may live side by side.
    #[must_use]
    pub fn medium(&self) -> SimMedium {
        let process = self.state().process;
        SimMedium::new(self.clone(), process)
    }

    /// A disk of its own with the same content, on which what comes next is drawn from `seed`: one
    /// run can be cut off in many ways.
    #[must_use]
    pub fn image(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        state.rng = Rng::new(seed ^ 0x494D_4147);
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets the process die at the `calls`-th call from now that may change something: that call
    /// is carried out, not, or half, and answers with an error, as does every later one.
    pub fn crash_in(&self, calls: u64) {
        self.state().countdown = Some(calls.max(1));
    }

    /// Takes a crash back that has not happened yet.
    pub fn crash_never(&self) {
        self.state().countdown = None;
    }

    /// Lets so many syncs of dirty files pass and the one after them fail, dropping its data.
    pub fn fail_sync_after(&self, passing: u64) {
        self.state().failing_sync = Some(passing);
    }

    /// Takes such a failure back that has not happened yet.
    pub fn fail_no_sync(&self) {
        self.state().failing_sync = None;
    }

    /// Whether the countdown ran out: what is to come is [`SimDisk::kill`] or
    /// [`SimDisk::power_cut`].
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Kills every process. The page cache survives, mostly.
    pub fn kill(&self) {
        let mut state = self.state();
        state.fire(Fault::Kill);
        let evict = state.plan.evict;
        if state.rng.chance(evict, 1000) {
            state.fire(Fault::Eviction);
            for file in &mut state.files {
                file.evict();
            }
        }
        state.restart("the process was killed");
    }

    /// Cuts the power: of what was not synced, the disk keeps what it likes.
    pub fn power_cut(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.fire(Fault::PowerCut);
        let tally = &mut state.tally;
        let mut happened = Vec::new();
        let mut fired = |fault: Fault| {
            tally.fired[fault as usize] += 1;
            happened.push(fault);
        };
        state
            .names
            .power_cut(&state.plan, &mut state.rng, &mut fired);
        let stale = state
            .files
            .iter()
            .map(|file| &file.durable)
            .max_by_key(|bytes| bytes.len())
            .cloned()
            .unwrap_or_default();
        for file in &mut state.files {
            file.power_cut(&state.plan, &mut state.rng, &stale, &mut fired);
        }
        for fault in happened {
            state.say(|| format!("    {fault:?}"));
        }
        let kept = &state.names.live;
        for (number, file) in state.files.iter_mut().enumerate() {
            if !kept.values().any(|&named| named == number) {
                *file = SimFile::default();
            } else {
                // What was claimed and not written may be given back.
                let length = file.durable.len() as u64;
                file.trim_blocks(length);
                file.take_blocks(0, length);
            }
        }
        state.restart("the power went");
    }

    /// Changes the disk's habits from here on.
    pub fn set_plan(&self, plan: Plan) {
        self.state().plan = plan;
    }

    /// The disk's habits.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.state().plan.clone()
    }

    /// Ends the faults: the disk is honest from here on, and every sector can be read again.
    pub fn quiet(&self) {
        let mut state = self.state();
        state.plan = state.plan.quiet();
        state.failing_sync = None;
        for file in &mut state.files {
            file.latent.clear();
        }
    }

    /// Gives the disk this much room, or no limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.state().plan.capacity = capacity;
    }

    /// Gives a directory within room of its own, as if it were a device, or takes the limit away.
    /// It loses its power together with all others.
    pub fn set_volume(&self, directory: &str, capacity: Option<u64>) {
        let mut state = self.state();
        let directory = format!("{directory}/");
        match capacity {
            Some(capacity) => state.volumes.insert(directory, capacity),
            None => state.volumes.remove(&directory),
        };
    }

    /// Bytes of room that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used("")
    }

    /// Bytes of room that are taken in a directory within.
    #[must_use]
    pub fn used_within(&self, directory: &str) -> u64 {
        self.state().used(&format!("{directory}/"))
    }

    /// Takes a directory away with all that it holds, or gives it another name: as people do, with no
    /// process running. What is there already under the new name goes.
    pub fn rename_within(&self, from: &str, to: Option<&str>) {
        let mut state = self.state();
        let (from, to) = (format!("{from}/"), to.map(|to| format!("{to}/")));
        for names in state.names.both() {
            if let Some(to) = &to {
                names.retain(|name, _| !name.starts_with(to));
            }
            let moved: Vec<_> = names
                .extract_if(.., |name, _| name.starts_with(&from))
                .collect();
            for (name, file) in moved {
                if let Some(to) = &to {
                    names.insert(name.replacen(&from, to, 1), file);
                }
            }
        }
    }

    /// Copies a directory as people do.
    pub fn copy_within(&self, from: &str, to: &str) {
        let mut state = self.state();
        let (from, to) = (format!("{from}/"), format!("{to}/"));
        let durable = state.names.durable.clone();
        for (name, file) in durable.range(from.clone()..) {
            let Some(rest) = name.strip_prefix(&from) else {
                break;
            };
            let copy = state.files[*file].clone();
            let number = state.files.len();
            state.files.push(copy);
            for names in state.names.both() {
                names.insert(format!("{to}{rest}"), number);
            }
        }
    }

    /// What was asked and what fired.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// A hash over every call and every answer so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    /// What the user of the disk did that no medium allows, such as cutting a mapped file.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Writes down from now on, in words, every call and every fault; and what [`SimDisk::say`] adds.
    pub fn tell(&self) {
        self.state().story = Some(Vec::new());
    }

    /// Adds a line to the story, if one is written.
    pub fn say(&self, line: impl FnOnce() -> String) {
        self.state().say(line);
    }

    /// What was written down.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        self.state().story.clone().unwrap_or_default()
    }

    /// The named files and what is on the disk of each.
    #[must_use]
    pub fn files(&self) -> Vec<(String, Bytes)> {
        let state = self.state();
        let names = state.names.durable.iter();
        names
            .map(|(name, &file)| {
                (
                    name.clone(),
                    Bytes::copy_from_slice(&state.files[file].durable),
                )
            })
            .collect()
    }

    /// Flips a bit on the disk, and in the page cache where that is clean. `false` if there is no
    /// such file or bit.
    pub fn flip(&self, name: &str, bit: u64) -> bool {
        let mut state = self.state();
        let Some(&number) = state.names.durable.get(name) else {
            return false;
        };
        let file = &mut state.files[number];
        let at = (bit / 8) as usize;
        if at >= file.durable.len() {
            return false;
        }
        file.durable[at] ^= 1 << (bit % 8);
        file.evict();
        state.fire(Fault::BitFlip);
        true
    }

    /// Puts bytes over a file on the disk, or cuts it to them.
    pub fn replace(&self, name: &str, content: &[u8]) {
        let mut state = self.state();
        if let Some(&number) = state.names.durable.get(name) {
            let file = &mut state.files[number];
            file.durable = content.to_vec();
            file.pending.clear();
            file.live = content.to_vec();
        }
    }

    /// Lets another process hold the writer's lock, or not any more.
    pub fn set_holder(&self, holder: Option<&str>) {
        self.state().holder = holder.map(str::to_owned);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of the call at which the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    /// Carry the call out and answer.
    On,
    /// Carry it out, or this many thousandths of it, and answer with the error.
    Down(u32),
}

impl State {
    /// Counts a call, and lets the process die if it is time.
    pub(super) fn call(&mut self, process: u64, what: &str, changes: bool) -> Result<Going> {
        self.tally.calls += 1;
        if self.down || process < self.process {
            return Err(dead(what));
        }
        self.note(what.as_bytes());
        self.say(|| format!("  {what}"));
        if !changes {
            return Ok(Going::On);
        }
        self.tally.changes += 1;
        match &mut self.countdown {
            Some(left) if *left <= 1 => {
                self.countdown = None;
                self.down = true;
                let done = one(&mut self.rng, &[0, 0, 500, 1000]);
                if done > 0 {
                    self.fire(Fault::HalfDone);
                }
                Ok(Going::Down(done))
            }
            Some(left) => {
                *left -= 1;
                Ok(Going::On)
            }
            None => Ok(Going::On),
        }
    }

    pub(super) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }

    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.trace = xxh3_64_with_seed(bytes, self.trace);
    }

    pub(super) fn fire(&mut self, fault: Fault) {
        self.tally.fired[fault as usize] += 1;
        self.note(&[fault as u8]);
        self.say(|| format!("    {fault:?}"));
    }

    /// Whether this is the sync that was picked to fail.
    pub(super) fn sync_fails(&mut self) -> bool {
        match self.failing_sync {
            Some(0) => {
                self.failing_sync = None;
                self.fire(Fault::SyncDropped);
                true
            }
            Some(passing) => {
                self.failing_sync = Some(passing - 1);
                false
            }
            None => false,
        }
    }

    /// Whether this fault hits now.
    pub(super) fn hit(&mut self, fault: Fault) -> bool {
        let rate = self.plan.rate(fault);
        let hits = self.rng.chance(rate, 1000);
        if hits {
            self.fire(fault);
        }
        hits
    }

    fn restart(&mut self, how: &str) {
        self.note(how.as_bytes());
        self.say(|| format!("-- {how}"));
        self.process += 1;
        self.down = false;
        self.countdown = None;
        self.holder = None;
        self.held_within.clear();
        for file in &mut self.files {
            file.mapped = 0;
        }
    }

    pub(super) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Room that is taken below this directory.
    fn used(&self, directory: &str) -> u64 {
        let named = self.names.live.iter();
        let within = named.filter(|(name, _)| name.starts_with(directory));
        within
            .map(|(_, &file)| self.files[file].blocks())
            .sum::<u64>()
            * BLOCK
    }

    /// Blocks that can still be given out to a file of this name.
    pub(super) fn free_blocks(&self, name: &str) -> u64 {
        let mut volumes = self.volumes.iter();
        let volume = volumes.find(|(directory, _)| name.starts_with(directory.as_str()));
        let left = |(directory, capacity): (&str, u64)| {
            capacity.saturating_sub(self.used(directory)) / BLOCK
        };
        let here = volume.map(|(directory, capacity)| left((directory, *capacity)));
        let whole = self.plan.capacity.map(|capacity| left(("", capacity)));
        here.into_iter().chain(whole).min().unwrap_or(u64::MAX)
    }

    /// The room of the volume that a directory lies on, if it has a limit.
    pub(super) fn space(&self, directory: &str) -> Option<Space> {
        let mut volumes = self.volumes.iter();
        let volume = volumes.find(|(volume, _)| directory.starts_with(volume.as_str()));
        let volume = volume.map(|(volume, capacity)| (volume.as_str(), *capacity));
        let (directory, total) = volume.or(self.plan.capacity.map(|capacity| ("", capacity)))?;
        let free = total.saturating_sub(self.used(directory));
        Some(Space { total, free })
    }

    pub(super) fn make_file(&mut self, name: &str) -> FileNumber {
        let number = self.files.len();
        self.files.push(SimFile::default());
        self.names.point(name, number);
        number
    }

    /// Makes names durable: those of this directory, where names are not journalled together.
    pub(super) fn sync_names(&mut self, directory: &str) {
        let alone = self.plan.names == NameRule::Strict;
        self.names.sync(alone.then_some(directory));
    }

    /// Carries out an honest sync of a file, or one with a mishap of the plan.
    pub(super) fn sync_file(&mut self, number: FileNumber) {
        let sector = self.plan.sector;
        let mishap = self.mishap(number);
        self.files[number].sync(sector, mishap);
        let bits = self.files[number].durable.len() as u64 * 8;
        if bits > 0 && self.hit(Fault::BitFlip) {
            let bit = self.rng.below(bits);
            self.files[number].durable[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if self.plan.names == NameRule::Journalled {
            self.names.sync(None);
        }
    }

    fn mishap(&mut self, number: FileNumber) -> Option<Mishap> {
        let sector = self.plan.sector;
        let dirty = self.files[number].dirty(sector);
        if dirty.is_empty() {
            return None;
        }
        if self.hit(Fault::LostWrite) {
            return Some(Mishap::Lost(one(&mut self.rng, &dirty)));
        }
        if self.hit(Fault::Misdirected) {
            let sectors = (self.files[number].live.len() as u64).div_ceil(sector);
            let (from, to) = (one(&mut self.rng, &dirty), self.rng.below(sectors));
            return Some(Mishap::Misdirected(from, to));
        }
        None
    }
}

pub(super) fn dead(what: &str) -> Error {
    Error::io(
        what,
        std::io::Error::other("the process that asked is dead"),
    )
}
