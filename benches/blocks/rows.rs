//! What is measured.

use std::collections::VecDeque;
use std::sync::Arc;

use travertine::contract::{Env, Level, Name, Op, block_on};
use travertine::front::{Engine, Options};
use travertine::interfaces::Direction;
use travertine::interfaces::block::{
    Attribute, Block, BlockId, Code, Header, Operation, Tracker, Transform, Transforms, Value,
    WriteBlocks,
};
use travertine::interfaces::collection::{Collection, Diary, Replace, Retry, Tree};
use travertine::interfaces::structure::chain::{Chain, DATA};
use travertine::interfaces::transactor::{
    self, ActionId, ActionRev, Commit, Committed, Local, Part, Pend, Pended, Transacted, Transactor,
};
use travertine::stack::{Layer, Opening, Plan, Spec, Stack};
use travertine_plugins::standard;

use crate::{Outcome, Run};

type Row = (&'static str, fn(&Run<'_>) -> Outcome<()>);

pub(crate) const ALL: &[Row] = &[
    ("pend", pends),
    ("transact", transacts),
    ("durable pend", durable_pends),
    ("get", gets),
    ("chain", chains),
    ("diary", diaries),
    ("tree", trees),
    ("durable collection", durable_collections),
];

/// Blocks in a directory; at the level of memory nobody waits for it.
struct Store {
    local: Arc<Local>,
    _stack: Stack,
}

impl Store {
    fn open(run: &Run<'_>, name: &str, level: Level) -> Outcome<Self> {
        let spec = Spec::linear([Layer::new("file").with("path", name)]);
        let plan = Plan::new(&spec, &standard(), run.base);
        let plan = plan.map_err(|errors| format!("{errors:?}"))?;
        let env = Env::system();
        let stack = plan.open(&env, Opening::default())?;
        let options = Options {
            level,
            ..Options::default()
        };
        let kept = transactor::Options {
            memory: 256 << 20,
            ..transactor::Options::default()
        };
        let engine = Arc::new(Engine::open(stack.store(), &env, options)?);
        let local = Local::new(engine, &env, Name::new("blocks")?, kept);
        Ok(Self {
            local: Arc::new(local),
            _stack: stack,
        })
    }
}

fn block(id: &BlockId) -> Outcome<Block> {
    let header = Header {
        id: id.clone(),
        code: Code::of("T"),
        collection: id.clone(),
    };
    let value = Value::of(&"x".repeat(60))?;
    Ok(Block::new(header)
        .with("value", value)?
        .with("items", Attribute::List(Vec::new()))?)
}

/// A change of one block, of about 150 bytes.
fn change(id: &BlockId, nth: u64, update: bool) -> Outcome<(Pend, Commit)> {
    let action = ActionId::random(&*Env::system().random);
    let transform = match update {
        true => Transform {
            updates: vec![Operation::assign("value", Value::of(&nth)?)],
            ..Transform::default()
        },
        false => Transform::insert(block(id)?),
    };
    let transforms: Transforms = [(id.clone(), transform)].into_iter().collect();
    let pend = Pend::new(action.clone(), Some(nth), transforms);
    let commit = Commit {
        action: ActionRev {
            action,
            revision: nth,
        },
        blocks: vec![id.clone()],
        tail: id.clone(),
        header: None,
    };
    Ok((pend, commit))
}

fn distinct(count: u64) -> Outcome<Vec<(Pend, Commit)>> {
    let random = Env::system().random;
    (0..count)
        .map(|_| change(&BlockId::random(&*random), 1, false))
        .collect()
}

fn hot(count: u64) -> Outcome<Vec<(Pend, Commit)>> {
    let id = BlockId::new("hot")?;
    (1..=count).map(|nth| change(&id, nth, nth > 1)).collect()
}

fn both(store: &Local, all: Vec<(Pend, Commit)>) -> Outcome<()> {
    for (pend, commit) in all {
        if store.pend(pend).wait()? != Pended::Done(Vec::new())
            || store.commit(commit).wait()? != Committed::Done
        {
            return Err("it did not land".into());
        }
    }
    Ok(())
}

fn pends(run: &Run<'_>) -> Outcome<()> {
    let count = 200_000 / run.scale;
    let name = "pend + commit, memory, 64 in flight";
    let store = Store::open(run, name, Level::Memory)?;
    flying(run, name, ">= 300,000", &store, 64, distinct(count)?)?;
    for (name, all) in [
        ("pend + commit, memory, one by one", distinct(count)?),
        ("pend + commit, memory, one hot block", hot(count / 4)?),
    ] {
        let store = Store::open(run, name, Level::Memory)?;
        run.row(name, "", all.len() as u64, || both(&store.local, all))?;
    }
    Ok(())
}

