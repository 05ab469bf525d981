//! The seam: what a process can ask of the simulated disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::disk::{Going, LOCK, SimDisk, State, dead};
use super::file::BLOCK;
use super::names::FileNumber;
use super::plan::Fault;
use crate::contract::{Env, Error, Level, Op, Result};
use crate::medium::{Medium, MediumFile, Space};

/// A simulated directory as one process sees it. Clones are the same process; once it was killed,
/// every call answers with an error, whoever still holds it.
#[derive(Debug, Clone)]
pub struct SimMedium {
    disk: SimDisk,
    process: u64,
    held: Arc<Held>,
    /// Empty, or the name of the directory within and a slash.
    directory: String,
}

#[derive(Debug)]
struct Held {
    disk: SimDisk,
    process: u64,
    directory: String,
    locked: AtomicBool,
}

impl Held {
    fn free(&self) {
        if self.locked.swap(false, Ordering::AcqRel) {
            let mut state = self.disk.state();
            if state.process == self.process {
                if self.directory.is_empty() {
                    state.holder = None;
                } else {
                    state.held_within.remove(&self.directory);
                }
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free();
    }
}

impl SimMedium {
    pub(super) fn new(disk: SimDisk, process: u64) -> Self {
        Self::at(disk, process, String::new())
    }

    fn at(disk: SimDisk, process: u64, directory: String) -> Self {
        let held = Arc::new(Held {
            disk: disk.clone(),
            process,
            directory: directory.clone(),
            locked: AtomicBool::new(false),
        });
        Self {
            disk,
            process,
            held,
            directory,
        }
    }

    /// A directory of its own within this one, for the same process: another lock, and its names
    /// become durable when it is synced.
    #[must_use]
    pub fn within(&self, name: &str) -> Self {
        let directory = format!("{}{name}/", self.directory);
        Self::at(self.disk.clone(), self.process, directory)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.directory)
    }

    /// The disk behind it.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn handle(&self, file: FileNumber, name: &str, write: bool) -> Arc<dyn MediumFile> {
        Arc::new(SimHandle {
            disk: self.disk.clone(),
            process: self.process,
            file,
            name: name.to_owned(),
            write,
        })
    }

    /// Changes names unless a fault says otherwise.
    fn change_names<T>(
        &self,
        what: &str,
        change: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.disk.state();
        match state.call(self.process, what, true)? {
            Going::On => {
                if state.hit(Fault::NameError) {
                    return Err(eio(what));
                }
                change(&mut state)
            }
            Going::Down(done) => {
                if done > 0 {
                    change(&mut state)?;
                }
                Err(dead(what))
            }
        }
    }
}

