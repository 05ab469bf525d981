//! A stack over `travertine serve --store`: commands beside a writer find it as they would find one on
//! this machine. Who reads leaves it alone, who would write is refused, and `takeover` takes its role.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of processes in real time, which fails where it unwraps"
)]

mod desk;
#[path = "three/servers.rs"]
mod servers;

use std::process::Stdio;
use std::time::{Duration, Instant};

use desk::Desk;
use servers::Servers;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, ErrorKind, Kind, Name, NewRecord, Result};
use travertine::front::{Change, Engine, Expect, Hint};
use travertine::interfaces::{Map, Tree};
use travertine::stack::Stack;

/// Far longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn open(desk: &Desk, text: &str) -> Result<(Stack, Engine)> {
    let kinds = travertine::standard();
    let file = StackFile::parse("c.toml", text, desk.path(), &kinds, &Overrides::none()).unwrap();
    file.engine(&Env::system(), false)
}

fn commit(engine: &Engine, body: &'static str) -> Result<()> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body.as_bytes()],
    };
    let change = Change {
        name: Name::new("it").unwrap(),
        expect: Expect::Any,
        to: Some(session.store(&record, Hint::default())?),
    };
    session.commit(&[change], None).wait().map(drop)
}

#[test]
fn commands_beside_a_writer_leave_it_alone() {
    for (kind, places) in [
        ("", &["a"][..]),
        ("cluster", &["a", "b", "c"]),
        ("partition", &["a", "b"]),
    ] {
        let desk = Desk::new();
        let servers = Servers::start(&desk, places);
        let text = servers.over(kind);
        desk.file("r.toml", &text);
        desk.ok("put r.toml --tree t k v");
        let (_stack, engine) = open(&desk, &text).unwrap();
        commit(&engine, "one").unwrap();
        for line in [
            "get r.toml --tree t k",
            "scan r.toml --tree t",
            "count r.toml --tree t",
            "root r.toml",
            "roots r.toml",
            "inspect r.toml",
            "verify r.toml",
            "tag r.toml",
            "follow r.toml --from 1 --limit 1",
            "export r.toml --tree t",
            "backup r.toml copy",
        ] {
            let said = desk.run(line);
            assert_eq!(said.code, 0, "{kind} `{line}` said {said:?}");
            commit(&engine, "more")
                .unwrap_or_else(|error| panic!("{kind} after `{line}`: {error}"));
        }
        // Nor does whoever wants to write.
        desk.fails("put r.toml --tree t k w", 1, &["unavailable"]);
        let error = open(&desk, &text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{kind}: {error}");
        assert!(error.to_string().contains("is being written by"), "{error}");
        commit(&engine, "again").unwrap();
        // Whoever says so takes over.
        desk.ok("takeover r.toml");
        let error = commit(&engine, "late").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{kind}: {error}");
        desk.ok("put r.toml --tree t k w");
    }
}

#[test]
fn a_writer_that_is_gone_keeps_nobody_off() {
    let desk = Desk::new();
    let servers = Servers::start(&desk, &["a"]);
    desk.file("r.toml", servers.over(""));
    let (stack, engine) = open(&desk, &servers.over("")).unwrap();
    commit(&engine, "one").unwrap();
    drop((stack, engine));
    // That its connection ended may take the server a while to notice.
    let began = Instant::now();
    while desk.run("put r.toml --tree t k v").code != 0 {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(desk.ok("get r.toml --tree t k").trim_end(), "v");
    // One that opened to write and wrote nothing has done when it says so.
    let (_stack, engine) = open(&desk, &servers.over("")).unwrap();
    desk.fails("put r.toml --tree t k w", 1, &["is being written by"]);
    engine.close().unwrap();
    desk.ok("put r.toml --tree t k w");
}

#[test]
fn of_many_who_write_at_once_some_do_and_the_others_are_told_why() {
    let desk = Desk::new();
    let servers = Servers::start(&desk, &["a"]);
    desk.file("r.toml", servers.over(""));
    let put = |number: u32| {
        let line = format!("put r.toml --tree t k{number} v");
        let mut command = desk.command(&line);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let putting: Vec<_> = (0..8).map(put).collect();
    let mut done = 0;
    for child in putting {
        let said = child.wait_with_output().unwrap();
        if said.status.success() {
            done += 1;
        } else {
            let words = String::from_utf8(said.stderr).unwrap();
            assert!(words.contains("being"), "{words}");
        }
    }
    assert!(done > 0);
    let count = desk.ok("count r.toml --tree t");
    assert_eq!(count.trim_end(), done.to_string());
}

#[test]
fn what_one_stack_wrote_is_refused_to_another() {
    let desk = Desk::new();
    let servers = Servers::start(&desk, &["a", "b", "c"]);
    desk.file("c.toml", servers.over("cluster"));
    desk.file("r.toml", servers.over(""));
    desk.ok("put c.toml --tree t k v");
    for line in [
        "put r.toml --tree t k w",
        "takeover r.toml",
        "get r.toml --tree t k",
    ] {
        desk.fails(line, 2, &["was written by the stack cluster"]);
    }
    assert_eq!(desk.ok("get c.toml --tree t k").trim_end(), "v");
    desk.ok("put c.toml --tree t k w");
}

#[test]
fn a_stack_elsewhere_that_nobody_wrote_to_reads_as_an_empty_one() {
    for kind in ["", "cluster", "partition"] {
        let desk = Desk::new();
        let servers = Servers::start(&desk, &["a", "b", "c"]);
        desk.file("r.toml", servers.over(kind));
        for (line, code) in [
            ("get r.toml --tree t k", 1),
            ("scan r.toml --tree t", 1),
            ("count r.toml --tree t", 1),
            ("root r.toml", 0),
            ("roots r.toml", 0),
            ("tag r.toml", 0),
            ("inspect r.toml", 0),
            ("verify r.toml", 0),
        ] {
            let said = desk.run(line);
            assert_eq!(said.code, code, "{kind} `{line}` said {said:?}");
            assert!(said.err.contains("nothing was written"), "{line}: {said:?}");
        }
        assert!(!desk.path().join("a").exists(), "{kind}");
        // One that was only begun holds nothing either.
        desk.run("del r.toml --tree t k");
        for (line, code) in [
            ("get r.toml --tree t k", 1),
            ("root r.toml", 0),
            ("tag r.toml", 0),
        ] {
            let said = desk.run(line);
            assert_eq!(said.code, code, "{kind} `{line}` said {said:?}");
        }
        desk.ok("put r.toml --tree t k v");
        assert_eq!(desk.ok("get r.toml --tree t k").trim_end(), "v");
    }
}

#[test]
fn verify_looks_up_what_a_journal_changes_side_by_side() {
    const ROWS: usize = 1_000;
    let desk = Desk::new();
    let servers = Servers::start(&desk, &["a"]);
    desk.file("r.toml", servers.over(""));
    let rows = |value: &str| {
        let rows = (0..ROWS).map(|row| format!("{row:08},{value}\n"));
        "k,v\n".to_owned() + &rows.collect::<String>()
    };
    desk.file("one.csv", rows(&"one ".repeat(10)));
    desk.file("two.csv", rows("two"));
    desk.ok("load r.toml one.csv --tree t --key k");
    desk.ok("reclaim r.toml --retain newest --compact");
    // Many small commits: all of them lie in the journal.
    desk.ok("load r.toml two.csv --tree t --key k --batch 20");
    let kinds = travertine::standard();
    let text = servers.over("");
    let file = StackFile::parse("r.toml", &text, desk.path(), &kinds, &Overrides::none()).unwrap();
    let (stack, engine) = file.engine(&Env::system(), true).unwrap();
    let trips = || {
        let figures = stack.store().status().figures;
        figures
            .iter()
            .find(|(name, _)| *name == "round_trips")
            .unwrap()
            .1
    };
    let map = Map::new(Name::new("t").unwrap(), Tree::default());
    let reader = map.reader(&engine.snapshot()).wait().unwrap();
    let before = trips();
    let report = reader.verify();
    let taken = trips() - before;
    assert_eq!((report.entries, report.damaged), (ROWS as u64, 0));
    assert!(
        taken <= 2 * report.nodes + 50,
        "{taken} round trips for {} nodes",
        report.nodes
    );
}
