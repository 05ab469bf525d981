//! Every decoder on hostile bytes, by seed: noise, and real bytes with a few changed.
//!
//! `SEED=n` replays one; `TRAVERTINE_SEEDS` says how many (2,000 unless told).
//! `TRAVERTINE_BLESS=1` writes anew what the fuzzers begin with.
#![cfg(feature = "conformance")]

use travertine_engine::conformance::hostile;
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::{BatchBuilder, End, Epoch, Kind, NewRecord, Position, Stream};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn each_seed(check: impl Fn(&mut Rng)) {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(2_000),
    };
    for seed in seeds {
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut Rng::new(seed))));
        assert!(outcome.is_ok(), "failed with SEED={seed}");
    }
}

type Check = fn(&[u8]);

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test looks at the repository"
)]
fn what_fuzzing_begins_with_is_there_and_does_no_harm() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let bless = std::env::var_os("TRAVERTINE_BLESS").is_some();
    for (target, name, bytes) in hostile::seeds() {
        let path = corpus.join(target).join(name);
        if bless {
            std::fs::create_dir_all(corpus.join(target)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        // How a log lays out what it has not been asked for may change; what a record is may not.
        let pinned = target.ends_with("_decode");
        assert!(
            kept == bytes || !pinned,
            "{} differs: has the format changed?",
            path.display()
        );
    }
    let targets: [(&str, Check); 4] = [
        ("batch_decode", hostile::batch_decode),
        ("record_decode", hostile::record_decode),
        ("segment_mutate", hostile::segment_mutate),
        ("segment_recover", hostile::segment_recover),
    ];
    for (target, check) in targets {
        let mut replayed = 0;
        for entry in std::fs::read_dir(corpus.join(target)).unwrap() {
            check(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 2, "{target} has nothing to begin with");
    }
}

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    (0..rng.below_usize(most))
        .map(|_| rng.next_u64() as u8)
        .collect()
}

#[expect(clippy::unwrap_used, reason = "a small batch always has room")]
fn real_batch(rng: &mut Rng) -> Vec<u8> {
    let before = End {
        position: Position(2),
        running: rng.next_u64(),
    };
    let epoch = Epoch {
        number: 1,
        tag: rng.next_u64(),
    };
    let mut builder = BatchBuilder::new(Stream(0), Position(2), before, epoch, 0);
    for _ in 0..rng.below(4) {
        let body = noise(rng, 100);
        builder
            .push(&NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body],
            })
            .unwrap();
    }
    builder.finish(None, false).bytes().to_vec()
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let at = rng.below_usize(bytes.len().max(1));
        match rng.below(3) {
            0 => bytes.truncate(at),
            1 => bytes.extend(noise(rng, 20)),
            _ => bytes
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 1 << (at % 8)),
        }
    }
}

#[test]
fn hostile_records_are_errors_and_good_ones_round_trip() {
    each_seed(|rng| {
        hostile::record_decode(&noise(rng, 200));
        // The first record of a batch at position 2 lies at position 18, not at 16 where it is
        // looked for, so the check must refuse it; one encoded for 16 must pass.
        let mut bytes = real_batch(rng);
        hostile::record_decode(bytes.get(128..).unwrap_or_default());
        change(rng, &mut bytes);
        hostile::record_decode(bytes.get(128..).unwrap_or_default());
        let oid = travertine_engine::contract::Oid::new(Stream(0), Position(16)).unwrap();
        let body = noise(rng, 300);
        let mut out = Vec::new();
        NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&body],
        }
        .encode(oid, 1, &mut out);
        hostile::record_decode(&out);
    });
}

#[test]
fn hostile_batches_are_errors() {
    each_seed(|rng| {
        hostile::batch_decode(&noise(rng, 400));
        let mut bytes = real_batch(rng);
        hostile::batch_decode(&bytes);
        change(rng, &mut bytes);
        hostile::batch_decode(&bytes);
    });
}

#[test]
fn hostile_directories_open_to_an_error_or_to_the_same_thing_twice() {
    let seeds = hostile::seeds();
    let of_segments = |(target, _, _): &&(&str, _, _)| *target == "segment_recover";
    let whole = seeds
        .iter()
        .filter(of_segments)
        .map(|seed| &seed.2)
        .max_by_key(|seed| seed.len());
    let whole = whole.cloned().unwrap_or_default();
    each_seed(|rng| {
        hostile::segment_recover(&noise(rng, 9_000));
        let mut bytes = whole.clone();
        for _ in 0..rng.below_usize(4) {
            let at = rng.below_usize(bytes.len());
            bytes[at] ^= 1 << rng.below_usize(8);
        }
        hostile::segment_recover(&bytes);
    });
}

#[test]
fn a_log_with_mended_damage_never_panics_or_hangs() {
    each_seed(|rng| hostile::segment_mutate(&noise(rng, 100)));
}
