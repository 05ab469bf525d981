//! Who begins a transaction, what it did, and the names that follow from both.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use travertine_engine::contract::{Random, Result};

use crate::block::{ByteString, Value};
use crate::transactor::{ActionId, Revision};

/// Names a transaction: what it is, in a hash.
pub type TransactionId = ActionId;

/// How long a transaction may take, in milliseconds, if nobody says otherwise.
pub const EXPIRES_MS: u64 = 30_000;

/// What a transaction begins with. Its id is a hash of all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Who began it.
    pub peer: String,
    /// When, in milliseconds since 1970.
    pub timestamp: u64,
    /// When it is too late to commit it.
    pub expires: u64,
    /// The [hash](super::Schema::hash) of the collections that it knows.
    pub schema: String,
    /// The engine that its statements are for.
    pub engine: String,
    /// Chance, so that two which begin alike differ.
    pub nonce: u64,
}

impl Stamp {
    /// Its name.
    pub fn id(&self) -> Result<String> {
        Ok(format!("stamp:{}", hash(&Value::of(self)?)))
    }

    /// Randomness that follows from the stamp: whoever does the transaction again has the same.
    pub fn random(&self, collection: &str) -> Result<impl Random + use<>> {
        let seed = Value::of(&(self.id()?, collection))?;
        Ok(Follows {
            seed: Sha256::digest(seed.as_bytes()).into(),
            next: AtomicU64::new(0),
        })
    }
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What it began with.
    pub stamp: Stamp,
    /// What its engine was told, in order.
    pub statements: Vec<Value>,
    /// Blocks that it read and did not change: collection, block, and the revision that it had; 0: none.
    pub reads: Vec<(String, String, Revision)>,
    /// The signature of its id, if whoever began it signs.
    pub signature: Option<ByteString>,
}

impl Transaction {
    pub(super) fn new(
        stamp: Stamp,
        statements: Vec<Value>,
        reads: Vec<(String, String, Revision)>,
    ) -> Self {
        Self {
            stamp,
            statements,
            reads,
            signature: None,
        }
    }

    /// Its name, which is that of the action that it commits. The signature is no part of it.
    pub fn id(&self) -> Result<TransactionId> {
        let content = Value::of(&(self.stamp.id()?, &self.statements, &self.reads))?;
        TransactionId::new(format!("tx:{}", hash(&content)))
    }
}

/// Whoever signs what it began. The bytes are those of the id.
pub trait Sign: Debug + Send + Sync {
    /// The signature of these bytes.
    fn sign(&self, bytes: &[u8]) -> Vec<u8>;
}

/// The SHA-256 of a value, in letters.
pub(super) fn hash(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(value.as_bytes()))
}

/// SHA-256 of a seed and a count.
#[derive(Debug)]
struct Follows {
    seed: [u8; 32],
    next: AtomicU64,
}

impl Random for Follows {
    fn next_u64(&self) -> u64 {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(next.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let (first, _) = digest.split_at(8);
        first
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    }
}
