//! The kinds: two bottoms, a floor that lets pass, one that splits, one that loses a property.

use std::path::PathBuf;
use std::sync::Arc;

use crate::conformance::model::{ModelOptions, ModelStore};
use crate::contract::{Level, Result, Store};
use crate::stack::*;

pub(super) fn registry() -> Registry {
    Registry::new()
        .with::<Disk>()
        .with::<Ram>()
        .with::<Pass>()
        .with::<Roll>()
        .with::<Split>()
        .with::<Both>()
        .with::<Forget>()
        .with::<Hiccup>()
}

type Notes = std::result::Result<Vec<String>, Fault>;

#[derive(Debug, serde::Deserialize)]
pub(super) struct Disk {
    path: PathBuf,
    segment: ByteSize,
    grow: Grow,
}

#[derive(Debug, Clone, Copy, serde::Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Grow {
    Adaptive,
    None,
}

impl Plugin for Disk {
    const KIND: PluginKind = PluginKind {
        summary: "keeps bytes",
        options: &[
            OptionRow::required("path", OptionType::Place, "data/a", "where the bytes lie"),
            OptionRow::preset(
                "segment",
                OptionType::Size {
                    min: 1 << 20,
                    max: 1 << 30,
                },
                "64 MiB",
                "how long a segment gets",
            )
            .structural(),
            OptionRow::preset(
                "grow",
                OptionType::Choice {
                    words: &["adaptive", "none"],
                },
                "adaptive",
                "how it grows",
            ),
        ],
        declared: Declared::bottom(Level::Disk, Properties::ALL),
        structural: true,
        ..PluginKind::new("disk", Arity::Bottom)
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        if self.grow == Grow::None && self.segment.0 > 512 << 20 {
            return Err(
                Fault::of("segment", "too long for a file that does not grow")
                    .help("take \"512 MiB\" or less"),
            );
        }
        Ok(vec![format!("grows: {:?}", self.grow)])
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        assert!(below.is_empty());
        assert!(context.resolve(&self.path).starts_with("/base"));
        // Makes nothing: a directory comes into being when a writer locks it.
        let _ = context.medium(&self.path, 4096);
        Ok(Arc::new(ModelStore::new(ModelOptions::default())))
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Ram {}

impl Plugin for Ram {
    const KIND: PluginKind = PluginKind {
        summary: "forgets at the end",
        declared: Declared::bottom(Level::Memory, Properties::all_but(&[Property::Persists])),
        structural: true,
        ..PluginKind::new("ram", Arity::Bottom)
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(ModelStore::new(ModelOptions::default())))
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Pass {
    flush: FlushTable,
    #[expect(dead_code, reason = "only its reading is of interest")]
    ratio: Option<f64>,
}

#[derive(Debug, serde::Deserialize)]
struct FlushTable {
    bytes: Option<ByteSize>,
    age: Option<Time>,
}

impl Plugin for Pass {
    const KIND: PluginKind = PluginKind {
        summary: "lets everything pass",
        options: &[
            OptionRow::optional(
                "ratio",
                OptionType::Number { min: 0.0, max: 1.0 },
                "none",
                "a number for the tests",
            ),
            OptionRow::preset(
                "flush",
                OptionType::Table {
                    rows: &[
                        OptionRow::optional(
                            "bytes",
                            OptionType::Size {
                                min: 4096,
                                max: 1 << 30,
                            },
                            "the engine decides",
                            "when it holds so much",
                        )
                        .topmost(),
                        OptionRow::optional(
                            "age",
                            OptionType::Time {
                                min: 1_000_000,
                                max: 60_000_000_000,
                            },
                            "the engine decides",
                            "when it is so old",
                        )
                        .topmost(),
                    ],
                },
                "",
                "when to flush",
            ),
        ],
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("pass", Arity::One)
    };

    fn declare(&self, declared: &mut Declared) -> Notes {
        declared.flush = Some(FlushRule {
            bytes: self.flush.bytes.map(|size| size.0),
            age: self.flush.age.map(|age| age.0),
            ..FlushRule::default()
        });
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Below::only(below)?.open()
    }
}

/// Opens what lies below it as two parts.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Roll {}

impl Plugin for Roll {
    const KIND: PluginKind = PluginKind {
        declared: Declared {
            requires: Properties::of(&[Property::Parts, Property::OneStream]),
            keeps: Properties::all_but(&[Property::Parts]),
            ..Declared::NOTHING
        },
        rules: &[TreeRule::NotDirectlyOver {
            kind: "roll",
            why: "one alone does the same",
            instead: "take one of them out",
        }],
        structural: true,
        ..PluginKind::new("roll", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?;
        let (first, second) = (below.clone().part(0), below.part(1));
        assert_eq!(
            second.context().resolve("data/x"),
            context.resolve("data/x").join("part-000001")
        );
        second.open()?;
        first.open()
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Split {}

impl Plugin for Split {
    const KIND: PluginKind = PluginKind {
        declared: Declared {
            keeps: Properties::all_but(&[Property::OneStream]),
            ..Declared::NOTHING
        },
        rules: &[TreeRule::NotOver {
            kind: "split",
            why: "streams are split once",
            instead: "put all of them under one",
        }],
        structural: true,
        ..PluginKind::new("split", Arity::Many { min: 2, max: 4 })
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let mut stores = below.iter().map(Below::open).collect::<Result<Vec<_>>>()?;
        Ok(stores.remove(0))
    }
}

/// The same batches on two sides, as often as one likes.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Both {}

impl Plugin for Both {
    const KIND: PluginKind = PluginKind {
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("both", Arity::Many { min: 2, max: 2 })
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        below[0].open()
    }
}

/// Keeps neither fencing nor anything else.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Forget {}

impl Plugin for Forget {
    const KIND: PluginKind = PluginKind::new("forget", Arity::One);

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Below::only(below)?.open()
    }
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Hiccup {}

impl Plugin for Hiccup {
    const KIND: PluginKind = PluginKind {
        declared: Declared::TRANSPARENT,
        test_only: true,
        ..PluginKind::new("hiccup", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> Notes {
        Ok(Vec::new())
    }

    fn open(&self, _context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Err(crate::contract::Error::unavailable("hiccup"))
    }
}
