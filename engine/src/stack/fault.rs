//! What is wrong with a spec, where, and what to do about it.

use std::fmt;

use super::value::Span;

/// What a plug-in finds wrong in its own config: the words, and the option if it can be named.
/// The planner adds which layer it is and turns it into a [`SpecError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) message: String,
    pub(super) option: Option<&'static str>,
    pub(super) help: Option<String>,
    pub(super) span: Option<Span>,
}

impl Fault {
    /// A fault of the whole layer.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            option: None,
            help: None,
            span: None,
        }
    }

    /// A fault of one option: the error will point at its value.
    pub fn of(option: &'static str, message: impl Into<String>) -> Self {
        Self {
            option: Some(option),
            ..Self::new(message)
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The fault of an option that stands outside of all layers.
    #[must_use]
    pub fn of_value(self, option: &str, span: Span) -> SpecError {
        let message = format!("`{option}`: {}", self.message);
        let mut error = SpecError::new(message, span, "this value");
        error.help = self.help;
        error
    }

    /// Gives the fault a place unless it has one already.
    pub(super) fn or_at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// What is wrong, in a sentence.
    pub message: String,
    /// Where.
    pub span: Span,
    /// A few words for that place.
    pub label: Box<str>,
    /// Other places that have a part in it.
    pub related: Vec<(Span, String)>,
    /// What to change.
    pub help: Option<String>,
    /// What stands there may be a secret: it is not to be shown.
    pub secret: bool,
}

impl SpecError {
    /// An error at a place.
    pub fn new(message: impl Into<String>, span: Span, label: impl Into<Box<str>>) -> Self {
        Self {
            message: message.into(),
            span,
            label: label.into(),
            related: Vec::new(),
            help: None,
            secret: false,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Names another place that has a part in it.
    #[must_use]
    pub fn with(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SpecError {}

/// The word among `known` that `written` was probably meant to be.
pub(super) fn did_you_mean<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), word))
        .filter(|(distance, word)| *distance <= (word.len().max(3) / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// `a`, `b` or `c`, for messages.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}
