//! `verify`, `roots` and `inspect`: what they say of a sound stack, and that no damage slips by.

mod desk;

use std::fs;
use std::path::PathBuf;

use desk::Desk;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name};
use travertine::front::Reclaiming;
use travertine::interfaces::{Map, Tree};

/// A stack of many small segments with two trees, a long value and a blob.
fn filled() -> Desk {
    let desk = Desk::new();
    desk.file(
        "s.toml",
        "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"64 KiB\"\n",
    );
    let rows: String = (0..4000)
        .map(|n| format!("{n:05},row number {n}\n"))
        .collect();
    desk.file("rows.csv", rows);
    desk.ok("load s.toml rows.csv --tree rows --key 0 --no-header --batch 500");
    let long: Vec<u8> = (0..50_000_u32).map(|n| (n / 7) as u8).collect();
    assert_eq!(
        desk.run_with("put s.toml --tree other long -", &long).code,
        0
    );
    let blob = desk.run_with("store s.toml", b"a blob").text();
    desk.ok(&format!("commit s.toml blob {blob}"));
    desk
}

fn segments(desk: &Desk) -> Vec<PathBuf> {
    let files = desk.bytes_of("data").into_iter().map(|(path, _)| path);
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("seg-"))
    };
    files.filter(named).collect()
}

