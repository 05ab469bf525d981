//! Sealing: what comes back, to whom, and what an outsider can do to it.

use std::sync::Arc;

use travertine_engine::contract::codec::{Sealer, Way};
use travertine_engine::contract::limits::RECORD_BODY_MAX;
use travertine_engine::contract::{
    Codecs, Epoch, ErrorKind, Kind, NewRecord, Oid, Position, Stream,
};
use travertine_engine::front::Hint;
use travertine_engine::stack::{Data, Layer, Table, Value};

use super::Sealing;
use super::keys::KEY;
use crate::codec::testing::{On, stored};

pub(super) fn encrypt() -> Layer {
    let name = Value::plain(Data::Text("KEYS".to_owned()));
    let key = Table::default().with("env", name);
    Layer::new("encrypt").with("key", Value::plain(Data::Table(key)))
}

fn sealing(keys: &[u8]) -> Sealing {
    Sealing::new(keys.iter().map(|byte| [*byte; KEY]).collect()).unwrap()
}

fn key(byte: u8) -> String {
    format!("{byte:02x}").repeat(KEY)
}

const EPOCH: Epoch = Epoch {
    number: 3,
    tag: 0x0102_0304_0506_0708,
};

fn oid(position: u64) -> Oid {
    Oid::new(Stream(2), Position(position)).unwrap()
}

/// A body with room, sealed under a head.
fn sealed(by: &Sealing, body: &[u8]) -> Vec<u8> {
    let mut bytes = [body, &vec![0; by.room()]].concat();
    by.seal(oid(64), EPOCH, b"a head", &mut bytes).unwrap();
    bytes
}

#[test]
fn every_body_comes_back_and_nothing_of_it_lies_on_the_disk() {
    let phrase = b"this is for nobody else to read";
    for layers in [
        vec![encrypt()],
        vec![Layer::new("compress"), encrypt()],
        vec![encrypt(), Layer::new("cache"), Layer::new("monitor")],
    ] {
        let on = On::new();
        let engine = on.open(&layers, false).unwrap();
        for (number, length) in [0, 1, 7, 31, 300, 70_000].into_iter().enumerate() {
            let body: Vec<u8> = phrase.iter().copied().cycle().take(length).collect();
            let reference = On::put(&engine, &number.to_string(), &body);
            // The second read is the cache's, where there is one.
            for _ in 0..2 {
                let record = On::get(&engine, &number.to_string()).unwrap();
                assert_eq!(record.body(), body);
                assert_eq!(record.reference_to(reference.oid), reference);
                assert_eq!(record.codecs() & 4, 4);
            }
        }
        engine.close().unwrap();
        assert!(!on.holds(phrase));
        assert!(!on.holds(&phrase[..12]));
    }
    let on = On::new();
    let engine = on.open(&[], false).unwrap();
    On::put(&engine, "it", phrase);
    assert!(on.holds(phrase));
    engine.close().unwrap();
}

#[test]
fn the_longest_body_can_be_sealed() {
    let on = On::new();
    let engine = on.open(&[encrypt()], false).unwrap();
    let body = vec![7; RECORD_BODY_MAX];
    On::put(&engine, "it", &body);
    assert_eq!(On::get(&engine, "it").unwrap().body(), body);
    let session = engine.session().unwrap();
    let longer = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body, b"more"],
    };
    let error = session.store(&longer, Hint::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    drop(session);
    engine.close().unwrap();
}

#[test]
fn a_record_has_these_golden_bytes() {
    let by = Sealing::new(vec![std::array::from_fn(|at| at as u8)]).unwrap();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    assert_eq!(hex(&sealed(&by, b"a body")), GOLDEN);
}

const GOLDEN: &str = "e48c775263c79239d60fd9656b8913d762222918cc5c18bb1ada8feb75ad0807060504030201";

#[test]
fn whatever_is_changed_is_told() {
    let by = sealing(&[1]);
    let whole = sealed(&by, b"a body of some bytes");
    let open = |oid: Oid, epoch: u32, head: &[u8], bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        by.open(oid, epoch, head, &mut bytes).map(|()| bytes)
    };
    let opened = open(oid(64), 3, b"a head", &whole).unwrap();
    assert!(opened.starts_with(b"a body of some bytes"));
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = open(oid(64), 3, b"a head", &bytes).unwrap_err();
        let of_key = (20 + 16..20 + 24).contains(&(bit / 8));
        let kind = if of_key {
            ErrorKind::Invalid
        } else {
            ErrorKind::Corrupt
        };
        assert_eq!(error.kind(), kind, "bit {bit}: {error}");
    }
    for (at, epoch, head) in [
        (72, 3, &b"a head"[..]),
        (64, 4, b"a head"),
        (64, 3, b"A head"),
    ] {
        let error = open(oid(at), epoch, head, &whole).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains(&oid(at).to_string()), "{error}");
    }
    for length in 0..whole.len() {
        assert!(open(oid(64), 3, b"a head", &whole[..length]).is_err());
    }
}

#[test]
fn a_sealed_body_too_short_for_its_room_is_damage() {
    let codecs = Codecs::default().sealing(Arc::new(sealing(&[1])));
    let way = Way {
        packed: 4,
        sealer: None,
    };
    for length in [0, 1, 31, 32, 33] {
        let (oid, record) = stored(&vec![9; length], &way);
        let error = codecs.decode(oid, record).unwrap_err();
        let known = [ErrorKind::Corrupt, ErrorKind::Invalid];
        assert!(known.contains(&error.kind()), "{length}: {error}");
    }
}

