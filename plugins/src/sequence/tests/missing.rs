//! Parts that are missing, damaged, swapped or doubled: unknown where they are, right elsewhere.

use travertine_engine::contract::{Error, ErrorKind, Position, Stream};
use travertine_engine::medium::{read_small, replace_small};

use super::super::footer::Card;
use super::*;

/// A sequence of five parts, closed cleanly: over one stack, and over a list.
fn both() -> [(OnDisk, SimEnv, Vec<Reference>, Vec<String>); 2] {
    let names = ["a", "b", "c", "d", "e"];
    let inside: Vec<_> = (1..=5).map(|part| format!("data/part-{part:06}")).collect();
    let listed: Vec<_> = names.iter().map(ToString::to_string).collect();
    let made = |spec: &Spec, places: Vec<String>| {
        let (on, env) = OnDisk::calm(spec);
        let engine = on.write(&env).unwrap();
        // Fewer than would begin a sixth part.
        let references = fill(&engine, 0..70);
        assert_eq!(figure(&engine, "parts"), 5);
        engine.close().unwrap();
        (on, env, references, places)
    };
    [
        made(&over_one(), inside),
        made(&over_these(sequence("64 KiB"), &names), listed),
    ]
}

/// The medium of a directory.
fn directory(on: &OnDisk, place: &str) -> SimMedium {
    let names = place.split('/');
    names.fold(on.disk.medium(), |medium, name| medium.within(name))
}

/// The places of the catalogue.
fn shelves(places: &[String]) -> Vec<String> {
    match places[0].split_once('/') {
        Some((above, _)) => vec![above.to_owned()],
        None => places.to_vec(),
    }
}

/// Checks that exactly what `lost` says is unknown, and tells how many records that was.
fn unknown(engine: &Engine, references: &[Reference], lost: impl Fn(&Error) -> bool) -> usize {
    let mut count = 0;
    for (number, reference) in (0..).zip(references) {
        if let Err(error) = reads(engine, number, reference) {
            assert!(lost(&error), "record {number}: {error}");
            count += 1;
        }
    }
    count
}

fn is_unavailable(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.to_string().contains("part 2")
}

#[test]
fn a_part_missing_in_the_middle_is_unknown_for_its_range_only_and_writing_goes_on() {
    for (on, env, mut references, places) in both() {
        on.disk.rename_within(&places[1], Some("elsewhere"));
        let engine = on.write(&env).unwrap();
        let lost = unknown(&engine, &references, is_unavailable);
        assert!((10..20).contains(&lost), "{lost}");
        references.push(commit(&engine, 70, 4096).unwrap());
        assert_eq!(unknown(&engine, &references, is_unavailable), lost);
        // Neither does a scan pass it by.
        let error = scan(&*on.open_as(env.env(), true).unwrap()).unwrap_err();
        assert!(is_unavailable(&error), "{error}");
        engine.close().unwrap();
        let reader = on.read(&env).unwrap();
        assert_eq!(unknown(&reader, &references, is_unavailable), lost);
        // Nothing was made in its place, so that it can come back.
        on.disk.rename_within("elsewhere", Some(&places[1]));
        all_read(&on.write(&env).unwrap(), &references);
    }
}

/// The number of batches.
fn scan(store: &dyn Store) -> Result<usize> {
    let (mut from, mut count) = (Position::START, 0);
    loop {
        let found = store.scan(Stream(0), from).wait()?;
        count += found.batches.len();
        match found.next {
            Some(next) => from = next,
            None => return Ok(count),
        }
    }
}

#[test]
fn a_part_that_the_catalogue_lost_as_well_is_unknown_and_no_scan_passes_it_by() {
    for (on, env, references, places) in both() {
        on.disk.rename_within(&places[1], None);
        for shelf in shelves(&places) {
            let shelf = directory(&on, &shelf);
            let names = shelf.list().unwrap();
            for name in names
                .iter()
                .filter(|name| name.starts_with("sealed-000002"))
            {
                shelf.remove(name).unwrap();
                shelf.sync_dir().unwrap();
            }
        }
        let engine = on.write(&env).unwrap();
        let lost = unknown(&engine, &references, is_unavailable);
        assert!((10..20).contains(&lost), "{lost}");
        let error = scan(&*on.open_as(env.env(), true).unwrap()).unwrap_err();
        assert!(is_unavailable(&error), "{error}");
        commit(&engine, 70, 100).unwrap();
    }
}

/// Makes the newest part with a footer one that has none, as a crash before its footer would.
fn take_footer(on: &OnDisk, places: &[String], part: u32) {
    for shelf in shelves(places) {
        let shelf = directory(on, &shelf);
        let card = Card::decode(&read_small(&shelf, "sequence").unwrap()).unwrap();
        let names = shelf.list().unwrap();
        let sealed = names
            .iter()
            .filter(|name| name.starts_with(&format!("sealed-{part:06}")));
        for name in sealed {
            shelf.remove(name).unwrap();
            let card = Card { part, ..card };
            replace_small(&shelf, &format!("begun-{part:06}"), &card.encode()).unwrap();
        }
    }
}

