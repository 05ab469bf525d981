//! What the tests of blocks, structures and collections begin with.

use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::{Env, Level, Name, Op};
use travertine_engine::front::Engine;
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::medium::memory::MemoryMedium;

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

/// Blocks in memory.
pub(crate) fn local() -> Local {
    // However slow the machine.
    local_with(Duration::from_secs(3600))
}

/// The same, where what is pending stands in the way for so long.
pub(crate) fn local_with(patience: Duration) -> Local {
    let env = Env::system();
    let log = Log::open(
        "memory",
        Arc::new(MemoryMedium::new()),
        &env,
        LogOptions::default(),
    );
    let options = travertine_engine::front::Options {
        level: Level::Memory,
        ..Default::default()
    };
    let engine = Engine::open(Arc::new(log.unwrap()), &env, options).unwrap();
    let options = Options {
        patience,
        ..Options::default()
    };
    Local::new(
        Arc::new(engine),
        &env,
        Name::new("blocks").unwrap(),
        options,
    )
}
