//! What a `cluster` layer can be told.

use serde::Deserialize;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, Growth, LevelRule, OptionRow, OptionType, PluginKind, Properties,
    Property, Time, TreeRule,
};

/// The config of a `cluster` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Cluster {
    pub(super) ack: Option<usize>,
    pub(super) write: Option<usize>,
    pub(super) read: Reading,
    pub(super) verify: usize,
    pub(super) queue: ByteSize,
    pub(super) wait: Time,
    pub(super) replace: Option<usize>,
}

/// Which children a read asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reading {
    /// The first that is in line; another where it cannot answer.
    Nearest,
    /// As the nearest, and a second one at once where the first has to wait for a device.
    Hedged,
    /// Several, which must agree.
    Verify,
}

/// Most children of one cluster.
pub(super) const CHILDREN_MAX: usize = 9;

pub(super) const KIND: PluginKind = PluginKind {
    summary: "keeps every batch on several stacks, and goes on while enough of them do",
    cost: "every byte once for each child; a commit takes as long as the `ack` quickest of them",
    doc: "A batch goes to all children side by side and is acknowledged once `ack` of them have it \
          and everything before it. A child that fails is left out, opened again and caught up \
          batch by batch while the others serve. A new writer takes over only where so many \
          children accept it that one of them has whatever was acknowledged: all but `ack` - 1 of \
          them. A child whose directory is empty does not come \
          back by itself: `travertine cluster replace` brings it in. `ack` and the number of \
          children are fixed when the cluster is made.",
    options: &[
        OptionRow::optional(
            "ack",
            CHILDREN,
            "a majority of the children",
            "a batch is acknowledged once so many children have it; said when the cluster is made, or \
             never",
        )
        .structural(),
        OptionRow::optional(
            "write",
            CHILDREN,
            "as many as `ack`",
            "writes wait while fewer children than this are in line, and a slow child among the last \
             so many slows the writer instead of being left behind; never fewer than `ack`",
        ),
        OptionRow::preset(
            "read",
            OptionType::Choice {
                words: &["nearest", "hedged", "verify"],
            },
            "nearest",
            "whether a read asks one child, a second one when the first is slow, or several that \
             must agree",
        ),
        OptionRow::preset(
            "verify",
            CHILDREN,
            "2",
            "how many children must agree on a record where `read = \"verify\"`",
        ),
        OptionRow::preset(
            "queue",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 30,
            },
            "64 MiB",
            "so much may wait for a slow child; then it is left behind and caught up later",
        ),
        OptionRow::preset(
            "wait",
            OptionType::Time {
                min: 0,
                max: 86_400_000_000_000,
            },
            "30 s",
            "so long a write waits for children to come back while too few of them are in line; then \
             writing ends, until the stack is opened again",
        ),
        OptionRow::optional(
            "replace",
            CHILDREN,
            "a child with nothing in it stays out",
            "the child with this number, counted from 1, is empty and joins as a new one; without \
             effect on one that belongs to the cluster",
        ),
    ],
    declared: Declared {
        requires: Properties::of(&[Property::OneStream, Property::Fences, Property::Notes]),
        keeps: Properties::all_but(&[Property::Parts]),
        level: LevelRule::Copies { least: 2 },
        ..Declared::NOTHING
    },
    rules: &[
        TreeRule::NotOver {
            kind: "cluster",
            why: "one cluster over all of the children does what two would, and counts them right",
            instead: "list all children in one cluster",
        },
        TreeRule::NotOver {
            kind: "partition",
            why: "the streams of a partition would have to be taken over one by one",
            instead: "put the partition over several clusters",
        },
    ],
    structural: true,
    growth: Growth::AnyOrder,
    ..PluginKind::new(
        "cluster",
        Arity::Many {
            min: 2,
            max: CHILDREN_MAX,
        },
    )
};

const CHILDREN: OptionType = OptionType::Integer {
    min: 1,
    max: CHILDREN_MAX as i64,
};
