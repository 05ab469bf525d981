//! `chain`: what it prints, how it fails, and what `verify` and `inspect` say of a chain.

mod desk;

use desk::Desk;

#[test]
fn what_is_pushed_is_popped_shifted_and_scanned() {
    let desk = Desk::new();
    for (number, entry) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let said = desk.ok(&format!("chain push s.toml --chain jobs {entry}"));
        assert_eq!(said.trim(), number.to_string());
    }
    let said = desk.run_with("chain push s.toml --chain jobs - --json", b"\xff");
    assert_eq!(said.json()[0]["number"], 4);
    assert_eq!(desk.run("chain pop s.toml --chain jobs").out, b"\xff");
    assert_eq!(desk.run("chain shift s.toml --chain jobs").out, b"a");
    let all = desk.run("chain scan s.toml --chain jobs").text();
    let lines = "{\"number\":1,\"entry\":\"b\"}\n{\"number\":2,\"entry\":\"c\"}\n\
                 {\"number\":3,\"entry\":\"d\"}\n";
    assert_eq!(all, lines);
    let some = desk.run("chain scan s.toml --chain jobs --reverse --from 2 --limit 1");
    assert_eq!(some.text(), "{\"number\":2,\"entry\":\"c\"}\n");
    let before = desk.run("chain scan s.toml --chain jobs --at 2");
    assert_eq!(before.text().lines().count(), 2);
    for line in ["pop", "pop", "shift"] {
        desk.ok(&format!("chain {line} s.toml --chain jobs"));
    }
    desk.fails("chain pop s.toml --chain jobs", 1, &["jobs is empty"]);
    desk.fails(
        "chain scan s.toml --chain nix",
        1,
        &["no chain nix", "there are: jobs"],
    );
    desk.ok("put s.toml --tree t k v");
    desk.fails(
        "chain pop s.toml --chain t",
        2,
        &["this is no chain", "a chain's root has kind"],
    );
    desk.fails(
        "chain forget s.toml --chain jobs --as nix",
        1,
        &["no consumer nix"],
    );
}

#[test]
fn consumers_see_every_entry_and_what_all_have_done_is_trimmed() {
    let desk = Desk::new();
    for entry in 0..5 {
        desk.ok(&format!("chain push s.toml --chain jobs {entry}"));
    }
    let numbers = |line: &str| -> Vec<u64> {
        let lines = desk.run(line).json();
        lines
            .iter()
            .map(|line| line["number"].as_u64().unwrap())
            .collect()
    };
    let consume = "chain consume s.toml --chain jobs --as";
    assert_eq!(numbers(&format!("{consume} mail --limit 2")), [0, 1]);
    assert_eq!(numbers(&format!("{consume} mail --limit 2")), [2, 3]);
    assert_eq!(numbers(&format!("{consume} bill --limit 1")), [0]);
    let stand = desk.ok("chain consumers s.toml --chain jobs");
    let says = "{\"consumer\":\"bill\",\"position\":1,\"behind\":4}\n\
                {\"consumer\":\"mail\",\"position\":4,\"behind\":1}\n";
    assert_eq!(stand, says);
    let trim = "chain trim s.toml --chain jobs";
    assert_eq!(desk.ok(&format!("{trim} --consumed")), "1\n");
    desk.ok("chain forget s.toml --chain jobs --as bill");
    assert_eq!(desk.ok(&format!("{trim} --consumed")), "3\n");
    assert_eq!(numbers(&format!("{consume} mail")), [4]);
    assert_eq!(desk.ok(&format!("{consume} mail")), "");
    assert_eq!(desk.ok(&format!("{trim} --before 5")), "1\n");
    desk.fails(&format!("{trim} --before 9"), 2, &["ends before entry 5"]);
    desk.fails(trim, 2, &["--before", "--consumed"]);
    desk.fails(
        "chain forget s.toml --chain jobs --as bill",
        1,
        &["no consumer bill"],
    );
    desk.fails(
        &format!("{consume} mail").replace("jobs", "nix"),
        1,
        &["there are: jobs"],
    );
}

