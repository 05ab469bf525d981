//! Whether a transaction does what it says: it is done again, and compared.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use travertine_engine::contract::{Error, Result};

use super::session::World;
use super::stamp::Transaction;
use crate::block::BlockId;
use crate::transactor::Revision;

/// Whoever knows the keys of those who sign.
pub trait Verify: Debug + Send + Sync {
    /// Whether this is the signature of these bytes by a peer.
    fn verify(&self, peer: &str, bytes: &[u8], signature: &[u8]) -> bool;
}

/// Why a transaction is not accepted.
#[derive(Debug, Clone)]
pub enum Rejection {
    /// It is too late.
    Expired,
    /// Its engine is not known here.
    UnknownEngine(String),
    /// It goes by other collections than are known here.
    Schema {
        /// The hash that it names.
        theirs: String,
        /// The one that is right here.
        ours: String,
    },
    /// It is not signed, or not by who it says.
    Signature,
    /// A block that it read has another revision by now.
    Stale {
        /// Which.
        block: BlockId,
        /// The revision that it read.
        read: Revision,
        /// The newest.
        now: Revision,
    },
    /// Its statements fail here.
    Execution(Error),
    /// Done again it does something else than it says.
    Operations {
        /// The hash that it names.
        theirs: String,
        /// What came of it here.
        ours: String,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("the transaction has expired"),
            Self::UnknownEngine(engine) => {
                write!(f, "no engine is called {}", engine.escape_debug())
            }
            Self::Schema { theirs, ours } => write!(
                f,
                "the transaction is of schema {}, this is {ours}",
                theirs.escape_debug()
            ),
            Self::Signature => f.write_str("the transaction is not signed by who it says"),
            Self::Stale { block, read, now } => write!(
                f,
                "the transaction read revision {read} of block {block}, which has {now} by now"
            ),
            Self::Execution(error) => {
                write!(f, "the statements fail when they are done again: {error}")
            }
            Self::Operations { theirs, ours } => write!(
                f,
                "done again it does {ours}, and it says {}",
                theirs.escape_debug()
            ),
        }
    }
}

impl std::error::Error for Rejection {}

/// Does transactions again.
#[derive(Debug, Clone)]
pub struct Validator {
    world: World,
    verify: Option<Arc<dyn Verify>>,
}

impl Validator {
    /// Does them in this world; nothing of it is committed.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self {
            world,
            verify: None,
        }
    }

    /// Accepts what is signed by whom it says, and nothing else.
    #[must_use]
    pub fn with_signatures(self, verify: Arc<dyn Verify>) -> Self {
        let verify = Some(verify);
        Self { verify, ..self }
    }

    /// Whether a transaction does what it says, on what is there now.
    pub async fn validate(&self, it: &Transaction, operations: &str) -> Result<(), Rejection> {
        let stamp = &it.stamp;
        if self.world.env.clock.unix_us() / 1000 > stamp.expires {
            return Err(Rejection::Expired);
        }
        if self.world.engines.get(&stamp.engine).is_none() {
            return Err(Rejection::UnknownEngine(stamp.engine.clone()));
        }
        let ours = self.world.schema.hash().map_err(Rejection::Execution)?;
        if stamp.schema != ours {
            let theirs = stamp.schema.clone();
            return Err(Rejection::Schema { theirs, ours });
        }
        if let Some(verify) = &self.verify {
            let id = it.id().map_err(Rejection::Execution)?;
            let signed = it.signature.as_ref().is_some_and(|signature| {
                verify.verify(&stamp.peer, id.as_str().as_bytes(), &signature.0)
            });
            if !signed {
                return Err(Rejection::Signature);
            }
        }
        self.check_reads(it).await?;
        let ours = self.again(it).await.map_err(Rejection::Execution)?;
        match ours == operations {
            true => Ok(()),
            false => Err(Rejection::Operations {
                theirs: operations.to_owned(),
                ours,
            }),
        }
    }

    async fn check_reads(&self, it: &Transaction) -> Result<(), Rejection> {
        let name = |name: &String| BlockId::new(name.as_str()).map_err(Rejection::Execution);
        for (collection, block, read) in &it.reads {
            let (collection, block) = (name(collection)?, name(block)?);
            let now = self.newest(&collection, &block).await;
            let (now, read) = (now.map_err(Rejection::Execution)?, *read);
            if now != read {
                return Err(Rejection::Stale { block, read, now });
            }
        }
        Ok(())
    }

    async fn newest(&self, collection: &BlockId, block: &BlockId) -> Result<Revision> {
        let place = self.world.places.place(collection);
        let transactor = self.world.transactor(place)?;
        let mut answers = transactor.get(std::slice::from_ref(block), None).await?;
        let answer = answers.remove(block);
        let nobody = || {
            Err(Error::unavailable(format!(
                "block {block} was not answered"
            )))
        };
        let answer = answer.unwrap_or_else(nobody)?;
        Ok(answer.revision.unwrap_or(0))
    }

    /// The hash of what comes of it when it is done again.
    async fn again(&self, it: &Transaction) -> Result<String> {
        let mut session = self.world.begin_as(it.stamp.clone())?;
        for statement in &it.statements {
            session.execute(statement.clone()).await?;
        }
        session.propose_as(it.id()?).await
    }
}
