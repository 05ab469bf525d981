//! The options of a kind as one table: name, type, bounds, default, doc.
//!
//! The same rows check a config, fill in its defaults, and feed the lists, the docs and the schema
//! that people read. So a plug-in's config type needs no defaults of its own: every row that has a
//! value is filled in before the type is read.

use serde::Serialize;

use super::fault::{Fault, SpecError, did_you_mean, listed};
use super::secret::Secret;
use super::units::{ByteSize, Time};
use super::value::{Data, Span, Spanned, Table, Value};

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OptionRow {
    /// Its key.
    pub name: &'static str,
    /// What it takes.
    #[serde(flatten)]
    pub kind: OptionType,
    /// What holds when it is not written.
    pub preset: Preset,
    /// What it is for, in a sentence.
    pub doc: &'static str,
    /// Whether the bytes on the media depend on it: part of the fingerprint.
    pub structural: bool,
    /// Whether only the topmost layer of its kind may have it.
    pub topmost: bool,
    /// Whether with it a call may be refused for a while that would be answered without it.
    pub refuses: bool,
}

/// What an option takes. Bounds are part of the type and inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OptionType {
    /// A number of bytes, with its unit.
    Size {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A span of time, with its unit; the bounds are in nanoseconds.
    Time {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A whole number.
    Integer {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// A number that may have a point.
    Number {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// A file or directory, relative to the stack file.
    Path,
    /// A directory that belongs to this layer alone, relative to the stack file.
    Place,
    /// One of these words.
    Choice {
        /// The words.
        words: &'static [&'static str],
    },
    /// A table of further options.
    Table {
        /// Its rows.
        rows: &'static [OptionRow],
    },
}

/// What holds when an option is not written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// It must be written; an example shows how.
    Required(&'static str),
    /// This value, as one would write it, without quotes.
    Is(&'static str),
    /// Nothing is set, and this is what it means.
    Unset(&'static str),
}

impl OptionRow {
    /// An option that must be written; `example` shows how.
    #[must_use]
    pub const fn required(
        name: &'static str,
        kind: OptionType,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, kind, Preset::Required(example), doc)
    }

    /// An option with a default, as one would write it but without quotes.
    #[must_use]
    pub const fn preset(
        name: &'static str,
        kind: OptionType,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, kind, Preset::Is(default), doc)
    }

    /// An option that may be left out; `meaning` says what holds then.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        kind: OptionType,
        meaning: &'static str,
        doc: &'static str,
    ) -> Self {
        Self::new(name, kind, Preset::Unset(meaning), doc)
    }

    const fn new(name: &'static str, kind: OptionType, preset: Preset, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            preset,
            doc,
            structural: false,
            topmost: false,
            refuses: false,
        }
    }

    /// The bytes on the media depend on it.
    #[must_use]
    pub const fn structural(mut self) -> Self {
        self.structural = true;
        self
    }

    /// Only the topmost layer of its kind may have it.
    #[must_use]
    pub const fn topmost(mut self) -> Self {
        self.topmost = true;
        self
    }

    /// With it a call may be refused for a while, with a time to try again. Stacks that are drawn by
    /// chance to be held against the one-file stack do without.
    #[must_use]
    pub const fn refuses(mut self) -> Self {
        self.refuses = true;
        self
    }
}

