//! The plug-ins that come with Travertine.
//!
//! ```text
//!   compress    packs bodies                         │ codecs, run by the engine: the first
//!   encrypt     seals bodies                           layers of a stack, in this order, if any
//!   ───────────────────────────────────────────────────┘
//!   monitor     counts and times every call below      │ over one: any number, in any order
//!   cache       keeps records that were read           │ that `travertine check` finds legal
//!   sequence    goes on in the next part               │
//!   fault       fails calls, for tests                 │
//!   jitter      lets answers come late, for tests      │
//!   partition   spreads over several stacks            │ over several
//!   cluster     keeps every batch on several stacks    │
//!   ───────────────────────────────────────────────────┘
//!   file        a log in a directory                     bottoms: one at the end of each branch
//!   memory      a log in memory
//! ```
//!
//! Each is a folder: what it does, then its config, then its ideas. [`standard`] is the set of all of
//! them; a program that wants fewer, or more, makes its own registry.

pub mod cache;
mod chance;
pub mod cluster;
mod codec;
pub mod compress;
pub mod encrypt;
pub mod fault;
pub mod file;
pub mod jitter;
pub mod memory;
pub mod monitor;
pub mod partition;
mod places;
pub mod sequence;
mod shards;

use travertine_engine::stack::Registry;

/// Every kind of this crate.
#[must_use]
pub fn standard() -> Registry {
    Registry::new()
        .with::<cache::Cache>()
        .with::<cluster::Cluster>()
        .with::<compress::Compress>()
        .with::<encrypt::Encrypt>()
        .with::<fault::Fault>()
        .with::<file::File>()
        .with::<jitter::Jitter>()
        .with::<memory::Memory>()
        .with::<monitor::Monitor>()
        .with::<partition::Partition>()
        .with::<sequence::Sequence>()
}

#[cfg(test)]
mod tests {
    use travertine_engine::stack::{OptionRow, OptionType, Preset};

    fn presets_hold(kind: &str, rows: &[OptionRow]) {
        for row in rows {
            let name = row.name;
            assert!(!row.doc.is_empty(), "{kind}.{name} has no doc");
            if let Preset::Is(text) | Preset::Required(text) = row.preset {
                let value = row.kind.value_of(text);
                row.kind.check(&value).unwrap_or_else(|fault| {
                    panic!("{kind}.{name} refuses its own {value}: {fault}");
                });
            }
            if let OptionType::Table { rows } = row.kind {
                presets_hold(kind, rows);
            }
        }
    }

    #[test]
    fn every_kind_has_its_words_and_accepts_its_own_defaults() {
        for kind in super::standard().kinds() {
            assert!(
                !kind.summary.is_empty() && !kind.cost.is_empty(),
                "{}",
                kind.name
            );
            presets_hold(kind.name, kind.options);
        }
    }
}
