//! `inspect DIR`: which stack wrote what lies in a directory, and what it takes to open it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::found::{self, Found, hex};
use super::text::count;
use super::{Failure, Outcome, Terminal};
use crate::stack::Registry;

/// Most logs that are told one by one.
const TOLD_MAX: usize = 40;

#[derive(Serialize)]
struct Facts {
    directory: String,
    logs: Vec<LogFacts>,
    needs: Vec<String>,
}

#[derive(Serialize)]
struct LogFacts {
    place: String,
    store: Option<String>,
    medium: Option<String>,
    stream: Option<u16>,
    /// The stack that wrote, in its own words.
    written_by: Option<String>,
    epoch: Option<String>,
    /// Whether the last writer closed it; `None`: that cannot be told.
    clean: Option<bool>,
    /// Where it was closed.
    end: Option<u64>,
    ceiling: Option<u64>,
    segments: usize,
    bytes: u64,
    damage: Vec<String>,
}

/// Tells of a directory instead of a stack.
pub(super) fn tell(
    directory: &Path,
    json: bool,
    registry: &Registry,
    terminal: &mut Terminal<'_>,
) -> Result<Outcome, Failure> {
    let found = found::logs(directory)?;
    if found.is_empty() {
        return Err(Failure::fault(format!(
            "no log lies in {} or below it",
            directory.display()
        )));
    }
    let facts = Facts {
        directory: directory.display().to_string(),
        needs: needs(&found, registry),
        logs: found.iter().map(LogFacts::new).collect(),
    };
    let sound = facts.logs.iter().all(|log| log.damage.is_empty());
    if json {
        terminal.json(&facts)?;
    } else {
        facts.print(terminal)?;
    }
    Ok(if sound { Outcome::Fine } else { Outcome::Fault })
}

impl LogFacts {
    fn new(found: &Found) -> Self {
        let Found { place, log } = found;
        let identity = log.identity.as_ref().ok();
        let writer = log.writer.as_ref().ok();
        let wrote = writer.and_then(Option::as_ref);
        let lengths = log
            .segments
            .iter()
            .filter_map(|segment| segment.bytes.as_ref().ok());
        Self {
            place: place.display().to_string(),
            store: identity.map(|identity| hex(&identity.store)),
            medium: identity.map(|identity| hex(&identity.medium)),
            stream: identity.map(|identity| identity.stream.0),
            written_by: wrote.map(|writer| plain(&writer.fingerprint)),
            epoch: wrote.map(|writer| writer.epoch.to_string()),
            clean: writer.map(|writer| match writer {
                Some(writer) => writer.clean.is_some(),
                None => log.segments.is_empty(),
            }),
            end: wrote.and_then(|writer| Some(writer.clean?.0)),
            ceiling: wrote.map(|writer| writer.ceiling.0),
            segments: log.segments.len(),
            bytes: lengths.sum(),
            damage: log.damage().collect(),
        }
    }

    fn print(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let unknown = || "cannot be read".to_owned();
        let text = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
        terminal.say(&self.place)?;
        terminal.say(format_args!("  store       {}", text(&self.store)))?;
        terminal.say(format_args!(
            "  stream      {}",
            self.stream
                .map_or_else(unknown, |stream| format!("b{stream}"))
        ))?;
        let closed = match (self.clean, self.end) {
            (Some(true), Some(end)) => format!("cleanly, at o{end}"),
            (Some(true), None) => "nobody has written yet".to_owned(),
            (Some(false), _) => {
                "no: somebody writes now, or died; the next writer recovers".to_owned()
            }
            (None, _) => unknown(),
        };
        if self.clean != Some(true) || self.end.is_some() {
            terminal.say(format_args!("  written by  {}", text(&self.written_by)))?;
            terminal.say(format_args!("  epoch       {}", text(&self.epoch)))?;
        }
        terminal.say(format_args!("  closed      {closed}"))?;
        terminal.say(format_args!(
            "  holds       {}, {}",
            count(self.segments as u64, "segment"),
            crate::stack::ByteSize(self.bytes)
        ))?;
        for damage in &self.damage {
            terminal.say(format_args!("  damaged     {damage}"))?;
        }
        Ok(())
    }
}

impl Facts {
    fn print(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        for log in self.logs.iter().take(TOLD_MAX) {
            log.print(terminal)?;
        }
        if let Some(more) = self
            .logs
            .len()
            .checked_sub(TOLD_MAX)
            .filter(|more| *more > 0)
        {
            terminal.say(format_args!(
                "and {}, which --json tells",
                count(more as u64, "log")
            ))?;
            for log in &self.logs[TOLD_MAX..] {
                for damage in &log.damage {
                    terminal.say(format_args!("{} damaged: {damage}", log.place))?;
                }
            }
        }
        for need in &self.needs {
            terminal.say(format_args!("\n{need}"))?;
        }
        Ok(())
    }
}

