//! The write-behind of a stack, as its `flush` tunes it: when it goes down by itself, what is told if it
//! cannot, and what comes of what was stored.

#![expect(
    clippy::unwrap_used,
    reason = "an engine that cannot be made fails its test"
)]

use std::path::Path;

use travertine::standard;
use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{Env, ErrorKind, Kind, Name, NewRecord};
use travertine_engine::front::{Change, Engine, Hint};

/// An engine on a stack in memory, and how far the store below has got.
fn with_flush(flush: &str) -> (Engine, impl Fn() -> u64) {
    let text = format!(
        "level = \"memory\"\n[[layer]]\nuse = \"cache\"\nflush = {{ {flush} }}\n\
         [[layer]]\nuse = \"memory\"\n"
    );
    let file = travertine::config::StackFile::parse(
        "flush.toml",
        &text,
        Path::new("/nowhere"),
        &standard(),
        &travertine::config::Overrides::default(),
    )
    .unwrap();
    let (stack, engine) = file.engine(&Env::system(), false).unwrap();
    (engine, move || stack.status().streams[0].end)
}

#[test]
fn the_tail_buffer_is_sent_when_the_stack_says_so() {
    for (flush, bytes) in [
        (r#"bytes = "16 KiB", age = "1 h""#, 20_000),
        (r#"bytes = "8 MiB", age = "2 ms""#, 100),
    ] {
        let (engine, end) = with_flush(flush);
        let session = engine.session().unwrap();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&vec![7; bytes]],
        };
        let stored = session.store(&record, Hint::default()).unwrap();
        // Nobody commits.
        while end() <= stored.oid.position().0 {
            std::thread::yield_now();
        }
        engine.close().unwrap();
    }
}

/// An engine on a stack of tests in memory, where nothing happens by itself.
fn quiet(layers: &str) -> Engine {
    let text = format!("level = \"memory\"\ntest = true\n{layers}\n[[layer]]\nuse = \"memory\"\n");
    let file = travertine::config::StackFile::parse(
        "quiet.toml",
        &text,
        Path::new("/nowhere"),
        &standard(),
        &travertine::config::Overrides::default(),
    )
    .unwrap();
    file.engine(SimEnv::new(1).env(), false).unwrap().1
}

/// A flush that fails by itself, long before anybody commits.
#[test]
fn a_failed_flush_fails_the_commit_after_it_and_ends_the_writing() {
    for seed in 0..8 {
        let engine = quiet(&format!(
            "[[layer]]\nuse = \"cache\"\nflush = {{ bytes = \"4 KiB\" }}\n\
             [[layer]]\nuse = \"fault\"\nseed = {seed}\nafter = 12\nstore = {{ failed = 1.0 }}"
        ));
        let session = engine.session().unwrap();
        let put = |body: &[u8]| {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body],
            };
            session.store(&record, Hint::default())
        };
        let name = Name::new("name").unwrap();
        let safe = put(b"safe").unwrap();
        let change = [Change::set(name.clone(), safe)];
        session.commit(&change, None).wait().unwrap();
        let mut stored = safe;
        let error = loop {
            match put(&[7; 3_000]) {
                Ok(reference) => stored = reference,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        let late = session.commit(&[Change::set(name.clone(), stored)], None);
        assert_eq!(late.wait().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(engine.snapshot().root(&name), Some(safe));
        assert_eq!(
            engine.read(safe.oid).wait().unwrap().unwrap().body(),
            b"safe"
        );
        assert!(engine.close().is_err());
    }
}

#[test]
fn a_flush_that_finds_no_room_goes_on_when_there_is_some() {
    let engine = quiet(
        "[[layer]]\nuse = \"cache\"\nflush = { bytes = \"4 KiB\" }\n\
         [[layer]]\nuse = \"fault\"\nafter = 6\nmost = 3\nstore = { full = 1.0 }",
    );
    let session = engine.session().unwrap();
    let mut stored = Vec::new();
    let mut full = 0;
    while stored.len() < 40 {
        let body = [stored.len() as u8; 3_000];
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        };
        match session.store(&record, Hint::default()) {
            Ok(reference) => stored.push(reference),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full);
                full += 1;
                assert!(full < 10);
            }
        }
    }
    session.commit(&[], None).wait().unwrap();
    for (number, reference) in stored.iter().enumerate() {
        let found = engine.read(reference.oid).wait().unwrap().unwrap();
        assert_eq!(found.body(), [number as u8; 3_000]);
    }
    engine.close().unwrap();
}
