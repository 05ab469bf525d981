//! Packing: what comes back, what is refused, and what a changed layer still reads.

use std::sync::Arc;

use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::codec::{LZ4, RATIO_MAX, Way, ZSTD};
use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::contract::{Codecs, ErrorKind, Packer, Record, Result};
use travertine_engine::stack::Layer;

use super::Packing;
use crate::codec::testing::{On, stored};

fn compress(method: &str) -> Layer {
    Layer::new("compress").with("method", method)
}

fn codecs() -> Codecs {
    Codecs::default().packing(Arc::new(Packing::lz4(0)))
}

/// Reads a record whose stored body is this, under this bit.
fn read(bit: u8, body: &[u8]) -> Result<Record> {
    let way = Way {
        packed: bit,
        sealer: None,
    };
    let (oid, record) = stored(body, &way);
    codecs().decode(oid, record)
}

/// A stored body: a length, and what was packed.
fn stating(length: usize, packed: &[u8]) -> Vec<u8> {
    let mut body = (length as u32).to_le_bytes().to_vec();
    body.extend_from_slice(packed);
    body
}

/// Text that packs well and is not all one byte.
fn text(length: usize) -> Vec<u8> {
    let words = b"a rock laid down layer on layer, never rewritten; ";
    words.iter().copied().cycle().take(length).collect()
}

#[test]
fn every_body_comes_back_whatever_its_length_and_method() {
    let mut rng = Rng::new(7);
    for method in ["lz4", "zstd"] {
        let on = On::new();
        let engine = on
            .open(&[compress(method).with("least", "16 B")], false)
            .unwrap();
        let lengths = [0, 1, 15, 16, 17, 64, 255, 4096, 65_536, 1 << 20];
        for (number, length) in lengths.into_iter().enumerate() {
            for (sort, body) in [text(length), vec![0; length], rng.bytes(length)]
                .into_iter()
                .enumerate()
            {
                let name = format!("{number} {sort}");
                let reference = On::put(&engine, &name, &body);
                let record = On::get(&engine, &name).unwrap();
                assert_eq!(record.body(), body, "{method} {length} {sort}");
                assert_eq!(record.reference_to(reference.oid), reference);
                let packed = record.codecs() != 0;
                let worth = sort < 2 && length >= 255;
                assert!(packed || !worth, "{method} {length} {sort}");
                assert!(!packed || sort < 2, "{method} {length} {sort}");
            }
        }
        engine.close().unwrap();
    }
}

#[test]
fn the_longest_body_of_zeros_is_packed_within_the_ratio() {
    for method in ["lz4", "zstd"] {
        let on = On::new();
        let engine = on.open(&[compress(method)], false).unwrap();
        let reference = On::put(&engine, "zeros", &vec![0; RECORD_BODY_MAX]);
        assert!((reference.length as usize) < RECORD_BODY_MAX / 200);
        let record = On::get(&engine, "zeros").unwrap();
        assert_eq!(record.codecs(), LZ4, "{method}");
        assert_eq!(record.body(), vec![0; RECORD_BODY_MAX]);
        engine.close().unwrap();
    }
}

#[test]
fn a_changed_method_reads_what_the_other_packed_and_what_lay_there_before() {
    let on = On::new();
    let ways = [vec![], vec![compress("lz4")], vec![compress("zstd")]];
    for (number, layers) in ways.iter().enumerate() {
        let engine = on.open(layers, false).unwrap();
        On::put(&engine, &format!("by {number}"), &text(5_000 + number));
        engine.close().unwrap();
    }
    for layers in &ways[1..] {
        let engine = on.open(layers, true).unwrap();
        let bits = (0..3).map(|number| {
            let record = On::get(&engine, &format!("by {number}")).unwrap();
            assert_eq!(record.body(), text(5_000 + number));
            record.codecs()
        });
        assert_eq!(bits.collect::<Vec<_>>(), [0, LZ4, ZSTD]);
    }
    // Without the layer: what was stored before it, and what is missing for the rest.
    let engine = on.open(&[], true).unwrap();
    assert_eq!(On::get(&engine, "by 0").unwrap().body(), text(5_000));
    let error = On::get(&engine, "by 2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("`compress`"), "{error}");
}

#[test]
fn text_lies_on_the_disk_as_it_is_unless_it_is_packed() {
    let mut rng = Rng::new(3);
    let word = rng.bytes(40);
    let body = [text(3_000), word.clone(), text(3_000)].concat();
    let phrase = &text(300);
    for (layers, there) in [(vec![], true), (vec![compress("zstd")], false)] {
        let on = On::new();
        let engine = on.open(&layers, false).unwrap();
        On::put(&engine, "it", &body);
        assert_eq!(on.holds(phrase), there);
        engine.close().unwrap();
    }
}

#[test]
fn bombs_are_refused_by_what_they_state() {
    let zeros = vec![0; RECORD_BODY_MAX];
    let by_zstd = zstd::bulk::compress(&zeros, 1).unwrap();
    let by_lz4 = lz4_flex::block::compress(&zeros);
    let hostile: [(u8, Vec<u8>, &str); 9] = [
        // True to what it packs, and too small for it.
        (
            ZSTD,
            stating(RECORD_BODY_MAX, &by_zstd),
            "times what is there",
        ),
        (
            LZ4,
            stating(RECORD_BODY_MAX + 1, &by_lz4),
            "states 16777217 bytes",
        ),
        (
            LZ4,
            stating(u32::MAX as usize, &[0; 100]),
            "states 4294967295 bytes",
        ),
        // Packs more, or less, than it states.
        (
            ZSTD,
            stating(by_zstd.len() * RATIO_MAX, &by_zstd),
            "does not unpack",
        ),
        (LZ4, stating(by_lz4.len(), &by_lz4), "does not unpack"),
        (
            LZ4,
            stating(100, &lz4_flex::block::compress(&zeros[..99])),
            "unpacks to 99",
        ),
        (LZ4, vec![1, 2, 3], "does not state its length"),
        (LZ4 | ZSTD, stating(9, &[0; 9]), "no one way"),
        (ZSTD, stating(9, &[0; 9]), "does not unpack"),
    ];
    for (number, (bit, body, says)) in hostile.into_iter().enumerate() {
        let error = read(bit, &body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}");
        assert!(error.message().contains(says), "{number}: {error}");
    }
}

#[test]
fn a_codec_of_another_version_is_not_known() {
    for bit in [1 << 3, 1 << 4, 1 << 5] {
        let error = read(bit, b"whatever this is").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn damaged_bodies_unpack_to_their_length_or_are_refused() {
    let packings = [Packing::lz4(0), Packing::zstd(3, 0)];
    for seed in 0..4_000 {
        let mut rng = Rng::new(seed);
        let length = 1 + rng.below_usize(3_000);
        let body = if rng.chance(1, 2) {
            text(length)
        } else {
            rng.bytes(length)
        };
        let packing = &packings[rng.below_usize(2)];
        let bit = if rng.chance(1, 2) { LZ4 } else { ZSTD };
        let mut bytes = packing
            .pack(&[&body])
            .map_or_else(|| rng.bytes(64), |(_, packed)| stating(length, &packed));
        for _ in 0..1 + rng.below(4) {
            let at = rng.below_usize(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        bytes.truncate(bytes.len() - rng.below_usize(bytes.len() / 2 + 1));
        if let Err(error) = read(bit, &bytes) {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "seed {seed}: {error}");
        }
    }
}
