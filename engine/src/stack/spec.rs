//! A stack as data: layers from top to bottom, sub-stacks by name.
//!
//! ```text
//!   level, reclaim, test for the whole stack
//!   layer: [ … ]         requests enter at the first, bytes rest on the last
//!   stack.NAME: [ … ]    sub-stacks, put below a layer by its `over`
//! ```
//!
//! Reading a spec finds what is wrong with its shape; what is wrong with its sense is for the plan.

use super::fault::{SpecError, did_you_mean, listed};
use super::value::{Data, Span, Spanned, Table, Value};

/// Most floors on the way from the top to a bottom.
pub const DEPTH_MAX: usize = 16;
/// Most layers of a stack, each sub-stack counted wherever it is put.
pub const LAYERS_MAX: usize = 64;
const NAME_MAX: usize = 64;

/// A stack as data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spec {
    /// The layers, top first.
    pub layers: Vec<Layer>,
    /// The sub-stacks, in the order in which they were written.
    pub stacks: Vec<SubStack>,
    /// The level of a commit that names none, as written.
    pub level: Option<Value>,
    /// When space is given back without being asked for, as written: for whoever opens an engine.
    pub reclaim: Option<Value>,
    /// Whether kinds that are there for tests only are accepted, as written.
    pub test: Option<Value>,
}

/// A sub-stack and its name.
#[derive(Debug, Clone, PartialEq)]
pub struct SubStack {
    /// What `over` calls it.
    pub name: Spanned<String>,
    /// Its layers, top first.
    pub layers: Vec<Layer>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layer {
    /// Its kind. Empty where the text said none: that was told already, and the plan passes over it.
    pub uses: Spanned<String>,
    /// A name, so that overrides and reports can tell it from others of its kind.
    pub name: Option<Spanned<String>>,
    /// Its options.
    pub options: Table,
    /// What lies below it, if that is not the next layer.
    pub over: Option<Spanned<Vec<Over>>>,
}

/// One entry of `over`.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// A sub-stack by name.
    Named(Spanned<String>),
    /// Layers written on the spot.
    Inline(Vec<Layer>),
}

impl Layer {
    /// A layer made in code.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self {
            uses: Spanned::new(kind.to_owned(), Span::default()),
            ..Self::default()
        }
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.options = self.options.with(option, value);
        self
    }

    /// Gives it a name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(Spanned::new(name.to_owned(), Span::default()));
        self
    }

    fn words(&self) -> impl Iterator<Item = String> {
        let name = self.name.iter().map(|name| name.value.clone());
        name.chain([self.uses.value.clone()])
    }

    /// Puts these stacks below it.
    #[must_use]
    pub fn over(mut self, below: Vec<Vec<Layer>>) -> Self {
        let below = below.into_iter().map(Over::Inline).collect();
        self.over = Some(Spanned::new(below, Span::default()));
        self
    }
}

