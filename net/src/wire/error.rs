//! An error as a message, as the status of a call, and back.
//!
//! The code tells the kind roughly, for those who know gRPC alone; the details tell it exactly, with the
//! places it rose through: a `google.rpc.Status` that holds a `travertine.v1.Error`, as is usual.
//!
//! | kind | code |
//! | --- | --- |
//! | conflict | `ABORTED` |
//! | unavailable | `UNAVAILABLE` |
//! | corrupt | `DATA_LOSS` |
//! | invalid | `INVALID_ARGUMENT` |
//! | fenced, closed | `FAILED_PRECONDITION` |
//! | full | `RESOURCE_EXHAUSTED` |
//! | unsupported | `UNIMPLEMENTED` |

use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use travertine_engine::contract::{Error, ErrorKind};

use crate::proto;

/// What the details say that they hold.
const TYPE_URL: &str = "type.googleapis.com/travertine.v1.Error";
/// Longest message that is told: a status travels in headers, which have bounds.
const MESSAGE_MAX: usize = 1_024;
/// Most places of a trail that are told, the innermost first.
const TRAIL_MAX: usize = 8;
/// Longest wait that is believed.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Longest name of a place.
const PLACE_MAX: usize = 96;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The status that a call ends with.
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let told = to_proto(error);
    let code = match error.kind() {
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Fenced | ErrorKind::Closed => Code::FailedPrecondition,
        ErrorKind::Full => Code::ResourceExhausted,
        ErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Unknown,
    };
    let details = Details {
        code: code.into(),
        message: told.message.clone(),
        details: vec![Any {
            type_url: TYPE_URL.to_owned(),
            value: told.encode_to_vec(),
        }],
    };
    Status::with_details(code, told.message, details.encode_to_vec().into())
}

/// What a call that ended with this status says. Without details the code has to do: then what is not
/// clearly a wrong call is unknown.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let told = Details::decode(status.details()).unwrap_or_default();
    let ours = |any: &Any| {
        let told = (any.type_url == TYPE_URL).then(|| proto::Error::decode(&*any.value));
        told?.ok()
    };
    if let Some(told) = told.details.iter().find_map(ours) {
        return from_proto(&told);
    }
    let kind = match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::OutOfRange => ErrorKind::Invalid,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    let text = format!("{} ({:?})", status.message(), status.code());
    Error::new(kind, text).caused_by(status.clone())
}

/// An error as a message.
#[must_use]
pub fn to_proto(error: &Error) -> proto::Error {
    let places = error.trail().iter().take(TRAIL_MAX);
    proto::Error {
        kind: proto::ErrorKind::from(error.kind()).into(),
        message: text(error.message(), MESSAGE_MAX),
        trail: places.map(|place| text(place, PLACE_MAX)).collect(),
        retry_after: error
            .retry_after()
            .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    }
}

/// A message as an error, no longer than one that this side would send.
#[must_use]
pub fn from_proto(told: &proto::Error) -> Error {
    let error = Error::new(told.kind().into(), text(&told.message, MESSAGE_MAX));
    let places = told.trail.iter().take(TRAIL_MAX);
    let error = places.fold(error, |error, place| error.at(text(place, PLACE_MAX)));
    match told.retry_after {
        Some(time) => error.with_retry(Duration::from_micros(time).min(RETRY_MAX)),
        None => error,
    }
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
    fn every_kind_comes_back_with_its_facts_and_places() {
        for kind in KINDS {
            let error = Error::new(kind, "it is so")
                .at("the floor")
                .at("the house")
                .with_retry(Duration::from_millis(7));
            let back = from_status(&to_status(&error));
            assert_eq!(back.to_string(), error.to_string());
            assert_eq!(back.kind(), kind);
        }
    }

    #[test]
    fn a_status_of_somebody_else_is_unknown_unless_the_call_is_wrong() {
        let kind = |code| from_status(&Status::new(code, "x")).kind();
        assert_eq!(kind(Code::Internal), ErrorKind::Unavailable);
        assert_eq!(kind(Code::PermissionDenied), ErrorKind::Invalid);
        assert_eq!(kind(Code::Unimplemented), ErrorKind::Unsupported);
        let garbage = Status::with_details(Code::Aborted, "x", vec![0xff; 64].into());
        assert_eq!(from_status(&garbage).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn what_is_told_is_bounded_and_plain() {
        let mut error = Error::invalid("\u{1b}[31m".to_owned() + &"ä".repeat(9_000));
        for _ in 0..100 {
            error = error.at("place".repeat(100));
        }
        let told = to_proto(&error);
        assert!(told.message.len() <= MESSAGE_MAX && !told.message.contains('\u{1b}'));
        assert_eq!(told.trail.len(), TRAIL_MAX);
        assert!(told.encoded_len() < 5_000);
        // A header of gRPC holds it, also where percent signs make three of one.
        assert!(to_status(&error).details().len() < 8_000);
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
        assert!(error.message().len() <= MESSAGE_MAX && error.trail().len() == TRAIL_MAX);
        assert!(!error.to_string().chars().any(char::is_control));
    }
}
