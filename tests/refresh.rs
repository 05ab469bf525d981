//! An engine that was opened for reading stays where it was until it is told to look again; then it
//! sees what a writer has proven since, also in parts that were not there when it was opened.

#![expect(
    clippy::unwrap_used,
    reason = "a stack that cannot be opened fails its test"
)]

use std::path::Path;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name, RootAt};
use travertine::front::Engine;
use travertine::interfaces::{Btree, Map};

fn map() -> Map<Btree> {
    Map::new(Name::new("t").unwrap(), Btree::default())
}

fn put(engine: &Engine, rows: std::ops::Range<u32>) {
    let session = engine.session().unwrap();
    let mut writer = map().writer(&session);
    for row in rows {
        writer.put(&row.to_be_bytes(), &[7; 300]).unwrap();
    }
    writer.commit(None).unwrap().wait().unwrap();
    engine.prove().unwrap();
}

fn count(engine: &Engine) -> u64 {
    let reader = map().reader(&engine.snapshot()).wait().unwrap();
    let report = reader.verify();
    assert!(report.is_clean(), "{report}");
    reader.count()
}

fn follows(text: &str, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = |base: &Path| {
        let kinds = travertine::standard();
        StackFile::parse(name, text, base, &kinds, &Overrides::none()).unwrap()
    };
    let file = file(directory.path());
    let (_, writer) = file.engine(&Env::system(), false).unwrap();
    put(&writer, 0..10);
    let (_, reader) = file.engine(&Env::system(), true).unwrap();
    assert_eq!(count(&reader), 10, "{name}");
    let held = reader.snapshot();
    let mut seen = 10;
    for round in 1..20_u32 {
        put(&writer, round * 1_000..round * 1_000 + 1_000);
        assert_eq!(count(&reader), seen, "{name}: nobody told it to look");
        reader.refresh().unwrap();
        seen = count(&reader);
        // A commit is told as proven by the one after it at the latest.
        let rows = u64::from(round) * 1_000 + 10;
        assert!(seen + 1_000 >= rows && seen <= rows, "{name}: {seen}");
    }
    assert_eq!(held.sequence(), 1, "a snapshot never changes");
    let fifth = reader.at(RootAt::Sequence(5)).unwrap().unwrap();
    assert_eq!(map().reader(&fifth).wait().unwrap().count(), 4_010);
    writer.close().unwrap();
    reader.refresh().unwrap();
    assert_eq!(count(&reader), 19_010, "{name}");
    reader.close().unwrap();
}

#[test]
fn a_reader_of_one_log_sees_later_commits_once_it_looks() {
    let text = "[[layer]]\nuse = \"file\"\npath = \"data\"\nsegment = \"1 MiB\"\n";
    follows(text, "file");
}

#[test]
fn a_reader_of_a_sequence_sees_later_parts_once_it_looks() {
    let text = "[[layer]]\nuse = \"sequence\"\nsegment = \"1 MiB\"\n[[layer]]\nuse = \"file\"\n\
                path = \"data\"\n";
    follows(text, "sequence");
}
