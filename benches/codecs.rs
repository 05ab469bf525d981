//! Codecs through the engine against their bare libraries, on records of 4 KiB and 64 KiB.
//!
//! `cargo bench -p travertine-benches --bench codecs`: for each codec and length, rounds in turns of the
//! bare library, of an engine on a stack without the codec, and of one with it, all in memory. *whole* is
//! the engine with the codec against the library; *alone* takes off what the engine takes without it: what
//! the codec itself costs where it runs. Best of the rounds.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, and makes its key"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use travertine::contract::{Env, Error, Kind, Level, NewRecord, Reference, Result};
use travertine::front::{Engine, Hint, Options};
use travertine::stack::{Data, Layer, Opening, Plan, Spec, Table, Value};

const TEXT: &[u8] = include_bytes!("../examples/data/unicode-excerpt.txt");
/// Bytes of bodies in a round.
const BYTES: usize = 16 << 20;
const ROUNDS: usize = 12;

/// Nanoseconds for a round, the least so far: storing, reading.
#[derive(Clone, Copy)]
struct Best(f64, f64);

impl Best {
    const NONE: Self = Self(f64::MAX, f64::MAX);

    fn take(&mut self, (store, read): (f64, f64)) {
        *self = Self(self.0.min(store), self.1.min(read));
    }
}

fn main() -> Result<()> {
    let key = tempfile::tempdir().map_err(|error| Error::io("TMPDIR", error))?;
    std::fs::write(key.path().join("key"), [0x9A; 32])
        .map_err(|error| Error::io("the key", error))?;
    println!(
        "{:<9} {:>7} {:<6} {:>12} {:>12} {:>7} {:>7}",
        "codec", "bytes", "verb", "bare MB/s", "whole MB/s", "whole", "alone"
    );
    for length in [4 << 10, 64 << 10] {
        let bodies: Vec<Vec<u8>> = (0..BYTES / length)
            .map(|n| {
                let text = TEXT.iter().cycle().skip(n * 4_099 % TEXT.len());
                text.copied().take(length).collect()
            })
            .collect();
        for codec in ["lz4", "aes"] {
            let layer = match codec {
                "lz4" => Layer::new("compress"),
                _ => encrypt(),
            };
            let (mut bare, mut plain, mut coded) = (Best::NONE, Best::NONE, Best::NONE);
            for _ in 0..ROUNDS {
                bare.take(match codec {
                    "lz4" => by_lz4(&bodies),
                    _ => by_aes(&bodies),
                });
                plain.take(by_engine(key.path(), None, &bodies)?);
                coded.take(by_engine(key.path(), Some(&layer), &bodies)?);
            }
            tell(codec, length, "store", bare.0, plain.0, coded.0);
            tell(codec, length, "read", bare.1, plain.1, coded.1);
        }
    }
    Ok(())
}

fn tell(codec: &str, length: usize, verb: &str, bare: f64, plain: f64, coded: f64) {
    let speed = |ns: f64| BYTES as f64 / ns * 1e3;
    println!(
        "{codec:<9} {length:>7} {verb:<6} {:>12.0} {:>12.0} {:>7.2} {:>7.2}",
        speed(bare),
        speed(coded),
        bare / coded,
        bare / (coded - plain)
    );
}

fn encrypt() -> Layer {
    let file = Value::plain(Data::Text("key".to_owned()));
    let key = Table::default().with("file", file);
    Layer::new("encrypt").with("key", Value::plain(Data::Table(key)))
}

fn ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

fn by_lz4(bodies: &[Vec<u8>]) -> (f64, f64) {
    let mut packed = Vec::with_capacity(bodies.len());
    let store = ns(|| {
        for body in bodies {
            packed.push(lz4_flex::block::compress(black_box(body)));
        }
    });
    let read = ns(|| {
        for (packed, body) in packed.iter().zip(bodies) {
            let read = lz4_flex::block::decompress(black_box(packed), body.len());
            black_box(read.is_ok());
        }
    });
    (store, read)
}

/// As a caller has to use it: the body stays what it was, so it is copied and sealed in the copy.
fn by_aes(bodies: &[Vec<u8>]) -> (f64, f64) {
    let Ok(key) = UnboundKey::new(&AES_256_GCM, &[7; 32]) else {
        return (f64::MAX, f64::MAX);
    };
    let key = LessSafeKey::new(key);
    let nonce = |n: usize| {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&n.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let mut sealed: Vec<(Vec<u8>, Option<Tag>)> = Vec::with_capacity(bodies.len());
    let store = ns(|| {
        for (n, body) in bodies.iter().enumerate() {
            let mut bytes = black_box(body).clone();
            let tag = key.seal_in_place_separate_tag(nonce(n), Aad::empty(), &mut bytes);
            sealed.push((bytes, tag.ok()));
        }
    });
    let read = ns(|| {
        for (n, (sealed, tag)) in sealed.iter().enumerate() {
            let mut bytes = black_box(sealed).clone();
            if let Some(tag) = tag {
                let open =
                    key.open_in_place_separate_tag(nonce(n), Aad::empty(), *tag, &mut bytes, 0..);
                black_box(open.is_ok());
            }
        }
    });
    (store, read)
}

fn by_engine(base: &Path, layer: Option<&Layer>, bodies: &[Vec<u8>]) -> Result<(f64, f64)> {
    let layers = layer.into_iter().cloned().chain([Layer::new("memory")]);
    let spec = Spec::linear(layers).level("memory");
    let plan = Plan::new(&spec, &travertine::standard(), base)
        .map_err(|errors| Error::invalid(format!("{errors:?}")))?;
    let env = Env::system();
    let options = Options {
        level: Level::Memory,
        // All of it stays where it was encoded: what lies below is not what is measured.
        flush_bytes: 8 << 20,
        tail_max: 4 * BYTES,
        recent_max: 4 * BYTES,
        ..Options::default()
    };
    let engine = Engine::open(plan.open(&env, Opening::default())?.store(), &env, options)?;
    let session = engine.session()?;
    let mut stored: Vec<Result<Reference>> = Vec::with_capacity(bodies.len());
    let store = ns(|| {
        for body in bodies {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[black_box(body)],
            };
            stored.push(session.store(&record, Hint::default()));
        }
    });
    let stored = stored.into_iter().collect::<Result<Vec<_>>>()?;
    session.commit(&[], None).wait()?;
    let mut sound = true;
    let read = ns(|| {
        for reference in &stored {
            sound &= session.read(black_box(reference)).wait().is_ok();
        }
    });
    engine.close()?;
    match sound {
        true => Ok((store, read)),
        false => Err(Error::corrupt("a record that was stored does not read")),
    }
}
