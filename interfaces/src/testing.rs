//! What the tests of blocks, structures, collections and transactions begin with.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use travertine_engine::contract::{Env, Level, Name, Op};
use travertine_engine::front::Engine;
use travertine_engine::stack::{Layer, Opening, Plan, Spec};
use travertine_plugins::standard;

use crate::block::{Block, BlockId, ReadBlocks};
use crate::transactor::{Local, Options};

pub(crate) use travertine_engine::contract::block_on as now;

/// No block anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Nothing;

impl ReadBlocks for Nothing {
    fn get(&self, _: &BlockId) -> Op<Option<Arc<Block>>> {
        Op::ok(None)
    }
}

pub(crate) fn id(name: &str) -> BlockId {
    BlockId::new(name).unwrap()
}

/// What a test's blocks lie on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum On {
    Memory,
    File,
    Floors,
}

thread_local! {
    static ON: Cell<On> = const { Cell::new(On::Memory) };
    static DIRECTORIES: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
}

/// Runs a test with its blocks on such a stack.
pub(crate) fn on(stack: On, test: fn()) {
    ON.set(stack);
    test();
    DIRECTORIES.with_borrow_mut(Vec::clear);
}

/// Each test once on each stack.
macro_rules! on_stacks {
    ($($test:ident)*) => {
        crate::testing::on_stacks! { @ memory Memory $($test)* }
        crate::testing::on_stacks! { @ file File $($test)* }
        crate::testing::on_stacks! { @ floors Floors $($test)* }
    };
    (@ $stack:ident $on:ident $($test:ident)*) => {
        mod $stack {
            $(
                #[test]
                fn $test() {
                    crate::testing::on(crate::testing::On::$on, super::$test);
                }
            )*
        }
    };
}
pub(crate) use on_stacks;

/// Blocks on the stack of the test.
pub(crate) fn local() -> Local {
    // However slow the machine.
    local_with(Duration::from_secs(3600))
}

/// The same, where what is pending stands in the way for so long.
pub(crate) fn local_with(patience: Duration) -> Local {
    local_of(Options {
        patience,
        ..Options::default()
    })
}

/// The same, in any way.
pub(crate) fn local_of(kept: Options) -> Local {
    let env = Env::system();
    let file = || Layer::new("file").with("path", "log");
    let (layers, level) = match ON.get() {
        On::Memory => (vec![Layer::new("memory")], Level::Memory),
        On::File => (vec![file()], Level::Os),
        On::Floors => {
            let layers = vec![Layer::new("cache"), Layer::new("sequence"), file()];
            (layers, Level::Os)
        }
    };
    let spec = Spec::linear(layers).level(&level.to_string());
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan::new(&spec, &standard(), directory.path()).unwrap();
    let stack = plan.open(&env, Opening::default()).unwrap();
    let options = travertine_engine::front::Options {
        level,
        ..Default::default()
    };
    let engine = Engine::open(stack.store(), &env, options).unwrap();
    DIRECTORIES.with_borrow_mut(|all| all.push(directory));
    Local::new(Arc::new(engine), &env, Name::new("blocks").unwrap(), kept)
}
