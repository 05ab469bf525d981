//! `encrypt`: seals the bodies of records by AES-256-GCM, with keys that never stand in a stack file.
//!
//! ```text
//!   stored body   [ sealed bytes | tag 16 | id of the key 8 | tag of the epoch 8 ]
//!   key           derived from the secret key and the tag of the epoch (HKDF-SHA256)
//!   nonce         OID 8, number of the epoch 4
//!   vouched for   header (but its check) and references
//! ```
//!
//! **What is hidden**: the bodies of all records that interfaces and callers store. **What is not**:
//! headers, references and so the structure of what is stored, the length of every record, when it was
//! stored, root markers and the names of roots. A layer of compression above lets lengths tell a little
//! of what the bodies hold. The checksums of records and batches are no authentication, the tag of each
//! body is: a body that was changed, moved to another address or given other references is `Corrupt`.
//! Whoever can write to the media can still take an older state for the newest.
//!
//! **Why no nonce is used twice.** A nonce is an address and the number of an epoch, under a key that
//! belongs to one tag of an epoch. Within an epoch one engine hands out each position once, in order, and
//! encodes a record once: batches that are sent again, copied or rewritten by recovery are the same bytes.
//! After an unclean end the next epoch starts at the ceiling, above every position that was handed out,
//! and with another number. And should the same number come back with other bytes, as when an old image
//! of a disk is put back, a directory is copied and both go on, or two stores share a key, then the tag
//! is another: 64 random bits, drawn when an epoch is taken.
//!
//! **Keys** are 32 bytes each: a file of just these, or text with one key a line, in hexadecimal or
//! base64; `#` begins a comment. The first seals, all of them open: to rotate, put a new key in front and
//! open the stack again. The id of a key, derived from it, stands behind each body, so a missing key is
//! told by its id. A stack that has names is tried with its keys before anything is written. Keys stay in
//! the memory of the process while the stack is open; they are not wiped when it closes.
//!
//! The layer is part of what a stack must have: its fingerprint tells of it, so a stack file that lost
//! the layer is refused before it stores anything in the clear.

mod keys;
#[cfg(test)]
mod nonces;
mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind, Secret,
};

use crate::codec::{Codec, CodecStore, only_under};

pub use seal::Sealing;

/// The config of an `encrypt` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Encrypt {
    key: Secret,
}

impl Plugin for Encrypt {
    const KIND: PluginKind = PluginKind {
        summary: "seals the bodies of records by AES-256-GCM",
        cost: "the time of sealing for a store and of opening for a read, and 32 bytes a record",
        doc: "The engine seals a body at the address of its record and opens it after it was read, so \
              caches below keep sealed records. Headers, references, lengths and the names of roots are \
              readable. Keys are 32 bytes: a file of just these, or text with a key a line, in \
              hexadecimal or base64. The first seals, all of them open.",
        options: &[OptionRow::required(
            "key",
            OptionType::Table { rows: Secret::ROWS },
            "{ env = \"TRAVERTINE_KEY\" }",
            "where its keys are found, the newest first",
        )],
        declared: Declared::TRANSPARENT,
        rules: &[only_under(&["compress"])],
        structural: true,
        ..PluginKind::new("encrypt", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        self.key.check("key")?;
        Ok(vec![
            "lengths, references and names of roots are readable".to_owned(),
        ])
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let secret = self.key.read(context)?;
        let keys = keys::read(&secret).map_err(|error| error.at(self.key.to_string()))?;
        Ok(Arc::new(CodecStore {
            below: Below::only(below)?.open()?,
            kind: Self::KIND.name,
            name: context.name.clone(),
            codec: Codec::Encrypt(Arc::new(Sealing::new(keys)?)),
        }))
    }
}
