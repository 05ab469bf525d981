//! What a transactor promises, on the one that is here.

mod archives;
mod blocks;
mod rivals;

use travertine_engine::contract::Result;

use super::{Local, Options};
use crate::block::{Block, BlockId, Code, Header, Operation, Transform, Transforms, Value};
use crate::testing::{id, local};
use crate::transactor::*;

fn action(name: &str) -> ActionId {
    ActionId::new(name).unwrap()
}

fn by(name: &str, revision: Revision) -> ActionRev {
    ActionRev {
        action: action(name),
        revision,
    }
}

fn block(name: &str, words: &[&str]) -> Block {
    let header = Header {
        id: id(name),
        code: Code::of("T"),
        collection: id("c"),
    };
    let words = Value::of(words).unwrap();
    Block::new(header).with("words", words).unwrap()
}

fn insert(name: &str, words: &[&str]) -> (BlockId, Transform) {
    (id(name), Transform::insert(block(name, words)))
}

fn update(name: &str, word: &str) -> (BlockId, Transform) {
    let mut transform = Transform::default();
    let word = Value::of(word).unwrap();
    let operation = Operation::splice("words", 0, 0, [word]);
    transform.updates.push(operation);
    (id(name), transform)
}

fn pending(name: &str, revision: Option<Revision>, all: &[(BlockId, Transform)]) -> Pend {
    let transforms = all.iter().cloned().collect::<Transforms>();
    Pend::new(action(name), revision, transforms)
}

fn pend(store: &Local, name: &str, revision: Option<Revision>, all: &[(BlockId, Transform)]) {
    let done = store.pend(pending(name, revision, all)).wait().unwrap();
    assert_eq!(done, Pended::Done(Vec::new()));
}

fn committing(name: &str, revision: Revision, blocks: &[&str]) -> Commit {
    Commit {
        action: by(name, revision),
        blocks: blocks.iter().map(|name| id(name)).collect(),
        tail: id(blocks[0]),
        header: None,
    }
}

fn commit(store: &Local, name: &str, revision: Revision, blocks: &[&str]) {
    let done = store.commit(committing(name, revision, blocks)).wait();
    assert_eq!(done.unwrap(), Committed::Done);
}

/// Pends, and commits what was pended.
fn land(store: &Local, name: &str, revision: Revision, all: &[(BlockId, Transform)]) {
    pend(store, name, Some(revision), all);
    let commit = Commit {
        action: by(name, revision),
        blocks: all.iter().map(|(block, _)| block.clone()).collect(),
        tail: all[0].0.clone(),
        header: None,
    };
    assert_eq!(store.commit(commit).wait().unwrap(), Committed::Done);
}

fn get(store: &Local, name: &str, context: Option<&Context>) -> Answer {
    let mut answers = store.get(&[id(name), id(name)], context).wait().unwrap();
    assert_eq!(answers.len(), 1, "each once");
    answers.remove(&id(name)).unwrap().unwrap()
}

fn words(answer: &Answer) -> Option<String> {
    let block = answer.block.as_ref()?;
    let words = block.list("words").unwrap().iter();
    Some(
        words
            .map(|word| word.to::<String>().unwrap())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

fn upto(revision: Revision) -> Context {
    Context {
        revision,
        ..Context::default()
    }
}

fn long(store: &Local, count: u64) {
    land(store, "a1", 1, &[insert("b", &["1"])]);
    for revision in 2..=count {
        let name = format!("a{revision}");
        land(
            store,
            &name,
            revision,
            &[update("b", &revision.to_string())],
        );
    }
}

fn as_of(store: &Local, revision: Revision) -> Result<Answer> {
    let context = upto(revision);
    let mut answers = store.get(&[id("b")], Some(&context)).wait()?;
    answers.remove(&id("b")).unwrap()
}

/// The same blocks, seen by one that remembers none.
fn fresh(store: &Local) -> Local {
    let env = travertine_engine::contract::Env::system();
    let name = travertine_engine::contract::Name::new("blocks").unwrap();
    let options = Options {
        memory: 0,
        ..Options::default()
    };
    Local::new(store.engine().clone(), &env, name, options)
}
