//! From layers to a tree of floors: sub-stacks put in place, options settled, configs read, and the
//! rules of the tree itself checked.
//!
//! It refuses: unknown kinds, options that the rows refuse, a layer below a bottom, a stack without a
//! bottom, sub-stacks that are missing, unused or inside themselves, two owners of one place, kinds
//! where their rules forbid them, and more floors than the limits allow.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::fault::{SpecError, did_you_mean, listed};
use super::options::{OptionType, Setting, settle};
use super::plugin::{AnyFloor, Arity, Declared, Offence, PluginKind, TreeRule};
use super::registry::Registry;
use super::spec::{DEPTH_MAX, LAYERS_MAX, Layer, Over, Spec, SubStack};
use super::value::{Data, Span, Spanned, Value};

/// A floor before its guarantees are derived. `known` is `None` where something was wrong with the
/// layer itself; the rest of the tree is checked all the same.
pub(super) struct Draft {
    pub(super) uses: Spanned<String>,
    pub(super) name: Option<String>,
    pub(super) known: Option<Known>,
    pub(super) below: Vec<Draft>,
}

pub(super) struct Known {
    pub(super) kind: PluginKind,
    pub(super) floor: Arc<dyn AnyFloor>,
    pub(super) declared: Declared,
    pub(super) settings: Vec<Setting>,
    pub(super) notes: Vec<String>,
}

