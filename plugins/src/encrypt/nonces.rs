//! No nonce is used twice under one key: everything that ever goes to a medium is looked at, over
//! crashes, and over an old image that is put back.
//!
//! ```text
//!   engine ──> encrypt ──> [ledger] ──> file      every batch that is stored or committed here
//!                             └─ (key, epoch, address) ─> the stored bytes, one and the same for ever
//! ```
//!
//! `SEED=n` runs one seed again, `TRAVERTINE_SEEDS=n` says how many there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use travertine_engine::conformance::kit::law;
use travertine_engine::conformance::kit::{Between, StackFixture, Twist, Twisted};
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan};
use travertine_engine::contract::{
    Batch, Commit, Epoch, Level, Oid, Op, Position, Store, StreamState, Tail,
};
use travertine_engine::stack::{Layer, Spec};

use super::tests::encrypt;
use crate::codec::testing::On;
use crate::standard;

/// What a nonce and its key are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Used {
    oid: Oid,
    number: u32,
    key: u64,
    tag: u64,
}

/// Everything that was sealed, by what it was sealed with.
#[derive(Debug, Default)]
struct Ledger {
    used: Mutex<HashMap<Used, Vec<u8>>>,
    twice: Mutex<Vec<Used>>,
}

impl Ledger {
    fn note(&self, batch: &Batch) {
        for (oid, record) in batch.records() {
            if record.codecs() & 4 == 0 {
                continue;
            }
            let body = record.body();
            let word = |back: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&body[body.len() - back..][..8]);
                u64::from_le_bytes(word)
            };
            let used = Used {
                oid,
                number: record.epoch(),
                key: word(16),
                tag: word(8),
            };
            let bytes = record.encoded().to_vec();
            let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            if all
                .insert(used, bytes.clone())
                .is_some_and(|was| was != bytes)
            {
                let twice = self.twice.lock();
                twice.unwrap_or_else(PoisonError::into_inner).push(used);
            }
        }
    }

    /// What was used for two different bodies, were a nonce and its key made of less.
    fn twice_by<K: std::hash::Hash + Eq>(&self, made_of: impl Fn(&Used) -> K) -> usize {
        let all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashMap::new();
        let other = |(used, bytes): &(&Used, &Vec<u8>)| {
            seen.insert(made_of(used), (*bytes).clone())
                .is_some_and(|was| was != **bytes)
        };
        all.iter().filter(other).count()
    }

    fn sound(&self) -> usize {
        let twice = self.twice.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(twice.is_empty(), "used twice: {twice:?}");
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// Notes what passes; and forgets ceilings, if it is to.
#[derive(Debug, Clone)]
struct Watch {
    ledger: Arc<Ledger>,
    forgets: bool,
}

impl Between for Watch {
    fn put(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Twisted::new(store, self.clone()))
    }
}

impl Twist for Watch {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        self.ledger.note(&batch);
        below.store(sender, batch)
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        for batch in &commit.last {
            self.ledger.note(batch);
        }
        below.commit(commit)
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        let forgets = self.forgets;
        below.fence(epoch).map(move |mut states| {
            for state in states.iter_mut().filter(|_| forgets) {
                state.ceiling = Position::START;
            }
            states
        })
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(usual),
    }
}

/// A run of the law with crashes, on a stack that seals.
fn run(seed: u64, forgets: bool) -> (Arc<Ledger>, Result<law::Tally, law::Wrong>) {
    let file = |path: &str| {
        Layer::new("file")
            .with("path", path)
            .with("segment", "64 KiB")
    };
    let layers = match seed % 3 {
        0 => vec![encrypt(), file("a")],
        1 => vec![
            Layer::new("compress").with("least", "16 B"),
            encrypt(),
            file("a"),
        ],
        _ => vec![
            encrypt(),
            Layer::new("sequence").with("segment", "64 KiB"),
            file("a"),
        ],
    };
    let disk = DiskPlan::draw(seed, Class::Crash);
    let spec = Spec::linear(layers);
    let fixture = StackFixture::simulated(&spec, &standard(), seed, disk).unwrap();
    let ledger = Arc::new(Ledger::default());
    let watch: Arc<dyn Between> = Arc::new(Watch {
        ledger: ledger.clone(),
        forgets,
    });
    let told = law::run_on(seed, &fixture, &watch, 200);
    (ledger, told)
}

#[test]
fn over_crashes_an_address_is_sealed_once() {
    let (mut crashes, mut sealed) = (0, 0);
    for seed in seeds(60) {
        let (ledger, told) = run(seed, false);
        let told = told.unwrap_or_else(|wrong| panic!("{wrong}"));
        crashes += told.crashes;
        sealed += ledger.sound();
        // Ceilings alone see to it: no address comes back, whatever the epoch.
        assert_eq!(
            ledger.twice_by(|used| (used.key, used.oid)),
            0,
            "SEED={seed}"
        );
    }
    println!("{crashes} crashes, {sealed} bodies");
    assert!(number("SEED").is_some() || (crashes > 0 && sealed > 0));
}

#[test]
fn an_address_that_comes_back_is_found_and_is_sealed_with_another_nonce() {
    let mut came_back = 0;
    for seed in 0..500 {
        let (ledger, _) = run(seed, true);
        ledger.sound();
        came_back += ledger.twice_by(|used| (used.key, used.oid));
        if came_back > 0 {
            return;
        }
    }
    panic!("forgotten ceilings were not seen");
}

#[test]
fn an_old_image_that_is_put_back_repeats_no_nonce() {
    let ledger = Arc::new(Ledger::default());
    let watch = Watch {
        ledger: ledger.clone(),
        forgets: false,
    };
    let mut on = On::watched(Arc::new(watch));
    let engine = on.open(&[encrypt()], false).unwrap();
    On::put(&engine, "it", b"as it was");
    engine.close().unwrap();
    let old = on.disk.image(2);
    let write = |on: &On, body: &[u8]| {
        let engine = on.open(&[encrypt()], false).unwrap();
        let reference = On::put(&engine, "it", body);
        engine.close().unwrap();
        reference
    };
    let one = write(&on, b"one future");
    on.disk = old;
    let other = write(&on, b"and another");
    assert_eq!(one.oid, other.oid);
    assert_eq!(ledger.sound(), 3);
    // Without the tag of the epoch, that were one nonce for two bodies.
    assert_eq!(ledger.twice_by(|used| (used.key, used.oid, used.number)), 1);
}
