//! The kinds that one program knows. A value, never a global: what a program can open is what its
//! `main` put in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::{SpecError, did_you_mean, listed};
use super::plugin::{AnyPlugin, Erased, Plugin, PluginKind};
use super::value::{Span, Spanned};

/// A set of kinds.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Arc<dyn AnyPlugin>>,
}

impl Registry {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows one kind more. A kind of the same name is replaced: an outsider may bring a better one.
    #[must_use]
    pub fn with<P: Plugin>(mut self) -> Self {
        self.kinds
            .insert(P::KIND.name, Arc::new(Erased::<P>::new()));
        self
    }

    /// The kinds, by name.
    pub fn kinds(&self) -> impl Iterator<Item = &PluginKind> {
        self.kinds.values().map(|plugin| plugin.kind())
    }

    /// One kind.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<&PluginKind> {
        self.kinds.get(name).map(|plugin| plugin.kind())
    }

    pub(super) fn find(&self, name: &Spanned<String>) -> Result<&dyn AnyPlugin, SpecError> {
        let Spanned { value, span } = name;
        self.kinds
            .get(value.as_str())
            .map(AsRef::as_ref)
            .ok_or_else(|| self.unknown(value, *span))
    }

    fn unknown(&self, name: &str, span: Span) -> SpecError {
        let names = || self.kinds.keys().copied();
        let help = match did_you_mean(name, names()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => {
                let kinds = self.kinds().filter(|kind| !kind.test_only);
                format!(
                    "the kinds are {}",
                    listed(kinds.map(|kind| kind.name), "and")
                )
            }
        };
        SpecError::new(
            format!("there is no plug-in called `{name}`"),
            span,
            "not registered",
        )
        .help(help)
    }
}
