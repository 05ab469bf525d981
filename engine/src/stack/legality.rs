//! Legality: what each floor gives, derived from the bottom up, and who is to blame where something
//! is missing.
//!
//! ```text
//!   gives(floor) = adds ∪ (keeps ∩ gives(each below))       level = its own, or the least below
//!   legal(floor) = requires ⊆ gives(each below)
//! ```
//!
//! The engine stands on top of every stack and has requirements like any floor.

use crate::contract::Level;

use super::fault::{SpecError, listed};
use super::guarantee::{Gives, LevelRule, Properties, Property};
use super::plan::Floor;
use super::plugin::{Arity, PluginKind};
use super::registry::Registry;
use super::value::Span;

/// What the engine needs from the floor that it stands on.
pub(super) const ENGINE_REQUIRES: Properties = Properties::of(&[Property::Fences]);

/// What a floor of this kind gives, given what those below give.
pub(super) fn derive(
    adds: Properties,
    keeps: Properties,
    level: LevelRule,
    below: &[&Gives],
) -> Gives {
    let common = below
        .iter()
        .map(|gives| gives.properties)
        .reduce(Properties::and)
        .unwrap_or(Properties::NONE);
    let least = below.iter().map(|gives| gives.level).min();
    Gives {
        properties: adds.or(keeps.and(common)),
        level: match level {
            LevelRule::At(level) => level,
            LevelRule::Below => least.unwrap_or(Level::Memory),
            LevelRule::Copies { .. } => match least.unwrap_or(Level::Memory) {
                least if least >= Level::Disk => Level::Replicated(below.len() as u8),
                least => least,
            },
        },
    }
}

/// Everything that a floor requires and does not get, in the whole tree.
pub(super) fn judge(
    top: &Floor,
    level: (Level, Option<Span>),
    registry: &Registry,
    errors: &mut Vec<SpecError>,
) {
    floors(top, registry, errors);
    for property in ENGINE_REQUIRES.iter() {
        if !top.gives().properties.has(property) {
            let error = missing("the engine", property, top);
            errors.push(error.help(remedy(property, registry)));
        }
    }
    let (wanted, written) = level;
    if wanted > top.gives().level {
        errors.push(too_low(wanted, written, top, registry));
    }
}

fn floors(floor: &Floor, registry: &Registry, errors: &mut Vec<SpecError>) {
    if let LevelRule::Copies { least } = floor.declared().level
        && floor.below().len() < usize::from(least)
    {
        let (kind, there) = (floor.kind().name, floor.below().len());
        errors.push(
            SpecError::new(
                format!(
                    "the options of `{kind}` need {least} stacks below it, and {there} are there"
                ),
                floor.span(),
                format!("over {there}"),
            )
            .help("list more stacks in `over`, or ask for fewer copies"),
        );
    }
    for below in floor.below() {
        for property in floor.declared().requires.iter() {
            if !below.gives().properties.has(property) {
                let who = format!("`{}`", floor.kind().name);
                errors.push(
                    missing(&who, property, below)
                        .with(floor.span(), "this floor requires it")
                        .help(remedy(property, registry)),
                );
            }
        }
        floors(below, registry, errors);
    }
}

/// Blames the floor at or below `from` that lacks or drops the property.
fn missing(who: &str, property: Property, from: &Floor) -> SpecError {
    let mut culprit = from;
    while let Some(below) = culprit
        .below()
        .iter()
        .find(|below| !below.gives().properties.has(property))
    {
        culprit = below;
    }
    let name = culprit.kind().name;
    let verb = if culprit.below().is_empty() {
        "does not give"
    } else {
        "drops"
    };
    SpecError::new(
        format!(
            "{who} requires that {} (`{property}`), which `{name}` {verb}",
            property.meaning()
        ),
        culprit.span(),
        format!("{verb} `{property}`"),
    )
}

fn remedy(property: Property, registry: &Registry) -> String {
    let adds = |kind: &&PluginKind| kind.declared.adds.has(property) && !kind.test_only;
    format!(
        "take that floor out, or use one that gives it: {}",
        listed(registry.kinds().filter(adds).map(|kind| kind.name), "or")
    )
}

fn too_low(wanted: Level, written: Option<Span>, top: &Floor, registry: &Registry) -> SpecError {
    let reached = top.gives().level;
    let mut culprit = top;
    while !matches!(culprit.declared().level, LevelRule::At(_))
        && let Some(below) = culprit
            .below()
            .iter()
            .min_by_key(|below| below.gives().level)
    {
        culprit = below;
    }
    let reaches = |kind: &&PluginKind| {
        kind.arity == Arity::Bottom
            && !kind.test_only
            && matches!(kind.declared.level, LevelRule::At(level) if level >= wanted)
    };
    let others: Vec<_> = registry
        .kinds()
        .filter(reaches)
        .map(|kind| kind.name)
        .collect();
    let instead = match others.as_slice() {
        [] => String::new(),
        names => format!(", or end it with {}", listed(names.iter().copied(), "or")),
    };
    let message = format!(
        "commits of this stack are to reach `{wanted}`, and `{}` reaches `{reached}` at most",
        culprit.kind().name
    );
    let error =
        SpecError::new(message, culprit.span(), format!("reaches `{reached}`")).help(format!(
            "write level = \"{reached}\" at the top of the stack file if that is enough{instead}"
        ));
    match written {
        Some(span) => error.with(span, "asked for here"),
        None => error,
    }
}