#[test]
fn a_sound_stack_is_said_to_be_sound_and_what_was_checked_is_told() {
    let desk = filled();
    let before = desk.bytes_of("data");
    let told = desk.ok("verify s.toml");
    for words in [
        "B-tree      rows: 4000 entries",
        "1 values apart",
        "all is well",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let facts = &desk.run("verify s.toml --json").json()[0];
    assert_eq!(facts["damaged"], 0);
    assert_eq!(facts["batches"]["commits"], 11);
    assert!(desk.bytes_of("data") == before, "verifying wrote something");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn any_damaged_byte_is_found_or_did_not_matter() {
    let desk = filled();
    let whole = desk.run("export s.toml").out;
    let files = segments(&desk);
    assert!(files.len() > 5, "only {} segments", files.len());
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let (mut found, mut harmless) = (0, 0);
    for turn in 0..80 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let file = &files[seed as usize % files.len()];
        let sound = fs::read(file).unwrap();
        let mut bytes = sound.clone();
        let at = (seed >> 8) as usize % bytes.len();
        if turn % 4 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << (seed >> 60 & 7);
        }
        fs::write(file, &bytes).unwrap();
        let place = format!("turn {turn}: {} at {at}", file.display());
        let verify = desk.run("verify s.toml");
        let export = desk.run("export s.toml");
        match verify.code {
            0 => {
                harmless += 1;
                assert_eq!(export.code, 0, "{place}: {export:?}");
                assert!(
                    export.out == whole,
                    "{place}: other bytes, and nobody noticed"
                );
            }
            1 => {
                found += 1;
                assert!(
                    verify.text().contains("DAMAGED") || verify.err.contains("corrupt"),
                    "{place}: {verify:?}"
                );
            }
            _ => panic!("{place}: {verify:?}"),
        }
        if export.code == 0 {
            assert!(export.out == whole, "{place}: other bytes");
        }
        fs::write(file, &sound).unwrap();
    }
    assert_eq!(
        desk.run("verify s.toml").code,
        0,
        "mended, it is sound again"
    );
    assert!(found > 40, "{found} found, {harmless} harmless");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn damage_in_one_place_does_not_hide_damage_in_another() {
    let desk = filled();
    let files = segments(&desk);
    for file in [&files[0], &files[files.len() / 2]] {
        let mut bytes = fs::read(file).unwrap();
        for byte in &mut bytes[5000..5200] {
            *byte = !*byte;
        }
        fs::write(file, bytes).unwrap();
    }
    let said = desk.run("verify s.toml --json");
    assert_eq!(said.code, 1, "{said:?}");
    let facts = &said.json()[0];
    let places = facts["places"].as_array().unwrap();
    assert!(places.len() >= 2, "{facts}");
    assert!(facts["damaged"].as_u64().unwrap() >= 2);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn every_batch_that_is_whole_is_looked_at_whatever_is_damaged_before_and_behind_it() {
    let desk = filled();
    let whole = desk.run("verify s.toml --json").json()[0]["batches"]["batches"].clone();
    let segments = segments(&desk);
    assert!(segments.len() > 5);
    let mut damaged = Vec::new();
    // Batches of earlier commits, which nothing else leads to.
    for segment in [&segments[1], &segments[3]] {
        let mut bytes = fs::read(segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(segment, bytes).unwrap();
        damaged.push(segment.file_name().unwrap().to_string_lossy().into_owned());
    }
    let said = desk.fails("verify s.toml", 1, &["are damaged", "nothing was changed"]);
    let facts = &desk.run("verify s.toml --json").json()[0];
    let places = facts["places"].as_array().unwrap();
    let streams = places.iter().filter(|place| {
        place["place"]
            .as_str()
            .unwrap()
            .starts_with("stream b0 from")
    });
    assert_eq!(streams.count(), 2, "{said:?}");
    let looked_at = facts["batches"]["batches"].as_u64().unwrap();
    assert!(
        looked_at + 20 > whole.as_u64().unwrap(),
        "{looked_at} of {whole}"
    );
    assert!(looked_at > 5);
    // Each damage is told once.
    let mut oids: Vec<_> = places.iter().map(|place| place["place"].clone()).collect();
    let all = oids.len();
    oids.dedup();
    assert_eq!(oids.len(), all, "{places:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a lost file")]
fn an_identity_that_is_gone_is_damage_and_no_foreign_directory() {
    let desk = filled();
    fs::remove_file(desk.path().join("data/identity")).unwrap();
    for line in [
        "verify s.toml",
        "get s.toml --tree rows 00001",
        "put s.toml --tree rows a b",
    ] {
        desk.fails(line, 1, &["the file `identity`", "restore it"]);
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused_and_left_alone() {
    let desk = Desk::new();
    desk.file("other.toml", "[[layer]]\nuse = \"file\"\npath = \".\"\n");
    for line in ["verify other.toml", "put other.toml --tree a k v"] {
        desk.fails(line, 2, &["this is not a log"]);
    }
    let names: Vec<_> = desk
        .bytes_of(".")
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn roots_tell_what_each_commit_changed() {
    let desk = Desk::new();
    for (tree, key) in [("a", "k1"), ("b", "k1"), ("a", "k2")] {
        desk.ok(&format!("put s.toml --tree {tree} {key} v"));
    }
    let commits = desk.run("roots s.toml --json").json();
    let changed = |commit: &serde_json::Value| {
        let sequence = commit["sequence"].as_u64().unwrap();
        (
            sequence,
            commit["changed"][0]["name"].as_str().unwrap().to_owned(),
        )
    };
    let changed: Vec<_> = commits.iter().map(changed).collect();
    assert_eq!(changed, [(3, "a".into()), (2, "b".into()), (1, "a".into())]);
    assert_eq!(desk.ok("roots s.toml --limit 2").lines().count(), 2);
    let time = commits[1]["time"].as_str().unwrap();
    assert_eq!(
        desk.ok(&format!("count s.toml --tree a --at {time}")),
        "1\n"
    );
}

#[test]
fn inspect_shows_streams_and_any_record() {
    let desk = filled();
    let told = desk.ok("inspect s.toml");
    assert!(told.contains("\n  seg-000000000000  "), "{told}");
    let parts = &desk.run("inspect s.toml --json").json()[0]["below"][0]["parts"];
    let newest = parts.as_array().unwrap().last().unwrap();
    assert_eq!(newest["state"], "active", "{parts}");
    assert!(told.contains("newest commit 11, 4 names"), "{told}");
    assert!(told.contains("stream b0:"), "{told}");
    let commit = &desk.run("roots s.toml --limit 1 --json").json()[0];
    let mut left = vec![commit["oid"].as_str().unwrap().to_owned()];
    let mut kinds = std::collections::BTreeSet::new();
    while let Some(oid) = left.pop() {
        let facts = &desk.run(&format!("inspect s.toml {oid} --json")).json()[0];
        assert!(facts["says"].get("damaged").is_none(), "{facts}");
        kinds.insert(facts["kind_name"].as_str().unwrap().to_owned());
        let references = facts["references"].as_array().unwrap();
        let strong = references.iter().filter(|edge| edge["weak"] == false);
        left.extend(
            strong
                .take(4)
                .map(|edge| edge["oid"].as_str().unwrap().to_owned()),
        );
    }
    for kind in [
        "root marker",
        "root of a B-tree",
        "node of a B-tree",
        "piece of a value",
    ] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    desk.fails("inspect s.toml oid:v1:b0:o1", 1, &["oid:v1:b0:o1"]);
    desk.fails("inspect s.toml nonsense", 2, &["is not an OID"]);
}

#[test]
fn inspect_tells_how_much_each_name_takes() {
    let desk = filled();
    let facts = &desk.run("inspect s.toml --space --json").json()[0];
    let names = facts["names"].as_array().unwrap();
    assert_eq!(names.len(), 4, "{facts}");
    let of = |name: &serde_json::Value| name["bytes"].as_u64().unwrap();
    let each: Vec<_> = names.iter().map(of).collect();
    assert!(each.iter().all(|bytes| *bytes > 0), "{facts}");
    // What two names share counts once in the sum.
    let all = facts["bytes"].as_u64().unwrap();
    let most = *each.iter().max().unwrap();
    assert!(most <= all && all <= each.iter().sum(), "{facts}");
    assert!(all < facts["stream_bytes"].as_u64().unwrap(), "{facts}");
    assert_eq!(facts["complete"], true);
    let told = desk.ok("inspect s.toml --space");
    assert!(told.contains("all names"), "{told}");
    assert!(told.contains("  B-tree\n"), "{told}");
    let facts = &desk.run("inspect s.toml --space --most 2 --json").json()[0];
    assert_eq!(
        (&facts["records"], &facts["complete"]),
        (&2.into(), &false.into())
    );
    desk.fails(
        "inspect s.toml oid:v1:b0:o1 --space",
        2,
        &["cannot be used with"],
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn a_newest_segment_that_is_gone_or_cut_is_damage_and_no_older_state() {
    let desk = filled();
    let files = segments(&desk);
    let last = files.last().unwrap();
    let sound = fs::read(last).unwrap();
    for keep in [None, Some(0), Some(100), Some(sound.len() / 2)] {
        match keep {
            None => fs::remove_file(last).unwrap(),
            Some(keep) => fs::write(last, &sound[..keep]).unwrap(),
        }
        let words = "corrupt: durable bytes are damaged";
        assert!(desk.fails("verify s.toml", 1, &[]).text().contains(words));
        for line in ["count s.toml --tree rows", "put s.toml --tree rows k v"] {
            desk.fails(line, 1, &[words]);
        }
        fs::write(last, &sound).unwrap();
        desk.ok("verify s.toml");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn a_writer_file_that_is_gone_is_damage_and_hides_no_other() {
    let desk = filled();
    let writer = desk.path().join("data/writer");
    let last = segments(&desk).pop().unwrap();
    let (kept, sound) = (fs::read(&writer).unwrap(), fs::read(&last).unwrap());
    for newest_too in [false, true] {
        fs::remove_file(&writer).unwrap();
        if newest_too {
            fs::remove_file(&last).unwrap();
        }
        for line in [
            "verify s.toml",
            "count s.toml --tree rows",
            "put s.toml --tree rows k v",
        ] {
            desk.fails(line, 1, &["the file `writer`"]);
        }
        fs::write(&writer, &kept).unwrap();
        fs::write(&last, &sound).unwrap();
        desk.ok("verify s.toml");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of damaged files")]
fn roots_tells_all_that_is_left_then_what_is_missing_and_makes_no_changes_up() {
    let desk = filled();
    let whole = desk.run("roots s.toml --json").json();
    fs::remove_file(&segments(&desk)[0]).unwrap();
    let words = "segments are missing";
    let mut rest = desk.fails("roots s.toml --json", 1, &[words]).json();
    let oldest = rest.pop().unwrap();
    assert!(oldest["changed"].is_null(), "{oldest}");
    assert!(!rest.is_empty() && rest.len() + 1 < whole.len());
    assert_eq!(rest[..], whole[..rest.len()]);
    let told = desk.fails("roots s.toml", 1, &[words]).text();
    assert!(
        told.ends_with("(what came before is not here any more)\n"),
        "{told}"
    );
}

#[test]
fn with_history_every_commit_is_looked_at_and_a_rate_changes_nothing_that_is_told() {
    let desk = filled();
    let newest = &desk.run("verify s.toml --json").json()[0];
    let paced = &desk.run("verify s.toml --json --rate 64MiB").json()[0];
    assert_eq!(paced, newest);
    let all = &desk.run("verify s.toml --json --history").json()[0];
    assert_eq!(all["damaged"], 0);
    let edges = |facts: &serde_json::Value| facts["references"]["edges"].as_u64().unwrap();
    assert!(edges(all) > edges(newest), "{all}");
    desk.fails("verify s.toml --rate fast", 2, &["fast"]);
}

#[test]
fn of_a_history_so_much_is_looked_at_as_was_written() {
    let desk = Desk::new();
    let rows: String = (0..4_000).map(|n| format!("{n:05},row {n}\n")).collect();
    desk.file("rows.csv", rows);
    let mut before = None;
    // With every load the history is twice as long.
    for tree in ["t", "u"] {
        desk.ok(&format!(
            "load s.toml rows.csv --tree {tree} --key 0 --no-header --batch 20"
        ));
        let facts = &desk.run("verify s.toml --history --json").json()[0];
        assert_eq!(facts["damaged"], 0, "{facts}");
        let of = |name: &str| facts["history"][name].as_u64().unwrap();
        let (states, looked_at) = (of("states"), of("looked_at"));
        assert!(states >= 199, "{facts}");
        assert!((2..=states / 4).contains(&looked_at), "{facts}");
        assert!(
            before.is_none_or(|before| looked_at <= 3 * before),
            "{facts}"
        );
        before = Some(looked_at);
    }
}

#[test]
fn beside_a_writer_who_reclaims_nothing_is_called_damaged() {
    let desk = Desk::new();
    let stack = "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"1 MiB\"\n";
    let stack = desk.file("s.toml", stack);
    let (kinds, env) = (travertine::standard(), Env::system());
    let file = StackFile::load(&stack, &kinds, &Overrides::none()).unwrap();
    let (_stack, engine) = file.engine(&env, false).unwrap();
    let map = Map::new(Name::new("t").unwrap(), Tree::default());
    let write = |round: u8| {
        let session = engine.session().unwrap();
        let mut writer = map.writer(&session);
        for row in 0..2_000_u32 {
            writer.put(&row.to_be_bytes(), &[round; 500]).unwrap();
        }
        writer.commit(None).unwrap().wait().unwrap();
    };
    write(0);
    for line in ["verify s.toml", "verify s.toml --history"].repeat(2) {
        std::thread::scope(|scope| {
            // Not as often as it looks anew.
            scope.spawn(|| {
                for round in 1..6 {
                    write(round);
                    let newest = "newest".parse().unwrap();
                    engine.reclaim(&newest, &Reclaiming::default()).unwrap();
                }
            });
            desk.ok(line);
        });
    }
    engine.close().unwrap();
}
