//! The texts that values come from, and what is wrong with them, place by place.

use std::fmt;
use std::io::Read;
use std::path::Path;

use travertine_engine::stack::{SourceId, Span, SpecError};

use super::FILE_MAX;

/// Who wrote a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The stack file.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

/// A text and what to call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What to call it: the path, or the override.
    pub name: String,
    /// What stands in it.
    pub text: String,
    /// Who wrote it.
    pub origin: Origin,
}

impl Source {
    pub(super) fn of_file(path: &Path, text: String) -> Self {
        Self {
            name: path.display().to_string(),
            text,
            origin: Origin::File,
        }
    }

    /// Puts stars where something stands that nobody is to see.
    fn blank(&mut self, span: Span) {
        let shown = |at: usize, c: char| !(span.start..span.end).contains(&at) || c == '\n';
        let text = self
            .text
            .char_indices()
            .flat_map(|(at, c)| match shown(at, c) {
                true => std::iter::repeat_n(c, 1),
                // As long as before: other errors stand behind it.
                false => std::iter::repeat_n('*', c.len_utf8()),
            });
        self.text = text.collect();
    }

    /// Line and column of a byte, both from one, columns counted in characters.
    #[must_use]
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

/// No more errors of one file are kept: nobody mends more at once.
const ERRORS_MAX: usize = 50;

/// Why a stack was refused: every error, and the texts that they stand in.
#[derive(Debug, Clone)]
pub struct Refusal {
    sources: Vec<Source>,
    errors: Vec<SpecError>,
    more: usize,
}

impl Refusal {
    pub(super) fn new(mut sources: Vec<Source>, mut errors: Vec<SpecError>) -> Self {
        for error in errors.iter().filter(|error| error.secret) {
            let SourceId(index) = error.span.source;
            if let Some(source) = sources.get_mut(index as usize) {
                source.blank(error.span);
            }
        }
        errors.sort_by_key(|error| error.span);
        errors.dedup();
        let more = errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        Self {
            sources,
            errors,
            more,
        }
    }

    /// The errors, in the order of the text.
    #[must_use]
    pub fn errors(&self) -> &[SpecError] {
        &self.errors
    }

    /// How many errors there are beyond those that were kept.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// The text that a span lies in.
    #[must_use]
    pub fn source(&self, span: Span) -> &Source {
        let SourceId(index) = span.source;
        self.sources.get(index as usize).unwrap_or(&self.sources[0])
    }
}

/// One line for each error: `file:line:column: message (help)`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let source = self.source(error.span);
            let (line, column) = source.line_column(error.span.start);
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}:{line}:{column}: {error}", source.name)?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} errors more"),
        }
    }
}

impl std::error::Error for Refusal {}

/// All of a file; `help` is for whoever has none.
pub(super) fn read_file(path: &Path, help: &str) -> Result<String, Box<Refusal>> {
    let refused = |text: String, error: SpecError| {
        let source = Source::of_file(path, text);
        Box::new(Refusal::new(vec![source], vec![error]))
    };
    let unreadable = |source: std::io::Error| {
        let error = SpecError::new(
            format!("this file cannot be read: {source}"),
            Span::default(),
            "",
        );
        refused(String::new(), error.help(help))
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a stack file is read before there is a medium"
    )]
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        let message = "this file is longer than 1 MiB";
        let error = SpecError::new(message, Span::default(), "");
        return Err(refused(
            String::new(),
            error.help("it should be a few lines of text"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let span = Span {
            source: SourceId(0),
            start: good,
            end: good + char::REPLACEMENT_CHARACTER.len_utf8(),
        };
        let message = format!("this file is not text in UTF-8: byte {good} cannot be read");
        refused(
            text,
            SpecError::new(message, span, "not UTF-8").help("save the file as UTF-8"),
        )
    })
}
