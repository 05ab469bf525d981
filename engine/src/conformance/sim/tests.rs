//! Each lie of the simulated disk, told on purpose.

use super::*;
use crate::conformance::rng::Rng;
use crate::contract::ErrorKind;
use crate::medium::{Medium, MediumFile};

const PAGE: usize = 4096;

/// A disk with one synced file of `content`, and the medium and handle to go on with.
fn begun(plan: Plan, content: &[u8]) -> (SimDisk, SimMedium, std::sync::Arc<dyn MediumFile>) {
    let disk = SimDisk::new(1, Plan::calm());
    let medium = disk.medium();
    medium.lock().unwrap();
    let file = medium.create("a").unwrap();
    file.write_at(0, &[content]).unwrap();
    file.sync().unwrap();
    medium.sync_dir().unwrap();
    disk.set_plan(plan);
    (disk, medium, file)
}

fn content(disk: &SimDisk) -> Vec<u8> {
    let file = disk.medium().open("a", false).unwrap();
    let length = file.len().unwrap() as usize;
    file.read_at(0, length).unwrap().to_vec()
}

#[test]
fn unsynced_bytes_survive_a_kill_and_not_a_power_cut() {
    let (disk, _, file) = begun(Plan::calm(), b"old");
    file.write_at(3, &[b"+", b"new"]).unwrap();
    disk.kill();
    assert_eq!(content(&disk), b"old+new");
    disk.power_cut();
    assert_eq!(content(&disk), b"old");
}

#[test]
fn synced_bytes_survive_a_power_cut() {
    let plan = Plan {
        persist: 500,
        torn: 500,
        fill: Fill::Garbage,
        ..Plan::calm()
    };
    let (disk, _, file) = begun(plan, b"old");
    file.write_at(3, &[b"+new"]).unwrap();
    file.sync().unwrap();
    disk.power_cut();
    assert_eq!(content(&disk), b"old+new");
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_the_data_is_gone() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::SyncDropped, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Unavailable);
    file.sync().unwrap();
    file.sync().unwrap();
    assert_eq!(file.read_at(0, 3).unwrap().as_ref(), b"new");
    disk.power_cut();
    assert_eq!(content(&disk), b"old");
}

#[test]
fn reopening_after_a_failed_sync_reads_bytes_that_no_sync_saves() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::SyncDropped, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap_err();
    disk.kill();
    disk.quiet();
    let again = disk.medium().open("a", true).unwrap();
    assert_eq!(again.read_at(0, 3).unwrap().as_ref(), b"new");
    again.sync().unwrap();
    disk.power_cut();
    assert_eq!(content(&disk), b"old");
}

#[test]
fn rewriting_the_same_bytes_after_a_failed_sync_saves_them() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::SyncDropped, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap_err();
    disk.kill();
    disk.quiet();
    let again = disk.medium().open("a", true).unwrap();
    let phantom = again.read_at(0, 3).unwrap();
    again.write_at(0, &[&phantom]).unwrap();
    again.sync().unwrap();
    disk.power_cut();
    assert_eq!(content(&disk), b"new");
}

#[test]
fn eviction_shows_that_dropped_bytes_are_gone_and_spares_dirty_ones() {
    let plan = Plan {
        evict: 1000,
        ..Plan::calm()
    };
    let (disk, _, file) = begun(plan.with(Fault::SyncDropped, 1000), &[1; 2 * PAGE]);
    file.write_at(0, &[&[2; PAGE]]).unwrap();
    file.sync().unwrap_err();
    file.write_at(PAGE as u64, &[&[3; PAGE]]).unwrap();
    disk.kill();
    let bytes = content(&disk);
    assert!(bytes[..PAGE].iter().all(|&byte| byte == 1));
    assert!(bytes[PAGE..].iter().all(|&byte| byte == 3));
}

#[test]
fn a_sync_may_fail_and_keep_the_data() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::SyncKept, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap_err();
    disk.power_cut();
    assert_eq!(content(&disk), b"new");
}

