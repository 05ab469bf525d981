//! A collection of one's own: a counter that many add to, and a transaction that moves between two.
//!
//! ```text
//!   act      add 5                 noted here, done on the blocks that this client has
//!   sync     one entry of the log  whoever was first, all of it is counted, once
//! ```
//!
//! What makes it a collection is [`Counter`]: a header, what an action does, what it answers. Logs,
//! conflicts, retries and transactions come along.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name, Result, block_on};
use travertine::interfaces::block::{
    Block, BlockId, Code, Operation, ReadBlocks, Value, WriteBlocks,
};
use travertine::interfaces::collection::{Collection, Kind, Retry};
use travertine::interfaces::transaction::{Actions, Schema, World};
use travertine::interfaces::transactor::{Local, Options, Transactor};

/// What is done to a counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Add(i64);

#[derive(Debug, Clone, Copy)]
struct Counter;

const VALUE: &str = "value";

/// What a counter stands at.
async fn value(blocks: &impl ReadBlocks, header: &BlockId) -> Result<i64> {
    let block = blocks.get(header).await?;
    match block.filter(|block| block.get(VALUE).is_some()) {
        Some(block) => block.one(VALUE)?.to(),
        None => Ok(0),
    }
}

impl Kind for Counter {
    type Action = Add;

    fn header(&self, id: &BlockId) -> Block {
        Block::of_collection(id, Code::of("COUNTER"))
    }

    async fn apply<W: WriteBlocks + Send>(
        &self,
        blocks: &mut W,
        header: &BlockId,
        action: &Add,
    ) -> Result<()> {
        let sum = value(blocks, header).await?.saturating_add(action.0);
        let assign = Operation::assign(VALUE, Value::of(&sum)?);
        blocks.update(header, assign).await
    }

    async fn ask<R: ReadBlocks>(&self, blocks: &R, header: &BlockId, _: &Value) -> Result<Value> {
        Value::of(&value(blocks, header).await?)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/memory.toml");
    let file = StackFile::load(stack, &travertine::standard(), &Overrides::none())?;
    let env = Env::system();
    let (_stack, engine) = file.engine(&env, false)?;
    let blocks = Name::new("blocks")?;
    let store = Local::new(Arc::new(engine), &env, blocks, Options::default());
    let store: Arc<dyn Transactor> = Arc::new(store);
    let (visits, left) = (BlockId::new("visits")?, BlockId::new("left")?);

    // Two clients that know nothing of each other.
    let open = || Collection::create_or_open(store.clone(), &env, visits.clone(), Counter);
    let (mut ada, mut alan) = (block_on(open())?, block_on(open())?);
    block_on(ada.act([Add(2), Add(3)]))?;
    block_on(alan.act([Add(10)]))?;
    block_on(ada.sync(&Retry::default()))?;
    block_on(alan.sync(&Retry::default()))?;
    let sum = block_on(value(alan.blocks(), &visits))?;
    println!("visits: {sum}, at revision {}", alan.revision());

    // From one counter to another: both, or neither.
    let schema = Schema::new()
        .with(visits.clone(), Counter)
        .with(left.clone(), Counter);
    let world = World::new(&env, "example", store, schema);
    let mut session = world.begin("actions@1.0.0")?;
    for (counter, add) in [(&visits, Add(-4)), (&left, Add(4))] {
        let statement = Actions::statement(counter, &[Value::of(&add)?])?;
        block_on(session.execute(statement))?;
    }
    let transaction = block_on(session.commit())?;
    let mut look = world.begin("actions@1.0.0")?;
    for counter in [&visits, &left] {
        let value = block_on(look.ask(counter, &Value::text("how many")))?;
        println!("{counter}: {}", value.to::<i64>()?);
    }
    println!("by {}…", &transaction.as_str()[..9]);
    Ok(())
}

#[test]
fn what_many_add_is_counted_once() {
    main().unwrap();
}
