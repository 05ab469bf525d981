//! Other processes read while this one writes: what they see is committed, and it never goes back.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;

use std::sync::atomic::{AtomicU64, Ordering};

use desk::Desk;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name};
use travertine::front::Engine;
use travertine::interfaces::{Map, Tree};

const STACK: &str = "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"1 MiB\"\n";
/// Rows of one commit.
const BATCH: u64 = 100;
/// Turns of a reader.
const TURNS: u64 = 12;
/// Commits beside each of them, at most: the writer waits for a slow reader.
const COMMITS: u64 = 200;

/// Which turn of the reader it is. Past the last one when it is dropped, whatever happened.
struct Turn<'a>(&'a AtomicU64);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(TURNS, Ordering::SeqCst);
    }
}

/// Commits rows until the reader has had its turns, and tells which of them are proven. Returns how
/// many there are.
fn write(engine: &Engine, turn: &AtomicU64, proven: &AtomicU64) -> u64 {
    let map = Map::new(Name::new("t").unwrap(), Tree::default());
    let mut rows = 0;
    loop {
        let now = turn.load(Ordering::SeqCst);
        if now == TURNS {
            return rows;
        }
        if rows >= (now + 1) * COMMITS * BATCH {
            std::thread::yield_now();
            continue;
        }
        let session = engine.session().unwrap();
        let mut writer = map.writer(&session);
        for row in rows..rows + BATCH {
            let (key, value) = (format!("{row:08}"), format!("value {row}"));
            writer.put(key.as_bytes(), value.as_bytes()).unwrap();
        }
        writer.commit(None).unwrap().wait().unwrap();
        // A commit is named as proven by the one after it at the latest.
        proven.store(rows, Ordering::SeqCst);
        rows += BATCH;
    }
}

#[test]
fn readers_see_commits_as_they_are_proven_and_hinder_nobody() {
    let desk = Desk::new();
    desk.file("s.toml", STACK);
    desk.ok("put s.toml --tree before k v");
    let kinds = travertine::standard();
    let file = StackFile::parse("s.toml", STACK, desk.path(), &kinds, &Overrides::none()).unwrap();
    let (_, engine) = file.engine(&Env::system(), false).unwrap();
    let (turn, proven) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&engine, &turn, &proven));
        let ended = Turn(&turn);
        while proven.load(Ordering::SeqCst) == 0 && !writer.is_finished() {
            std::thread::yield_now();
        }
        let mut seen = 0;
        for now in 0..TURNS {
            turn.store(now, Ordering::SeqCst);
            let earlier = proven.load(Ordering::SeqCst);
            let count: u64 = desk.ok("count s.toml --tree t").trim().parse().unwrap();
            assert!(
                count >= earlier && count >= seen,
                "{count}, {earlier}, {seen}"
            );
            assert_eq!(count % BATCH, 0, "half a commit was seen");
            seen = count;
            let row = earlier - 1;
            let get = format!("get s.toml --tree t {row:08}");
            assert_eq!(desk.ok(&get), format!("value {row}"));
            assert_eq!(desk.ok("get s.toml --tree before k"), "v");
            match now % 6 {
                1 => assert!(desk.ok("verify s.toml").contains("all is well")),
                3 => {
                    let scanned = desk.ok("scan s.toml --tree t");
                    assert_eq!(scanned.lines().count() as u64 % BATCH, 0);
                }
                5 => {
                    let holder = format!("is being written by process {}", std::process::id());
                    desk.fails("put s.toml --tree other k v", 1, &[&holder]);
                }
                _ => {}
            }
        }
        drop(ended);
        writer.join().unwrap()
    });
    engine.close().unwrap();
    drop(engine);
    assert_eq!(desk.ok("count s.toml --tree t"), format!("{total}\n"));
    assert!(desk.ok("verify s.toml").contains("all is well"));
    println!("{TURNS} turns of a reader beside {} commits", total / BATCH);
}
