//! `compress`: packs the bodies of records before they are placed.
//!
//! ```text
//!   body ─ shorter than `least`? ──yes──> as it is
//!            └─no─> packed by `method` ─ worth it? ──yes──> its length, then the packed bytes
//!                                          └─no─> as it is
//! ```
//!
//! Each record says how its body was packed, so a stack reads what another method or level packed, and
//! what was stored before it had this layer; the fingerprint of a stack does not tell of it. A stack
//! without the layer says so at the first record that needs it.
//!
//! It promises that unpacking takes no more memory than the record states, and that no record states
//! more than the longest body or 256 times what is there. Where Zstandard would pack a body smaller than
//! that, LZ4 does it, whose bodies cannot be smaller.

mod pack;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;
use travertine_engine::contract::{Result, Store};
use travertine_engine::stack::{
    Arity, Below, ByteSize, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind,
};

use crate::codec::{Codec, CodecStore, only_under};

pub use pack::Packing;

/// The config of a `compress` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Compress {
    method: Method,
    level: Option<i32>,
    least: ByteSize,
}

/// How new bodies are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    Lz4,
    Zstd,
}

/// The level of Zstandard where none is written.
const LEVEL: i32 = 3;

impl Plugin for Compress {
    const KIND: PluginKind = PluginKind {
        summary: "packs the bodies of records",
        cost: "the time of packing for a store, and of unpacking for a read",
        doc: "The engine packs a body before the record is placed and unpacks it after it was read, so \
              caches below keep packed records. Headers, references and the bodies of root markers \
              stay as they are. Whatever the method, bodies packed by the other are read as well.",
        options: &[
            OptionRow::preset(
                "method",
                OptionType::Choice {
                    words: &["lz4", "zstd"],
                },
                "lz4",
                "how new bodies are packed",
            ),
            OptionRow::optional(
                "level",
                OptionType::Integer { min: 1, max: 19 },
                "3",
                "how hard `zstd` tries",
            ),
            OptionRow::preset(
                "least",
                OptionType::Size {
                    min: 16,
                    max: 16 << 20,
                },
                "256 B",
                "shorter bodies are not tried",
            ),
        ],
        declared: Declared::TRANSPARENT,
        rules: &[only_under(&[])],
        stays: Some("what it packed is not read without it"),
        ..PluginKind::new("compress", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        if self.method == Method::Lz4 && self.level.is_some() {
            return Err(Fault::of("level", "`lz4` has no levels")
                .help("take it out, or write method = \"zstd\""));
        }
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let least = usize::try_from(self.least.0).unwrap_or(usize::MAX);
        let packing = match self.method {
            Method::Lz4 => Packing::lz4(least),
            Method::Zstd => Packing::zstd(self.level.unwrap_or(LEVEL), least),
        };
        Ok(Arc::new(CodecStore {
            below: Below::only(below)?.open()?,
            kind: Self::KIND.name,
            name: context.name.clone(),
            codec: Codec::Compress(Arc::new(packing)),
        }))
    }
}
