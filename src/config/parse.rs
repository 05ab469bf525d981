//! From TOML to values with spans.

use std::ops::Range;

use toml::de::{DeTable, DeValue};
use travertine_engine::stack::{Data, Entry, SourceId, Span, Spanned, SpecError, Table, Value};

use super::error_at;

/// Every error of a text that is not TOML, and its value if there is one worth judging.
pub(super) fn parse(text: &str) -> (Option<Value>, Vec<SpecError>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<SpecError> = errors.into_iter().map(|error| not_toml(&error)).collect();
    if !errors.is_empty() {
        // What follows from a slip of the pen only hides it: the first few tell enough.
        errors.truncate(3);
        return (None, errors);
    }
    let place = span(SourceId(0), 0..0);
    let data = Data::Table(Builder(SourceId(0)).table(table.into_inner()));
    (Some(Value { data, span: place }), errors)
}

/// The value of an override, which stands in `source` from byte `start` on: TOML if it can be read as
/// such, else text, so that no shell needs two kinds of quotes.
pub(super) fn parse_value(text: &str, source: SourceId, start: usize) -> Value {
    let whole = Span {
        source,
        start,
        end: start + text.len(),
    };
    let parsed = DeValue::parse(text).ok();
    let data = match parsed.map(|value| Builder(source).value(value.into_inner(), 0..0).data) {
        Some(Data::Other(_)) | None => Data::Text(text.to_owned()),
        Some(data) => data,
    };
    Value { data, span: whole }
}

fn not_toml(error: &toml::de::Error) -> SpecError {
    let place = span(SourceId(0), error.span().unwrap_or(0..0));
    error_at(
        format!("this is not TOML: {}", error.message()),
        "here",
        place,
    )
    .help(
        "a stack file has [[layer]] above each layer and lines of key = value below it; \
         `travertine init -` prints one",
    )
}

fn span(source: SourceId, range: Range<usize>) -> Span {
    Span {
        source,
        start: range.start,
        end: range.end,
    }
}

struct Builder(SourceId);

impl Builder {
    // The parser bounds how deep values nest, so this recursion is bounded too.
    fn table(&self, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().map(|(key, value)| {
            let at = span(self.0, key.span());
            let inner = value.span();
            Entry {
                key: Spanned::new(key.into_inner().into_owned(), at),
                value: self.value(value.into_inner(), inner),
            }
        });
        Table::of(entries.collect())
    }

    fn value(&self, value: DeValue<'_>, range: Range<usize>) -> Value {
        let place = span(self.0, range);
        let data = match value {
            DeValue::String(text) => Data::Text(text.into_owned()),
            DeValue::Boolean(flag) => Data::Flag(flag),
            DeValue::Datetime(_) => Data::Other("a date"),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Data::Integer(number),
                    Err(_) => Data::Other("a number that is too large"),
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Data::Number(number),
                Err(_) => Data::Other("a number that cannot be read"),
            },
            DeValue::Array(list) => Data::List(
                list.into_iter()
                    .map(|value| {
                        let inner = value.span();
                        self.value(value.into_inner(), inner)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Data::Table(self.table(table)),
        };
        Value { data, span: place }
    }
}
