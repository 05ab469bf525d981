//! What floors guarantee to whoever stands on them.
//!
//! A property exists only if a check can refute it: a store that claims it and lies must fail that
//! check. So there are few, and each one's doc line says what would be seen if it did not hold.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::contract::Level;

/// One thing that a floor guarantees, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// What reached its level is found again after close and open of the same stack.
    Persists,
    /// After a fence, a sender of an older epoch is refused.
    Fences,
    /// An OID that was never stored is answered with *absent*, not with *unknown*.
    ProvesAbsence,
    /// Everything lies in one stream, so the order of all batches is one.
    OneStream,
    /// It can be opened several times side by side, as numbered parts that share nothing.
    Parts,
    /// Whoever stands on it may keep small notes beside what it stores, and finds them again with it.
    Notes,
}

impl Property {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Persists,
        Self::Fences,
        Self::ProvesAbsence,
        Self::OneStream,
        Self::Parts,
        Self::Notes,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Persists => "persists",
            Self::Fences => "fences",
            Self::ProvesAbsence => "proves absence",
            Self::OneStream => "one stream",
            Self::Parts => "parts",
            Self::Notes => "notes",
        }
    }

    /// What it means, to follow "that".
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Persists => "what was committed is there again after close and open",
            Self::Fences => "a writer of an older epoch is refused",
            Self::ProvesAbsence => "what was never stored is answered with absent",
            Self::OneStream => "all batches lie in one order",
            Self::Parts => "it can be opened several times, as parts that share nothing",
            Self::Notes => "small notes of who stands on it are kept beside what it stores",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of properties.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties(u16);

impl Properties {
    /// None.
    pub const NONE: Self = Self(0);
    /// All there are.
    pub const ALL: Self = Self((1 << Property::ALL.len()) - 1);

    /// These.
    #[must_use]
    pub const fn of(properties: &[Property]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < properties.len() {
            bits |= properties[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// All but these.
    #[must_use]
    pub const fn all_but(properties: &[Property]) -> Self {
        Self(Self::ALL.0 & !Self::of(properties).0)
    }

    /// In either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, property: Property) -> bool {
        self.0 & property.bit() != 0
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Property> {
        Property::ALL
            .into_iter()
            .filter(move |property| self.has(*property))
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Property::name).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Properties({self})")
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Which level a floor reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelRule {
    /// The least of those below.
    Below,
    /// This one, whatever lies below.
    At(Level),
    /// So many copies as there are below, where each of them reaches a device; else the least of them.
    Copies {
        /// How many must lie below for what the options ask.
        least: u8,
    },
}

/// What a floor gives to the one above, as derived from what lies below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gives {
    /// The highest level that a commit can reach.
    pub level: Level,
    /// What holds.
    pub properties: Properties,
}
