//! Which stack wrote a log, and who may open it.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{ErrorKind, Kind, Name, NewRecord, Result, Store};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, Layer, OpenContext, Opening, Plan, Plugin, PluginKind, Spec,
    Stack,
};

use crate::standard;

/// A floor that says that the bytes depend on it.
#[derive(Debug, Deserialize)]
struct Shape {}

impl Plugin for Shape {
    const KIND: PluginKind = PluginKind {
        declared: Declared::TRANSPARENT,
        structural: true,
        ..PluginKind::new("shape", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Below::only(below)?.open()
    }
}

fn open(kinds: &[&str], base: &Path, read_only: bool) -> Result<Stack> {
    let above = kinds.iter().map(|kind| Layer::new(kind));
    let layers = above.chain([Layer::new("file").with("path", "log")]);
    let registry = standard().with::<Shape>();
    let plan = Plan::new(&Spec::linear(layers), &registry, base).unwrap();
    let opening = Opening {
        read_only,
        ..Opening::default()
    };
    plan.open(SimEnv::new(4).env(), opening)
}

fn write(stack: &Stack) {
    let env = SimEnv::new(5);
    let engine = Engine::open(stack.store(), env.env(), Options::default()).unwrap();
    let session = engine.session().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[b"hello"],
    };
    let reference = session.store(&record, Hint::default()).unwrap();
    let change = Change {
        name: Name::new("it").unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait().unwrap();
    engine.close().unwrap();
}

#[test]
fn a_log_of_another_stack_is_refused_and_both_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    write(&open(&["shape"], base, false).unwrap());
    for read_only in [false, true] {
        let error = open(&[], base, read_only).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let said = error.to_string();
        assert!(
            said.contains("written by the stack shape(file), and this stack is file"),
            "{said}"
        );
    }
    // A floor that leaves the bytes alone may come and go.
    open(&["monitor", "shape", "monitor"], base, false).unwrap();
    open(&["shape"], base, true).unwrap();
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let first = open(&[], base, false).unwrap();
    write(&first);
    // The engine closed what it stood on, and so gave the lock back.
    let writing = open(&[], base, false).unwrap();
    let error = open(&[], base, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(error.trail().last().map(String::as_str), Some("layer file"));
    open(&[], base, true).unwrap();
    writing.close().unwrap();
    open(&[], base, false).unwrap();
}

#[test]
fn opening_to_read_what_is_not_there_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(&[], directory.path(), true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!directory.path().join("log").exists());
}
