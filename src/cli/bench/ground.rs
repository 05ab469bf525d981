//! Where a bench runs: a directory that is no memory in disguise, and fresh ones below it; and what
//! servers it may write to.

use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use crate::cli::Failure;
use crate::config::StackFile;
use crate::contract::{Env, Error};
use crate::stack::{Data, Opening, OptionType};
use crate::workload;

/// A directory that runs happen below.
#[derive(Debug)]
pub(super) struct Ground {
    directory: PathBuf,
    pub(super) file_system: String,
}

impl Ground {
    /// Takes the directory, or the system's temporary one. Refuses one in memory, unless allowed.
    pub(super) fn choose(directory: Option<&Path>, allow_tmpfs: bool) -> Result<Self, Failure> {
        let directory = directory.map_or_else(std::env::temp_dir, Path::to_owned);
        let place = directory.display();
        let file_system = file_system(&directory)
            .map_err(|error| Failure::wrong(format!("--dir {place}: {error}")))?;
        if ["tmpfs", "ramfs"].contains(&file_system.as_str()) && !allow_tmpfs {
            return Err(Failure::wrong(format!(
                "{place} is a {file_system}: its bytes are in memory and a flush does nothing. Name \
                 a directory on a disk with --dir, or say --allow-tmpfs"
            )));
        }
        Ok(Self {
            directory,
            file_system,
        })
    }

    /// The directory, for people.
    pub(super) fn place(&self) -> String {
        self.directory.display().to_string()
    }

    /// An empty directory that goes when it is dropped.
    pub(super) fn fresh(&self) -> Result<TempDir, Failure> {
        tempfile::Builder::new()
            .prefix("travertine-bench-")
            .tempdir_in(&self.directory)
            .map_err(|error| Error::io(self.place(), error).into())
    }
}

/// Refuses a stack whose places would not move with the directory that they count from.
pub(super) fn stays_inside(file: &StackFile) -> Result<(), Failure> {
    for (_, floor) in file.plan().top().walk() {
        for setting in floor.settings() {
            let place = match setting.value.as_ref().map(|value| &value.data) {
                Some(Data::Text(text)) if setting.row.kind == OptionType::Place => Path::new(text),
                _ => continue,
            };
            let inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
            if !place.components().all(inside) {
                return Err(Failure::wrong(format!(
                    "{}: layer {} has {} = {:?}, which leads out of the fresh directory that a bench \
                     runs in, to data that may exist. Say --set {}.{}=NAME",
                    file.path().display(),
                    floor.title(),
                    setting.name,
                    place.display().to_string(),
                    floor.title(),
                    setting.name,
                )));
            }
        }
    }
    Ok(())
}

/// Whether a stack goes on in servers, where there is no fresh directory.
pub(super) fn is_elsewhere(file: &StackFile) -> bool {
    let mut floors = file.plan().top().walk();
    floors.any(|(_, floor)| floor.kind().elsewhere)
}

/// Refuses a stack that goes on in servers which hold what no benchmark left there. Whoever writes there
/// now is not disturbed: this only reads.
pub(super) fn is_free(file: &StackFile) -> Result<(), Failure> {
    if !is_elsewhere(file) {
        return Ok(());
    }
    let env = Env::system();
    let shelves = file.plan().shelves(&env, &Opening::default());
    let mut bare = !shelves.is_empty();
    for shelf in &shelves {
        bare = bare && shelf.is_bare()?;
    }
    if bare {
        return Ok(());
    }
    let (stack, engine) = file.engine(&env, true)?;
    let snapshot = engine.snapshot();
    let found = workload::foreign(&snapshot).cloned();
    drop(snapshot);
    engine.close()?;
    drop(stack);
    match found {
        None => Ok(()),
        Some(name) => Err(Failure::wrong(format!(
            "{}: what its servers hold has the name `{name}`, which no benchmark gave: a benchmark \
             writes there. Let it run over servers of their own, begun on empty directories",
            file.path().display(),
        ))),
    }
}

#[cfg(target_os = "linux")]
fn file_system(directory: &Path) -> std::io::Result<String> {
    let magic = rustix::fs::statfs(directory)?.f_type as u32;
    let known = match magic {
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        _ => return Ok(format!("file system {magic:#x}")),
    };
    Ok(known.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn file_system(directory: &Path) -> std::io::Result<String> {
    std::fs::metadata(directory).map(|_| "a file system of unknown kind".to_owned())
}
