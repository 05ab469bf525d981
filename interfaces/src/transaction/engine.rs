//! Engines: what a statement means.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use super::session::Members;
use crate::block::{Block, BlockId, Value};

/// A future that somebody else's code returns.
pub type Later<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'f>>;

/// Turns statements into actions of collections. The same statement on the same blocks does the same.
pub trait Engine: Debug + Send + Sync {
    /// Its name with its version: `actions@1.0.0`.
    fn id(&self) -> &str;

    /// Does a statement. What it does goes through `work`, once; what it returns is the statement's result.
    fn execute<'w>(&'w self, statement: &'w Value, work: &'w mut Work<'_>) -> Later<'w, Value>;
}

/// What an engine does: collections of the transaction, opened as they are asked for.
#[derive(Debug)]
pub struct Work<'s>(pub(super) &'s mut Members);

impl Work<'_> {
    /// Does actions in a collection, which is created if it is not there: all of them or none.
    pub async fn act(&mut self, collection: &BlockId, actions: &[Value]) -> Result<()> {
        self.0.open(collection).await?.act(actions).await
    }

    /// A block of a collection as the transaction has it. It rests on it from here on.
    pub async fn block(
        &mut self,
        collection: &BlockId,
        id: &BlockId,
    ) -> Result<Option<Arc<Block>>> {
        self.0.open(collection).await?.block(id).await
    }

    /// What a collection answers to a question of its [kind](crate::collection::Kind::ask).
    pub async fn ask(&mut self, collection: &BlockId, question: &Value) -> Result<Value> {
        self.0.open(collection).await?.ask(question).await
    }
}

/// The plain engine: a statement is a collection and the actions to be done there, `[name, [action …]]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Actions;

impl Actions {
    /// The statement that does these actions in a collection.
    pub fn statement(collection: &BlockId, actions: &[Value]) -> Result<Value> {
        Value::of(&(collection.as_str(), actions))
    }
}

impl Engine for Actions {
    fn id(&self) -> &'static str {
        "actions@1.0.0"
    }

    fn execute<'w>(&'w self, statement: &'w Value, work: &'w mut Work<'_>) -> Later<'w, Value> {
        Box::pin(async move {
            let unfit = |error: Error| {
                Error::invalid(format!(
                    "a statement of {} is a collection and its actions: {}",
                    self.id(),
                    error.message()
                ))
            };
            let (name, actions): (String, Vec<Value>) = statement.to().map_err(unfit)?;
            work.act(&BlockId::new(name)?, &actions).await?;
            Value::of(&actions.len())
        })
    }
}

/// Engines by name: a value, not a table of the process.
#[derive(Debug, Clone, Default)]
pub struct Engines(BTreeMap<String, Arc<dyn Engine>>);

impl Engines {
    /// With [`Actions`].
    #[must_use]
    pub fn standard() -> Self {
        Self::default().with(Actions)
    }

    /// With one more; of two with one name the later one.
    #[must_use]
    pub fn with(mut self, engine: impl Engine + 'static) -> Self {
        self.0.insert(engine.id().to_owned(), Arc::new(engine));
        self
    }

    /// The one of this name.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<dyn Engine>> {
        self.0.get(id)
    }
}
