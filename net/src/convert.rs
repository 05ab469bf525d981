//! The contract's values as messages, and back. What comes from elsewhere is checked here.

use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::contract::{
    Epoch, Error, ErrorKind, Level, Name, Oid, Record, Reference, Result,
};

use crate::proto;

impl From<Level> for proto::Level {
    fn from(level: Level) -> Self {
        let (kind, copies) = match level {
            Level::Memory => (proto::LevelKind::Memory, 0),
            Level::Os => (proto::LevelKind::Os, 0),
            Level::Disk => (proto::LevelKind::Disk, 0),
            Level::Replicated(copies) => (proto::LevelKind::Replicated, copies),
        };
        Self {
            kind: kind.into(),
            copies: copies.into(),
        }
    }
}

/// A level that is told.
pub(crate) fn level(told: proto::Level) -> Result<Level> {
    let copies = u8::try_from(told.copies).ok().filter(|copies| *copies > 0);
    match (proto::LevelKind::try_from(told.kind), copies) {
        (Ok(proto::LevelKind::Memory), _) => Ok(Level::Memory),
        (Ok(proto::LevelKind::Os), _) => Ok(Level::Os),
        (Ok(proto::LevelKind::Disk), _) => Ok(Level::Disk),
        (Ok(proto::LevelKind::Replicated), Some(copies)) => Ok(Level::Replicated(copies)),
        _ => Err(Error::invalid(format!(
            "there is no level {} on {} children",
            told.kind, told.copies
        ))),
    }
}

impl From<Epoch> for proto::Epoch {
    fn from(epoch: Epoch) -> Self {
        Self {
            number: epoch.number,
            tag: epoch.tag,
        }
    }
}

pub(crate) fn epoch(told: Option<proto::Epoch>) -> Epoch {
    told.map_or_else(Epoch::default, |told| Epoch {
        number: told.number,
        tag: told.tag,
    })
}

impl From<Reference> for proto::Reference {
    fn from(reference: Reference) -> Self {
        Self {
            oid: reference.oid.raw(),
            length: reference.length,
            check: reference.check,
            weak: reference.weak,
            leaf: reference.leaf,
        }
    }
}

impl TryFrom<proto::Reference> for Reference {
    type Error = Error;

    fn try_from(told: proto::Reference) -> Result<Self> {
        // What a table of references cannot hold is none.
        if told.length as usize > RECORD_BODY_MAX * 2 {
            let text = format!("a reference names a record of {} bytes", told.length);
            return Err(Error::invalid(text));
        }
        Ok(Self {
            oid: oid(told.oid)?,
            length: told.length,
            check: told.check,
            weak: told.weak,
            leaf: told.leaf,
        })
    }
}

/// An address that is told.
pub(crate) fn oid(raw: u64) -> Result<Oid> {
    Oid::from_raw(raw).ok_or_else(|| Error::invalid("zero is the address of no record"))
}

/// A reference that must be told.
pub(crate) fn reference(told: Option<proto::Reference>) -> Result<Reference> {
    told.ok_or_else(|| Error::invalid("a reference was left out"))?
        .try_into()
}

/// What was found at an address.
pub(crate) fn found(oid: Oid, record: Option<Record>) -> proto::Found {
    match record {
        None => proto::Found::default(),
        Some(record) => proto::Found {
            reference: Some(record.reference_to(oid).into()),
            kind: record.kind().0.into(),
            references: record.references().map(Into::into).collect(),
            body: record.body_bytes(),
        },
    }
}

/// A name, and what it points to.
pub(crate) fn named(name: &Name, to: Option<Reference>) -> proto::NamedReference {
    proto::NamedReference {
        name: name.as_str().to_owned(),
        to: to.map(Into::into),
    }
}

impl From<ErrorKind> for proto::ErrorKind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Fenced => Self::Fenced,
            ErrorKind::Closed => Self::Closed,
            ErrorKind::Full => Self::Full,
            ErrorKind::Unsupported => Self::Unsupported,
            // One that came after this file.
            _ => Self::Unspecified,
        }
    }
}

impl From<proto::ErrorKind> for ErrorKind {
    fn from(kind: proto::ErrorKind) -> Self {
        match kind {
            proto::ErrorKind::Conflict => Self::Conflict,
            proto::ErrorKind::Corrupt => Self::Corrupt,
            proto::ErrorKind::Invalid => Self::Invalid,
            proto::ErrorKind::Fenced => Self::Fenced,
            proto::ErrorKind::Closed => Self::Closed,
            proto::ErrorKind::Full => Self::Full,
            proto::ErrorKind::Unsupported => Self::Unsupported,
            proto::ErrorKind::Unavailable | proto::ErrorKind::Unspecified => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_comes_back_and_no_other_passes() {
        for asked in [
            Level::Memory,
            Level::Os,
            Level::Disk,
            Level::Replicated(1),
            Level::Replicated(255),
        ] {
            assert_eq!(level(asked.into()).unwrap(), asked);
        }
        for (kind, copies) in [(3, 0), (3, 256), (4, 1), (-1, 0)] {
            assert!(
                level(proto::Level { kind, copies }).is_err(),
                "{kind} {copies}"
            );
        }
    }
}
