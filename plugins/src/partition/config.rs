//! What a `partition` layer can be told.

use serde::Deserialize;
use travertine_engine::contract::Placement;
use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::stack::{
    Arity, ByteSize, Declared, Fault, Growth, OptionRow, OptionType, PluginKind, Properties,
    Property, TreeRule,
};

/// The config of a `partition` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Partition {
    place: Place,
    classes: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    RoundRobin,
    Tag,
    Size,
}

pub(super) const KIND: PluginKind = PluginKind {
    summary: "spreads records over several stacks, each with a stream of its own",
    cost: "one flush on each stack that a commit has written to, all of them side by side",
    doc: "An address tells which stack a record lies on, so a read asks that one alone. Root markers \
          go to the first stack. Each stack keeps its number for good: the list may be put in another \
          order, a stack may be added, and what was stored stays where it is. While a stack is lost \
          the others can be read; writing waits until it is back.",
    options: &[
        OptionRow::preset(
            "place",
            OptionType::Choice {
                words: &["round-robin", "tag", "size"],
            },
            "round-robin",
            "where a new record goes: to each stack in turn; by the tag that it is stored with, so \
             that those of one tag lie together (in turn, if it has none); or by its size",
        ),
        OptionRow::preset(
            "classes",
            OptionType::Text,
            "4 KiB",
            "for place = \"size\": the most that a record takes on the first stack, on the second and \
             so on, smallest first; what is larger goes to the stacks that are left, in turn",
        ),
    ],
    declared: Declared {
        requires: Properties::of(&[Property::OneStream, Property::Fences, Property::Notes]),
        keeps: Properties::all_but(&[Property::OneStream]),
        ..Declared::NOTHING
    },
    rules: &[TreeRule::NotOver {
        kind: "partition",
        why: "the numbers of the streams are given out once",
        instead: "list all stacks below one of them",
    }],
    structural: true,
    growth: Growth::Anywhere,
    ..PluginKind::new("partition", Arity::Many { min: 2, max: 64 })
};

impl Partition {
    /// The bounds of the size classes.
    pub(super) fn bounds(&self) -> Result<Vec<u32>, Fault> {
        let fault = |text: String| {
            let fault = Fault::of("classes", text);
            fault.help("write sizes, smallest first, like \"4 KiB, 1 MiB\"")
        };
        let mut bounds = Vec::new();
        for text in self.classes.split(',') {
            let ByteSize(size) = text
                .parse()
                .map_err(|wrong: Fault| fault(wrong.to_string()))?;
            let size = u32::try_from(size)
                .ok()
                .filter(|size| (1..=RECORD_BODY_MAX as u32).contains(size))
                .ok_or_else(|| {
                    let most = ByteSize(RECORD_BODY_MAX as u64);
                    fault(format!(
                        "{} is no size of a record: 1 B to {most}",
                        ByteSize(size)
                    ))
                })?;
            if bounds.last().is_some_and(|last| *last >= size) {
                return Err(fault(format!(
                    "{} does not follow on a smaller size",
                    ByteSize(u64::from(size))
                )));
            }
            bounds.push(size);
        }
        Ok(bounds)
    }

    /// How records are placed over these streams, in the order of the list.
    pub(super) fn placement(&self, bounds: &[u32], streams: Vec<u16>) -> Placement {
        match self.place {
            Place::RoundRobin => Placement::RoundRobin(streams),
            Place::Tag => Placement::Tag(streams),
            Place::Size => {
                let bounds = &bounds[..bounds.len().min(streams.len().saturating_sub(1))];
                let (small, large) = streams.split_at(bounds.len());
                let classes = bounds.iter().zip(small);
                let classes = classes.map(|(most, stream)| (*most, vec![*stream]));
                Placement::Size(classes.chain([(u32::MAX, large.to_vec())]).collect())
            }
        }
    }

    /// The rule in force, in a sentence.
    pub(super) fn placing(&self) -> String {
        match self.place {
            Place::RoundRobin => "records go to the stacks in turn".to_owned(),
            Place::Tag => "records of one tag go to one stack".to_owned(),
            Place::Size => format!("records go to the stacks by size: {}", self.classes),
        }
    }
}
