//! Options set from outside: `LAYER.OPTION=VALUE`, by the environment and by flags.

use travertine_engine::stack::{SourceId, Span, Spanned, Spec, SpecError};

use super::parse::parse_value;
use super::source::{Origin, Source};

/// Overrides in the order in which they apply: the later wins.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    list: Vec<(Origin, String)>,
}

impl Overrides {
    /// The variable that holds overrides, with `;` between them.
    pub const VARIABLE: &str = "TRAVERTINE_SET";

    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of the environment, then these flags.
    #[must_use]
    pub fn with_environment(flags: &[String]) -> Self {
        let environment = std::env::var_os(Self::VARIABLE).unwrap_or_default();
        Self::of(&environment.to_string_lossy(), flags)
    }

    /// Those of a text with `;` between them, then these flags.
    #[must_use]
    pub fn of(environment: &str, flags: &[String]) -> Self {
        let environment = environment
            .split(';')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| (Origin::Environment, item.to_owned()));
        let flags = flags.iter().map(|flag| (Origin::Flag, flag.clone()));
        Self {
            list: environment.chain(flags).collect(),
        }
    }

    pub(super) fn apply(
        &self,
        spec: &mut Spec,
        sources: &mut Vec<Source>,
        errors: &mut Vec<SpecError>,
    ) {
        for (origin, text) in &self.list {
            let source = SourceId(sources.len() as u32);
            let name = match origin {
                Origin::Environment => format!("{}={text}", Self::VARIABLE),
                _ => format!("--set {text}"),
            };
            sources.push(Source {
                name,
                text: text.clone(),
                origin: *origin,
            });
            let place = |start: usize, end: usize| Span { source, start, end };
            let Some((key, value)) = text.split_once('=') else {
                errors.push(
                    SpecError::new(
                        format!("`{text}` sets nothing"),
                        place(0, text.len()),
                        "no `=` in it",
                    )
                    .help("write LAYER.OPTION=VALUE, like cache.memory=1GiB"),
                );
                continue;
            };
            let from = key.len() + 1;
            let lead = value.len() - value.trim_start().len();
            let value = parse_value(value.trim(), source, from + lead);
            let path = Spanned::new(key.trim().to_owned(), place(0, key.len()));
            if let Err(error) = spec.set(&path, value) {
                errors.push(error);
            }
        }
    }
}