#[test]
fn sectors_survive_a_power_cut_one_by_one() {
    let plan = Plan {
        persist: 500,
        persist_length: 1000,
        ..Plan::calm()
    };
    let (disk, _, file) = begun(plan, b"");
    file.write_at(0, &[&[1; 64 * PAGE]]).unwrap();
    disk.power_cut();
    let bytes = content(&disk);
    let kept: Vec<_> = bytes.chunks(PAGE).map(|page| page[0]).collect();
    assert!(kept.contains(&0) && kept.contains(&1), "{kept:?}");
    for page in bytes.chunks(PAGE) {
        assert!(page.iter().all(|&byte| byte == page[0]));
    }
}

#[test]
fn a_rewritten_sector_keeps_its_synced_bytes_only_if_overwrites_are_power_safe() {
    let cut = |power_safe, seed| {
        let plan = Plan {
            torn: 1000,
            power_safe,
            persist_length: 1000,
            ..Plan::calm()
        };
        let (disk, _, file) = begun(plan, &[7; 100]);
        file.write_at(100, &[&[8; 100]]).unwrap();
        let image = disk.image(seed);
        image.power_cut();
        let safe = content(&image).starts_with(&[7; 100]);
        (safe, image.tally())
    };
    let safe: Vec<_> = (0..40).map(|seed| cut(true, seed)).collect();
    assert!(
        safe.iter()
            .all(|(safe, tally)| *safe && tally.fired(Fault::TornSector) == 1)
    );
    let unsafe_ones: Vec<_> = (0..40).map(|seed| cut(false, seed)).collect();
    for (safe, tally) in &unsafe_ones {
        assert_eq!(*safe, tally.fired(Fault::GarbageSector) == 0);
    }
    assert!(unsafe_ones.iter().any(|(safe, _)| !safe));
}

#[test]
fn a_length_may_outlive_its_bytes_and_bytes_their_length() {
    let tail = |persist_length, fill| {
        let plan = Plan {
            persist_length,
            fill,
            ..Plan::calm()
        };
        let (disk, _, file) = begun(plan, b"12345678");
        file.write_at(8, &[&[9; 5000]]).unwrap();
        disk.power_cut();
        content(&disk).split_off(8)
    };
    assert_eq!(tail(1000, Fill::Zeros), vec![0; 5000]);
    let garbage = tail(1000, Fill::Garbage);
    assert!(garbage.len() == 5000 && garbage.iter().any(|&byte| byte != 0 && byte != 9));
    assert!(tail(0, Fill::Zeros).is_empty());
}

#[test]
fn a_stale_tail_shows_bytes_of_another_file() {
    let plan = Plan {
        persist_length: 1000,
        fill: Fill::Stale,
        ..Plan::calm()
    };
    let (disk, medium, file) = begun(plan, b"12345678");
    let other = medium.create("other").unwrap();
    other.write_at(0, &[&[6; 3 * PAGE]]).unwrap();
    other.sync().unwrap();
    file.write_at(8, &[&[9; 2 * PAGE]]).unwrap();
    disk.power_cut();
    assert!(content(&disk)[8..].iter().all(|&byte| byte == 6));
}

#[test]
fn a_strict_directory_loses_the_name_of_a_synced_file() {
    for (names, kept) in [(NameRule::Strict, false), (NameRule::Journalled, true)] {
        let (disk, medium, _) = begun(
            Plan {
                names,
                ..Plan::calm()
            },
            b"x",
        );
        let file = medium.create("b").unwrap();
        file.write_at(0, &[b"y"]).unwrap();
        file.sync().unwrap();
        disk.power_cut();
        assert_eq!(disk.medium().open("b", false).is_ok(), kept, "{names:?}");
    }
}

#[test]
fn removed_and_renamed_names_come_back_until_the_directory_is_synced() {
    let (disk, medium, _) = begun(Plan::calm(), b"x");
    medium.rename("a", "b").unwrap();
    let image = disk.image(1);
    image.power_cut();
    assert_eq!(image.medium().list().unwrap(), ["a", "lock"]);
    medium.sync_dir().unwrap();
    medium.remove("b").unwrap();
    disk.power_cut();
    assert_eq!(disk.medium().list().unwrap(), ["b", "lock"]);
}

