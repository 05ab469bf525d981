//! What a check is, and how one is run.

use std::fmt;
use std::panic::Location;

use super::fixture::{Fixture, Promises};
use crate::contract::{Error, ErrorKind, Level, Op};
use crate::stack::Property;

/// Why a check failed, and where in the kit.
#[derive(Clone)]
pub struct Failure {
    text: String,
    place: &'static Location<'static>,
}

impl Failure {
    /// A failure with these facts, at the caller's place.
    #[must_use]
    #[track_caller]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            place: Location::caller(),
        }
    }
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.place)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The answer of a check.
pub type Verdict = Result<(), Failure>;

/// Something that a check needs to be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// This property.
    Property(Property),
    /// Commits reach this level.
    Level(Level),
    /// The fixture can kill the process that has the stack open.
    Kill,
    /// The fixture can cut the power.
    PowerCut,
    /// The fixture lets nobody wait for its own sake.
    Prompt,
    /// The fixture can open the stack for reading beside its writer.
    Readers,
}

impl Need {
    /// Whether it is among the promises.
    #[must_use]
    pub fn is_met(self, promises: &Promises) -> bool {
        match self {
            Self::Property(property) => promises.properties.has(property),
            Self::Level(level) => promises.level >= level,
            Self::Kill => promises.kill,
            Self::PowerCut => promises.power_cut,
            Self::Prompt => promises.prompt,
            Self::Readers => promises.readers,
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property(property) => write!(f, "`{property}`"),
            Self::Level(level) => write!(f, "commits at level {level}"),
            Self::Kill => f.write_str("a fixture that can kill"),
            Self::PowerCut => f.write_str("a fixture that can cut the power"),
            Self::Prompt => f.write_str("a fixture without jitter"),
            Self::Readers => f.write_str("a fixture that others can read"),
        }
    }
}

/// One claim about every stack.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The claim, as the name of a test.
    pub name: &'static str,
    /// What it needs to make sense.
    pub needs: &'static [Need],
    /// Tests it on a fresh stack.
    pub run: fn(&dyn Fixture) -> Verdict,
}

impl Check {
    /// The first thing that this check needs and the promises lack.
    #[must_use]
    pub fn lacks(&self, promises: &Promises) -> Option<Need> {
        let mut needs = self.needs.iter().copied();
        needs.find(|need| !need.is_met(promises))
    }
}

const PERSISTS: Need = Need::Property(Property::Persists);
const FENCES: Need = Need::Property(Property::Fences);
const PROVES: Need = Need::Property(Property::ProvesAbsence);
const OS: Need = Need::Level(Level::Os);
const DISK: Need = Need::Level(Level::Disk);
use Need::{Kill, PowerCut, Prompt, Readers};

macro_rules! table {
    (() $($module:ident::$name:ident $needs:expr;)*) => {
        /// The list.
        pub const CHECKS: &[Check] = &[$(
            Check { name: stringify!($name), needs: &$needs, run: super::$module::$name },
        )*];
    };
}
crate::conformance_list!([table]());

/// The check of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.name == name)
}

/// Runs one check as a test: prints if it is skipped, panics if it fails.
///
/// # Panics
///
/// If the check fails, with what it found.
#[track_caller]
pub fn conduct(name: &str, fixture: &dyn Fixture) {
    let Some(check) = find(name) else {
        panic!("the kit has no check {name}");
    };
    if let Some(need) = check.lacks(&fixture.promises()) {
        println!("skipped: {name} needs {need}");
        return;
    }
    if let Err(failure) = (check.run)(fixture) {
        panic!("{name}: {failure}\non {fixture:?}");
    }
}

/// Ends a check with a failure unless something holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::conformance::kit::Failure::new(format!($($text)+)));
        }
    };
}
pub(super) use ensure;

/// The error of an op that must fail with one of these kinds.
#[track_caller]
pub(super) fn refused<T: fmt::Debug + Send + 'static>(
    what: &str,
    op: Op<T>,
    kinds: &[ErrorKind],
) -> Result<Error, Failure> {
    match op.wait() {
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => Err(Failure::new(format!(
            "{what} must be refused as {kinds:?}, and was as: {error}"
        ))),
        Ok(answer) => Err(Failure::new(format!(
            "{what} must be refused as {kinds:?}, and was answered with {answer:?}"
        ))),
    }
}
