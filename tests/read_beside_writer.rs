//! Other processes read while one writes: what they see is committed, and it never goes back.

mod desk;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use desk::Desk;

const BATCH: u64 = 100;
const COMMITS: u64 = 2500;

#[test]
fn readers_see_commits_as_they_are_proven_and_hinder_nobody() {
    let desk = Desk::new();
    desk.file(
        "s.toml",
        "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"1 MiB\"\n",
    );
    desk.ok("put s.toml --tree before k v");
    let rows: String = (0..COMMITS * BATCH)
        .map(|row| format!("{row:08},value {row}\n"))
        .collect();
    desk.file("rows.csv", rows);
    let line = format!("load s.toml rows.csv --tree t --key 0 --no-header --batch {BATCH} --ack");
    let mut load = desk.command(&line);
    load.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = load.spawn().unwrap();
    let acks = BufReader::new(child.stdout.take().unwrap()).lines();
    // The rows of the commit before the newest that was acknowledged.
    let proven = AtomicU64::new(0);
    let mut turns = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for ack in acks {
                let ack = ack.unwrap();
                let rows: u64 = ack.strip_prefix("committed ").unwrap().parse().unwrap();
                proven.store(rows - BATCH, Ordering::SeqCst);
            }
        });
        let mut seen = 0;
        while child.try_wait().unwrap().is_none() {
            // A commit is named as proven by the one after it at the latest.
            let earlier = proven.load(Ordering::SeqCst);
            if earlier == 0 {
                continue;
            }
            let count: u64 = desk.ok("count s.toml --tree t").trim().parse().unwrap();
            assert!(
                count >= earlier && count >= seen,
                "{count}, {earlier}, {seen}"
            );
            assert_eq!(count % BATCH, 0, "half a commit was seen");
            seen = count;
            let row = earlier - 1;
            assert_eq!(
                desk.ok(&format!("get s.toml --tree t {row:08}")),
                format!("[\"{row:08}\",\"value {row}\"]")
            );
            assert_eq!(desk.ok("get s.toml --tree before k"), "v");
            match turns % 6 {
                1 => assert!(desk.ok("verify s.toml").contains("all is well")),
                3 => {
                    let scanned = desk.ok("scan s.toml --tree t");
                    assert_eq!(scanned.lines().count() as u64 % BATCH, 0);
                }
                5 => {
                    let said = desk.run("put s.toml --tree other k v");
                    if child.try_wait().unwrap().is_none() {
                        said.expect("put", 1, &["is being written by process"]);
                    }
                }
                _ => {}
            }
            turns += 1;
        }
    });
    assert!(child.wait().unwrap().success());
    assert!(
        turns > 3,
        "the writer was too fast for {turns} turns of a reader"
    );
    let total = COMMITS * BATCH;
    assert_eq!(desk.ok("count s.toml --tree t"), format!("{total}\n"));
    assert!(desk.ok("verify s.toml").contains("all is well"));
    println!("{turns} turns of a reader beside {COMMITS} commits");
}
