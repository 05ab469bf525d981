//! A stack over several directories, by the commands: it grows, loses a directory, and has it back.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod desk;

use std::fmt::Write;
use std::fs;

use desk::Desk;

/// A stack of so many directories: `d1`, `d2` and so on.
fn stack(desk: &Desk, name: &str, directories: &[usize]) {
    let list: Vec<_> = directories.iter().map(|n| format!("\"d{n}\"")).collect();
    let mut text = format!(
        "[[layer]]\nuse = \"partition\"\nover = [{}]\n",
        list.join(", ")
    );
    for n in directories {
        write!(text, "\n[stack.d{n}]\nuse = \"file\"\npath = \"d{n}\"\n").unwrap();
    }
    desk.file(name, text);
}

/// Rows with these numbers, of a kilobyte each.
fn rows(numbers: std::ops::Range<u64>) -> String {
    let rows = numbers.map(|n| format!("{n:06},{}\n", format!("{n:04}").repeat(256)));
    format!("k,v\n{}", rows.collect::<String>())
}

fn load(desk: &Desk, stack: &str, numbers: std::ops::Range<u64>) {
    desk.file("rows.csv", rows(numbers));
    desk.ok(&format!(
        "load {stack} rows.csv --tree t --key k --batch 50"
    ));
}

fn size(desk: &Desk, directory: &str) -> u64 {
    let files = desk.bytes_of(directory).into_iter();
    files
        .map(|(_, bytes)| bytes.iter().filter(|byte| **byte != 0).count() as u64)
        .sum()
}

#[test]
fn two_directories_grow_to_five_and_one_of_them_is_lost_and_comes_back() {
    let desk = Desk::new();
    stack(&desk, "s.toml", &[1, 2]);
    load(&desk, "s.toml", 0..400);
    let before = [size(&desk, "d1"), size(&desk, "d2")];
    assert!(before.iter().all(|size| *size > 100 << 10), "{before:?}");

    // In whatever order they are listed.
    stack(&desk, "s.toml", &[4, 2, 5, 1, 3]);
    load(&desk, "s.toml", 400..1_400);
    assert_eq!(desk.ok("count s.toml --tree t").trim(), "1400");
    for directory in ["d3", "d4", "d5"] {
        let held = size(&desk, directory);
        assert!(held > 100 << 10, "{directory} holds {held} bytes");
    }
    desk.ok("verify s.toml");

    // One is lost: what is needed of the others is served, and nothing is written.
    fs::rename(desk.path().join("d4"), desk.path().join("away")).unwrap();
    let left = ["d1", "d2", "d3", "d5"].map(|name| desk.bytes_of(name));
    let (mut found, mut unknown) = (0, 0);
    for row in (0..1_400).step_by(100) {
        let said = desk.run(&format!("get s.toml --tree t {row:06}"));
        match said.code {
            0 => found += 1,
            _ => {
                assert!(said.err.contains("is lost"), "{said:?}");
                unknown += 1;
            }
        }
    }
    println!("{found} found, {unknown} unknown");
    desk.file("rows.csv", rows(1_400..1_410));
    desk.fails(
        "load s.toml rows.csv --tree t --key k",
        1,
        &["is lost; nothing was changed"],
    );
    assert!(!desk.path().join("d4").exists());
    let now = ["d1", "d2", "d3", "d5"].map(|name| desk.bytes_of(name));
    assert!(
        left == now,
        "something was changed while a directory was lost"
    );

    // And back.
    fs::rename(desk.path().join("away"), desk.path().join("d4")).unwrap();
    load(&desk, "s.toml", 1_400..1_500);
    assert_eq!(desk.ok("count s.toml --tree t").trim(), "1500");
    for row in (0..1_500).step_by(100) {
        let value = desk.ok(&format!("get s.toml --tree t {row:06}"));
        assert!(
            value.contains(&format!("{row:04}").repeat(256)),
            "{row}: {value}"
        );
    }
    desk.ok("verify s.toml");
}