#[test]
fn the_same_address_and_number_in_another_epoch_is_sealed_otherwise() {
    let by = sealing(&[1]);
    let seal = |epoch: Epoch| {
        let mut bytes = vec![0; 16 + by.room()];
        by.seal(oid(64), epoch, b"", &mut bytes).unwrap();
        bytes[..16].to_vec()
    };
    let again = Epoch { tag: 9, ..EPOCH };
    let later = Epoch { number: 4, ..EPOCH };
    assert_eq!(seal(EPOCH), seal(EPOCH));
    assert_ne!(seal(EPOCH), seal(again));
    assert_ne!(seal(EPOCH), seal(later));
}

#[test]
fn the_newest_key_seals_and_older_ones_open() {
    let mut on = On::new();
    for (keys, name) in [("aa", "first"), ("bb aa", "second"), ("cc bb aa", "third")] {
        let lines: Vec<_> = keys.split(' ').map(|byte| byte.repeat(KEY)).collect();
        on.secret = lines.join("\n");
        let engine = on.open(&[encrypt()], false).unwrap();
        On::put(&engine, name, name.as_bytes());
        engine.close().unwrap();
    }
    let engine = on.open(&[encrypt()], true).unwrap();
    for name in ["first", "second", "third"] {
        assert_eq!(On::get(&engine, name).unwrap().body(), name.as_bytes());
    }
    // Without the oldest, what it sealed alone is out of reach.
    on.secret = format!("{}\n{}", key(0xCC), key(0xBB));
    let error = on.open(&[encrypt()], false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_wrong_key_is_told_by_its_id_before_anything_is_written() {
    for clean in [true, false] {
        let mut on = On::new();
        let engine = on.open(&[encrypt()], false).unwrap();
        On::put(&engine, "it", b"a secret");
        if clean {
            engine.close().unwrap();
        } else {
            drop(engine);
            on.disk.power_cut();
        }
        let image = |on: &On| {
            let mut files = on.disk.files();
            files.retain(|(name, _)| !name.ends_with("lock"));
            files
        };
        let before = image(&on);
        on.secret = key(0xEE);
        // Who only reads sees no commit yet that nobody proved.
        for read_only in [clean, false] {
            let error = on.open(&[encrypt()], read_only).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let ids = [sealing(&[0x5A]), sealing(&[0xEE])].map(|of| format!("{of:?}"));
            for id in ids {
                assert!(error.message().contains(&id), "{error}");
            }
            assert!(!error.to_string().contains("eeee"), "{error}");
        }
        assert_eq!(image(&on), before);
    }
}

#[test]
fn a_stack_without_the_layer_is_refused_before_it_stores_in_the_clear() {
    let on = On::new();
    let engine = on.open(&[encrypt()], false).unwrap();
    On::put(&engine, "it", b"a secret");
    engine.close().unwrap();
    let error = on.open(&[], false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("encrypt(file"), "{error}");
}

#[test]
fn a_missing_secret_is_told_and_a_stack_is_judged_without_it() {
    use travertine_engine::contract::Env;
    use travertine_engine::stack::{Opening, Plan, Spec};
    let directory = tempfile::tempdir().unwrap();
    let file = Table::default().with("file", Value::plain(Data::Text("no such file".to_owned())));
    let layer = Layer::new("encrypt").with("key", Value::plain(Data::Table(file)));
    let log = Layer::new("file").with("path", "log");
    let spec = Spec::linear([layer, log]);
    let plan = Plan::new(&spec, &crate::standard(), directory.path()).unwrap();
    let error = plan.open(&Env::system(), Opening::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("no such file"), "{error}");
    assert!(!directory.path().join("log").exists());
}

#[test]
fn references_of_a_sealed_record_are_vouched_for() {
    let by = Arc::new(sealing(&[1]));
    let codecs = Codecs::default().sealing(by.clone());
    let on = On::new();
    let engine = on.open(&[], false).unwrap();
    let child = On::put(&engine, "child", b"");
    engine.close().unwrap();
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[child, child.weakened()],
        body: &[b"body"],
    };
    // Another sealer passes the bytes on: what was sealed, under a header with other references.
    #[derive(Debug)]
    struct Moved(Vec<u8>);
    impl Sealer for Moved {
        fn bit(&self) -> u8 {
            4
        }
        fn room(&self) -> usize {
            32
        }
        fn seal(
            &self,
            _: Oid,
            _: Epoch,
            _: &[u8],
            body: &mut [u8],
        ) -> travertine_engine::contract::Result<()> {
            body.copy_from_slice(&self.0);
            Ok(())
        }
        fn open(
            &self,
            _: Oid,
            _: u32,
            _: &[u8],
            _: &mut [u8],
        ) -> travertine_engine::contract::Result<()> {
            Ok(())
        }
    }
    let build = |record: &NewRecord<'_>, sealer: &dyn Sealer| {
        use travertine_engine::contract::{BatchBuilder, End};
        let before = End {
            position: Position::START,
            running: 0,
        };
        let base = Position(1 << 20);
        let mut batch = BatchBuilder::new(Stream(0), base, before, EPOCH, 0);
        let way = Way {
            packed: 0,
            sealer: Some(sealer),
        };
        let oid = batch.push_through(record, &way).unwrap().oid;
        (oid, batch.read(oid).unwrap().unwrap())
    };
    let (oid, sound) = build(&record, &*by);
    let stolen = Moved(sound.body().to_vec());
    assert_eq!(codecs.decode(oid, sound).unwrap().body(), b"body");
    let swapped = NewRecord {
        references: &[child.weakened(), child],
        ..record
    };
    let other_kind = NewRecord {
        kind: Kind::CHUNK,
        ..record
    };
    for changed in [swapped, other_kind] {
        let (oid, forged) = build(&changed, &stolen);
        let error = codecs.decode(oid, forged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}