impl Medium for SimMedium {
    fn place(&self) -> String {
        format!("simulation/{}", self.directory)
            .trim_end_matches('/')
            .to_owned()
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut state = self.disk.state();
        state.call(self.process, "list", false)?;
        if state.hit(Fault::ReadError) {
            return Err(eio("listing"));
        }
        let names = state.names.live.keys();
        let mut names: Vec<_> = names
            .filter_map(|name| name.strip_prefix(&self.directory)?.split('/').next())
            .map(str::to_owned)
            .collect();
        names.dedup();
        Ok(names)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        let name = &*self.path(name);
        let number = self.change_names(&format!("creating {name}"), |state| {
            if !state.made {
                return Err(Error::unavailable(format!(
                    "creating {name}: no such directory"
                )));
            }
            if state.names.live.contains_key(name) {
                return Err(Error::unavailable(format!("creating {name}: file exists")));
            }
            if state.hit(Fault::FullCreate) {
                return Err(enospc(&format!("creating {name}")));
            }
            Ok(state.make_file(name))
        })?;
        Ok(self.handle(number, name, true))
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        let name = &*self.path(name);
        let mut state = self.disk.state();
        let what = format!("opening {name}");
        state.call(self.process, &what, false)?;
        if state.hit(Fault::ReadError) {
            return Err(eio(&what));
        }
        let number = state.names.live.get(name).copied();
        drop(state);
        match number {
            Some(number) => Ok(self.handle(number, name, write)),
            None => Err(Error::invalid(format!("there is no {name}"))),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (&*self.path(from), &*self.path(to));
        self.change_names(&format!("renaming {from} {to}"), |state| {
            let Some(&number) = state.names.live.get(from) else {
                return Err(Error::unavailable(format!("renaming {from}: no such file")));
            };
            state.names.rename(from, to, number);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        let name = &*self.path(name);
        self.change_names(&format!("removing {name}"), |state| {
            if state.names.live.contains_key(name) {
                state.names.drop_name(name);
            }
            Ok(())
        })
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.disk.state();
        let going = state.call(self.process, "syncing the directory", true)?;
        state.tally.directory_syncs += 1;
        match going {
            Going::Down(1000) => {
                state.sync_names(&self.directory);
                Err(dead("syncing the directory"))
            }
            Going::Down(_) => Err(dead("syncing the directory")),
            Going::On if state.hit(Fault::DirSyncError) => Err(eio("syncing the directory")),
            Going::On if state.hit(Fault::LyingDirSync) => Ok(()),
            Going::On => {
                state.sync_names(&self.directory);
                Ok(())
            }
        }
    }

    fn lock(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.call(self.process, "locking", false)?;
        state.made = true;
        let holder = if self.directory.is_empty() {
            state.holder.clone()
        } else {
            let taken = !state.held_within.insert(self.directory.clone());
            taken.then(|| "another handle".to_owned())
        };
        if let Some(holder) = holder {
            return Err(Error::unavailable(format!(
                "{} is being written by {holder}",
                self.place()
            )));
        }
        if self.directory.is_empty() {
            state.holder = Some(format!("process {}", self.process));
        }
        let lock = self.path(LOCK);
        if !state.names.live.contains_key(&lock) {
            state.make_file(&lock);
        }
        drop(state);
        self.held.locked.store(true, Ordering::Release);
        Ok(())
    }

    fn unlock(&self) {
        self.held.free();
    }

    fn unit(&self) -> u64 {
        let plan = self.disk.plan();
        if plan.power_safe { 8 } else { plan.sector }
    }

    fn level(&self) -> Level {
        Level::Disk
    }

    fn space(&self) -> Option<Space> {
        self.disk.state().space(&self.directory)
    }
}

#[derive(Debug)]
struct SimHandle {
    disk: SimDisk,
    process: u64,
    file: FileNumber,
    name: String,
    write: bool,
}

impl SimHandle {
    fn what(&self, verb: &str) -> String {
        format!("{verb} {}", self.name)
    }

    fn write(&self, state: &mut State, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        let what = format!("writing {offset}..{end} of {}", self.name);
        self.refuse_reader(&what)?;
        let going = state.call(self.process, &what, true)?;
        state.note(&offset.to_le_bytes());
        state.note(bytes);
        state.tally.writes += 1;
        state.tally.bytes += bytes.len() as u64;
        let whole = bytes.len() as u64;
        let (written, error) = match going {
            Going::Down(done) => (whole * u64::from(done) / 1000, Some(dead(&what))),
            Going::On if state.hit(Fault::WriteError) => (0, Some(eio(&what))),
            Going::On if state.hit(Fault::PartialWrite) => {
                (state.rng.below(whole + 1), Some(eio(&what)))
            }
            // Room that was claimed, or written before, is there.
            Going::On
                if state.files[self.file].missing_blocks(offset, offset + whole) > 0
                    && state.hit(Fault::FullWrite) =>
            {
                (state.rng.below(whole + 1), Some(enospc(&what)))
            }
            Going::On => (whole, None),
        };
        let mut written = written;
        let mut error = error;
        let free = state.free_blocks(&self.name);
        let end = offset + written;
        if state.files[self.file].missing_blocks(offset, end) > free {
            // Whole blocks from the front, as many as there are.
            while state.files[self.file].missing_blocks(offset, offset + written) > free {
                written = (offset + written - 1) / BLOCK * BLOCK;
                written = written.saturating_sub(offset);
            }
            state.fire(Fault::FullWrite);
            error = Some(enospc(&what));
        }
        let sector = state.plan.sector;
        let mapped = state.files[self.file].mapped;
        if offset < mapped {
            let old = state.files[self.file].live[offset as usize..]
                .iter()
                .zip(bytes)
                .take((mapped - offset) as usize);
            if old.into_iter().any(|(old, new)| old != new) {
                state.violation(format!("{what}: changes mapped bytes"));
            }
        }
        state.files[self.file].write(offset, &bytes[..written as usize], sector);
        error.map_or(Ok(()), Err)
    }

    /// Makes what is pending durable, unless a fault says otherwise.
    fn settle(&self, state: &mut State, verb: &str) -> Result<()> {
        let what = self.what(verb);
        let going = state.call(self.process, &what, true)?;
        state.tally.syncs += 1;
        let sector = state.plan.sector;
        if let Going::Down(done) = going {
            if done == 1000 {
                state.sync_file(self.file);
            }
            return Err(dead(&what));
        }
        if state.files[self.file].pending.is_empty() {
            // Nothing dirty, nothing to fail: also after a sync that failed and dropped it all.
            return Ok(());
        }
        for (fault, dropped) in [
            (Fault::SyncDropped, 1000),
            (Fault::SyncDroppedPartly, 500),
            (Fault::FullSync, 500),
        ] {
            let picked = fault == Fault::SyncDropped && state.sync_fails();
            if picked || state.hit(fault) {
                let State { files, rng, .. } = state;
                files[self.file].drop_pending(sector, dropped, rng);
                let full = fault == Fault::FullSync;
                return Err(if full { enospc(&what) } else { eio(&what) });
            }
        }
        if state.hit(Fault::SyncKept) {
            state.sync_file(self.file);
            return Err(eio(&what));
        }
        if state.hit(Fault::LyingSync) {
            return Ok(());
        }
        state.sync_file(self.file);
        Ok(())
    }

    fn refuse_reader(&self, what: &str) -> Result<()> {
        if self.write {
            Ok(())
        } else {
            Err(Error::invalid(format!("{what}: opened for reading only")))
        }
    }
}

impl MediumFile for SimHandle {
    fn len(&self) -> Result<u64> {
        let what = self.what("measuring");
        let mut state = self.disk.state();
        state.call(self.process, &what, false)?;
        if state.hit(Fault::ReadError) {
            return Err(eio(&what));
        }
        Ok(state.files[self.file].live.len() as u64)
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes> {
        let what = format!("reading {length} at {offset} of {}", self.name);
        let mut state = self.disk.state();
        state.call(self.process, &what, false)?;
        state.tally.reads += 1;
        let sector = state.plan.sector;
        let size = state.files[self.file].live.len() as u64;
        let start = offset.min(size);
        let end = offset.saturating_add(length as u64).min(size);
        let (first, last) = (start / sector, end.div_ceil(sector));
        state.tally.bytes_read += end - start;
        if state.hit(Fault::ReadError) {
            return Err(eio(&what));
        }
        if end > start && state.hit(Fault::LatentSector) {
            let bad = first + state.rng.below(last - first);
            state.files[self.file].latent.insert(bad);
        }
        let latent = &state.files[self.file].latent;
        if end > start && latent.range(first..last).next().is_some() {
            return Err(eio(&what));
        }
        let mut bytes = state.files[self.file].live[start as usize..end as usize].to_vec();
        if end > start && state.hit(Fault::StaleRead) {
            let at = first + state.rng.below(last - first);
            let old = state.files[self.file].stale(at, sector);
            for (index, byte) in old.into_iter().enumerate() {
                let place = at * sector + index as u64;
                if (start..end).contains(&place) {
                    bytes[(place - start) as usize] = byte;
                }
            }
        }
        if end > start && state.hit(Fault::ReadFlip) {
            // What begins a read is read for a reason: a header, mostly.
            let most = if state.rng.chance(1, 2) { 32 } else { u64::MAX };
            let bit = state.rng.below((end - start).min(most) * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        state.note(&start.to_le_bytes());
        state.note(&bytes);
        Ok(Bytes::from(bytes))
    }

    fn fetch(&self, _env: &Env, offset: u64, length: usize) -> Op<Bytes> {
        Op::ready(self.read_at(offset, length))
    }

    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.write(&mut self.disk.state(), offset, &parts.concat())
    }

    fn write_through(&self, offset: u64, parts: &[&[u8]]) -> Result<bool> {
        let mut bytes = parts.concat();
        let mut state = self.disk.state();
        let (through, sector) = (state.plan.through, state.plan.sector);
        if !through || !offset.is_multiple_of(sector) {
            return Ok(false);
        }
        bytes.resize(bytes.len().next_multiple_of(sector as usize), 0);
        let end = offset + bytes.len() as u64;
        self.write(&mut state, offset, &bytes)?;
        // What else is dirty is neither brought to the device nor lost, whatever happens to this.
        let rest = state.files[self.file].set_aside(offset, end, sector);
        let settled = self.settle(&mut state, "writing through");
        state.files[self.file].pending.splice(0..0, rest);
        settled?;
        Ok(true)
    }

    fn claim(&self, end: u64) -> Result<()> {
        let what = format!("claiming {end} bytes for {}", self.name);
        self.refuse_reader(&what)?;
        let mut state = self.disk.state();
        let going = state.call(self.process, &what, true)?;
        state.note(&end.to_le_bytes());
        if let Going::Down(_) = going {
            return Err(dead(&what));
        }
        if state.hit(Fault::NameError) {
            return Err(eio(&what));
        }
        let missing = state.files[self.file].missing_blocks(0, end);
        if missing > state.free_blocks(&self.name) {
            state.fire(Fault::FullClaim);
            return Err(enospc(&what));
        }
        if missing > 0 && state.hit(Fault::FullClaim) {
            return Err(enospc(&what));
        }
        state.files[self.file].take_blocks(0, end);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let what = format!("resizing {} to {length}", self.name);
        self.refuse_reader(&what)?;
        let mut state = self.disk.state();
        let going = state.call(self.process, &what, true)?;
        state.note(&length.to_le_bytes());
        if going == Going::On && state.hit(Fault::NameError) {
            return Err(eio(&what));
        }
        if length < state.files[self.file].mapped {
            state.violation(format!("{what}: cuts mapped bytes"));
        }
        if going != Going::Down(0) {
            let sector = state.plan.sector;
            state.files[self.file].set_length(length, sector);
        }
        match going {
            Going::On => Ok(()),
            Going::Down(_) => Err(dead(&what)),
        }
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        self.settle(&mut state, "syncing")
    }

    fn map(&self, length: u64) -> Option<Result<Bytes>> {
        let what = self.what("mapping");
        let mut state = self.disk.state();
        if !state.plan.map {
            return None;
        }
        if let Err(error) = state.call(self.process, &what, false) {
            return Some(Err(error));
        }
        if state.hit(Fault::ReadError) {
            return Some(Err(eio(&what)));
        }
        state.tally.reads += 1;
        let size = state.files[self.file].live.len() as u64;
        if length > size {
            state.violation(format!("{what}: {length} bytes of a file of {size}"));
            return Some(Err(eio(&what)));
        }
        let file = &mut state.files[self.file];
        file.mapped = file.mapped.max(length);
        Some(Ok(Bytes::copy_from_slice(&file.live[..length as usize])))
    }
}

fn eio(what: &str) -> Error {
    Error::io(what, std::io::Error::from_raw_os_error(5))
}

fn enospc(what: &str) -> Error {
    Error::io(what, std::io::Error::from_raw_os_error(28))
}
