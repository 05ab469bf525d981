//! `bench` as a program calls it: what it prints, what it refuses, what it leaves behind.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::path::Path;

use travertine::cli::{self, Terminal};

/// Runs the command line: exit code, output, error output.
fn travertine(args: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["travertine"].iter().chain(args).map(|arg| (*arg).into());
    let code = {
        let mut terminal = Terminal::plain(&mut out, &mut err);
        cli::run(travertine::standard(), args, &mut terminal)
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

/// A stack file on disk, and a directory to run in.
fn ground() -> (tempfile::TempDir, String, String) {
    let ground = tempfile::tempdir().unwrap();
    let stack = ground.path().join("one.toml");
    std::fs::write(&stack, "[[layer]]\nuse = \"file\"\npath = \"data\"\n").unwrap();
    let directory = ground.path().join("runs");
    std::fs::create_dir(&directory).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (stack, directory) = (text(&stack), text(&directory));
    (ground, stack, directory)
}

#[test]
fn two_stacks_are_compared_and_nothing_is_left_behind() {
    let (ground, stack, directory) = ground();
    let memory = ground.path().join("two.toml");
    std::fs::write(&memory, "level = \"memory\"\n[[layer]]\nuse = \"memory\"\n").unwrap();
    let (code, out, err) = travertine(&[
        "bench",
        &stack,
        memory.to_str().unwrap(),
        "--workload",
        "commit,ycsb-f,scan",
        "--records=200",
        "--ops=40",
        "--threads=2",
        "--value-size=1KiB",
        "--rounds=2",
        "--json",
        "--allow-tmpfs",
        "--dir",
        &directory,
    ]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(err, "");
    let facts: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(facts.len(), 6);
    assert_eq!(facts[0]["workload"], "commit");
    assert_eq!(facts[0]["level"], "disk");
    assert_eq!(facts[0]["rounds"], 2);
    assert_eq!(facts[0]["ops"], 40);
    assert!(facts[0]["syncs"].as_u64().unwrap() > 0);
    assert!(facts[0]["written_per_byte_given"].as_f64().unwrap() > 1.0);
    assert_eq!(facts[1]["level"], "memory");
    assert_eq!(facts[1]["syncs"], 0);
    assert_eq!(facts[5]["workload"], "scan");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    assert!(!ground.path().join("data").exists());
}

#[test]
fn tables_name_the_stacks_and_the_sync() {
    let (_ground, stack, directory) = ground();
    let (code, out, _) = travertine(&[
        "bench",
        &stack,
        "--workload=append,read-hot",
        "--records=100",
        "--ops=100",
        "--rounds=1",
        "--allow-tmpfs",
        "--dir",
        &directory,
    ]);
    assert_eq!(code, 0);
    for word in [
        "one: commits reach disk; fdatasync",
        "append: ",
        "read-hot: ",
    ] {
        assert!(out.contains(word), "{word} in {out}");
    }
}

#[test]
fn each_removable_floor_is_taken_out_and_a_page_tells_of_it() {
    let (ground, _, directory) = ground();
    let stack = ground.path().join("tall.toml");
    let text = "[[layer]]\nuse = \"monitor\"\n[[layer]]\nuse = \"cache\"\nname = \"front\"\n\
                [[layer]]\nuse = \"sequence\"\n[[layer]]\nuse = \"file\"\npath = \"data\"\n";
    std::fs::write(&stack, text).unwrap();
    let page = ground.path().join("page.html");
    let call = |more: &[&str]| {
        let call = [
            "bench",
            stack.to_str().unwrap(),
            "--ablate",
            "--workload=commit,read-hot",
            "--threads=1,2",
            "--records=100",
            "--ops=60",
            "--rounds=2",
            "--allow-tmpfs",
            "--report",
            page.to_str().unwrap(),
            "--dir",
            &directory,
        ];
        travertine(&[&call[..], more].concat())
    };
    let (code, out, err) = call(&[]);
    assert_eq!(code, 0, "{err}");
    for words in [
        "tall - monitor",
        "tall - front",
        "tall - sequence",
        "commit in 2 threads: what each floor costs",
        "read-hot in 1 thread: ",
    ] {
        assert!(out.contains(words), "{words} in {out}");
    }
    let html = std::fs::read_to_string(&page).unwrap();
    for words in [
        "<!doctype html>",
        "Operations a second by threads",
        "over time",
        "What each floor costs",
        "tall - front",
        "prefers-color-scheme",
    ] {
        assert!(html.contains(words), "{words}");
    }
    for loaded in [
        "http:", "https:", "<script", "<link", "<img", "url(", "NaN", "inf ",
    ] {
        assert!(!html.contains(loaded), "{loaded}");
    }
    let opened = html.matches("<svg").count();
    assert!(
        opened >= 12 && opened == html.matches("</svg>").count(),
        "{opened}"
    );
    let (code, out, _) = call(&["--json"]);
    assert_eq!((code, out.lines().count()), (0, 2 * 2 * 4));
    let fact: serde_json::Value = serde_json::from_str(out.lines().nth(2).unwrap()).unwrap();
    assert_eq!(
        (&fact["without"], &fact["threads"]),
        (&"front".into(), &1.into())
    );
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_path_that_leads_to_existing_data_is_refused() {
    let (ground, stack, directory) = ground();
    for path in ["/elsewhere", "../elsewhere", "a/../../b"] {
        let set = format!("file.path={path}");
        let call = ["bench", &stack, "--set", &set, "--dir", &directory];
        let (code, _, err) = travertine(&call);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("leads out of the fresh directory"), "{err}");
    }
    drop(ground);
}

#[test]
fn wrong_calls_are_exit_code_two() {
    let (_ground, stack, directory) = ground();
    for wrong in [
        &["--workload", "ycsb-g"][..],
        &["--rounds", "0"],
        &["--threads", "0"],
        &["--records", "many"],
        &["--value-size", "1GiB"],
        &["--level", "tape"],
        &["--threads", "1,"],
        &["--report", "/nowhere/at/all.html"],
        &["--dir", "/nowhere/at/all"],
    ] {
        let call = [&["bench", stack.as_str()][..], wrong].concat();
        let (code, out, err) = travertine(&call);
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}: {err}");
    }
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
}

#[test]
fn a_directory_in_memory_is_refused_unless_allowed() {
    if !Path::new("/dev/shm").is_dir() {
        println!("skipped: needs a tmpfs at /dev/shm");
        return;
    }
    let (_ground, stack, _) = ground();
    let call = [
        "bench",
        &stack,
        "--dir",
        "/dev/shm",
        "--ops=10",
        "--records=10",
    ];
    let (code, _, err) = travertine(&call);
    assert_eq!(code, 2);
    assert!(err.contains("--allow-tmpfs"), "{err}");
}
