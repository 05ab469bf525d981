//! What a `cache` layer can be told.

use serde::Deserialize;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, OptionRow, OptionType, PluginKind, Properties, Property, Time,
};

/// The config of a `cache` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Cache {
    pub(super) memory: ByteSize,
    pub(super) flush: Flush,
}

/// When the engine sends its tail buffer, if the stack has a say in it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Flush {
    pub(super) bytes: Option<ByteSize>,
    pub(super) age: Option<Time>,
    pub(super) pressure: Option<u8>,
}

const FLUSH: &[OptionRow] = &[
    OptionRow::optional(
        "bytes",
        OptionType::Size {
            min: 4 << 10,
            max: 8 << 20,
        },
        "1 MiB",
        "it is sent when it holds so much",
    )
    .topmost(),
    OptionRow::optional(
        "age",
        OptionType::Time {
            min: 1_000_000,
            max: 3_600_000_000_000,
        },
        "1 s",
        "it is sent when its oldest record is this old",
    )
    .topmost(),
    OptionRow::optional(
        "pressure",
        OptionType::Integer { min: 10, max: 99 },
        "however much is in use",
        "it is sent early while so many percent of the memory that may be used are in use",
    )
    .topmost(),
];

pub(super) const KIND: PluginKind = PluginKind {
    summary: "keeps records in memory that were read before",
    cost: "a lookup for a read, and a copy of each record that is kept",
    doc: "Records that are read again and again stay, one long scan does not push them out; those that \
          lead to others stay longer. Readers who miss the same record at once share one read below. \
          All caches of a stack share one budget, the sum of what each one says. What is written is \
          not kept until somebody reads it: the newest batches stay readable in the engine.",
    options: &[
        OptionRow::preset(
            "memory",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 40,
            },
            "256 MiB",
            "bytes that it adds to the budget of the stack's caches, all that keeping takes included",
        ),
        OptionRow::preset(
            "flush",
            OptionType::Table { rows: FLUSH },
            "",
            "when the engine sends its tail buffer down; every commit sends it anyway",
        ),
    ],
    declared: Declared {
        // What is kept of a part would go whenever that part is closed.
        keeps: Properties::all_but(&[Property::Parts]),
        ..Declared::NOTHING
    },
    ..PluginKind::new("cache", Arity::One)
};
