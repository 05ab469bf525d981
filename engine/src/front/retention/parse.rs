//! Reading a policy. What is wrong is told with its column and what to write instead.

use std::str::FromStr;

use crate::contract::{Error, Result};

use super::{Clause, DAY, Every, HOUR, Retention, SECOND, Span};

/// The largest first, as they are printed.
pub(super) const UNITS: [(&str, u64); 6] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("min", 60 * SECOND),
    ("s", SECOND),
];

/// More clauses than anybody means to write.
const CLAUSES_MAX: usize = 64;

const CLAUSES: &str = "a clause is `all`, `hourly`, `daily`, `weekly` or `monthly` with a span like `2d`, \
     `last` with a number, `newest`, or `tagged forever`";
const SPANS: &str = "write `forever`, or a number and a unit like `90min`, `2d` or `1y`; the units \
                     are s, min, h, d, w and y";

impl FromStr for Retention {
    type Err = Error;

    /// Reads `keep all 1h, hourly 2d, daily 30d, tagged forever`; the first word may be left out.
    ///
    /// Errors: `Invalid`, with the column and what to write.
    fn from_str(text: &str) -> Result<Self> {
        let mut clauses = Vec::new();
        let mut at = 0;
        for part in text.split(',') {
            let mut words = words(part, at);
            at += part.len() + 1;
            if clauses.is_empty() && words.first().is_some_and(|word| word.is("keep")) {
                words.remove(0);
            }
            clauses.push(clause(text, &words, at - 1)?);
            if clauses.len() > CLAUSES_MAX {
                let why = format!("these are more than {CLAUSES_MAX} clauses");
                return Err(wrong(text, at - 1, &why, "most policies need about four"));
            }
        }
        Ok(Self { clauses })
    }
}

/// A word, and at which byte it begins.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    at: usize,
}

impl Word<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

fn words(part: &str, at: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = part;
    while let Some(begin) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[begin..];
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.push(Word {
            text: &rest[..end],
            at: at + part.len() - rest.len(),
        });
        rest = &rest[end..];
    }
    words
}

/// One clause; `end` is where it ends in the text.
fn clause(text: &str, words: &[Word<'_>], end: usize) -> Result<Clause> {
    let Some((verb, rest)) = words.split_first() else {
        return Err(wrong(text, end, "a clause is missing here", CLAUSES));
    };
    let each = |every| Ok(Clause::Each(every, span(text, verb, rest, end)?));
    match verb.text.to_ascii_lowercase().as_str() {
        "all" => Ok(Clause::All(span(text, verb, rest, end)?)),
        "hourly" => each(Every::Hour),
        "daily" => each(Every::Day),
        "weekly" => each(Every::Week),
        "monthly" => each(Every::Month),
        "newest" => match rest.first() {
            None => Ok(Clause::Last(1)),
            Some(word) => Err(unexpected(text, word)),
        },
        "last" => {
            let Some(number) = rest.first() else {
                return Err(wrong(text, end, "`last` of how many?", "write `last 100`"));
            };
            nothing_more(text, &rest[1..])?;
            match number.text.replace('_', "").parse() {
                Ok(count) if count > 0 => Ok(Clause::Last(count)),
                _ => {
                    let why = format!("`{}` is no number of commits", number.text);
                    Err(wrong(text, number.at, &why, "write `last 100`"))
                }
            }
        }
        "tagged" => {
            nothing_more(text, rest.get(1..).unwrap_or_default())?;
            match rest.first() {
                Some(word) if word.is("forever") => Ok(Clause::Tagged),
                word => {
                    let why = "what a tag names stays until the tag goes";
                    let at = word.map_or(end, |word| word.at);
                    Err(wrong(text, at, why, "write `tagged forever`"))
                }
            }
        }
        _ => {
            let why = format!("no clause begins with `{}`", verb.text);
            Err(wrong(text, verb.at, &why, CLAUSES))
        }
    }
}

fn span(text: &str, verb: &Word<'_>, rest: &[Word<'_>], end: usize) -> Result<Span> {
    let Some(first) = rest.first() else {
        let why = format!("how far back does `{}` reach?", verb.text);
        return Err(wrong(text, end, &why, SPANS));
    };
    if first.is("forever") {
        nothing_more(text, &rest[1..])?;
        return Ok(Span(None));
    }
    let digits = first.text.find(|c: char| !c.is_ascii_digit() && c != '_');
    let (number, unit) = first.text.split_at(digits.unwrap_or(first.text.len()));
    // A space may stand between the number and its unit.
    let (unit, more) = match (unit, rest.get(1)) {
        ("", Some(unit)) => (unit.text, &rest[2..]),
        (unit, _) => (unit, &rest[1..]),
    };
    nothing_more(text, more)?;
    let wrong = |why: String| Err(wrong(text, first.at, &why, SPANS));
    let number = number.replace('_', "");
    if number.is_empty() {
        return wrong(format!("`{}` is no span of time", first.text));
    }
    let Some((_, of)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return wrong(match unit {
            "" => format!("`{number}` has no unit"),
            unit => format!("no unit is `{unit}`"),
        });
    };
    let span = number.parse().ok().and_then(|n: u64| n.checked_mul(*of));
    match span {
        Some(span) => Ok(Span(Some(span))),
        None => wrong(format!("`{}` is longer than time", first.text)),
    }
}

fn nothing_more(text: &str, rest: &[Word<'_>]) -> Result<()> {
    match rest.first() {
        Some(word) => Err(unexpected(text, word)),
        None => Ok(()),
    }
}

fn unexpected(text: &str, word: &Word<'_>) -> Error {
    let why = format!("`{}` is one word too many", word.text);
    wrong(text, word.at, &why, "put a comma between two clauses")
}

fn wrong(text: &str, at: usize, why: &str, help: &str) -> Error {
    let column = text.get(..at).unwrap_or(text).chars().count() + 1;
    Error::invalid(format!("what to keep, column {column}: {why}; {help}"))
}