impl OptionType {
    /// What it takes, for people: `size, 1 MiB to 1 TiB`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Size { min, max } => format!("size, {} to {}", ByteSize(*min), ByteSize(*max)),
            Self::Time { min, max } => format!("time, {} to {}", time(*min), time(*max)),
            Self::Integer { min, max } => format!("whole number, {min} to {max}"),
            Self::Number { min, max } => format!("number, {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Place => "directory of its own".to_owned(),
            Self::Choice { words } => words
                .iter()
                .map(|word| format!("\"{word}\""))
                .collect::<Vec<_>>()
                .join(" or "),
            Self::Table { .. } => "table".to_owned(),
        }
    }

    /// The value that a default or an example stands for.
    #[must_use]
    pub fn value_of(&self, text: &str) -> Value {
        let parsed = match self {
            Self::Flag => text.parse().ok().map(Data::Flag),
            Self::Integer { .. } => text.parse().ok().map(Data::Integer),
            Self::Number { .. } => text.parse().ok().map(Data::Number),
            Self::Table { .. } => Some(Data::Table(Table::default())),
            _ => None,
        };
        Value::plain(parsed.unwrap_or_else(|| Data::Text(text.to_owned())))
    }

    /// Checks a value by type and bounds.
    pub fn check(&self, value: &Value) -> Result<(), Fault> {
        let wrong = || Err(self.mismatch(value));
        match (self, &value.data) {
            (Self::Size { min, max }, Data::Text(text)) => {
                let size: ByteSize = text.parse()?;
                between(size, ByteSize(*min), ByteSize(*max))
            }
            (Self::Time { min, max }, Data::Text(text)) => {
                let span: Time = text.parse()?;
                between(span, time(*min), time(*max))
            }
            (Self::Integer { min, max }, Data::Integer(number)) => between(*number, *min, *max),
            (Self::Number { min, max }, Data::Number(number)) => between(*number, *min, *max),
            (Self::Number { min, max }, Data::Integer(number)) => {
                between(*number as f64, *min, *max)
            }
            (Self::Flag, Data::Flag(_)) | (Self::Text, Data::Text(_)) => Ok(()),
            (Self::Path | Self::Place, Data::Text(text)) => {
                if text.is_empty() || text.contains('\0') {
                    let fault = Fault::new(format!("{text:?} is no path"));
                    return Err(fault.help("name a file or directory, like \"data/orders\""));
                }
                Ok(())
            }
            (Self::Choice { words }, Data::Text(text)) => {
                if words.contains(&text.as_str()) {
                    return Ok(());
                }
                let near = did_you_mean(text, words.iter().copied());
                let help = match near {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => format!("write {}", listed(words.iter().copied(), "or")),
                };
                Err(Fault::new(format!("`{text}` is none of its words")).help(help))
            }
            (Self::Table { .. }, Data::Table(_)) => Ok(()),
            _ => wrong(),
        }
    }

    fn mismatch(&self, value: &Value) -> Fault {
        let takes = match self {
            Self::Size { .. } => "a size in quotes, like \"64 KiB\"",
            Self::Time { .. } => "a time in quotes, like \"50 ms\"",
            Self::Integer { .. } => "a whole number without quotes",
            Self::Number { .. } => "a number without quotes",
            Self::Flag => "`true` or `false` without quotes",
            Self::Text => "text in quotes",
            Self::Path | Self::Place => "a path in quotes",
            Self::Choice { .. } => "a word in quotes",
            Self::Table { .. } => "a table, like { key = … }",
        };
        Fault::new(format!("{} stands here", value.type_name())).help(format!("it takes {takes}"))
    }
}

fn time(ns: u64) -> Time {
    Time(std::time::Duration::from_nanos(ns))
}

fn between<T: PartialOrd + std::fmt::Display>(value: T, min: T, max: T) -> Result<(), Fault> {
    // Written so that a number that compares with nothing is refused.
    if value >= min && value <= max {
        return Ok(());
    }
    Err(Fault::new(format!("{value} is out of bounds")).help(format!("from {min} to {max}")))
}

/// Keys of a whole stack that are easily written into its last layer.
const OF_THE_FILE: [&str; 3] = ["level", "reclaim", "test"];

/// One option as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key; with dots inside nested tables.
    pub name: String,
    /// The value; `None` where nothing is set.
    pub value: Option<Value>,
    /// Whether it was written, and where; else the default holds.
    pub written: Option<Span>,
    /// The row.
    pub row: &'static OptionRow,
}

