//! Errors over the wire: kind by kind, with the places they rose through.
//!
//! What comes from outside is cut to a bounded length, and control characters in it are escaped: it
//! ends in logs and terminals.

use std::time::Duration;

use prost::Message;
use travertine_engine::contract::{Error, ErrorKind};

use crate::proto;

/// Longest message that is taken over, in bytes.
const MESSAGE: usize = 4 << 10;
/// Longest place of a trail.
const PLACE: usize = 256;
/// Most places of a trail.
const TRAIL: usize = 32;

/// An error as a message.
#[must_use]
pub fn to_proto(error: &Error) -> proto::Error {
    use proto::ErrorKind as Wire;
    let kind = match error.kind() {
        ErrorKind::Conflict => Wire::Conflict,
        ErrorKind::Unavailable => Wire::Unavailable,
        ErrorKind::Corrupt => Wire::Corrupt,
        ErrorKind::Invalid => Wire::Invalid,
        ErrorKind::Fenced => Wire::Fenced,
        ErrorKind::Closed => Wire::Closed,
        ErrorKind::Full => Wire::Full,
        ErrorKind::Unsupported => Wire::Unsupported,
        _ => Wire::Unspecified,
    };
    let trail = error.trail().iter().take(TRAIL);
    proto::Error {
        kind: kind.into(),
        message: text(error.message(), MESSAGE),
        trail: trail.map(|place| text(place, PLACE)).collect(),
        retry_after: error.retry_after().map(|after| after.as_micros() as u64),
    }
}

/// An error from a message. A kind that is not known here is [`ErrorKind::Unavailable`]: the answer is
/// unknown.
#[must_use]
pub fn from_proto(error: &proto::Error) -> Error {
    use proto::ErrorKind as Wire;
    let kind = match error.kind() {
        Wire::Conflict => ErrorKind::Conflict,
        Wire::Unavailable | Wire::Unspecified => ErrorKind::Unavailable,
        Wire::Corrupt => ErrorKind::Corrupt,
        Wire::Invalid => ErrorKind::Invalid,
        Wire::Fenced => ErrorKind::Fenced,
        Wire::Closed => ErrorKind::Closed,
        Wire::Full => ErrorKind::Full,
        Wire::Unsupported => ErrorKind::Unsupported,
    };
    let mut out = Error::new(kind, text(&error.message, MESSAGE));
    for place in error.trail.iter().take(TRAIL) {
        out = out.at(text(place, PLACE));
    }
    match error.retry_after {
        Some(after) => out.with_retry(Duration::from_micros(after.min(60_000_000))),
        None => out,
    }
}

/// An error as the end of a unary call: the code that is nearest, and the error itself as details.
#[must_use]
pub fn to_status(error: &Error) -> tonic::Status {
    use tonic::Code;
    let code = match error.kind() {
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Fenced | ErrorKind::Closed => Code::FailedPrecondition,
        ErrorKind::Full => Code::ResourceExhausted,
        ErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Unavailable,
    };
    let details = to_proto(error).encode_to_vec();
    tonic::Status::with_details(code, text(&error.to_string(), MESSAGE), details.into())
}

/// The error that ended a call: the one in the details, or else what the code stands for.
#[must_use]
pub fn from_status(status: &tonic::Status) -> Error {
    use tonic::Code;
    if let Ok(error) = proto::Error::decode(status.details())
        && error.kind() != proto::ErrorKind::Unspecified
    {
        return from_proto(&error);
    }
    let kind = match status.code() {
        Code::Aborted => ErrorKind::Conflict,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unauthenticated
        | Code::PermissionDenied => ErrorKind::Invalid,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    let message = text(status.message(), MESSAGE);
    Error::new(kind, format!("{}: {message}", status.code()))
}

/// A text cut to so many bytes, with control characters escaped.
pub(crate) fn text(from: &str, most: usize) -> String {
    let mut out = String::with_capacity(from.len().min(most));
    for letter in from.chars() {
        let escaped = letter.is_control().then(|| letter.escape_default());
        let length = escaped
            .as_ref()
            .map_or(letter.len_utf8(), ExactSizeIterator::len);
        if out.len() + length > most {
            break;
        }
        match escaped {
            Some(escaped) => out.extend(escaped),
            None => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ErrorKind; 8] = [
        ErrorKind::Conflict,
        ErrorKind::Unavailable,
        ErrorKind::Corrupt,
        ErrorKind::Invalid,
        ErrorKind::Fenced,
        ErrorKind::Closed,
        ErrorKind::Full,
        ErrorKind::Unsupported,
    ];

    #[test]
    fn every_kind_arrives_with_its_trail() {
        for kind in KINDS {
            let error = Error::new(kind, "facts").at("here").at("there");
            let error = error.with_retry(Duration::from_millis(3));
            for back in [
                from_proto(&to_proto(&error)),
                from_status(&to_status(&error)),
            ] {
                assert_eq!(back.to_string(), error.to_string());
            }
        }
    }

    #[test]
    fn a_hostile_text_is_cut_and_escaped() {
        let error = proto::Error {
            kind: 77,
            message: "\u{1b}[2J\n".repeat(10_000),
            trail: vec!["\0".repeat(10_000); 10_000],
            retry_after: Some(u64::MAX),
        };
        let error = from_proto(&error);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().len() <= MESSAGE && error.trail().len() == TRAIL);
        assert!(!error.to_string().chars().any(char::is_control));
    }
}
