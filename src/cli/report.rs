//! Errors of a stack file as people like to see them: the line, the place in it, the remedy.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use serde::Serialize;

use super::{Failure, Terminal};
use crate::config::{Refusal, Source};
use crate::stack::{Span, SpecError};

/// A drawing shows no more text than this round a place, in bytes.
const DRAWN_MAX: usize = 600;

/// One error, for programs.
#[derive(Debug, Serialize)]
pub(super) struct Fact<'a> {
    message: &'a str,
    file: &'a str,
    line: usize,
    column: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

/// Every error of a refusal, for programs.
pub(super) fn facts(refusal: &Refusal) -> Vec<Fact<'_>> {
    let fact = |error| {
        let error: &SpecError = error;
        let source = refusal.source(error.span);
        let (line, column) = source.line_column(error.span.start);
        Fact {
            message: &error.message,
            file: &source.name,
            line,
            column,
            label: &error.label,
            help: error.help.as_deref(),
        }
    };
    refusal.errors().iter().map(fact).collect()
}

/// Prints every error of a refusal.
pub(super) fn tell(refusal: &Refusal, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let theme = if terminal.colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(terminal.width())
        .with_links(false);
    for error in refusal.errors() {
        let mut text = String::new();
        if handler
            .render_report(&mut text, &Shown::new(error, refusal))
            .is_err()
        {
            text = error.to_string();
        }
        terminal.note(text.trim_end_matches('\n'))?;
    }
    let more = refusal.more();
    if more > 0 {
        terminal.note(format_args!("and {more} errors more"))?;
    }
    Ok(())
}

/// One error as miette wants it. Labels in other texts than the error's own become part of the help:
/// a drawing shows one text.
struct Shown<'a> {
    error: &'a SpecError,
    place: String,
    source: Option<NamedSource<String>>,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(error: &'a SpecError, refusal: &'a Refusal) -> Self {
        let source = refusal.source(error.span);
        let (line, column) = source.line_column(error.span.start);
        let mut help = error.help.clone().unwrap_or_default();
        let mut labels = Vec::new();
        let here = error.related.iter().map(|(span, _)| *span);
        let drawn = here
            .chain([error.span])
            .filter(|span| span.source == error.span.source)
            .all(|span| can_be_drawn(&source.text, span));
        if drawn {
            labels.push(label(source, error.span, &error.label, true));
            for (span, words) in &error.related {
                if span.source == error.span.source {
                    labels.push(label(source, *span, words, false));
                } else {
                    let other = refusal.source(*span);
                    let (line, column) = other.line_column(span.start);
                    let newline = if help.is_empty() { "" } else { "\n" };
                    help.push_str(&format!("{newline}{words}: {}:{line}:{column}", other.name));
                }
            }
        }
        Self {
            error,
            place: format!("{}:{line}:{column}", source.name),
            source: drawn.then(|| NamedSource::new(&source.name, source.text.clone())),
            labels,
            help: (!help.is_empty()).then_some(help),
        }
    }
}

/// Whether the lines round a place are there and short enough to be shown.
fn can_be_drawn(text: &str, span: Span) -> bool {
    let end = span.end.min(text.len());
    let start = span.start.min(end);
    let (Some(before), Some(after)) = (text.get(..start), text.get(end..)) else {
        return false;
    };
    let from = before
        .rmatch_indices('\n')
        .nth(1)
        .map_or(0, |(newline, _)| newline);
    let to = after
        .match_indices('\n')
        .nth(1)
        .map_or(text.len(), |(newline, _)| end + newline);
    !text.is_empty() && to - from <= DRAWN_MAX
}

fn label(source: &Source, span: Span, words: &str, primary: bool) -> LabeledSpan {
    let end = span.end.min(source.text.len());
    let start = span.start.min(end);
    let words = (!words.is_empty()).then(|| words.to_owned());
    if primary {
        LabeledSpan::new_primary_with_span(words, (start, end - start))
    } else {
        LabeledSpan::new_with_span(words, (start, end - start))
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where no line can be drawn, the place still has to be told.
        if self.source.is_none() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.error.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.error, f)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| {
            let labels: Box<dyn Iterator<Item = LabeledSpan>> =
                Box::new(self.labels.iter().cloned());
            labels
        })
    }
}
