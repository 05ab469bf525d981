//! A sequence over three small file systems that fill up in turn, opened again at every point.
//!
//! The file systems are in memory and mounted in a name space of the test's own, so that nothing is
//! left of them whatever happens. Where the system gives no such name space, the test says so.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

#[path = "desk/tools.rs"]
mod tools;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Error, ErrorKind, Kind, Level, Name, NewRecord, Oid};
use travertine::front::{Change, Engine, Hint};

/// Set where the test runs in a name space of its own.
const INSIDE: &str = "TRAVERTINE_OWN_MOUNTS";
const DISKS: [&str; 3] = ["a", "b", "c"];
/// Bytes of each file system.
const SIZE: u64 = 3 << 20;
/// Bytes of a segment.
const SEGMENT: u64 = 256 << 10;
/// Commits between two openings.
const STEP: usize = 3;

/// Whether this process may mount what it likes. If not, another one runs the test so, if it can.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |how: &str| {
        let mut command = Command::new("unshare");
        command.arg(how);
        command
    };
    let place = tempfile::tempdir().unwrap();
    let mounts = |how: &&str| {
        let mut mount = unshare(how);
        mount
            .args(["mount", "-t", "tmpfs", "none"])
            .arg(place.path());
        mount.output().is_ok_and(|output| output.status.success())
    };
    if !tools::have("unshare", unshare("--version").output().is_ok()) {
        return false;
    }
    let Some(how) = ["-m", "-rm"].into_iter().find(mounts) else {
        // No tool that could be installed.
        println!("skipped: needs mounts of its own");
        return false;
    };
    let status = unshare(how)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "yes")
        .status();
    assert!(status.unwrap().success());
    false
}

fn mount(place: &Path, options: &str) {
    let mut command = Command::new("mount");
    command
        .args(["-t", "tmpfs", "-o", options, "none"])
        .arg(place);
    assert!(command.status().unwrap().success());
}

struct Disks {
    directory: tempfile::TempDir,
    file: StackFile,
    rows: Vec<Oid>,
    /// Bytes of each file system by now.
    size: u64,
}

impl Disks {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let over: Vec<_> = DISKS
            .iter()
            .map(|disk| {
                let place = directory.path().join(disk);
                std::fs::create_dir(&place).unwrap();
                mount(&place, &format!("size={SIZE}"));
                format!("{{ use = \"file\", path = \"{disk}/log\", segment = \"{SEGMENT} B\" }}")
            })
            .collect();
        let text = format!(
            "[[layer]]\nuse = \"sequence\"\nover = [{}]\n",
            over.join(", ")
        );
        let kinds = travertine::standard();
        let none = Overrides::none();
        let file = StackFile::parse("s.toml", &text, directory.path(), &kinds, &none).unwrap();
        Self {
            directory,
            file,
            rows: Vec::new(),
            size: SIZE,
        }
    }

    fn body(row: usize) -> Vec<u8> {
        (0..30_000).map(|at| (row * 7 + at * 13) as u8).collect()
    }

    /// Makes each file system longer.
    fn grow(&mut self, bytes: u64) {
        self.size += bytes;
        for disk in DISKS {
            let options = format!("remount,size={}", self.size);
            mount(&self.directory.path().join(disk), &options);
        }
    }

    /// Opens the stack. A full disk has room for what a recovery takes.
    fn open(&self, read_only: bool) -> Engine {
        let env = Env::system();
        for _ in 0..100_000 {
            match self.file.engine(&env, read_only) {
                Ok((_, engine)) => return engine,
                // A driver may still be at work for the one that was dropped.
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) => panic!("{error}"),
            }
            env.clock.sleep(Duration::from_millis(1));
        }
        panic!("the stack that was dropped is never free");
    }

    /// Commits one more row.
    fn commit(&mut self, engine: &Engine) -> Result<(), Error> {
        let session = engine.session()?;
        let body = Self::body(self.rows.len());
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let stored = session.store(&record, Hint::default())?;
        let change = Change::set(Name::new("row")?, stored);
        session.commit(&[change], Some(Level::Disk)).wait()?;
        self.rows.push(stored.oid);
        Ok(())
    }

    /// Checks that everything that was committed reads back, but for what nobody called proven yet.
    fn check(&self, engine: &Engine, unproven: usize) {
        let sequence = engine.snapshot().sequence() as usize;
        assert!(sequence + unproven >= self.rows.len(), "{sequence}");
        for (row, oid) in self.rows.iter().enumerate().take(sequence) {
            let record = engine.read(*oid).wait().unwrap().unwrap();
            assert_eq!(record.body(), Self::body(row));
        }
    }

    fn used(&self, disk: &str) -> u64 {
        let found = rustix::fs::statvfs(self.directory.path().join(disk)).unwrap();
        (found.f_blocks - found.f_bfree) * found.f_frsize
    }
}

#[test]
fn a_sequence_fills_small_file_systems_in_turn_and_is_opened_again_at_every_point() {
    if !inside("a_sequence_fills_small_file_systems_in_turn_and_is_opened_again_at_every_point") {
        return;
    }
    let mut disks = Disks::new();
    let mut points = 0;
    let engine = loop {
        let engine = disks.open(false);
        disks.check(&engine, 0);
        let done = (0..STEP).try_for_each(|_| disks.commit(&engine));
        // Somebody who only reads sees all that is proven, at this point as at any.
        let reader = disks.open(true);
        disks.check(&reader, 1);
        match done {
            Err(error) if error.kind() == ErrorKind::Full => break engine,
            done => done.unwrap(),
        }
        if points % 2 == 0 {
            engine.close().unwrap();
        }
        points += 1;
        drop(engine);
    };
    let used = DISKS.map(|disk| disks.used(disk));
    println!(
        "{} rows, opened again {points} times, {used:?} bytes used",
        disks.rows.len()
    );
    assert!(used.iter().all(|used| *used > SIZE / 2), "{used:?}");
    let parts = |engine: &Engine| engine.status().below[0].parts.len();
    assert_eq!(parts(&engine), DISKS.len());
    // Full: reads go on, and so do writes once there is room, with no opening in between.
    disks.check(&engine, 0);
    assert_eq!(disks.commit(&engine).unwrap_err().kind(), ErrorKind::Full);
    disks.grow(SIZE);
    disks.commit(&engine).unwrap();
    drop(engine);
    let engine = disks.open(false);
    disks.check(&engine, 0);
    engine.close().unwrap();
}