#[test]
fn strict_names_are_lost_in_any_order_and_journalled_ones_from_the_end() {
    let cut = |names, seed| {
        let plan = Plan {
            names,
            persist_name: 500,
            ..Plan::calm()
        };
        let (disk, medium, _) = begun(plan, b"x");
        for name in ["b", "c", "d"] {
            medium.create(name).unwrap();
        }
        let image = disk.image(seed);
        image.power_cut();
        image.medium().list().unwrap().concat().replace("lock", "")
    };
    let strict: Vec<_> = (0..60).map(|seed| cut(NameRule::Strict, seed)).collect();
    assert!(strict.iter().any(|names| names == "ad"), "{strict:?}");
    for seed in 0..60 {
        let names = cut(NameRule::Journalled, seed);
        assert!("abcd".starts_with(&names), "{names}");
    }
}

#[test]
fn the_countdown_ends_the_process_at_its_call_and_for_good() {
    let (disk, medium, file) = begun(Plan::calm(), b"old");
    disk.crash_in(2);
    file.write_at(0, &[b"1"]).unwrap();
    file.sync().unwrap_err();
    assert!(disk.is_down());
    file.read_at(0, 1).unwrap_err();
    medium.list().unwrap_err();
    disk.kill();
    assert_eq!(content(&disk), b"1ld");
    file.write_at(0, &[b"2"]).unwrap_err();
    medium.create("b").unwrap_err();
    assert_eq!(content(&disk), b"1ld", "a dead process still wrote");
}

