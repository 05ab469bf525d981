//! The program at work on a mounted disk, to its end or until it is stopped.

use std::process::{Child, Command, Stdio};

use crate::machine::{ACKS, Watch};
use crate::mount::{Mounted, pause};

/// Longest life of a child, in milliseconds.
const LIFE_MS: u32 = 600_000;
/// The stack file on the disk.
pub(crate) const STACK: &str = "s.toml";

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if it was stopped.
    pub(crate) code: Option<i32>,
    pub(crate) complaint: String,
    /// Whether it had a file of the disk mapped when it was stopped.
    pub(crate) mapped: bool,
}

/// A child that does not outlive us.
struct Alive(Child);

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `travertine COMMAND s.toml REST` on the disk, its output going to the promises.
pub(crate) fn run(mounted: &Mounted, command: &str, rest: &str, watch: Watch) -> Ended {
    let machine = &mounted.machine;
    let acks = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(mounted.path().join(ACKS))
        .unwrap();
    machine.watch(watch);
    let complaint = tempfile::tempfile().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_travertine"))
        .args([command, STACK])
        .args(rest.split_whitespace())
        .current_dir(mounted.path())
        .env_remove("TRAVERTINE_SET")
        .stdin(Stdio::null())
        .stdout(acks)
        .stderr(complaint.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut child = Alive(child);
    let mut mapped = false;
    let mut code = None;
    for age in 0.. {
        if let Some(status) = child.0.try_wait().unwrap() {
            code = status.code();
            break;
        }
        if machine.is_stopping() {
            mapped = has_mapped(mounted, child.0.id());
            child.0.kill().unwrap();
            machine.user_gone();
            child.0.wait().unwrap();
            break;
        }
        assert!(age < LIFE_MS, "{command} {rest} did not end");
        pause();
    }
    // Nothing is taken, and nobody is stopped, between two children.
    machine.watch(Watch::default());
    Ended {
        code,
        complaint: text(complaint),
        mapped,
    }
}

fn text(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn has_mapped(mounted: &Mounted, child: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{child}/maps")).unwrap_or_default();
    maps.contains(&*mounted.path().to_string_lossy())
}
