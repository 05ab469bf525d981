//! Programs that keep no log, or keep it badly: what they lose shows that the images tell the truth,
//! and what a careful one keeps shows that they do not exaggerate.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use travertine_engine::conformance::rng::Rng;

use crate::disk::{Disk, Faults};
use crate::image::{Cut, Image};
use crate::machine::{Machine, Taken, Watch};
use crate::mount::Mounted;
use crate::names::Rule;

const LINES: u64 = 30;
const LOG: &str = "log";

/// An empty disk, mounted, every fourth event of which is a moment.
fn mounted(rule: Rule, seed: u64) -> Mounted {
    mounted_on(rule, seed, true)
}

fn mounted_on(rule: Rule, seed: u64, ruins: bool) -> Mounted {
    let disk = Disk::new(rule, &Image::default());
    let mounted = Mounted::new(Machine::new(disk, ruins, 0, Rng::new(seed)));
    mounted.machine.watch(Watch {
        one_in: 4,
        moments: 20,
        stop_at: None,
    });
    mounted
}

fn line(number: u64) -> String {
    format!("line {number} {}\n", "x".repeat(number as usize * 3))
}

/// What a program does about durability.
#[derive(Clone, Copy)]
struct Habits {
    syncs_file: bool,
    syncs_directory: bool,
}

const CAREFUL: Habits = Habits {
    syncs_file: true,
    syncs_directory: true,
};

/// Appends lines to a file that it makes, and promises each.
fn append(mounted: &Mounted, habits: Habits) {
    let mut file = File::create_new(mounted.path().join(LOG)).unwrap();
    if habits.syncs_directory {
        sync_directory(mounted);
    }
    for number in 1..=LINES {
        file.write_all(line(number).as_bytes()).unwrap();
        if habits.syncs_file {
            file.sync_data().unwrap();
        }
        mounted.machine.promise(number);
    }
    mounted.machine.take("the end");
}

fn sync_directory(mounted: &Mounted) {
    File::open(mounted.path()).unwrap().sync_all().unwrap();
}

/// How many lines there are from the first on.
fn lines(image: &Image) -> u64 {
    let log = image.file(LOG).unwrap_or_default();
    let mut expected = Vec::new();
    for number in 1..=LINES {
        expected.extend_from_slice(line(number).as_bytes());
        if !log.starts_with(&expected) {
            return number - 1;
        }
    }
    LINES
}

/// Images in which something is missing that was promised, and images in which nothing is; of this
/// kind, after the first promise.
fn lost_and_kept(taken: &[Taken], cut: Cut) -> (usize, usize) {
    let (lost, kept): (Vec<_>, Vec<_>) = taken
        .iter()
        .filter(|taken| taken.cut == cut && taken.promised > 0)
        .partition(|taken| lines(&taken.image) < taken.promised);
    (lost.len(), kept.len())
}

pub(crate) fn a_program_that_never_syncs_loses_all(rule: Rule) {
    let mounted = mounted(rule, 1);
    append(
        &mounted,
        Habits {
            syncs_file: false,
            syncs_directory: true,
        },
    );
    let taken = mounted.machine.taken();
    let (lost, kept) = lost_and_kept(&taken, Cut::Lose);
    assert!(lost > 3 && kept == 0, "{rule:?}: {lost} lost, {kept} kept");
    let (lost, _) = lost_and_kept(&taken, Cut::Subset);
    assert!(lost > 0, "{rule:?}");
}

pub(crate) fn a_program_that_forgets_the_directory_loses_all_unless_the_journal_helps() {
    for (rule, helps) in [(Rule::Strict, false), (Rule::Journalled, true)] {
        let mounted = mounted(rule, 2);
        append(
            &mounted,
            Habits {
                syncs_file: true,
                syncs_directory: false,
            },
        );
        let taken = mounted.machine.taken();
        let (lost, kept) = lost_and_kept(&taken, Cut::Lose);
        match helps {
            true => assert!(lost == 0 && kept > 3, "{lost} lost, {kept} kept"),
            false => assert!(lost > 3 && kept == 0, "{lost} lost, {kept} kept"),
        }
    }
}

pub(crate) fn a_careful_program_loses_nothing() {
    for rule in [Rule::Strict, Rule::Journalled] {
        // It writes on in a page that holds what it promised: no ruins.
        let mounted = mounted_on(rule, 3, false);
        append(&mounted, CAREFUL);
        let taken = mounted.machine.taken();
        for cut in Cut::ALL {
            let (lost, kept) = lost_and_kept(&taken, cut);
            assert!(lost == 0 && kept > 3, "{cut:?}: {lost} lost, {kept} kept");
        }
    }
}

