//! What a `sequence` layer can be told.

use serde::Deserialize;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, OptionRow, OptionType, PluginKind, Properties, Property, TreeRule,
};

/// The config of a `sequence` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Sequence {
    pub(super) segment: Option<ByteSize>,
    pub(super) open: u32,
}

/// How long a part gets over one stack, if nothing is said.
pub(super) const SEGMENT: u64 = 1 << 30;

pub(super) const KIND: PluginKind = PluginKind {
    summary: "goes on in the next part when one is full",
    cost: "nothing on the way of a write; a lookup among the parts for a read",
    doc: "Over one stack, each part is that stack once more, in a directory part-000001 and so on \
          inside its own. Over several, each is used until it is full. Addresses do not change. A \
          part that has ended carries a footer, so that opening never looks into it; a part that is \
          missing is unknown for its own range only. Stacks may be added at the end of the list \
          when it is opened again.",
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
    ..PluginKind::new("sequence", Arity::Many { min: 1, max: 64 })
};
