//! The monitor's live page in a real browser: its figures arrive, a child that is down is shown, names are
//! no markup, and without scripts it is a table.
//!
//! Needs `chromium`; without it the tests print `skipped: needs chromium`, which the gate turns into a
//! failure. `TRAVERTINE_SHOTS` names a directory that pictures of the page are put into.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "desk/tools.rs"]
mod tools;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Kind, Name, NewRecord};
use travertine::front::{Change, Engine, Hint};
use travertine::stack::Stack;

/// The page stops after so many events. A browser that listens would never be done.
const EVENTS: u32 = 4;
/// Time of the browser's own, which stands still while it listens.
const BUDGET: &str = "--virtual-time-budget=3000";
/// A browser that hangs is ended after so many seconds of the machine's.
const PATIENCE: &str = "60";

const SMALL: &str = r#"
level = "memory"

[[layer]]
use = "monitor"
serve = "127.0.0.1:0"
slow = "1 us"
moderate = { sync = { slow = "10 s", shed = "20 s" } }

[[layer]]
use = "cache"
name = "front"
memory = "256 KiB"

[[layer]]
use = "memory"
"#;

const LARGE: &str = r#"
[[layer]]
use = "monitor"
serve = "127.0.0.1:0"
slow = "2 ms"

[[layer]]
use = "cache"
name = "front"
memory = "4 MiB"

[[layer]]
use = "cluster"
over = ["disk1", "disk2", "disk3"]

[[stack.disk1]]
use = "sequence"
segment = "2 MiB"
[[stack.disk1]]
use = "file"
path = "disk1"
segment = "1 MiB"

[[stack.disk2]]
use = "file"
path = "<b id=bold>2"
segment = "1 MiB"

[[stack.disk3]]
use = "file"
path = "disk3"
segment = "1 MiB"
"#;

fn open(text: &str, base: &Path) -> (Stack, Engine) {
    let file = StackFile::parse(
        "live.toml",
        text,
        base,
        &travertine::standard(),
        &Overrides::none(),
    );
    file.unwrap().engine(&Env::system(), false).unwrap()
}

fn address(stack: &Stack) -> String {
    let figures = stack.status().figures;
    let port = figures.iter().find(|(name, _)| *name == "port");
    format!("http://127.0.0.1:{}/", port.unwrap().1)
}

fn have_chromium() -> bool {
    let found = Command::new("chromium")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    tools::have("chromium", found.is_ok_and(|status| status.success()))
}

/// What a browser says of a page.
fn browse(options: &[&str], address: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let answer = Command::new("timeout")
        .args([
            PATIENCE,
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(BUDGET)
        .args(options)
        .arg(format!("{address}?events={EVENTS}"))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

/// The page as it stands after some events. A browser on a slow machine is given several turns.
fn page(address: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut page = String::new();
    for _ in 0..10 {
        page = browse(&["--dump-dom"], address);
        if wanted(&page) {
            return page;
        }
    }
    panic!("it never comes to what is wanted:\n{page}");
}

/// Writes and reads until it is told to stop.
fn work(stack: &Stack, engine: &Engine, stop: &AtomicBool) {
    let name = Name::new("it").unwrap();
    let mut stored = Vec::new();
    for n in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let body = n.to_le_bytes().repeat(500);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        let session = engine.session().unwrap();
        let reference = session.store(&record, Hint::default()).unwrap();
        stored.push(reference.oid);
        session
            .commit(&[Change::set(name.clone(), reference)], None)
            .wait()
            .unwrap();
        // Of the floors themselves: the engine has what is new at hand.
        for back in [stored.len() / 2, stored.len() / 3, stored.len() % 97] {
            let oid = stored[back.min(stored.len() - 1)];
            assert!(stack.store().read(oid).wait().unwrap().is_some());
        }
        Env::system().clock.sleep(Duration::from_micros(300));
    }
}

/// Looks while somebody works.
fn under_load<T>((stack, engine): (&Stack, &Engine), look: impl FnOnce() -> T) -> T {
    /// Ends the work also where what looks fails.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| work(stack, engine, &stop));
        let _stop = Stop(&stop);
        look()
    })
}

/// How many events the page has shown.
fn events(page: &str) -> u32 {
    let after = page
        .split_once("data-events=\"")
        .map_or("", |(_, after)| after);
    let number = after.split_once('"').map_or("", |(number, _)| number);
    number.parse().unwrap_or(0)
}

/// Takes pictures, if they are wanted.
fn shoot(name: &str, address: &str) {
    let Some(directory) = std::env::var_os("TRAVERTINE_SHOTS") else {
        return;
    };
    for (scheme, dark) in [("light", false), ("dark", true)] {
        for (width, size) in [("wide", "1280,1500"), ("phone", "500,2600")] {
            let file = Path::new(&directory).join(format!("{name}-{scheme}-{width}.png"));
            let shot = format!("--screenshot={}", file.display());
            let size = format!("--window-size={size}");
            let mut options = vec!["--hide-scrollbars", &shot, &size];
            if dark {
                options.push("--blink-settings=preferredColorScheme=0");
            }
            browse(&options, address);
        }
    }
}

#[test]
fn figures_arrive_in_a_browser() {
    if !have_chromium() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (stack, engine) = open(SMALL, directory.path());
    let address = address(&stack);
    let page = under_load((&stack, &engine), || {
        page(&address, |page| events(page) == EVENTS)
    });
    assert!(page.contains(">stopped<"), "{page}");
    assert!(page.contains("writes accepted"), "{page}");
    for verb in ["commit", "read"] {
        assert!(page.contains(&format!("<td>{verb}</td>")), "{verb}: {page}");
    }
    assert!(page.contains("% hits"), "{page}");
    assert!(page.contains("rounds in"), "{page}");
    engine.close().unwrap();
}

#[test]
fn a_child_that_is_down_is_plainly_shown_and_names_are_no_markup() {
    if !have_chromium() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (stack, engine) = open(LARGE, directory.path());
    let address = address(&stack);
    shoot("rest", &address);
    under_load((&stack, &engine), || {
        let page = page(&address, |page| events(page) == EVENTS);
        assert!(!page.contains("floor down"), "{page}");
        shoot("load", &address);
    });
    engine.close().unwrap();
    drop(stack);
    // A file lies where the second child's directory should be.
    let second = directory.path().join("<b id=bold>2");
    #[expect(clippy::disallowed_methods, reason = "a test takes a disk away")]
    std::fs::rename(&second, directory.path().join("away")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test takes a disk away")]
    std::fs::write(&second, "no directory").unwrap();
    let (stack, engine) = open(LARGE, directory.path());
    let address = self::address(&stack);
    under_load((&stack, &engine), || {
        let page = page(&address, |page| {
            events(page) == EVENTS && page.contains("floor down")
        });
        assert!(page.contains("2 of 3 in line"), "{page}");
        assert_eq!(page.matches("floor down").count(), 1, "{page}");
        assert!(
            page.contains("&lt;b id=bold&gt;2") && !page.contains("<b id=bold"),
            "{page}"
        );
        shoot("down", &address);
    });
    engine.close().unwrap();
}

#[test]
fn without_scripts_it_is_a_table() {
    if !have_chromium() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (stack, engine) = open(SMALL, directory.path());
    let address = address(&stack);
    under_load((&stack, &engine), || {
        let page = page(&address, |page| {
            page.contains("<td>commit</td>") || page.contains("&lt;td&gt;commit")
        });
        assert!(page.contains("Without scripts"), "{page}");
    });
    engine.close().unwrap();
}
