//! `store`, `read`, `commit` and `root`: bytes in, an address out, and back.

mod desk;

use desk::Desk;

#[test]
fn bytes_that_were_stored_are_read_back_by_their_address() {
    let desk = Desk::new();
    let large: Vec<u8> = (0..20_000_000_u32)
        .map(|n| ((n / 3) ^ (n >> 9)) as u8)
        .collect();
    for bytes in [&b""[..], b"hello\n", b"\x00\xff", &large] {
        let said = desk.run_with("store s.toml", bytes);
        assert_eq!(said.code, 0, "{said:?}");
        let oid = said.text();
        assert!(
            desk.run(&format!("read s.toml {oid}")).out == bytes,
            "{oid}"
        );
        desk.ok(&format!("commit s.toml name {oid}"));
        assert_eq!(desk.ok("root s.toml name"), oid);
    }
    assert!(desk.ok("verify s.toml").contains("all is well"));
}

#[test]
fn a_commit_happens_only_if_the_name_is_what_was_expected() {
    let desk = Desk::new();
    let one = desk.run_with("store s.toml", b"one").text();
    let two = desk.run_with("store s.toml", b"two").text();
    let (one, two) = (one.trim(), two.trim());
    desk.ok(&format!("commit s.toml n {one} --expect none"));
    desk.fails(
        &format!("commit s.toml n {two} --expect none"),
        1,
        &["conflict", one],
    );
    desk.fails(
        &format!("commit s.toml n {two} --expect {two}"),
        1,
        &["conflict", one],
    );
    desk.ok(&format!("commit s.toml n {two} --expect {one}"));
    let names = desk.run("root s.toml --json").json();
    assert_eq!(names[0]["oid"], two);
    assert_eq!(desk.ok("root s.toml n --at 1").trim(), one);
}

#[test]
fn what_is_not_there_is_exit_code_one_and_a_wrong_call_two() {
    let desk = Desk::new();
    let one = desk.run_with("store s.toml", b"one").text();
    desk.fails("root s.toml n", 1, &["no name n"]);
    assert_eq!(desk.ok("root s.toml"), "");
    // A reader cannot vouch for what lies above the tail that it sees, a writer can.
    desk.fails("read s.toml oid:v1:b0:o999999999", 1, &["above the tail"]);
    desk.fails("commit s.toml n oid:v1:b0:o999999999", 1, &["no record"]);
    desk.fails("read s.toml oid:v1:b9:o5", 2, &["stream b9"]);
    desk.fails("read s.toml 5", 2, &["is not an OID", "oid:v1:b0:o512"]);
    let line = format!("commit s.toml n {} --expect 5", one.trim());
    desk.fails(&line, 2, &["is not an OID"]);
}
