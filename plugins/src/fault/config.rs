//! What a `fault` layer can be told.

use serde::Deserialize;
use travertine_engine::stack::{Arity, Declared, OptionRow, OptionType, PluginKind};

use crate::chance::SEED;

/// The config of a `fault` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Fault {
    pub(super) seed: Option<i64>,
    pub(super) after: u64,
    pub(super) most: Option<u64>,
    pub(super) poison: bool,
    pub(super) read: Shares,
    pub(super) scan: Shares,
    pub(super) root: Shares,
    pub(super) store: Shares,
    pub(super) commit: Shares,
    pub(super) fence: Shares,
    pub(super) adopt: Shares,
    pub(super) reclaim: Shares,
}

/// Which shares of the calls of a verb fail, and how; a verb has some of these.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shares {
    pub(super) unavailable: f64,
    pub(super) corrupt: f64,
    pub(super) failed: f64,
    pub(super) full: f64,
}

const fn share(name: &'static str, doc: &'static str) -> OptionRow {
    let share = OptionType::Number { min: 0.0, max: 1.0 };
    OptionRow::preset(name, share, "0.0", doc)
}

const ASKED: &[OptionRow] = &[
    share("unavailable", "the share that nobody can answer"),
    share("corrupt", "the share that meets damage"),
];

const FAILED: OptionRow = share(
    "failed",
    "the share that fails, carried out below or not by chance",
);

const CHANGED: &[OptionRow] = &[FAILED];

const STORED: &[OptionRow] = &[FAILED, share("full", "the share that finds no room")];

const fn verb(name: &'static str, rows: &'static [OptionRow], doc: &'static str) -> OptionRow {
    OptionRow::preset(name, OptionType::Table { rows }, "", doc)
}

pub(super) const KIND: PluginKind = PluginKind {
    summary: "fails calls, by seed",
    cost: "whatever it is told to",
    doc: "For tests only. What fails is answered as a real floor might: never with a wrong answer, and \
          a change that failed may have happened. The calls counted for `after` and `most` are those \
          of one opening.",
    options: &[
        SEED,
        OptionRow::preset(
            "after",
            OptionType::Integer {
                min: 0,
                max: i64::MAX,
            },
            "0",
            "so many calls are let through first",
        ),
        OptionRow::optional(
            "most",
            OptionType::Integer {
                min: 0,
                max: i64::MAX,
            },
            "no limit",
            "after so many failed calls no more fail",
        ),
        OptionRow::preset(
            "poison",
            OptionType::Flag,
            "true",
            "after a failed write no more is written until it is opened again",
        ),
        verb("read", ASKED, "which reads fail"),
        verb("scan", ASKED, "which scans fail"),
        verb("root", ASKED, "which questions for a root marker fail"),
        verb("store", STORED, "which batches fail"),
        verb("commit", CHANGED, "which commits fail"),
        verb("fence", CHANGED, "which fences fail"),
        verb("adopt", CHANGED, "which adoptions fail"),
        verb("reclaim", CHANGED, "which reclaims fail"),
    ],
    declared: Declared::TRANSPARENT,
    test_only: true,
    ..PluginKind::new("fault", Arity::One)
};
