//! One bit flips on a disk at rest: is it told, does it change nothing, or is a commit gone without a
//! word?
//!
//! ```text
//!   commits … commit | proof, or a clean end, or nothing        one bit, anywhere in the files
//!   └── vouched for ─┘        └ what vouches                    then: open, compare, read all
//! ```
//!
//! Nothing that a later frame or a clean end vouches for may be missing silently. The last commit has
//! nothing behind it where the writer stopped dead right after it: damage there looks as a torn write
//! does.

use std::sync::Arc;

use crate::conformance::env::SimEnv;
use crate::conformance::rng::Rng;
use crate::conformance::sim::{Plan, SimDisk};
use crate::contract::{Kind, Name, NewRecord, Result};
use crate::front::{Change, Engine, Hint, Options};
use crate::log::{Log, LogOptions};

/// How the writer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Proved,
    Dead,
}

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// An error said so, at opening or at reading.
    Told,
    /// Every answer is right.
    Harmless,
    /// The newest commit is gone, and nothing said so.
    LastMissed,
    /// More than that is gone.
    RolledBack,
}

fn open(disk: &SimDisk) -> Result<Engine> {
    let env = SimEnv::new(1);
    let options = LogOptions {
        segment: 64 << 10,
        ..LogOptions::default()
    };
    let log = Log::open("file", Arc::new(disk.medium()), env.env(), options)?;
    Engine::open(Arc::new(log), env.env(), Options::default())
}

fn body(rng: &mut Rng, number: u64) -> Vec<u8> {
    let length = [20, 300, 3_000, 12_000][rng.below_usize(4)];
    let mut body = rng.bytes(length);
    body[..8].copy_from_slice(&number.to_le_bytes());
    body
}

/// Writes some commits, each a new name, and ends. What was written, in order.
fn write(disk: &SimDisk, rng: &mut Rng, end: End) -> Vec<Vec<u8>> {
    let engine = open(disk).unwrap();
    let mut written = Vec::new();
    for number in 0..3 + rng.below(25) {
        let body = body(rng, number);
        let session = engine.session().unwrap();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let stored = session.store(&record, Hint::default()).unwrap();
        let change = Change::set(name(number), stored);
        session.commit(&[change], None).wait().unwrap();
        written.push(body);
    }
    match end {
        End::Closed => engine.close().unwrap(),
        End::Proved => {
            engine.prove().unwrap();
            disk.kill();
        }
        End::Dead => disk.power_cut(),
    }
    written
}

fn name(number: u64) -> Name {
    Name::new(format!("n{number}")).unwrap()
}

/// Flips a bit of a byte that means something: zeros written ahead are most of some files.
fn flip(disk: &SimDisk, rng: &mut Rng) {
    loop {
        let files = disk.files();
        let (name, bytes) = rng.pick(&files).unwrap();
        if !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64);
            let near = &bytes[at as usize..bytes.len().min(at as usize + 64)];
            if near.iter().any(|&byte| byte != 0) {
                disk.flip(name, at * 8 + rng.below(8));
                return;
            }
        }
    }
}

fn fate(disk: &SimDisk, written: &[Vec<u8>]) -> Fate {
    let Ok(engine) = open(disk) else {
        return Fate::Told;
    };
    let snapshot = engine.snapshot();
    let mut there = 0;
    for (number, body) in written.iter().enumerate() {
        match snapshot.read_root(&name(number as u64)) {
            Err(_) => return Fate::Told,
            Ok(Some(record)) => {
                assert_eq!(record.body(), body, "wrong bytes");
                there += 1;
            }
            Ok(None) => {}
        }
    }
    match written.len() - there {
        0 => Fate::Harmless,
        1 => Fate::LastMissed,
        _ => Fate::RolledBack,
    }
}

#[test]
fn crash_flips_of_one_bit_roll_nothing_back() {
    for end in [End::Closed, End::Proved, End::Dead] {
        let mut fates = Vec::new();
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let disk = SimDisk::new(seed, Plan::calm());
            let written = write(&disk, &mut rng, end);
            for image in 0..5 {
                let disk = disk.image(image);
                flip(&disk, &mut rng);
                let fate = fate(&disk, &written);
                let fine = match fate {
                    Fate::Told | Fate::Harmless => true,
                    Fate::LastMissed => end == End::Dead,
                    Fate::RolledBack => false,
                };
                assert!(fine, "seed {seed}, image {image}, {end:?}: {fate:?}");
                fates.push(fate);
            }
        }
        let count = |fate| fates.iter().filter(|&&other| other == fate).count();
        let (told, missed) = (count(Fate::Told), count(Fate::LastMissed));
        println!(
            "{end:?}: {} flips, {} harmless, {told} told, {missed} took the last commit silently",
            fates.len(),
            count(Fate::Harmless)
        );
    }
}
