//! What a `sequence` layer can be told.

use serde::Deserialize;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, Growth, OptionRow, OptionType, PluginKind, Properties, Property,
    Time, TreeRule,
};

/// The config of a `sequence` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Sequence {
    pub(super) segment: Option<ByteSize>,
    pub(super) age: Option<Time>,
    pub(super) open: u32,
}

/// How long a part gets over one stack, if nothing is said.
pub(super) const SEGMENT: u64 = 1 << 30;

pub(super) const KIND: PluginKind = PluginKind {
    summary: "goes on in the next part when one is full",
    cost: "nothing on the way of a write; a lookup among the parts for a read",
    doc: "Over one stack, each part is that stack once more, in a directory part-000001 and so on \
          inside its own. Over several, each holds one part and is used until it is full. Addresses \
          do not change. A part that has ended carries a footer, so that opening never looks into \
          it; a part that is missing is unknown for its own range only. When it is opened again, \
          stacks may have been added at the end of the list; in another order, or with one taken \
          out, it is refused.",
    options: &[
        OptionRow::optional(
            "segment",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 50,
            },
            "1 GiB over one stack; until it is full over several",
            "a part that holds so much is followed by the next",
        ),
        OptionRow::optional(
            "age",
            OptionType::Time {
                min: 10_000_000,
                max: 100 * 365 * 86_400 * 1_000_000_000,
            },
            "as old as it gets",
            "a part that has been written to for so long is followed by the next",
        ),
        OptionRow::preset(
            "open",
            OptionType::Integer { min: 1, max: 4096 },
            "16",
            "parts that have ended are opened when they are read, and so many stay open",
        ),
    ],
    declared: Declared {
        requires: Properties::of(&[Property::OneStream, Property::Parts, Property::Fences]),
        keeps: Properties::all_but(&[Property::Parts]),
        ..Declared::NOTHING
    },
    rules: &[TreeRule::NotDirectlyOver {
        kind: "sequence",
        why: "one sequence does what two would",
        instead: "take one of them out",
    }],
    structural: true,
    growth: Growth::AtEnd,
    ..PluginKind::new("sequence", Arity::Many { min: 1, max: 64 })
};