#[test]
fn failed_writes_leave_nothing_or_a_part() {
    let (_, _, file) = begun(Plan::calm().with(Fault::WriteError, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap_err();
    assert_eq!(file.read_at(0, 3).unwrap().as_ref(), b"old");
    let (_, _, file) = begun(Plan::calm().with(Fault::PartialWrite, 1000), &[0; 64]);
    file.write_at(0, &[&[1; 64]]).unwrap_err();
    let bytes = file.read_at(0, 64).unwrap();
    let ones = bytes.iter().take_while(|&&byte| byte == 1).count();
    assert!(bytes[ones..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_full_disk_refuses_and_takes_again_what_was_freed() {
    let (disk, medium, file) = begun(Plan::calm(), &[1; PAGE]);
    disk.set_capacity(Some(disk.used() + 2 * PAGE as u64));
    let other = medium.create("b").unwrap();
    other.write_at(0, &[&[2; 2 * PAGE]]).unwrap();
    let error = file.write_at(PAGE as u64, &[b"x"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(
        file.claim(2 * PAGE as u64).unwrap_err().kind(),
        ErrorKind::Full
    );
    assert_eq!(file.len().unwrap(), PAGE as u64);
    medium.remove("b").unwrap();
    file.claim(2 * PAGE as u64).unwrap();
    assert_eq!(
        file.len().unwrap(),
        PAGE as u64,
        "a claim changes no length"
    );
    disk.set_capacity(Some(disk.used()));
    file.write_at(PAGE as u64, &[&[3; PAGE]]).unwrap();
    let error = file.write_at(2 * PAGE as u64, &[b"x"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
}

#[test]
fn a_write_that_does_not_fit_may_be_done_in_part() {
    let (disk, _, file) = begun(Plan::calm(), b"");
    disk.set_capacity(Some(disk.used() + PAGE as u64));
    let error = file.write_at(0, &[&[1; 3 * PAGE]]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(file.len().unwrap(), PAGE as u64);
}

#[test]
fn no_room_may_be_found_out_at_create_and_at_sync() {
    let plan = Plan::calm()
        .with(Fault::FullCreate, 1000)
        .with(Fault::FullSync, 1000);
    let (_, medium, file) = begun(plan, b"x");
    assert_eq!(medium.create("b").unwrap_err().kind(), ErrorKind::Full);
    file.write_at(0, &[b"y"]).unwrap();
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Full);
}

#[test]
fn reads_stop_at_the_end_and_fail_as_planned() {
    let (disk, _, file) = begun(Plan::calm(), b"abc");
    assert_eq!(file.read_at(1, 100).unwrap().as_ref(), b"bc");
    assert!(file.read_at(3, 1).unwrap().is_empty());
    assert!(file.read_at(u64::MAX, 9).unwrap().is_empty());
    disk.set_plan(Plan::calm().with(Fault::ReadError, 1000));
    assert_eq!(
        file.read_at(0, 1).unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    disk.set_plan(Plan::calm());
    file.read_at(0, 1).unwrap();
}

#[test]
fn a_latent_sector_stays_bad_until_it_is_written() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::LatentSector, 1000), b"abc");
    file.read_at(0, 1).unwrap_err();
    disk.set_plan(Plan::calm());
    file.read_at(0, 1).unwrap_err();
    disk.kill();
    let file = disk.medium().open("a", true).unwrap();
    file.read_at(2, 1).unwrap_err();
    file.write_at(0, &[b"xyz"]).unwrap();
    file.read_at(0, 1).unwrap();
}

#[test]
fn a_flipped_bit_on_the_way_is_gone_at_the_next_read() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::ReadFlip, 1000), &[0; 100]);
    assert_ne!(file.read_at(0, 100).unwrap().as_ref(), [0; 100]);
    disk.set_plan(Plan::calm());
    assert_eq!(file.read_at(0, 100).unwrap().as_ref(), [0; 100]);
}

#[test]
fn a_flipped_bit_on_the_disk_stays() {
    let (disk, _, _) = begun(Plan::calm(), &[0; 100]);
    assert!(disk.flip("a", 799));
    assert!(!disk.flip("a", 800) && !disk.flip("b", 0));
    assert_eq!(content(&disk)[99], 0x80);
    let (disk, _, file) = begun(Plan::calm().with(Fault::BitFlip, 1000), &[0; 100]);
    file.write_at(0, &[b"\0"]).unwrap();
    file.sync().unwrap();
    disk.power_cut();
    assert_ne!(content(&disk), [0; 100]);
}

#[test]
fn a_lost_write_is_seen_once_the_cache_is_gone() {
    let (disk, _, file) = begun(Plan::calm().with(Fault::LostWrite, 1000), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap();
    assert_eq!(file.read_at(0, 3).unwrap().as_ref(), b"new");
    disk.power_cut();
    assert_eq!(content(&disk), b"old");
}

#[test]
fn a_misdirected_write_lands_on_another_sector() {
    let both = (0..20).any(|seed| {
        let plan = Plan::calm().with(Fault::Misdirected, 1000);
        let (disk, _, file) = begun(plan, &[1; 4 * PAGE]);
        let image = disk.image(seed);
        drop(file);
        let file = image.medium().open("a", true).unwrap();
        file.write_at(0, &[&[2; PAGE]]).unwrap();
        file.sync().unwrap();
        image.power_cut();
        let pages: Vec<_> = content(&image).chunks(PAGE).map(|page| page[0]).collect();
        pages[0] == 1 && pages[1..].contains(&2)
    });
    assert!(both);
}

#[test]
fn a_stale_read_gives_the_bytes_of_before() {
    let (disk, _, file) = begun(Plan::calm(), b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap();
    disk.set_plan(Plan::calm().with(Fault::StaleRead, 1000));
    assert_eq!(file.read_at(0, 3).unwrap().as_ref(), b"old");
    disk.set_plan(Plan::calm());
    assert_eq!(file.read_at(0, 3).unwrap().as_ref(), b"new");
}

#[test]
fn a_lying_sync_answers_ok_and_does_nothing() {
    let plan = Plan::calm()
        .with(Fault::LyingSync, 1000)
        .with(Fault::LyingDirSync, 1000);
    let (disk, medium, file) = begun(plan, b"old");
    file.write_at(0, &[b"new"]).unwrap();
    file.sync().unwrap();
    medium.create("b").unwrap();
    medium.sync_dir().unwrap();
    disk.power_cut();
    assert_eq!(content(&disk), b"old");
    assert!(disk.medium().open("b", false).is_err());
}

#[test]
fn the_lock_has_one_holder_and_ends_with_its_process() {
    let disk = SimDisk::new(1, Plan::calm());
    let first = disk.medium();
    assert!(first.create("a").is_err(), "there is no directory yet");
    first.lock().unwrap();
    let second = disk.medium();
    let error = second.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("process 0"), "{error}");
    first.unlock();
    second.lock().unwrap();
    drop(second);
    first.lock().unwrap();
    disk.kill();
    let third = disk.medium();
    third.lock().unwrap();
    drop(first);
    assert!(
        disk.medium().lock().is_err(),
        "a dead process freed the lock of a living one"
    );
}

#[test]
fn mapped_bytes_may_not_be_cut_or_changed() {
    let (disk, _, file) = begun(
        Plan {
            map: true,
            ..Plan::calm()
        },
        b"abcdef",
    );
    assert_eq!(file.map(3).unwrap().unwrap().as_ref(), b"abc");
    file.write_at(2, &[b"cX"]).unwrap();
    file.set_len(3).unwrap();
    assert!(disk.violations().is_empty());
    file.write_at(2, &[b"X"]).unwrap();
    file.set_len(2).unwrap();
    assert_eq!(disk.violations().len(), 2);
    let (_, _, file) = begun(Plan::calm(), b"abcdef");
    assert!(file.map(3).is_none());
}

/// A run of random calls, crashes and restarts; says how it went.
fn run(seed: u64, class: Class) -> (u64, Tally) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed, Plan::draw(seed, class));
    for _ in 0..4 {
        let medium = disk.medium();
        let _ = medium.lock();
        disk.crash_in(rng.below(60) + 5);
        let name = format!("f{}", rng.below(3));
        let file = medium.create(&name).or_else(|_| medium.open(&name, true));
        let Ok(file) = file else {
            disk.kill();
            continue;
        };
        while !disk.is_down() {
            let offset = rng.below(40_000);
            let length = rng.below_usize(9_000);
            let _ = match rng.below(8) {
                0 => file.sync(),
                1 => medium.sync_dir(),
                2 => file.read_at(offset, length).map(drop),
                3 => file.set_len(offset),
                4 => file.claim(offset),
                5 => medium.rename(&name, "other"),
                _ => file.write_at(offset, &[&rng.bytes(length)]),
            };
        }
        if rng.chance(1, 2) {
            disk.power_cut();
        } else {
            disk.kill();
        }
    }
    (disk.trace(), disk.tally())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..50 {
        for class in Class::ALL {
            assert_eq!(run(seed, class), run(seed, class), "seed {seed}, {class:?}");
        }
    }
    assert_ne!(run(0, Class::Crash).0, run(1, Class::Crash).0);
}

#[test]
fn every_fault_fires_in_some_run_of_its_class() {
    let mut fired = [0; Fault::COUNT];
    for seed in 0..200 {
        for class in Class::ALL {
            let (_, tally) = run(seed, class);
            for (sum, count) in fired.iter_mut().zip(tally.fired) {
                *sum += count;
            }
        }
    }
    for fault in Fault::ALL {
        assert!(fired[fault as usize] > 0, "{fault:?} never fired");
    }
}

#[test]
fn a_drawn_plan_has_faults_of_its_class_only() {
    for seed in 0..100 {
        for class in Class::ALL {
            let plan = Plan::draw(seed, class);
            for fault in Fault::ALL {
                let allowed = class.faults().contains(&fault);
                assert!(allowed || plan.rate(fault) == 0, "{fault:?} in {class:?}");
            }
            assert_eq!(class.faults().is_empty(), plan == plan.quiet());
        }
    }
}