/// What it takes to open what was found: once for each stack that wrote some of it.
fn needs(found: &[Found], registry: &Registry) -> Vec<String> {
    let mut wrote: Vec<(&str, BTreeSet<PathBuf>)> = Vec::new();
    for Found { place, log } in found {
        let Ok(Some(writer)) = &log.writer else {
            continue;
        };
        let text = writer.fingerprint.as_str();
        let place = without_parts(place);
        match wrote.iter_mut().find(|(told, _)| *told == text) {
            Some((_, places)) => {
                places.insert(place);
            }
            None => wrote.push((text, BTreeSet::from([place]))),
        }
    }
    wrote
        .into_iter()
        .map(|(text, places)| need(&plain(text), &places, registry))
        .collect()
}

/// Parts lie inside the directory that a stack file names.
fn without_parts(place: &Path) -> PathBuf {
    let part = |component: Component<'_>| {
        let name = component.as_os_str().to_string_lossy();
        let digits = name.strip_prefix("part-");
        digits.is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let parts = place
        .components()
        .rev()
        .take_while(|name| part(*name))
        .count();
    let kept = place.components().count() - parts;
    place.components().take(kept).collect()
}

/// What a file of strangers says, so that no terminal takes it for orders.
fn plain(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

fn need(text: &str, places: &BTreeSet<PathBuf>, registry: &Registry) -> String {
    let listed: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    if text.is_empty() {
        return format!(
            "{} was written by a program without a stack file",
            listed.join(", ")
        );
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    // Words that options bring along are no kinds, nor are their values.
    let bare = strip_options(text);
    let kinds: Vec<&str> = words
        .filter(|word| !word.is_empty() && bare.contains(word))
        .collect();
    let unknown: Vec<_> = kinds
        .iter()
        .filter(|kind| registry.kind(kind).is_none())
        .map(|kind| format!("`{kind}`"))
        .collect();
    let mut need = match linear(&bare) {
        Some(layers) if places.len() == 1 => {
            let mut file = format!("{} opens with a stack file that has in it:\n", listed[0]);
            for layer in &layers {
                file.push_str(&format!("\n  [[layer]]\n  use = \"{layer}\""));
                if *layer == layers[layers.len() - 1] {
                    file.push_str(&format!("\n  path = {:?}", listed[0]));
                }
                file.push('\n');
            }
            file.push_str("\nFloors that leave no trace, such as a cache, may lie between.");
            file
        }
        _ => format!(
            "{} needs a stack of the shape {text}, where `..` stands for further stacks of its list",
            listed.join(", ")
        ),
    };
    if text.contains('{') {
        need.push_str(&format!(
            "\nOptions that the bytes depend on stand in its words: {text}"
        ));
    }
    if !unknown.is_empty() {
        need.push_str(&format!(
            "\nThis program does not know {}",
            unknown.join(" and ")
        ));
    }
    need
}

/// The text without what stands in braces.
fn strip_options(text: &str) -> String {
    let mut depth = 0_u32;
    let outside = text.chars().filter(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    });
    outside.collect()
}

/// The kinds of a stack without a tree: `a(b(c))`.
fn linear(text: &str) -> Option<Vec<&str>> {
    let layers: Vec<&str> = text.trim_end_matches(')').split('(').collect();
    let word = |layer: &&str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !layer.is_empty() && layer.chars().all(legal)
    };
    let plain = layers.iter().all(word);
    (plain && text.matches(')').count() + 1 == layers.len()).then_some(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_without_a_tree_is_a_list_of_layers() {
        assert_eq!(linear("file"), Some(vec!["file"]));
        assert_eq!(linear("sequence(file)"), Some(vec!["sequence", "file"]));
        assert_eq!(linear("sequence(..file..)"), None);
        assert_eq!(linear("a(b"), None);
        assert_eq!(strip_options("a{x=\"1\",y=2}(b)"), "a(b)");
    }

    #[test]
    fn parts_are_not_places_of_a_stack_file() {
        let plain = |path: &str| without_parts(Path::new(path)).display().to_string();
        assert_eq!(plain("data/a/part-000001/part-000012"), "data/a");
        assert_eq!(plain("data/part-1"), "data/part-1");
        assert_eq!(plain("part-000001/a"), "part-000001/a");
    }
}
