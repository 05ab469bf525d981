//! Hostile stack files: one function, called by the fuzzer and by tests alike.

use std::path::Path;

use travertine_engine::stack::Span;

use super::{Overrides, StackFile};
use crate::standard;

/// Judges these bytes as a stack file; what lies before a NUL byte, if there is one, as settings from
/// outside.
///
/// It promises no panic, no hang, and the same judgement twice; that every error has words and a place
/// within the text that it names; and that a legal stack prints itself.
///
/// # Panics
///
/// If that does not hold.
pub fn config_parse(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (set, text) = text.split_once('\0').unwrap_or(("", text));
    let kinds = standard();
    let overrides = Overrides::of(set, &[]);
    let judge = || StackFile::parse("hostile.toml", text, Path::new("/base"), &kinds, &overrides);
    match (judge(), judge()) {
        (Ok(one), Ok(two)) => {
            assert!(!one.plan().to_string().is_empty(), "a stack prints nothing");
            let prints = [&one, &two].map(|file| file.plan().fingerprint().text().to_owned());
            assert_eq!(prints[0], prints[1], "two fingerprints of one stack");
        }
        (Err(one), Err(two)) => {
            assert_eq!(one.to_string(), two.to_string(), "judged twice");
            assert!(!one.errors().is_empty(), "refused without a reason");
            for error in one.errors() {
                let Span { start, end, .. } = error.span;
                let length = one.source(error.span).text.len();
                let inside = start <= end && end <= length;
                assert!(inside, "{error}: {start}..{end} of {length}");
                assert!(!error.message.is_empty(), "an error without words");
            }
        }
        _ => panic!("legal once, illegal another time"),
    }
}