impl Spec {
    /// A stack without a tree, made in code.
    #[must_use]
    pub fn linear(layers: impl IntoIterator<Item = Layer>) -> Self {
        Self {
            layers: layers.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Sets the level of a commit that names none.
    #[must_use]
    pub fn level(mut self, level: &str) -> Self {
        self.level = Some(level.into());
        self
    }

    /// Accepts kinds that are there for tests only.
    #[must_use]
    pub fn for_tests(mut self) -> Self {
        self.test = Some(true.into());
        self
    }

    /// Reads a spec from the value of a whole text, and tells everything that is wrong with its
    /// shape. What could be read is there even then, so that its sense can be checked as well.
    #[must_use]
    pub fn read(root: &Value) -> (Self, Vec<SpecError>) {
        let mut reader = Reader { errors: Vec::new() };
        let spec = reader.spec(root);
        (spec, reader.errors)
    }

    /// Overrides one option: `path` is the name or kind of a layer, a dot, and the option; or `level`
    /// or `test` alone.
    pub fn set(&mut self, path: &Spanned<String>, value: Value) -> Result<(), SpecError> {
        let error = |message: String, help: String| {
            SpecError::new(message, path.span, "this override").help(help)
        };
        let mut words = path.value.split('.');
        let first = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let Some((option, tables)) = rest.split_last() else {
            match first {
                "level" => self.level = Some(value),
                "test" => self.test = Some(value),
                _ => {
                    return Err(error(
                        format!("`{first}` is nothing that can be set"),
                        "write LAYER.OPTION=VALUE, like cache.memory=1GiB; or level=VALUE"
                            .to_owned(),
                    ));
                }
            }
            return Ok(());
        };
        if tables.is_empty() && ["use", "over", "name"].contains(option) {
            return Err(error(
                format!("`{option}` says how the stack is built, and cannot be overridden"),
                "change the stack file".to_owned(),
            ));
        }
        let is_layer = self
            .all_layers()
            .any(|layer| layer.words().any(|word| word == first));
        if first == "reclaim" && !is_layer {
            let table = Value::plain(Data::Table(Table::default()));
            if let Data::Table(table) = &mut self.reclaim.get_or_insert(table).data {
                table.set(Spanned::new(rest.join("."), path.span), value);
            }
            return Ok(());
        }
        let by_name = |layer: &Layer| layer.name.as_ref().is_some_and(|n| n.value == first);
        let by_kind = |layer: &Layer| layer.uses.value == first;
        let any_named = self.all_layers().any(by_name);
        let matches = |layer: &Layer| {
            if any_named {
                by_name(layer)
            } else {
                by_kind(layer)
            }
        };
        let count = self.all_layers().filter(|layer| matches(layer)).count();
        if count > 1 {
            return Err(error(
                format!("{count} layers use `{first}`, so this override could mean any of them"),
                "give the layer a name in the stack file, and use that".to_owned(),
            ));
        }
        let words: Vec<String> = self.all_layers().flat_map(Layer::words).collect();
        let mut lists = std::iter::once(&mut self.layers)
            .chain(self.stacks.iter_mut().map(|stack| &mut stack.layers));
        let Some(layer) = lists.find_map(|layers| first_mut(layers, &matches)) else {
            let words = || words.iter().map(String::as_str);
            let near = did_you_mean(first, words());
            return Err(error(
                format!("no layer is named or uses `{first}`"),
                match near {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("there are {}", listed(words(), "and")),
                },
            ));
        };
        let mut table = &mut layer.options;
        for key in tables {
            let key = Spanned::new((*key).to_owned(), path.span);
            table = table.table_mut(&key).ok_or_else(|| {
                error(
                    format!("`{}` of `{first}` is no table", key.value),
                    "set the option itself".to_owned(),
                )
            })?;
        }
        table.set(Spanned::new((*option).to_owned(), path.span), value);
        Ok(())
    }

    /// This stack without one of its layers, for each layer that one other follows: the layer, and
    /// what is left. Whether that is legal is for the plan to say.
    #[must_use]
    pub fn thinner(&self) -> Vec<(Layer, Self)> {
        let mut found = Vec::new();
        loop {
            let mut spec = self.clone();
            let mut skip = found.len();
            let mut lists: Vec<&mut Vec<Layer>> = vec![&mut spec.layers];
            lists.extend(spec.stacks.iter_mut().map(|stack| &mut stack.layers));
            match lists.into_iter().find_map(|list| take_nth(list, &mut skip)) {
                Some(layer) => found.push((layer, spec)),
                None => return found,
            }
        }
    }

    /// Every layer that is written anywhere, each once.
    pub fn all_layers(&self) -> impl Iterator<Item = &Layer> {
        let mut queue: Vec<&Layer> = self
            .stacks
            .iter()
            .flat_map(|stack| &stack.layers)
            .chain(&self.layers)
            .collect();
        std::iter::from_fn(move || {
            let layer = queue.pop()?;
            for over in layer.over.iter().flat_map(|over| &over.value) {
                if let Over::Inline(layers) = over {
                    queue.extend(layers);
                }
            }
            Some(layer)
        })
    }
}

fn first_mut<'a>(
    layers: &'a mut [Layer],
    matches: &impl Fn(&Layer) -> bool,
) -> Option<&'a mut Layer> {
    for layer in layers {
        if matches(layer) {
            return Some(layer);
        }
        for over in layer.over.iter_mut().flat_map(|over| &mut over.value) {
            if let Over::Inline(layers) = over
                && let Some(found) = first_mut(layers, matches)
            {
                return Some(found);
            }
        }
    }
    None
}

