//! A process that wrote over `travertine serve --store` is killed, and its servers too: whoever reads after
//! that sees all that was acknowledged, as over files, and takes nobody's role for it.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;
#[path = "three/servers.rs"]
mod servers;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use desk::Desk;
use servers::{Servers, begin};
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name};
use travertine::interfaces::{Map, Tree};

/// Rows of one commit.
const BATCH: u64 = 20;

/// Loads rows from where the last load ended, and kills the process once so many commits more were
/// acknowledged. Returns how many rows the last of them counts.
fn load_and_kill(desk: &Desk, commits: usize) -> u64 {
    let line = format!("load r.toml rows.csv --tree t --key k --batch {BATCH} --ack --resume");
    let mut command = desk.command(&line);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let rows = |line: std::io::Result<String>| {
        let line = line.unwrap();
        line.strip_prefix("committed ").unwrap().parse().unwrap()
    };
    let last = said.by_ref().take(commits).map(rows).last();
    child.kill().unwrap();
    let later: Option<u64> = said.map(rows).last();
    child.wait().unwrap();
    later.or(last).unwrap()
}

/// Kills the servers, as the plug would, and begins again where they were.
fn kill_and_restart(servers: &mut Servers, desk: &Desk, places: &[&str]) {
    for ((child, address), place) in servers.0.iter_mut().zip(&servers.1).zip(places) {
        child.kill().unwrap();
        child.wait().unwrap();
        *child = begin(desk, place, address.trim_start_matches("http://")).0;
    }
}

const STACKS: [(&str, &[&str]); 3] = [
    ("", &["a"]),
    ("cluster", &["a", "b", "c"]),
    ("partition", &["a", "b"]),
];

fn made(kind: &str, places: &[&str]) -> (Desk, Servers, String) {
    let desk = Desk::new();
    let servers = Servers::start(&desk, places);
    let text = servers.over(kind);
    desk.file("r.toml", &text);
    let rows = (0..100_000_u64).map(|row| format!("{row:08},value {row}\n"));
    desk.file("rows.csv", "k,v\n".to_owned() + &rows.collect::<String>());
    (desk, servers, text)
}

fn count(desk: &Desk) -> u64 {
    desk.ok("count r.toml --tree t").trim().parse().unwrap()
}

#[test]
fn what_a_killed_process_was_told_is_there_for_whoever_reads_next() {
    for (kind, places) in STACKS {
        let (desk, _servers, _) = made(kind, places);
        for commits in [1, 5, 30] {
            let acknowledged = load_and_kill(&desk, commits);
            let seen = count(&desk);
            assert!(
                seen >= acknowledged && seen.is_multiple_of(BATCH),
                "{kind}: {seen} rows are seen, {acknowledged} were acknowledged"
            );
            desk.ok(&format!("get r.toml --tree t {:08}", acknowledged - 1));
            // Who writes next goes on with no less.
            desk.ok("put r.toml --tree other k v");
            assert!(count(&desk) >= seen, "{kind}");
        }
    }
}

#[test]
fn what_it_was_told_is_there_also_when_its_servers_were_killed_with_it() {
    for (kind, places) in STACKS {
        let (desk, mut servers, _) = made(kind, places);
        for commits in [1, 10] {
            let acknowledged = load_and_kill(&desk, commits);
            kill_and_restart(&mut servers, &desk, places);
            let seen = count(&desk);
            assert!(
                seen >= acknowledged && seen.is_multiple_of(BATCH),
                "{kind}: {seen} rows are seen, {acknowledged} were acknowledged"
            );
            // As much of it is there for who comes later, and who writes next.
            kill_and_restart(&mut servers, &desk, places);
            assert_eq!(count(&desk), seen, "{kind}");
            desk.ok("put r.toml --tree other k v");
            assert!(count(&desk) >= seen, "{kind}");
        }
    }
}

#[test]
fn a_reader_that_begins_after_an_acknowledgement_sees_the_commit_and_the_writer_goes_on() {
    for (kind, places) in STACKS {
        let (desk, _servers, text) = made(kind, places);
        let kinds = travertine::standard();
        let file = StackFile::parse("r.toml", &text, desk.path(), &kinds, &Overrides::none());
        let file = file.unwrap();
        let (_stack, engine) = file.engine(&Env::system(), false).unwrap();
        let map = Map::new(Name::new("t").unwrap(), Tree::default());
        for row in 0..20_u64 {
            let session = engine.session().unwrap();
            let mut writer = map.writer(&session);
            writer.put(&row.to_be_bytes(), b"v").unwrap();
            writer.commit(None).unwrap().wait().unwrap();
            let (_floors, reader) = file.engine(&Env::system(), true).unwrap();
            let seen = map.reader(&reader.snapshot()).wait().unwrap();
            let found = seen.get(&row.to_be_bytes()).wait().unwrap();
            assert!(found.is_some(), "{kind}: row {row} is not seen");
        }
        engine.close().unwrap();
    }
}
