//! Runs the checker and says what came out.

use std::collections::BTreeSet;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::action::Action;
use crate::model::Takeover;
use crate::setting::Setting;
use crate::state::State;
use crate::step::step;

/// What one property came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The property.
    pub property: &'static str,
    /// Whether it must hold in every state, or be seen in some.
    pub is_always: bool,
    /// Whether it does.
    pub holds: bool,
    /// The run that violates it, or shows it.
    pub run: Vec<String>,
}

/// What one setting came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many different states were explored, up to the order of the children.
    pub states: usize,
    /// How many actions the longest run has.
    pub depth: usize,
    /// One verdict a property.
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    /// Whether every property holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// The properties that must always hold and do not.
    #[must_use]
    pub fn violated(&self) -> Vec<&'static str> {
        let violated = |verdict: &&Verdict| verdict.is_always && !verdict.holds;
        self.verdicts
            .iter()
            .filter(violated)
            .map(|verdict| verdict.property)
            .collect()
    }
}

/// Explores all of `setting`, or with a planted mistake as much as finds it.
#[must_use]
pub fn check(setting: &Setting) -> Outcome {
    let model = Takeover {
        setting: setting.clone(),
    };
    let builder = model.clone().checker().threads(2);
    let builder = match setting.mutation {
        Some(mutation) => {
            let wanted = BTreeSet::from([mutation.found_by()]);
            builder.finish_when(HasDiscoveries::AnyOf(wanted))
        }
        None => builder,
    };
    let checker = builder.spawn_bfs().join();
    let mut runs = checker.discoveries();
    let verdicts = model.properties().into_iter().map(|property| {
        let run = runs.remove(property.name);
        let is_always = matches!(property.expectation, Expectation::Always);
        Verdict {
            property: property.name,
            is_always,
            holds: run.is_some() != is_always,
            run: run.map(|run| tell(setting, &run)).unwrap_or_default(),
        }
    });
    let verdicts = verdicts.collect();
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        verdicts,
    }
}

/// A run as sentences. The states are kept sorted, so the names follow the children about.
fn tell(setting: &Setting, run: &Path<State, Action>) -> Vec<String> {
    let steps = run.clone().into_vec();
    let mut names: Vec<char> = ('A'..).take(setting.children).collect();
    let mut told = Vec::new();
    for (state, action) in steps {
        let Some(action) = action else { break };
        let Some(after) = step(setting, &state, action) else {
            break;
        };
        let mut named: Vec<_> = after.places.iter().zip(&names).collect();
        let shown = named.iter().map(|(place, name)| {
            let child = &place.child;
            let end = if child.end == child.durable {
                String::new()
            } else {
                "*".to_owned()
            };
            format!("{name}:{}{end}", names_of(&after.history.chain(child.end)))
        });
        told.push(format!(
            "{:42} {}",
            action.tell(&names),
            shown.collect::<Vec<_>>().join("  ")
        ));
        named.sort_by_key(|(place, _)| **place);
        names = named.into_iter().map(|(_, name)| *name).collect();
    }
    told
}

fn names_of(chain: &[crate::mark::Mark]) -> String {
    let names: Vec<String> = chain.iter().map(ToString::to_string).collect();
    names.join(">")
}
