//! What a `file` layer can be told.

use std::path::PathBuf;

use serde::Deserialize;
use travertine_engine::contract::Level;
use travertine_engine::log;
use travertine_engine::medium::no_depth;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, OptionRow, OptionType, PluginKind, Properties,
};

/// Bytes that a device may tear together when it is not known to overwrite safely: a page.
const PAGE: u64 = 4096;
/// The step of a position: nothing is torn.
const STEP: u64 = 8;

/// The config of a `file` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct File {
    pub(super) path: PathBuf,
    pub(super) segment: ByteSize,
    pub(super) grow: Grow,
    pub(super) read: Read,
    overwrite: Overwrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grow {
    Adaptive,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Read {
    Mmap,
    Pread,
    Uring,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Overwrite {
    Unit,
    Safe,
}

pub(super) const KIND: PluginKind = PluginKind {
    summary: "keeps the log in one directory",
    cost: "one write and one flush for a durable commit",
    doc: "One process writes at a time; others may read. Every record is checked when it is read.",
    options: &[
        OptionRow::required(
            "path",
            OptionType::Place,
            "data/orders",
            "the directory that the log lies in, made when it is first written",
        ),
        OptionRow::preset(
            "segment",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 30,
            },
            "64 MiB",
            "the log is cut into files of this length; recovery reads the open one, and room to copy it is \
             kept while the log is written to",
        ),
        OptionRow::preset(
            "grow",
            OptionType::Choice {
                words: &["adaptive", "none"],
            },
            "adaptive",
            "writes zeros ahead while commits are small, so that a flush changes no length",
        ),
        OptionRow::preset(
            "read",
            OptionType::Choice {
                words: &["mmap", "pread", "uring"],
            },
            "mmap",
            "reads through a map; by copying (slower, and a failing device is an error, not a signal); \
             or by copying what is in memory and bringing the rest through io_uring, so that one \
             thread keeps many reads in flight",
        ),
        OptionRow::preset(
            "overwrite",
            OptionType::Choice {
                words: &["unit", "safe"],
            },
            "unit",
            "whether the device may tear a page that is written again (unit), or never does (safe)",
        ),
    ],
    declared: Declared::bottom(Level::Disk, Properties::ALL),
    structural: true,
    ..PluginKind::new("file", Arity::Bottom)
};

impl File {
    pub(super) fn unit(&self) -> u64 {
        match self.overwrite {
            Overwrite::Unit => PAGE,
            Overwrite::Safe => STEP,
        }
    }

    /// What of the choice is in force here.
    pub(super) fn reading(&self) -> String {
        match self.read {
            Read::Mmap => "proven bytes are read through a map".to_owned(),
            Read::Pread => "bytes are read by copying".to_owned(),
            Read::Uring => match no_depth() {
                None => "what memory lacks is read through io_uring".to_owned(),
                Some(why) => format!(
                    "bytes are read by copying, though io_uring was asked for: the system says {why}"
                ),
            },
        }
    }

    /// The choice in force, for those who ask.
    pub(super) fn overwriting(&self) -> String {
        match self.overwrite {
            Overwrite::Unit => format!(
                "after a commit the next batch begins at the next {PAGE} bytes: no page that holds \
                 an acknowledged commit is written again"
            ),
            Overwrite::Safe => "batches lie end to end: the device is trusted to overwrite a page \
                                without tearing it"
                .to_owned(),
        }
    }
}

impl From<Grow> for log::Grow {
    fn from(grow: Grow) -> Self {
        match grow {
            Grow::Adaptive => Self::Adaptive,
            Grow::None => Self::Plain,
        }
    }
}

impl From<Read> for log::ReadBy {
    fn from(read: Read) -> Self {
        match read {
            Read::Mmap => Self::Map,
            Read::Pread => Self::Copy,
            Read::Uring => Self::Ring,
        }
    }
}
