//! How the guarantees of a floor come about: what it requires and from whom, what it adds, what it
//! drops and whose that was.

use serde::Serialize;

use crate::stack::{Floor, Property};

/// How what a floor gives was derived.
#[derive(Debug, Serialize)]
pub(super) struct Derivation {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requires: Vec<From>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adds: Vec<Property>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drops: Vec<From>,
}

/// A property, and the floors below that it comes from.
#[derive(Debug, Serialize)]
struct From {
    property: Property,
    from: Vec<String>,
}

impl Derivation {
    pub(super) fn of(floor: &Floor) -> Self {
        let from = |property: Property| {
            let mut from: Vec<String> = Vec::new();
            for below in floor.below() {
                let title = below.source(property).map(Floor::title).unwrap_or_default();
                if !from.iter().any(|told| told == title) {
                    from.push(title.to_owned());
                }
            }
            From { property, from }
        };
        let declared = floor.declared();
        Self {
            requires: declared.requires.iter().map(from).collect(),
            adds: declared.adds.iter().collect(),
            drops: floor.drops().iter().map(from).collect(),
        }
    }

    /// A line for each thing that there is to tell: a word, and what it is about.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let adds = self.adds.iter().map(|property| property.name());
        let adds = adds.collect::<Vec<_>>().join(", ");
        let lines = [
            ("requires", words(&self.requires)),
            ("adds", adds),
            ("drops", words(&self.drops)),
        ];
        lines
            .into_iter()
            .filter(|(_, words)| !words.is_empty())
            .collect()
    }
}

/// Properties that come from the same floors stand together: `fences, parts of file`.
fn words(all: &[From]) -> String {
    let mut text = String::new();
    for (index, one) in all.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        text.push_str(&format!("{comma}{}", one.property));
        if all.get(index + 1).is_none_or(|next| next.from != one.from) {
            text.push_str(&format!(" of {}", one.from.join(" and ")));
        }
    }
    text
}