/// Checks a layer's options against the rows, fills in defaults, and tells what is in force.
/// `owner` names the layer in messages, `span` is where it says what it uses.
pub(super) fn settle(
    owner: &str,
    rows: &'static [OptionRow],
    given: &Table,
    span: Span,
    errors: &mut Vec<SpecError>,
) -> (Table, Vec<Setting>) {
    let mut settled = Table::default();
    let mut settings = Vec::new();
    settle_into(
        owner,
        "",
        rows,
        given,
        span,
        errors,
        (&mut settled, &mut settings),
    );
    (settled, settings)
}

fn settle_into(
    owner: &str,
    prefix: &str,
    rows: &'static [OptionRow],
    given: &Table,
    span: Span,
    errors: &mut Vec<SpecError>,
    (settled, settings): (&mut Table, &mut Vec<Setting>),
) {
    for entry in given.iter() {
        let key = entry.key.value.as_str();
        if rows.iter().any(|row| row.name == key) {
            continue;
        }
        let names = || rows.iter().map(|row| row.name);
        let help = match did_you_mean(key, names()) {
            _ if OF_THE_FILE.contains(&key) => {
                format!("`{key}` is said of the whole stack: above the first layer")
            }
            Some(word) => format!("did you mean `{prefix}{word}`?"),
            None if rows.is_empty() => "it has no options".to_owned(),
            None => format!("it has {}", listed(names(), "and")),
        };
        let message = format!("the `{owner}` layer has no option `{prefix}{key}`");
        let mut error = SpecError::new(message, entry.key.span, "unknown option").help(help);
        if rows == Secret::ROWS {
            (error.span, error.secret) = (entry.value.span, true);
        }
        errors.push(error);
    }
    for row in rows {
        let name = format!("{prefix}{}", row.name);
        let written = given.entry(row.name);
        let value = match (written, row.preset) {
            (Some(entry), _) => {
                if let Err(fault) = row.kind.check(&entry.value) {
                    let message = format!("`{name}` of the `{owner}` layer: {fault}");
                    let mut error = SpecError::new(message, entry.value.span, "this value");
                    error.help = fault.help;
                    // Somebody may have written the secret itself where its place belongs.
                    let of_secret = |rows: &[OptionRow]| rows == Secret::ROWS;
                    error.secret =
                        matches!(row.kind, OptionType::Table { rows } if of_secret(rows));
                    errors.push(error);
                    continue;
                }
                entry.value.clone()
            }
            (None, Preset::Is(text)) => row.kind.value_of(text),
            (None, Preset::Required(example)) => {
                let message = format!("the `{owner}` layer needs `{name}`: {}", row.doc);
                let example = match row.kind {
                    OptionType::Table { .. } => example.to_owned(),
                    kind => kind.value_of(example).to_string(),
                };
                errors.push(
                    SpecError::new(message, span, format!("has no `{name}`"))
                        .help(format!("for example {} = {example}", row.name)),
                );
                continue;
            }
            (None, Preset::Unset(_)) => {
                settings.push(Setting {
                    name,
                    value: None,
                    written: None,
                    row,
                });
                continue;
            }
        };
        let value = match (&row.kind, &value.data) {
            (OptionType::Table { rows }, Data::Table(inner)) => {
                let mut table = Table::default();
                let prefix = format!("{name}.");
                settle_into(
                    owner,
                    &prefix,
                    rows,
                    inner,
                    value.span,
                    errors,
                    (&mut table, settings),
                );
                Value {
                    data: Data::Table(table),
                    span: value.span,
                }
            }
            _ => {
                settings.push(Setting {
                    name,
                    value: Some(value.clone()),
                    written: written.map(|entry| entry.value.span),
                    row,
                });
                value
            }
        };
        let key_span = written.map_or(span, |entry| entry.key.span);
        settled.set(Spanned::new(row.name.to_owned(), key_span), value);
    }
}
