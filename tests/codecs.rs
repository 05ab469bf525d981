//! Codecs on the command line: keys that are wrong, missing or rotated, what lies on the disk, and that
//! the same goes out of a sealed stack as of a plain one.

#![expect(clippy::disallowed_methods, reason = "a test of files")]

mod desk;

use std::fs;

use desk::Desk;

const SEALED: &str = r#"
[[layer]]
use = "compress"

[[layer]]
use = "encrypt"
key = { file = "key" }

[[layer]]
use = "file"
path = "sealed"
"#;

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A plain stack `s.toml`, and a sealed one, `c.toml`, with its key.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.file("c.toml", SEALED);
    desk.file("key", hex(0xA1));
    desk
}

/// Whether a file below `name` holds these bytes.
fn holds(desk: &Desk, name: &str, bytes: &[u8]) -> bool {
    let mut files = desk.bytes_of(name).into_iter();
    files.any(|(_, file)| file.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn what_goes_out_of_a_sealed_stack_is_what_goes_out_of_a_plain_one() {
    let desk = desk();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/data/unicode-excerpt.txt"
    );
    desk.ok(&format!(
        "load s.toml {file} --tree unicode --key 0 --delimiter ; --no-header"
    ));
    let long: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    desk.run_with("put s.toml --tree mixed --key-b64 //8= -", &long);
    let plain = desk.run("export s.toml").out;
    desk.run_with("import c.toml", &plain);
    assert!(desk.run("export c.toml").out == plain);
    desk.file("p.toml", "[[layer]]\nuse = \"file\"\npath = \"again\"\n");
    desk.run_with("import p.toml", &desk.run("export c.toml").out);
    assert!(desk.run("export p.toml").out == plain);
    assert!(desk.ok("verify c.toml").contains("all is well"));
    let text = b"LATIN SMALL LETTER E WITH ACUTE";
    assert!(holds(&desk, "again", text) && !holds(&desk, "sealed", text));
    // Names of roots are no secret.
    assert!(holds(&desk, "sealed", b"unicode"));
    let size = |name| -> usize { desk.bytes_of(name).iter().map(|(_, file)| file.len()).sum() };
    assert!(size("sealed") < size("again"));
}

#[test]
fn without_the_right_key_nothing_is_read_and_nothing_written() {
    let desk = desk();
    let secret = b"nobody else should read this";
    desk.run_with("put c.toml --tree t k -", secret);
    // But for who has it open.
    let image = || {
        let mut files = desk.bytes_of("sealed");
        files.retain(|(path, _)| !path.ends_with("lock"));
        files
    };
    let before = image();
    let shown = [hex(0xA1), hex(0xB2)];
    for (key, words) in [
        (hex(0xB2).into_bytes(), "is sealed with the key"),
        (
            hex(0xA1).into_bytes()[..63].to_vec(),
            "key 1 has 63 characters",
        ),
        (Vec::new(), "there is no key"),
        (vec![0xFF; 31], "here are 31"),
        (vec![0xFF; 70_000], "holds more than 65536 bytes"),
    ] {
        desk.file("key", key);
        for line in [
            "get c.toml --tree t k",
            "put c.toml --tree t k v",
            "verify c.toml",
        ] {
            let said = desk.run(line);
            assert_ne!(said.code, 0, "{line}: {said:?}");
            let told = format!("{said:?}");
            assert!(told.contains(words), "{line}: {told}");
            assert!(!shown.iter().any(|key| told.contains(&key[..16])), "{told}");
        }
    }
    fs::remove_file(desk.path().join("key")).unwrap();
    let said = desk.run("get c.toml --tree t k");
    assert!(
        format!("{said:?}").contains("cannot be read at"),
        "{said:?}"
    );
    // To judge a stack and to explain it nobody needs its key.
    desk.ok("check c.toml");
    desk.ok("explain c.toml");
    assert!(image() == before, "something was written");
    desk.file("key", hex(0xA1));
    assert_eq!(desk.run("get c.toml --tree t k").out, secret);
}

#[test]
fn a_rotated_key_seals_from_now_on_and_the_old_one_opens() {
    let desk = desk();
    desk.ok("put c.toml --tree t old 1");
    desk.file("key", format!("# rotated\n{}\n{}\n", hex(0xB2), hex(0xA1)));
    desk.ok("put c.toml --tree t new 2");
    for (key, value) in [("old", "1"), ("new", "2")] {
        assert_eq!(desk.ok(&format!("get c.toml --tree t {key}")), value);
    }
    assert!(desk.ok("verify c.toml").contains("all is well"));
    // The old key alone does not open what the new one sealed.
    desk.file("key", hex(0xA1));
    assert_ne!(desk.run("get c.toml --tree t new").code, 0);
}

#[test]
fn a_key_of_the_environment_is_found_there_or_missed_by_name() {
    let desk = desk();
    let stack = SEALED.replace("file = \"key\"", "env = \"A_KEY_OF_THIS_TEST\"");
    desk.file("e.toml", stack);
    let set = |line: &str| {
        let mut command = desk.command(line);
        command.env("A_KEY_OF_THIS_TEST", hex(0xC3));
        command.output().unwrap()
    };
    assert!(set("put e.toml --tree t k v").status.success());
    assert_eq!(set("get e.toml --tree t k").stdout, b"v");
    let said = desk.run("get e.toml --tree t k");
    assert_ne!(said.code, 0);
    assert!(
        format!("{said:?}").contains("the environment variable A_KEY_OF_THIS_TEST is not set"),
        "{said:?}"
    );
}

#[test]
fn a_stack_that_lost_a_layer_is_told_which() {
    let desk = desk();
    let text = "a rock laid down layer on layer; ".repeat(30);
    desk.run_with("put c.toml --tree t k -", text.as_bytes());
    let log = "[[layer]]\nuse = \"file\"\npath = \"sealed\"\n";
    desk.file("lost.toml", log);
    let said = desk.run("put lost.toml --tree t k in-the-clear");
    assert_ne!(said.code, 0);
    assert!(format!("{said:?}").contains("encrypt(file"), "{said:?}");
    let log = log.replace("sealed", "packed");
    desk.file(
        "z.toml",
        format!("[[layer]]\nuse = \"compress\"\nmethod = \"zstd\"\n{log}"),
    );
    desk.file("lost.toml", log);
    desk.run_with("put z.toml --tree t k -", text.as_bytes());
    let said = desk.run("get lost.toml --tree t k");
    assert_ne!(said.code, 0);
    assert!(format!("{said:?}").contains("`compress`"), "{said:?}");
    // Put back, with another method, it reads what the first one packed.
    desk.file(
        "z.toml",
        format!("[[layer]]\nuse = \"compress\"\n{}", log_of("packed")),
    );
    assert_eq!(desk.run("get z.toml --tree t k").out, text.as_bytes());
}

fn log_of(place: &str) -> String {
    format!("[[layer]]\nuse = \"file\"\npath = \"{place}\"\n")
}

#[test]
fn the_example_runs_once_it_has_its_key() {
    let desk = Desk::new();
    desk.file(
        "sealed.toml",
        include_str!("../examples/stacks/sealed.toml"),
    );
    fs::create_dir(desk.path().join("data")).unwrap();
    desk.file("data/sealed.key", [0x9A; 32]);
    desk.ok("put sealed.toml --tree t k v");
    assert_eq!(desk.ok("get sealed.toml --tree t k"), "v");
    let told = desk.ok("inspect sealed.toml");
    assert!(
        told.contains("encrypt") && told.contains("sealed"),
        "{told}"
    );
}
