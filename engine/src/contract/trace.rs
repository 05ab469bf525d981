//! On whose behalf a call is made: the caller's trace, as [W3C](https://www.w3.org/TR/trace-context/)
//! writes it down.
//!
//! ```text
//!   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//!                │  trace                            span of it       1: somebody keeps it
//! ```
//!
//! Whoever serves calls from elsewhere reads it from what came along ([`extract`]) and makes the call
//! [`within`] it. Whoever makes calls elsewhere sends it along ([`inject`]). Between the two it stays with the
//! thread, and goes to a driver with the work. Spans of `tracing` are told of it by a [`Tracer`], if the
//! program has one; without one it passes through as it came.
//!
//! A trace decides nothing: what is no trace is none, and never an error of the call.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;

use super::error::{Error, Result};

/// The header, or the key, that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// Length of version 0, which is how all of them begin.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceParent {
    /// A span of a trace; `None` if one of them is zero, which means that there is none. `sampled` says
    /// whether somebody keeps it.
    #[must_use]
    pub const fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        if trace == 0 || span == 0 {
            return None;
        }
        Some(Self {
            trace,
            span,
            sampled,
        })
    }

    /// The trace.
    #[must_use]
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// The span in it.
    #[must_use]
    pub const fn span(self) -> u64 {
        self.span
    }

    /// Whether somebody keeps it.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.sampled
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { SAMPLED } else { 0 };
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl FromStr for TraceParent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| Error::invalid("this is no traceparent"))
    }
}

fn read(text: &str) -> Option<TraceParent> {
    let bytes = text.as_bytes();
    let known = bytes.get(..LENGTH)?;
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let dashes = [2, 35, 52];
    let shaped = known
        .iter()
        .enumerate()
        .all(|(at, byte)| match dashes.contains(&at) {
            true => *byte == b'-',
            false => hex(byte),
        });
    let version = text.get(..2)?;
    // A later version may go on, after a dash.
    let ends = match version {
        "ff" => false,
        "00" => bytes.len() == LENGTH,
        _ => bytes.get(LENGTH).is_none_or(|byte| *byte == b'-'),
    };
    if !shaped || !ends {
        return None;
    }
    let trace = u128::from_str_radix(text.get(3..35)?, 16).ok()?;
    let span = u64::from_str_radix(text.get(36..52)?, 16).ok()?;
    let flags = u8::from_str_radix(text.get(53..55)?, 16).ok()?;
    TraceParent::new(trace, span, flags & SAMPLED != 0)
}

/// What a program that exports traces brings, so that its spans and those of others are one trace.
pub trait Tracer: Send + Sync + fmt::Debug {
    /// The place of this thread's current span.
    fn current(&self) -> Option<TraceParent>;
    /// Makes a span that is nobody's child go on from the caller's.
    fn adopt(&self, span: &tracing::Span, caller: TraceParent);
}

static TRACER: OnceLock<Box<dyn Tracer>> = OnceLock::new();

thread_local! {
    static CALLER: Cell<Option<TraceParent>> = const { Cell::new(None) };
}

/// Takes the program's tracer, once.
///
/// Errors: `Invalid`, if there is one already.
pub fn install(tracer: Box<dyn Tracer>) -> Result<()> {
    TRACER
        .set(tracer)
        .map_err(|_| Error::invalid("this program has a tracer already"))
}

/// Makes calls on behalf of a caller elsewhere.
pub fn within<T>(caller: Option<TraceParent>, calls: impl FnOnce() -> T) -> T {
    /// Puts back what was said before, whatever way the calls end.
    struct Before(Option<TraceParent>);
    impl Drop for Before {
        fn drop(&mut self) {
            CALLER.set(self.0);
        }
    }
    let _before = Before(CALLER.replace(caller));
    calls()
}

/// Who calls, as [`within`] said.
pub(crate) fn caller() -> Option<TraceParent> {
    CALLER.get()
}

/// The place that a call from here to elsewhere is made in.
#[must_use]
pub fn current() -> Option<TraceParent> {
    let current = TRACER.get().and_then(|tracer| tracer.current());
    current.or_else(caller)
}

/// Has a new span go on from the caller's, if it is nobody's child.
pub(crate) fn adopt(span: &tracing::Span) {
    if let (Some(tracer), Some(caller)) = (TRACER.get(), caller())
        && tracing::Span::current().is_none()
    {
        tracer.adopt(span, caller);
    }
}

/// Where a thread is, for work that goes on elsewhere: in which span, and on whose behalf.
#[derive(Debug)]
pub(crate) struct Here(Option<(tracing::Span, Option<TraceParent>)>);

impl Here {
    pub(crate) fn now() -> Self {
        let watched = LevelFilter::current() != LevelFilter::OFF;
        let caller = caller();
        Self((watched || caller.is_some()).then(|| (tracing::Span::current(), caller)))
    }

    pub(crate) fn call<T>(self, work: impl FnOnce() -> T) -> T {
        match self.0 {
            Some((span, caller)) => within(caller, || span.in_scope(work)),
            None => work(),
        }
    }
}

/// Writes the current place, if there is one, into what is sent along: `put` takes a key and a value.
pub fn inject(put: impl FnOnce(&'static str, String)) {
    if let Some(current) = current() {
        put(TRACEPARENT, current.to_string());
    }
}

/// Reads the caller's place from what came along: `get` looks up a key.
pub fn extract<'a>(get: impl FnOnce(&str) -> Option<&'a str>) -> Option<TraceParent> {
    read(get(TRACEPARENT)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_read_again() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parent.trace(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            (parent.span(), parent.is_sampled()),
            (0xf0_67aa_0ba9_02b7, true)
        );
        assert_eq!(parent.to_string(), TEXT);
        let unkept = TraceParent::new(1, 2, false).unwrap();
        assert_eq!(unkept.to_string().parse::<TraceParent>().unwrap(), unkept);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = TEXT.replacen("00", "cc", 1);
        let first: TraceParent = TEXT.parse().unwrap();
        for more in ["", "-what-comes-later"] {
            let text = format!("{later}{more}");
            assert_eq!(text.parse::<TraceParent>().unwrap(), first, "{text}");
        }
    }

    #[test]
    fn what_is_no_trace_is_none() {
        let wrong = [
            String::new(),
            "00".to_owned(),
            TEXT.to_uppercase(),
            TEXT.replacen("00", "ff", 1),
            format!("{TEXT}-more"),
            TEXT.replace('-', "_"),
            TEXT.replace("4bf9", "+bf9"),
            TEXT[..54].to_owned(),
            format!("cc{}x", &TEXT[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e4}-0f067aa0ba902b7-01".to_owned(),
        ];
        for text in wrong {
            text.parse::<TraceParent>().expect_err(&text);
            assert_eq!(extract(|_| Some(text.as_str())), None);
        }
    }

    #[test]
    fn what_came_along_goes_along() {
        let came = HashMap::from([(TRACEPARENT, TEXT)]);
        let mut goes = HashMap::new();
        let caller = extract(|key| came.get(key).copied());
        within(caller, || {
            inject(|key, value| drop(goes.insert(key, value)))
        });
        assert_eq!(goes[TRACEPARENT], TEXT);
        assert_eq!(current(), None, "it was for that call only");
        within(None, || {
            inject(|_, _| panic!("there is nothing to be sent"))
        });
        assert_eq!(extract(|_| None), None);
    }
}