/// Takes out the layer that `skip` others come before, of those that one other follows.
fn take_nth(list: &mut Vec<Layer>, skip: &mut usize) -> Option<Layer> {
    for index in 0..list.len() {
        let layer = &mut list[index];
        if let Some(over) = &mut layer.over {
            let inline = over.value.iter_mut().filter_map(|over| match over {
                Over::Inline(layers) => Some(layers),
                Over::Named(_) => None,
            });
            for list in inline {
                if let Some(taken) = take_nth(list, skip) {
                    return Some(taken);
                }
            }
        } else if index + 1 < list.len() {
            match skip.checked_sub(1) {
                Some(less) => *skip = less,
                None => return Some(list.remove(index)),
            }
        }
    }
    None
}

struct Reader {
    errors: Vec<SpecError>,
}

impl Reader {
    fn spec(&mut self, root: &Value) -> Spec {
        let mut spec = Spec::default();
        let Data::Table(root_table) = &root.data else {
            let message = format!("a stack is a table, not {}", root.type_name());
            self.errors.push(SpecError::new(message, root.span, "here"));
            return spec;
        };
        for entry in root_table.iter() {
            match entry.key.value.as_str() {
                "layer" => spec.layers = self.layers(&entry.value, "the stack", 0),
                "stack" => spec.stacks = self.stacks(&entry.value),
                "level" => spec.level = Some(entry.value.clone()),
                "reclaim" => spec.reclaim = Some(entry.value.clone()),
                "test" => spec.test = Some(entry.value.clone()),
                key => {
                    let known = ["layer", "stack", "level", "reclaim", "test"];
                    let help = match did_you_mean(key, known) {
                        Some(word) => format!("did you mean `{word}`?"),
                        None => format!("a stack file has {}", listed(known, "and")),
                    };
                    let message = format!("a stack file has no `{key}`");
                    self.errors
                        .push(SpecError::new(message, entry.key.span, "unknown key").help(help));
                }
            }
        }
        if root_table.get("layer").is_none() {
            let message = "this stack has no layers".to_owned();
            self.errors.push(
                SpecError::new(message, root.span, "no [[layer]] here").help(
                    "begin with two lines: [[layer]] and use = \"file\", then path = \"data/NAME\"",
                ),
            );
        }
        self.names_are_unique(&spec);
        spec
    }

    fn stacks(&mut self, value: &Value) -> Vec<SubStack> {
        let Data::Table(table) = &value.data else {
            self.errors.push(
                SpecError::new(
                    "`stack` holds sub-stacks by name",
                    value.span,
                    "not a table",
                )
                .help("write [[stack.NAME]] above each of its layers"),
            );
            return Vec::new();
        };
        let stacks = table.iter().map(|entry| {
            let whose = format!("stack `{}`", entry.key.value);
            self.name(&entry.key);
            SubStack {
                name: entry.key.clone(),
                layers: self.layers(&entry.value, &whose, 0),
            }
        });
        stacks.collect()
    }

    fn layers(&mut self, value: &Value, whose: &str, depth: usize) -> Vec<Layer> {
        match &value.data {
            Data::Table(table) => vec![self.layer(table, value.span, depth)],
            Data::List(list) if list.is_empty() => {
                let message = format!("{whose} has no layers");
                self.errors
                    .push(SpecError::new(message, value.span, "nothing in here"));
                Vec::new()
            }
            Data::List(list) => list
                .iter()
                .flat_map(|value| match &value.data {
                    Data::Table(table) => Some(self.layer(table, value.span, depth)),
                    _ => {
                        let message =
                            format!("{whose}: a layer is a table, not {}", value.type_name());
                        self.errors.push(
                            SpecError::new(message, value.span, "here")
                                .help("write [[layer]] and use = \"…\" on lines of their own"),
                        );
                        None
                    }
                })
                .collect(),
            _ => {
                let message = format!("{whose}: layers are tables, not {}", value.type_name());
                self.errors.push(
                    SpecError::new(message, value.span, "here")
                        .help("write [[layer]] and use = \"…\" on lines of their own"),
                );
                Vec::new()
            }
        }
    }