#[test]
fn a_linked_chain_tells_its_link_and_every_command_knows_its_records() {
    let desk = Desk::new();
    for entry in 0..40 {
        desk.ok(&format!("chain push s.toml --chain audit {entry} --linked"));
    }
    let said = desk.ok("chain verify s.toml --chain audit");
    let link = "link ";
    assert!(said.contains("40 entries") && said.contains(link), "{said}");
    let link = said.split(link).nth(1).unwrap().trim();
    assert_eq!(link.len(), 64);
    let said = desk.ok("verify s.toml");
    assert!(said.contains("chain       audit: 40 entries"), "{said}");
    let root = desk.ok("root s.toml audit");
    let root = desk.run(&format!("inspect s.toml {root} --json")).json();
    assert_eq!(root[0]["says"]["end"], 40);
    assert_eq!(root[0]["says"]["link"], link);
    let node = root[0]["references"][0]["oid"].as_str().unwrap();
    let node = desk.run(&format!("inspect s.toml {node} --json")).json();
    assert_eq!(node[0]["says"]["children"], 1);
    let block = node[0]["references"][0]["oid"].as_str().unwrap();
    let block = desk.run(&format!("inspect s.toml {block} --json")).json();
    assert_eq!(block[0]["says"]["end"], 32);
    assert_eq!(block[0]["kind_name"], "block of a chain");
}

#[test]
fn a_branch_has_the_consumers_where_they_stood() {
    let desk = Desk::new();
    for entry in ["a", "b", "c"] {
        desk.ok(&format!("chain push s.toml --chain c {entry}"));
    }
    desk.ok("chain consume s.toml --chain c --as w --limit 1");
    desk.ok("branch s.toml c2 --tree c");
    desk.ok("chain consume s.toml --chain c --as w --limit 1");
    let stand = desk.ok("chain consumers s.toml --chain c2");
    assert_eq!(stand, "{\"consumer\":\"w\",\"position\":1,\"behind\":2}\n");
    let next = desk.ok("chain consume s.toml --chain c2 --as w --limit 1");
    assert_eq!(next, "{\"number\":1,\"entry\":\"b\"}\n");
    let next = desk.ok("chain consume s.toml --chain c --as w");
    assert_eq!(next, "{\"number\":2,\"entry\":\"c\"}\n");
    // One that was made without its consumers' positions: they begin anew.
    let root = desk.ok("root s.toml c");
    desk.ok(&format!("commit s.toml c3 {}", root.trim()));
    let next = desk.ok("chain consume s.toml --chain c3 --as w --limit 1");
    assert_eq!(next, "{\"number\":0,\"entry\":\"a\"}\n");
    assert!(desk.ok("verify s.toml").contains("all is well"));
}

#[test]
fn what_cannot_be_printed_is_not_taken_away() {
    let desk = Desk::new();
    desk.ok("chain push s.toml --chain c e0");
    for verb in ["shift", "pop"] {
        #[expect(clippy::disallowed_methods, reason = "a device that takes nothing")]
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = desk.command(&format!("chain {verb} s.toml --chain c"));
        let said = command.stdout(full.unwrap()).output().unwrap();
        assert!(!said.status.success(), "{verb}");
    }
    assert_eq!(desk.ok("chain shift s.toml --chain c"), "e0");
}

#[test]
fn commands_of_trees_name_the_command_of_chains() {
    let desk = Desk::new();
    desk.ok("chain push s.toml --chain c e0");
    for line in [
        "get s.toml --tree c k",
        "count s.toml --tree c",
        "diff s.toml --tree c --from 1",
        "put s.toml --tree c k v",
    ] {
        desk.fails(line, 2, &["c is a chain", "travertine chain"]);
    }
}

#[test]
fn following_from_past_the_end_says_so() {
    let desk = Desk::new();
    desk.ok("put s.toml --tree t k v");
    let words = ["no commit 9999 yet", "newest is number 1"];
    desk.fails("follow s.toml --from 9999 --no-wait", 0, &words);
    let said = desk.run("follow s.toml --from 1 --no-wait");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}
