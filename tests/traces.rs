//! What a log tells: every verb at every floor, the slow calls, and never a secret.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Kind, Name, NewRecord};
use travertine::front::{Change, Engine, Hint};
use travertine::stack::Stack;

/// A log that stays in memory.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Heard {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Heard {
    /// Does some work while everything is told; answers all of it.
    fn all(work: impl FnOnce()) -> String {
        let heard = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(heard.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = heard.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }
}

fn open(text: &str, base: &Path) -> (Stack, Engine) {
    let registry = travertine::standard();
    let file = StackFile::parse("it.toml", text, base, &registry, &Overrides::none());
    file.unwrap().engine(&Env::system(), false).unwrap()
}

/// Stores and commits this body, reads it again, and closes.
fn work(text: &str, base: &Path, body: &[u8]) {
    let (stack, engine) = open(text, base);
    let session = engine.session().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[body],
    };
    let reference = session.store(&record, Hint::default()).unwrap();
    let change = Change::set(Name::new("it").unwrap(), reference);
    session.commit(&[change], None).wait().unwrap();
    // Of the store itself: the engine still has it at hand.
    let read = stack.store().read(reference.oid).wait().unwrap();
    assert!(read.is_some());
    engine.close().unwrap();
}

#[test]
fn every_call_is_a_span_at_every_floor() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[[layer]]\nuse = \"monitor\"\nslow = \"1 us\"\n[[layer]]\nuse = \"cache\"\nname = \"front\"\n\
                [[layer]]\nuse = \"file\"\npath = \"log\"\n";
    let heard = Heard::all(|| work(text, directory.path(), b"hello"));
    for floor in ["monitor", "front", "file"] {
        for verb in ["fence", "commit", "read", "close"] {
            let named = |line: &&str| {
                line.contains(&format!("{verb}{{floor=\"{floor}\"")) && line.contains("close time")
            };
            assert!(
                heard.lines().any(|line| named(&line)),
                "{verb} at {floor}: {heard}"
            );
        }
    }
    assert!(heard.contains("a slow call"), "{heard}");
    assert!(!heard.contains("hello"), "{heard}");
}

#[test]
fn no_key_and_no_body_is_ever_in_a_log() {
    const BODY: &str = "what-nobody-but-the-owner-may-see";
    let directory = tempfile::tempdir().unwrap();
    let key: [u8; 32] = std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0xa5);
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    #[expect(clippy::disallowed_methods, reason = "a test keeps its key in a file")]
    std::fs::write(directory.path().join("key"), &hex).unwrap();
    let text = "[[layer]]\nuse = \"encrypt\"\nkey = { file = \"key\" }\n\
                [[layer]]\nuse = \"monitor\"\nslow = \"1 us\"\n[[layer]]\nuse = \"file\"\npath = \"log\"\n";
    let heard = Heard::all(|| {
        work(text, directory.path(), BODY.as_bytes());
        // Also when it does not fit: the key of another.
        let other = hex.replace('a', "b");
        #[expect(clippy::disallowed_methods, reason = "a test keeps its key in a file")]
        std::fs::write(directory.path().join("key"), &other).unwrap();
        let registry = travertine::standard();
        let base = directory.path();
        let file = StackFile::parse("it.toml", text, base, &registry, &Overrides::none());
        if let Err(error) = file.unwrap().engine(&Env::system(), false) {
            tracing::error!(%error, ?error, "as a program would log it");
        }
    });
    assert!(heard.lines().count() > 20, "{heard}");
    let base64 = base64(&key);
    let bytes = format!("{key:?}");
    let inside = &bytes[1..bytes.len() - 1];
    for secret in [
        BODY,
        &hex,
        &hex.to_uppercase(),
        &base64,
        inside,
        &hex[..16],
        &hex[48..],
    ] {
        assert!(!heard.contains(secret), "{secret} is told: {heard}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sign = |at: usize, part: usize| {
        let three = |place: usize| u32::from(bytes.get(at * 3 + place).copied().unwrap_or(0));
        let bits = three(0) << 16 | three(1) << 8 | three(2);
        char::from(SIGNS[(bits >> (18 - 6 * part)) as usize & 63])
    };
    let groups = (0..bytes.len() / 3).flat_map(|at| (0..4).map(move |part| sign(at, part)));
    groups.collect()
}
