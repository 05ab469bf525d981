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
    pub(super) weights: Option<Weights>,
    pub(super) age: Option<Time>,
    pub(super) open: u32,
}

/// How many times as long as `segment` says each part is, in their order; 1 where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Weights(Vec<u64>);

const WEIGHT_MAX: u64 = 1000;

impl Weights {
    /// The length of a part.
    pub(super) fn length(&self, segment: u64, part: u32) -> u64 {
        let index = (part as usize).wrapping_sub(1);
        segment.saturating_mul(self.0.get(index).copied().unwrap_or(1))
    }
}

impl TryFrom<String> for Weights {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let weight = |text: &str| text.trim().parse().ok();
        let weights: Option<Vec<u64>> = text.split(':').map(weight).collect();
        let fit = |weights: &Vec<u64>| {
            let each = weights.iter().all(|of| (1..=WEIGHT_MAX).contains(of));
            each && weights.len() <= LIST_MAX
        };
        weights.filter(fit).map(Self).ok_or_else(|| {
            format!(
                "{text:?} are no weights: at most {LIST_MAX} whole numbers from 1 to {WEIGHT_MAX} with \
                 colons between them, as in \"1:3:1\""
            )
        })
    }
}

/// Stacks of a list, at most.
const LIST_MAX: usize = 64;

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
            "weights",
            OptionType::Text,
            "all parts are of the same length",
            "how many times as long as `segment` says each part is, in the order of the list, as in \
             \"1:3\"; 1 where nothing is said",
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
    ..PluginKind::new(
        "sequence",
        Arity::Many {
            min: 1,
            max: LIST_MAX,
        },
    )
};
