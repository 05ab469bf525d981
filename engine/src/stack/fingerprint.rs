//! What of a stack the bytes on its media depend on, as a text that can be compared and shown.
//!
//! Floors that leave the bytes alone and options that only tune do not appear in it: a cache may come
//! and go, and the stack stays the same stack. Of neighbours that are alike one stands for all, so that
//! one more changes nothing. What a bottom keeps beside its bytes is its own way from the top only:
//! how many others there are, and of what kind, is for the floor that stands on them all to judge.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::plan::Floor;
use super::units::{ByteSize, Time};
use super::value::Value;

/// A text like `sequence{segment=268435456}(file)`, and its hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    text: String,
}

impl Fingerprint {
    /// A fingerprint that was stored.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Sixty-four bits of the text.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(self.text.as_bytes())
    }

    pub(super) fn of(floor: &Floor) -> Self {
        Self::of_branch(floor, &[])
    }

    /// Of one way down: `choices` says, for each floor over several, which of them it takes.
    pub(super) fn of_branch(floor: &Floor, choices: &[usize]) -> Self {
        let mut text = String::new();
        write(floor, choices, &mut text);
        Self { text }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {}", self.hash(), self.text)
    }
}

fn write(floor: &Floor, choices: &[usize], text: &mut String) {
    let structural = floor.kind().structural;
    if structural {
        text.push_str(floor.kind().name);
        let mut options: Vec<String> = floor
            .settings()
            .iter()
            .filter(|setting| setting.row.structural)
            .filter_map(|setting| {
                let value = setting.value.as_ref()?;
                Some(format!("{}={}", setting.name, canonical(value)))
            })
            .collect();
        options.sort();
        if !options.is_empty() {
            text.push_str(&format!("{{{}}}", options.join(",")));
        }
    }
    // A floor that leaves the bytes alone shows only what lies below it.
    let brackets = floor.below().len() > 1 || (structural && !floor.below().is_empty());
    if brackets {
        text.push('(');
    }
    match (floor.below(), choices) {
        ([below], choices) => write(below, choices, text),
        (below, []) => text.push_str(&all(below)),
        (below, [choice, choices @ ..]) => {
            text.push_str("..");
            if let Some(below) = below.get(*choice) {
                write(below, choices, text);
            }
            text.push_str("..");
        }
    }
    if brackets {
        text.push(')');
    }
}

/// What lies below, with `..` behind what stands for several neighbours.
fn all(below: &[Arc<Floor>]) -> String {
    let mut texts: Vec<(String, bool)> = Vec::new();
    for floor in below {
        let mut text = String::new();
        write(floor, &[], &mut text);
        match texts.last_mut() {
            Some((last, several)) if *last == text => *several = true,
            _ => texts.push((text, false)),
        }
    }
    let texts = texts
        .into_iter()
        .map(|(text, several)| text + if several { ".." } else { "" });
    texts.collect::<Vec<_>>().join(",")
}

/// Sizes and times count in their least unit, so that "64 MiB" and "65536 KiB" are one.
pub(super) fn canonical(value: &Value) -> String {
    let Some(text) = value.as_text() else {
        return value.to_string();
    };
    if let Ok(size) = text.parse::<ByteSize>() {
        return size.0.to_string();
    }
    if let Ok(time) = text.parse::<Time>() {
        return format!("{}ns", time.0.as_nanos());
    }
    format!("{text:?}")
}