    fn layer(&mut self, table: &Table, span: Span, depth: usize) -> Layer {
        let mut layer = Layer::default();
        layer.uses.span = span;
        let mut says_use = false;
        let mut options = Vec::new();
        for entry in table.iter() {
            match entry.key.value.as_str() {
                "use" => {
                    says_use = true;
                    layer.uses = self.text(&entry.value, "use", "\"file\"");
                    if entry.value.as_text() == Some("") {
                        let error =
                            SpecError::new("`use` names no kind", entry.value.span, "empty");
                        self.errors
                            .push(error.help("`travertine plugins` lists the kinds"));
                    }
                }
                "name" => {
                    let name = self.text(&entry.value, "name", "\"front\"");
                    self.name(&name);
                    layer.name = Some(name);
                }
                "over" => layer.over = Some(self.over(&entry.value, depth)),
                _ => options.push(entry.clone()),
            }
        }
        layer.options = Table::of(options);
        if !says_use {
            layer.uses.span = span;
            let near = table
                .iter()
                .find(|entry| did_you_mean(&entry.key.value, ["use"]).is_some());
            let error = SpecError::new(
                "this layer does not say what it uses",
                near.map_or(span, |entry| entry.key.span),
                "no `use`",
            );
            self.errors.push(error.help(match near {
                Some(_) => "did you mean `use`?",
                None => "every layer says use = \"KIND\"; `travertine plugins` lists the kinds",
            }));
        }
        layer
    }

    fn over(&mut self, value: &Value, depth: usize) -> Spanned<Vec<Over>> {
        let list = match &value.data {
            _ if depth >= DEPTH_MAX => {
                let message = format!("layers are nested more than {DEPTH_MAX} deep");
                self.errors
                    .push(SpecError::new(message, value.span, "this is too deep"));
                &[]
            }
            Data::List(list) => list.as_slice(),
            _ => {
                self.errors.push(
                    SpecError::new("`over` is a list of stacks", value.span, "not a list").help(
                        "write over = [\"disk1\", \"disk2\"], and [[stack.disk1]] further down",
                    ),
                );
                // What was meant is clear: nothing else is wrong with it.
                std::slice::from_ref(value)
            }
        };
        let below = list.iter().map(|value| match &value.data {
            Data::Text(name) => Over::Named(Spanned::new(name.clone(), value.span)),
            _ => Over::Inline(self.layers(value, "an entry of `over`", depth + 1)),
        });
        Spanned::new(below.collect(), value.span)
    }

    fn text(&mut self, value: &Value, key: &str, example: &str) -> Spanned<String> {
        if let Some(text) = value.as_text() {
            return Spanned::new(text.to_owned(), value.span);
        }
        let message = format!("`{key}` takes text in quotes, not {}", value.type_name());
        self.errors.push(
            SpecError::new(message, value.span, "here")
                .help(format!("for example {key} = {example}")),
        );
        Spanned::new(String::new(), value.span)
    }

    fn name(&mut self, name: &Spanned<String>) {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let Spanned { value, span } = name;
        // That it is no text was told.
        if self.errors.iter().any(|error| error.span == *span) {
            return;
        }
        if value.is_empty() || value.len() > NAME_MAX || !value.chars().all(fine) {
            let message = format!("{value:?} is no name");
            self.errors
                .push(SpecError::new(message, *span, "this name").help(format!(
                    "a name has 1 to {NAME_MAX} letters, digits, `-` and `_`"
                )));
        }
    }

    fn names_are_unique(&mut self, spec: &Spec) {
        let mut names: Vec<&Spanned<String>> = spec
            .all_layers()
            .filter_map(|layer| layer.name.as_ref())
            .collect();
        names.sort_by_key(|name| (&name.value, name.span));
        for pair in names.windows(2) {
            if pair[0].value == pair[1].value {
                let message = format!("two layers are named `{}`", pair[1].value);
                self.errors.push(
                    SpecError::new(message, pair[1].span, "the second")
                        .with(pair[0].span, "the first")
                        .help("an override could mean either: rename one"),
                );
            }
        }
    }
}