pub(super) struct Builder<'a> {
    spec: &'a Spec,
    registry: &'a Registry,
    base: &'a Path,
    test: bool,
    pub(super) errors: Vec<SpecError>,
    layers: usize,
    visited: BTreeSet<&'a str>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(spec: &'a Spec, registry: &'a Registry, base: &'a Path, test: bool) -> Self {
        Self {
            spec,
            registry,
            base,
            test,
            errors: Vec::new(),
            layers: 0,
            visited: BTreeSet::new(),
        }
    }

    /// The tree, or as much of it as could be made. Every error is in `errors`.
    pub(super) fn build(&mut self) -> Option<Draft> {
        let spec = self.spec;
        let top = self.expand(&spec.layers, &mut Vec::new(), 1);
        if let Some(top) = &top {
            self.rules(top, &mut Vec::new());
            let mut owners = Vec::new();
            self.places(top, &mut owners);
        }
        self.unused();
        top
    }

    fn expand(
        &mut self,
        list: &'a [Layer],
        trail: &mut Vec<&'a str>,
        depth: usize,
    ) -> Option<Draft> {
        let (layer, rest) = list.split_first()?;
        self.layers += 1;
        if self.layers > LAYERS_MAX {
            if self.layers == LAYERS_MAX + 1 {
                let message = format!("this stack has more than {LAYERS_MAX} layers");
                self.errors.push(
                    SpecError::new(message, layer.uses.span, "one too many")
                        .help("a sub-stack counts wherever `over` puts it"),
                );
            }
            return None;
        }
        if depth > DEPTH_MAX {
            let message = format!("this stack is more than {DEPTH_MAX} floors deep");
            self.errors.push(
                SpecError::new(message, layer.uses.span, "one too deep")
                    .help("take some floors out, or put stacks side by side"),
            );
            return None;
        }
        let known = self.known(layer);
        let below = self.below(layer, rest, trail, depth);
        Some(Draft {
            uses: layer.uses.clone(),
            name: layer.name.as_ref().map(|name| name.value.clone()),
            known,
            below,
        })
    }

    fn known(&mut self, layer: &Layer) -> Option<Known> {
        if layer.uses.value.is_empty() {
            // One that was read has a place, and was told there.
            if layer.uses.span == Span::default() {
                let message = "a layer does not say what it uses";
                let error = SpecError::new(message, layer.uses.span, "no kind");
                self.errors.push(error);
            }
            return None;
        }
        let plugin = match self.registry.find(&layer.uses) {
            Ok(plugin) => plugin,
            Err(error) => {
                self.errors.push(error);
                return None;
            }
        };
        let kind = plugin.kind();
        let span = layer.uses.span;
        if kind.test_only && !self.test {
            let message = format!("`{}` is there for tests only", kind.name);
            self.errors.push(
                SpecError::new(message, span, "in a stack that is not a test")
                    .help("take it out, or write test = true at the top of the stack file"),
            );
        }
        let before = self.errors.len();
        let (options, settings) = settle(
            kind.name,
            kind.options,
            &layer.options,
            span,
            &mut self.errors,
        );
        if self.errors.len() > before {
            return None;
        }
        let mut declared = kind.declared;
        let options = Value {
            data: Data::Table(options),
            span,
        };
        let floor = plugin.read(&options).and_then(|floor| {
            let notes = floor.declare(&mut declared)?;
            Ok((floor, notes))
        });
        match floor {
            Ok((floor, notes)) => Some(Known {
                kind: *kind,
                floor,
                declared,
                settings,
                notes,
            }),
            Err(fault) => {
                let written = fault
                    .option
                    .and_then(|option| layer.options.get(option))
                    .map(|value| value.span);
                let place = written.or(fault.span).unwrap_or(span);
                let message = match fault.option {
                    Some(option) => format!("`{option}` of the `{}` layer: {fault}", kind.name),
                    None => format!("the `{}` layer: {fault}", kind.name),
                };
                let mut error = SpecError::new(message, place, "here");
                error.help = fault.help;
                self.errors.push(error);
                None
            }
        }
    }

    fn below(
        &mut self,
        layer: &'a Layer,
        rest: &'a [Layer],
        trail: &mut Vec<&'a str>,
        depth: usize,
    ) -> Vec<Draft> {
        let uses = &layer.uses;
        // Of a kind that is not known, the arity is not known either: whatever is there is fine.
        let arity = self.registry.kind(&uses.value).map(|kind| kind.arity);
        if let (Some(over), Some(next)) = (&layer.over, rest.first()) {
            self.errors.push(
                SpecError::new(
                    format!(
                        "`{}` says what lies below it by `over`, so no layer can follow it",
                        uses.value
                    ),
                    next.uses.span,
                    "this layer follows it",
                )
                .with(over.span, "what lies below it")
                .help("put the layer at the end of the stacks that `over` names, or above"),
            );
            return self.expand_over(over, trail, depth);
        }
        if let Some(Arity::Bottom) = arity {
            let something = layer.over.as_ref().map(|over| over.span);
            if let Some(span) = something.or(rest.first().map(|next| next.uses.span)) {
                self.errors.push(
                    SpecError::new(
                        format!(
                            "nothing can lie below `{}`: bytes come to rest there",
                            uses.value
                        ),
                        span,
                        "this lies below it",
                    )
                    .with(uses.span, "a bottom")
                    .help("a stack reads from top to bottom: put this layer above, or take it out"),
                );
                // Their options are checked all the same, so that all errors come at once.
                for layer in rest {
                    self.known(layer);
                }
            }
            return Vec::new();
        }
        if let Some(over) = &layer.over {
            let count = over.value.len();
            let fits = match arity {
                Some(Arity::One) => (count != 1).then(|| "exactly one".to_owned()),
                Some(Arity::Many { min, max }) => {
                    (!(min..=max).contains(&count)).then(|| format!("{min} to {max}"))
                }
                _ => None,
            };
            let wrong = |wanted| {
                let message = format!(
                    "`{}` stands over {wanted}, and `over` lists {count}",
                    uses.value
                );
                SpecError::new(message, over.span, format!("{count} here"))
            };
            if let Some(wanted) = fits {
                self.errors.push(wrong(wanted));
            } else if count == 1 && matches!(arity, Some(Arity::Many { .. })) {
                let error = wrong("several, or over the next layer".to_owned());
                self.errors.push(error.help(
                    "put the layers of that one stack below this layer, or list one more stack",
                ));
            }
            return self.expand_over(over, trail, depth);
        }
        match (arity, rest.is_empty()) {
            (Some(Arity::Many { min, .. }), _) if min > 1 => {
                let message = format!("`{}` needs `over`: the stacks below it", uses.value);
                self.errors.push(
                    SpecError::new(message, uses.span, "has no `over`").help(
                        "write over = [\"disk1\", \"disk2\"], and [[stack.disk1]] further down",
                    ),
                );
            }
            (Some(_), true) => {
                let bottoms = self
                    .registry
                    .kinds()
                    .filter(|kind| kind.arity == Arity::Bottom);
                let message = format!(
                    "there is nothing below `{}`, and it keeps no bytes itself",
                    uses.value
                );
                self.errors
                    .push(
                        SpecError::new(message, uses.span, "the last layer").help(format!(
                            "end the stack with a bottom: {}",
                            listed(bottoms.map(|kind| kind.name), "or")
                        )),
                    );
            }
            _ => {}
        }
        self.expand(rest, trail, depth + 1).into_iter().collect()
    }

    fn expand_over(
        &mut self,
        over: &'a Spanned<Vec<Over>>,
        trail: &mut Vec<&'a str>,
        depth: usize,
    ) -> Vec<Draft> {
        let mut below = Vec::new();
        for (index, entry) in over.value.iter().enumerate() {
            match entry {
                Over::Inline(layers) => below.extend(self.expand(layers, trail, depth + 1)),
                Over::Named(name) => {
                    let same = |other: &&Over| matches!(other, Over::Named(other) if other.value == name.value);
                    if let Some(Over::Named(first)) = over.value[..index].iter().find(same) {
                        let message = format!("stack `{}` is listed twice", name.value);
                        self.errors.push(
                            SpecError::new(message, name.span, "here it comes again")
                                .with(first.span, "the first")
                                .help("one stack is one place for bytes: list each once"),
                        );
                        continue;
                    }
                    if let Some(stack) = self.stack(name) {
                        let inside = stack.name.value.as_str();
                        if let Some(from) = trail.iter().position(|outer| *outer == inside) {
                            let mut way = trail[from..].to_vec();
                            way.push(inside);
                            let message =
                                format!("stack `{inside}` contains itself: {}", way.join(" -> "));
                            self.errors.push(
                                SpecError::new(message, name.span, "here it comes again")
                                    .help("a stack ends in bottoms: name another stack here"),
                            );
                            continue;
                        }
                        self.visited.insert(inside);
                        trail.push(inside);
                        below.extend(self.expand(&stack.layers, trail, depth + 1));
                        trail.pop();
                    }
                }
            }
        }
        below
    }

    fn stack(&mut self, name: &Spanned<String>) -> Option<&'a SubStack> {
        let spec = self.spec;
        let found = spec
            .stacks
            .iter()
            .find(|stack| stack.name.value == name.value);
        if found.is_none() {
            let names = || spec.stacks.iter().map(|stack| stack.name.value.as_str());
            let help = match did_you_mean(&name.value, names()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write [[stack.{}]] above its layers", name.value),
            };
            let message = format!("there is no stack called `{}`", name.value);
            self.errors
                .push(SpecError::new(message, name.span, "missing").help(help));
        }
        found
    }

    /// Tells the sub-stacks that nothing uses, and checks them all the same.
    fn unused(&mut self) {
        let spec = self.spec;
        let named: BTreeSet<&str> = spec
            .all_layers()
            .filter_map(|layer| layer.over.as_ref())
            .flat_map(|over| &over.value)
            .filter_map(|over| match over {
                Over::Named(name) => Some(name.value.as_str()),
                Over::Inline(_) => None,
            })
            .collect();
        let (named, unnamed): (Vec<_>, Vec<_>) = spec
            .stacks
            .iter()
            .partition(|stack| named.contains(stack.name.value.as_str()));
        for stack in &unnamed {
            let name = &stack.name;
            let message = format!("stack `{}` is not used", name.value);
            self.errors.push(
                SpecError::new(message, name.span, "no `over` names it")
                    .help("name it in the `over` of a layer, or take it out"),
            );
        }
        for stack in unnamed.into_iter().chain(named) {
            let name = stack.name.value.as_str();
            if self.visited.insert(name) {
                self.layers = 0;
                self.expand(&stack.layers, &mut vec![name], 1);
            }
        }
    }

    /// Where kinds may not stand, and options that only the topmost of a kind may have.
    fn rules<'d>(&mut self, draft: &'d Draft, above: &mut Vec<&'d Draft>) {
        if let Some(known) = &draft.known {
            for rule in known.kind.rules {
                let (uses, message, other, relation, instead);
                if let Some((below, offence)) = draft.offender(rule) {
                    (uses, other) = (&draft.uses, &below.uses);
                    (relation, instead) = ("over", offence.instead);
                    message = offence.why;
                } else if let Some((up, offence)) = above.iter().find_map(|up| {
                    let offence = rule.against_above(&up.uses.value)?;
                    Some((up, offence))
                }) {
                    (uses, other) = (&draft.uses, &up.uses);
                    (relation, instead) = ("under", offence.instead);
                    message = offence.why;
                } else {
                    continue;
                }
                let message = format!(
                    "`{}` cannot stand {relation} `{}`: {message}",
                    uses.value, other.value
                );
                self.errors.push(
                    SpecError::new(message, uses.span, "this floor")
                        .with(other.span, format!("stands {relation} this one"))
                        .help(instead),
                );
            }
            for setting in known.settings.iter().filter(|setting| setting.row.topmost) {
                let Some(span) = setting.written else {
                    continue;
                };
                let same = above.iter().find(|up| up.uses.value == draft.uses.value);
                // Also over one: what lies below may be opened once more for each part.
                let many = |up: &&&Draft| match &up.known {
                    Some(known) => matches!(known.kind.arity, Arity::Many { .. }),
                    None => false,
                };
                let split = above.iter().find(many);
                let Some(culprit) = same.or(split) else {
                    continue;
                };
                let message = format!(
                    "`{}` is only for the topmost `{}`, and this one lies under `{}`",
                    setting.name, draft.uses.value, culprit.uses.value
                );
                self.errors.push(
                    SpecError::new(message, span, "not here")
                        .with(culprit.uses.span, "this lies above it")
                        .help(format!(
                            "move it to the topmost `{}`, or take it out",
                            draft.uses.value
                        )),
                );
            }
        }
        above.push(draft);
        for below in &draft.below {
            self.rules(below, above);
        }
        above.pop();
    }

    /// Every place has one owner, and no place lies inside another.
    fn places(&mut self, draft: &Draft, owners: &mut Vec<(PathBuf, Span, String)>) {
        let settings = draft.known.iter().flat_map(|known| &known.settings);
        for setting in settings.filter(|setting| setting.row.kind == OptionType::Place) {
            let Some(value) = &setting.value else {
                continue;
            };
            let Some(text) = value.as_text() else {
                continue;
            };
            let place = lexical(&self.base.join(text));
            let other = owners
                .iter()
                .find(|(other, ..)| place.starts_with(other) || other.starts_with(&place));
            if let Some((other, other_span, other_text)) = other {
                let message = if *other == place {
                    format!("two layers own {text:?}")
                } else {
                    format!("{text:?} and {other_text:?} lie one inside the other")
                };
                self.errors.push(
                    SpecError::new(message, value.span, "the second owner")
                        .with(*other_span, "the first")
                        .help("give each layer a directory of its own, side by side"),
                );
            }
            owners.push((place, value.span, text.to_owned()));
        }
        for below in &draft.below {
            self.places(below, owners);
        }
    }
}

impl Draft {
    /// The first floor below, top first, that a rule of this one has something against.
    fn offender(&self, rule: &TreeRule) -> Option<(&Self, Offence)> {
        self.below
            .iter()
            .find_map(|below| match rule.against_below(&below.uses.value) {
                Some(offence) => Some((below, offence)),
                None => below.offender_below(rule),
            })
    }

    fn offender_below(&self, rule: &TreeRule) -> Option<(&Self, Offence)> {
        let found = self.offender(rule);
        found.filter(|(_, offence)| offence.however_far)
    }
}

/// The same path without `.` and `..`, by its words alone: nothing is looked up.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                let up = clean.components().next_back();
                if matches!(up, Some(Component::Normal(_))) {
                    clean.pop();
                } else if !matches!(up, Some(Component::RootDir)) {
                    clean.push("..");
                }
            }
            other => clean.push(other),
        }
    }
    clean
}