#[test]
fn a_part_without_a_footer_that_is_missing_lets_readers_pass_and_no_writer() {
    for (on, env, references, places) in both() {
        take_footer(&on, &places, 4);
        let last = references.last().unwrap();
        on.disk.rename_within(&places[3], Some("elsewhere"));
        let before = on.image();
        let error = on.open_as(env.env(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("part 4"), "{error}");
        assert_eq!(on.image(), before);
        let reader = on.read(&env).unwrap();
        assert_eq!(reader.snapshot().sequence(), 70);
        let unavailable = |error: &Error| error.kind() == ErrorKind::Unavailable;
        let unread = unknown(&reader, &references, unavailable);
        assert!((10..20).contains(&unread), "{unread}");
        reads(&reader, 69, last).unwrap();
        assert!(scan(&*on.open_as(env.env(), true).unwrap()).is_err());
        drop(reader);
        on.disk.rename_within("elsewhere", Some(&places[3]));
        let engine = on.write(&env).unwrap();
        all_read(&engine, &references);
        commit(&engine, 70, 100).unwrap();
    }
}

#[test]
fn without_the_newest_part_nobody_knows_the_newest_commit() {
    for (on, env, _, places) in both() {
        on.disk.rename_within(&places[4], Some("elsewhere"));
        let before = on.image();
        for error in [on.write(&env).unwrap_err(), on.read(&env).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("part 5"), "{error}");
        }
        assert_eq!(on.image(), before);
    }
}

/// The names of footers, by part.
fn footers(shelf: &SimMedium) -> Vec<String> {
    let names = shelf.list().unwrap().into_iter();
    names.filter(|name| name.starts_with("sealed-")).collect()
}

#[test]
fn a_damaged_footer_is_done_without() {
    // Of any part, also of the newest that has one, also of all; in every copy.
    for damaged in [vec![1], vec![2, 3], vec![4], vec![1, 2, 3, 4]] {
        for (on, env, references, places) in both() {
            for shelf in shelves(&places) {
                let names = footers(&directory(&on, &shelf));
                for name in names {
                    let part: usize = name[7..13].parse().unwrap();
                    if damaged.contains(&part) {
                        assert!(on.disk.flip(&format!("{shelf}/{name}"), 700));
                    }
                }
            }
            let looked = on.write(&env);
            if damaged.len() == 4 {
                // More than can be wrong by chance: nobody looks through everything unasked.
                let error = looked.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                continue;
            }
            let engine = looked.unwrap();
            all_read(&engine, &references);
            commit(&engine, 70, 100).unwrap();
            engine.close().unwrap();
            let store = on.open_as(env.env(), true).unwrap();
            scan(&*store).unwrap();
            all_read(&on.read(&env).unwrap(), &references);
        }
    }
}

#[test]
fn a_footer_of_another_part_or_of_another_sequence_says_nothing() {
    for (on, env, references, places) in both() {
        let [(other, ..), _] = both();
        let theirs = directory(&other, "data");
        for shelf in shelves(&places) {
            let shelf_medium = directory(&on, &shelf);
            let names = footers(&shelf_medium);
            let own = read_small(&shelf_medium, &names[0]).unwrap();
            let foreign = read_small(&theirs, &footers(&theirs)[2]).unwrap();
            on.disk.replace(&format!("{shelf}/{}", names[1]), &own);
            on.disk.replace(&format!("{shelf}/{}", names[2]), &foreign);
        }
        let engine = on.write(&env).unwrap();
        all_read(&engine, &references);
        commit(&engine, 70, 100).unwrap();
    }
}

#[test]
fn swapped_parts_are_unknown_and_never_absent() {
    for (on, env, references, places) in both() {
        if places[0] == "a" {
            // In a list a stack knows its own place.
            continue;
        }
        on.disk.rename_within(&places[1], Some("aside"));
        on.disk.rename_within(&places[2], Some(&places[1]));
        on.disk.rename_within("aside", Some(&places[2]));
        let engine = on.write(&env).unwrap();
        let damaged = |error: &Error| {
            let said = error.to_string();
            error.kind() == ErrorKind::Corrupt && said.contains("directory of another part")
        };
        let lost = unknown(&engine, &references, damaged);
        assert!((20..40).contains(&lost), "{lost}");
        commit(&engine, 70, 100).unwrap();
    }
}

#[test]
fn a_copy_of_a_part_is_not_taken_for_the_next_one() {
    for (on, env, mut references, places) in both() {
        if places[0] == "a" {
            continue;
        }
        // It ended long ago; or it is the one that is written to.
        for copied in [1, 4] {
            on.disk.copy_within(&places[copied], "data/part-000006");
            let before = directory(&on, "data/part-000006").list().unwrap();
            let engine = on.write(&env).unwrap();
            let more = references.len() as u64;
            references.extend(fill(&engine, more..more + 20));
            // It goes on where it is.
            assert_eq!(figure(&engine, "rolls"), 0);
            engine.close().unwrap();
            let mut after = directory(&on, "data/part-000006").list().unwrap();
            after.retain(|name| name != "lock" || before.contains(name));
            assert_eq!(after, before);
            on.disk.rename_within("data/part-000006", None);
            all_read(&on.write(&env).unwrap(), &references);
        }
    }
}

#[test]
fn every_bit_of_a_footer_that_flips_leaves_right_answers() {
    let [(on, env, references, _), _] = both();
    let shelf = directory(&on, "data");
    let newest = footers(&shelf).pop().unwrap();
    let name = format!("data/{newest}");
    let whole = read_small(&shelf, &newest).unwrap();
    for bit in (0..whole.len() as u64 * 8).step_by(37) {
        let on = OnDisk::new(on.disk.image(bit), &over_one());
        assert!(on.disk.flip(&name, bit));
        all_read(&on.read(&env).unwrap(), &references);
    }
    for length in 0..whole.len() {
        let on = OnDisk::new(on.disk.image(length as u64), &over_one());
        on.disk.replace(&name, &whole[..length]);
        all_read(&on.write(&env).unwrap(), &references);
    }
}