/// After a failed fsync the next one says that all is well. Whoever believes it loses what was
/// dropped, though reading shows it to the last; whoever writes the bytes again does not.
pub(crate) fn a_failed_fsync_that_is_tried_again_loses_what_was_dropped() {
    for rewrites in [false, true] {
        // Some seeds drop all of it, some only a part: one write has no parts.
        let mounted = mounted(Rule::Strict, 4);
        let file = File::create_new(mounted.path().join(LOG)).unwrap();
        sync_directory(&mounted);
        mounted.machine.faults(Faults {
            sync: Some(1),
            ..Faults::default()
        });
        let bytes = line(1);
        let mut failures = 0;
        for attempt in 0..8 {
            // Until it was dropped: a failed fsync may have done its work.
            file.write_all_at(bytes.as_bytes(), 0).unwrap();
            if file.sync_data().is_err() {
                failures += 1;
            }
            let durable = mounted.machine.with(|disk| {
                let number = crate::image::number_of(disk, LOG).unwrap();
                disk.file(number).unwrap().durable.clone()
            });
            if durable.is_empty() {
                break;
            }
            assert!(attempt < 7, "no fsync ever dropped anything");
            file.set_len(0).unwrap();
            file.sync_data().unwrap();
            mounted.machine.faults(Faults {
                sync: Some(1),
                ..Faults::default()
            });
        }
        assert!(failures > 0);
        if rewrites {
            file.write_all_at(bytes.as_bytes(), 0).unwrap();
        }
        file.sync_data().unwrap();
        mounted.machine.promise(1);
        let shown = std::fs::read(mounted.path().join(LOG)).unwrap();
        assert_eq!(shown, bytes.as_bytes(), "the page cache shows it");
        mounted.machine.taken();
        mounted.machine.take("after the second fsync");
        for taken in mounted.machine.taken() {
            assert_eq!(lines(&taken.image), u64::from(rewrites), "{taken:?}");
        }
    }
}

/// The name of a file reaches the disk before what is in it does.
pub(crate) fn a_rename_before_the_content_shows_an_empty_file() {
    for rule in [Rule::Strict, Rule::Journalled] {
        let mounted = mounted(rule, 5);
        let path = mounted.path();
        for (name, number) in [(LOG, 1), ("new", 2)] {
            std::fs::write(path.join(name), line(number)).unwrap();
        }
        File::open(path.join(LOG)).unwrap().sync_all().unwrap();
        sync_directory(&mounted);
        mounted.machine.taken();
        std::fs::rename(path.join("new"), path.join(LOG)).unwrap();
        sync_directory(&mounted);
        mounted.machine.taken();
        mounted.machine.take("after the rename");
        let taken = mounted.machine.taken();
        assert_eq!(taken[0].cut, Cut::Lose);
        assert_eq!(taken[0].image.file(LOG), Some(&[][..]), "{rule:?}");
        assert_eq!(taken[0].image.file("new"), None, "{rule:?}");
    }
}

/// A write of some pages is there in part, and some sector is in pieces.
pub(crate) fn a_long_write_is_torn() {
    let mounted = mounted(Rule::Strict, 6);
    let path = mounted.path().join(LOG);
    std::fs::write(&path, [1; 16384]).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    sync_directory(&mounted);
    file.write_all_at(&[2; 16384], 0).unwrap();
    mounted.machine.taken();
    for _ in 0..60 {
        mounted.machine.take("after the write");
    }
    let (mut in_part, mut torn, mut ruined) = (0, 0, 0);
    for taken in mounted.machine.taken() {
        let log = taken.image.file(LOG).unwrap();
        assert_eq!(log.len(), 16384, "{}", taken.moment);
        let sectors = || log.chunks(512);
        in_part +=
            usize::from(sectors().any(|s| s == [1; 512]) && sectors().any(|s| s == [2; 512]));
        torn += usize::from(sectors().any(|s| s.contains(&1) && s.contains(&2)));
        ruined += usize::from(log.iter().any(|byte| !matches!(byte, 1 | 2)));
        if taken.cut != Cut::Torn {
            assert!(
                log.chunks(4096)
                    .all(|page| page.iter().all(|b| *b == page[0]))
            );
        }
    }
    assert!(
        in_part > 10 && torn > 5 && ruined > 5,
        "{in_part}, {torn}, {ruined}"
    );
}

/// No room is an error, and there is room again when some is made.
pub(crate) fn a_full_disk_says_so_until_there_is_room() {
    let mounted = mounted(Rule::Strict, 7);
    mounted.machine.faults(Faults {
        room: Some(32 << 10),
        ..Faults::default()
    });
    let path = mounted.path().join(LOG);
    let error = std::fs::write(&path, [1; 64 << 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    std::fs::write(&path, [1; 32 << 10]).unwrap();
    let error = std::fs::write(mounted.path().join("other"), [1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(mounted.path().join("other"), [1; 32 << 10]).unwrap();
    // A write that fails writes nothing, and the next one is fine.
    mounted.machine.faults(Faults {
        write: Some(1),
        ..Faults::default()
    });
    let file = File::create(&path).unwrap();
    assert!(file.write_at(&[3; 10], 0).is_err());
    assert_eq!(file.write_at(&[4; 10], 0).unwrap(), 10);
    assert_eq!(std::fs::read(&path).unwrap(), [4; 10]);
}