fn transacts(run: &Run<'_>) -> Outcome<()> {
    let count = 200_000 / run.scale;
    for (name, all) in [
        (
            "pend and commit in one, memory, blocks apart",
            distinct(count)?,
        ),
        (
            "pend and commit in one, memory, one hot block",
            hot(count / 4)?,
        ),
    ] {
        let store = Store::open(run, name, Level::Memory)?;
        let parts: Vec<_> = all
            .into_iter()
            .map(|(pend, commit)| Part {
                collection: commit.tail.clone(),
                pend,
                commit,
            })
            .collect();
        let count = parts.len() as u64;
        run.row(name, "", count, || {
            for part in parts {
                let done = store.local.transact(vec![part]);
                if done.map(Op::wait).map_err(|_| "not at once")?? != Transacted::Done {
                    return Err("it did not land".into());
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What waits for the medium.
enum Flying {
    Pend(Op<Pended>, Commit),
    Commit(Op<Committed>),
}

fn durable_pends(run: &Run<'_>) -> Outcome<()> {
    for (flight, count) in [(1, 2_000), (64, 60_000)] {
        let store = Store::open(run, &format!("durable-{flight}"), Level::Disk)?;
        let name = format!("pend + commit, durable, {flight} in flight");
        let asked = if flight == 64 {
            ">= 10,000 a second"
        } else {
            ""
        };
        flying(
            run,
            &name,
            asked,
            &store,
            flight,
            distinct(count / run.scale)?,
        )?;
    }
    Ok(())
}

/// Pends and commits changes, so many at a time.
fn flying(
    run: &Run<'_>,
    name: &str,
    asked: &str,
    store: &Store,
    flight: usize,
    all: Vec<(Pend, Commit)>,
) -> Outcome<()> {
    let count = all.len() as u64;
    let mut left = all.into_iter();
    run.row(name, asked, count, || {
        let mut flying = VecDeque::new();
        loop {
            while flying.len() < flight {
                let Some((pend, commit)) = left.next() else {
                    break;
                };
                flying.push_back(Flying::Pend(store.local.pend(pend), commit));
            }
            match flying.pop_front() {
                None => return Ok(()),
                Some(Flying::Pend(op, commit)) => {
                    if op.wait()? != Pended::Done(Vec::new()) {
                        return Err("it is not pending".into());
                    }
                    flying.push_back(Flying::Commit(store.local.commit(commit)));
                }
                Some(Flying::Commit(op)) => {
                    if op.wait()? != Committed::Done {
                        return Err("it did not land".into());
                    }
                }
            }
        }
    })
}

fn gets(run: &Run<'_>) -> Outcome<()> {
    let store = Store::open(run, "memory 2", Level::Memory)?;
    let count = 100_000 / run.scale;
    let all = distinct(count)?;
    let ids: Vec<_> = all.iter().map(|(_, commit)| commit.tail.clone()).collect();
    both(&store.local, all)?;
    run.row("get of the newest, memory", "its 110,900", count, || {
        for id in &ids {
            let answers = store.local.get(std::slice::from_ref(id), None).wait()?;
            let answer = answers.get(id).ok_or("no answer")?.as_ref();
            if answer.map_err(Clone::clone)?.block.is_none() {
                return Err("it is not there".into());
            }
        }
        Ok(())
    })
}

/// No block anywhere.
#[derive(Debug)]
struct Nothing;

impl travertine::interfaces::block::ReadBlocks for Nothing {
    fn get(&self, _: &BlockId) -> Op<Option<Arc<Block>>> {
        Op::ok(None)
    }
}

fn chains(run: &Run<'_>) -> Outcome<()> {
    let count = 1_000_000 / run.scale;
    let id = BlockId::new("chain")?;
    let chain = Chain::new(id.clone(), id, DATA);
    let mut blocks = Tracker::new(Nothing, Env::system().random);
    blocks.insert(chain.header_block());
    let entry = [Value::of(&7_u64)?];
    run.row("chain, add one", ">= 1,000,000", count, || {
        for _ in 0..count {
            block_on(chain.add(&mut blocks, &entry))?;
        }
        Ok(())
    })?;
    run.row("chain, pop one", ">= 1,000,000", count, || {
        for _ in 0..count {
            if block_on(chain.pop(&mut blocks, 1))?.len() != 1 {
                return Err("it is empty too early".into());
            }
        }
        Ok(())
    })
}

fn open<K: travertine::interfaces::collection::Kind>(
    store: &Store,
    name: &str,
    kind: K,
) -> Outcome<Collection<K>> {
    let (id, env) = (BlockId::new(name)?, Env::system());
    let opened = Collection::create_or_open(store.local.clone(), &env, id, kind);
    Ok(block_on(opened)?.with_memory(256 << 20))
}

fn diaries(run: &Run<'_>) -> Outcome<()> {
    let store = Store::open(run, "memory 3", Level::Memory)?;
    let mut diary = open(&store, "diary", Diary)?;
    let mut there = 0;
    for size in [1_000, 10_000, 100_000, 1_000_000 / run.scale] {
        let batch = 1_000;
        while there < size - 1_000 {
            let entries = (0..batch).map(entry);
            block_on(diary.act(entries))?;
            block_on(diary.sync(&Retry::default()))?;
            there += batch;
        }
        let name = format!("diary, append and sync, memory, at {size}");
        run.row(&name, "flat", 1_000, || {
            for nth in 0..1_000 {
                block_on(diary.act([entry(nth)]))?;
                block_on(diary.sync(&Retry::default()))?;
            }
            there += 1_000;
            Ok(())
        })?;
    }
    let all = run.row("diary, read all", "", there, || {
        Ok(block_on(diary.entries(Direction::Forward))?.len())
    })?;
    match all as u64 == there {
        true => Ok(()),
        false => Err("entries are lost".into()),
    }
}

fn entry(nth: u64) -> Value {
    Value::text(&format!("entry {nth}"))
}

fn key(number: u64) -> [u8; 8] {
    // Every odd number is a permutation of 64 bits.
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// Fills a tree up to a size, in batches.
fn fill(tree: &mut Collection<Tree>, from: u64, to: u64) -> Outcome<()> {
    for first in (from..to).step_by(1_000) {
        let rows = (first..to.min(first + 1_000)).map(|nth| Replace::put(&key(nth), &nth));
        block_on(tree.act(rows.collect::<Result<Vec<_>, _>>()?))?;
        block_on(tree.sync(&Retry::default()))?;
    }
    Ok(())
}

fn replace(tree: &mut Collection<Tree>, from: u64, count: u64) -> Outcome<()> {
    for nth in from..from + count {
        block_on(tree.act([Replace::put(&key(nth), &nth)?]))?;
        block_on(tree.sync(&Retry::default()))?;
    }
    Ok(())
}

fn trees(run: &Run<'_>) -> Outcome<()> {
    let store = Store::open(run, "memory 4", Level::Memory)?;
    let mut tree = open(&store, "tree", Tree)?;
    let mut there = 0;
    for size in [1_000, 10_000, 100_000, 1_000_000 / run.scale] {
        fill(&mut tree, there, size)?;
        let name = format!("tree, replace and sync, memory, at {size}");
        run.row(&name, "flat", 1_000, || replace(&mut tree, size, 1_000))?;
        there = size + 1_000;
    }
    run.row("tree, random gets", ">= 500,000", there, || {
        for nth in 0..there {
            let value = block_on(tree.get(&key(nth)))?.ok_or("a row is lost")?;
            if value.to::<u64>()? != nth {
                return Err("a row has another value".into());
            }
        }
        Ok(())
    })?;
    run.row("tree, scan", ">= 3,000,000", there, || {
        let mut cursor = tree.cursor();
        block_on(cursor.seek(&[]))?;
        let mut rows = 0;
        while block_on(cursor.next())?.is_some() {
            rows += 1;
        }
        match rows == there {
            true => Ok(()),
            false => Err("rows are lost".into()),
        }
    })
}

fn durable_collections(run: &Run<'_>) -> Outcome<()> {
    let store = Store::open(run, "durable", Level::Disk)?;
    let mut diary = open(&store, "diary", Diary)?;
    let mut tree = open(&store, "tree", Tree)?;
    let mut there = 0;
    for size in [1_000, 100_000, 1_000_000 / run.scale] {
        fill(&mut tree, there, size)?;
        let name = format!("tree, replace and sync, durable, at {size}");
        run.row(&name, ">= 5,000 a second", 2_000, || {
            replace(&mut tree, size, 2_000)
        })?;
        there = size + 2_000;
    }
    run.row(
        "diary, append and sync, durable",
        ">= 5,000 a second",
        2_000,
        || {
            for nth in 0..2_000 {
                block_on(diary.act([entry(nth)]))?;
                block_on(diary.sync(&Retry::default()))?;
            }
            Ok(())
        },
    )
}
