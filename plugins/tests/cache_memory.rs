//! A cache stays within its budget, counted by the allocator of the whole program, and answers a hit
//! without asking for memory.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one passes everything on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use travertine_engine::contract::{
    BatchBuilder, Env, Epoch, Kind, NewRecord, Oid, Store, Stream, StreamState,
};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};

static LIVE: AtomicU64 = AtomicU64::new(0);
static ASKED: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(taken(layout), Ordering::Relaxed);
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What an allocation takes: its bytes in steps of sixteen, and a header.
fn taken(layout: Layout) -> u64 {
    (layout.size() as u64 + 8).next_multiple_of(16)
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MEMORY: u64 = 8 << 20;

/// A stack over memory that holds records of this length, as many as fit four budgets.
fn stack(length: usize, caches: &[&str]) -> (Arc<dyn Store>, Vec<Oid>) {
    let caches = caches.iter();
    let layers = caches.map(|memory| Layer::new("cache").with("memory", *memory));
    let spec = Spec::linear(layers.chain([Layer::new("memory")])).level("memory");
    let plan = Plan::new(&spec, &travertine_plugins::standard(), Path::new("/")).unwrap();
    let store = plan
        .open(&Env::system(), Opening::default())
        .unwrap()
        .store();
    let epoch = Epoch { number: 1, tag: 1 };
    let StreamState { end, .. } = store.fence(epoch).wait().unwrap().remove(0);
    store.adopt(epoch, vec![(Stream(0), end)]).wait().unwrap();
    let body = vec![7; length];
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body],
    };
    let mut before = end;
    let mut oids = Vec::new();
    let count = 4 * MEMORY as usize / (length + 200);
    // The first batch is empty and tells how far the writer may go.
    for batch in 0..=count.div_ceil(1_000) {
        let mut builder = BatchBuilder::new(Stream(0), before.position, before, epoch, 0);
        for _ in 0..if batch == 0 { 0 } else { 1_000 } {
            oids.push(builder.push(&record).unwrap().oid);
        }
        let batch = builder.finish(None, false);
        before.position = batch.header().end;
        before.running = batch.running();
        store.store(epoch, batch).wait().unwrap();
    }
    (store, oids)
}

fn read_all(store: &dyn Store, oids: &[Oid]) {
    for oid in oids {
        assert!(store.read(*oid).wait().unwrap().is_some());
    }
}

// One test: the allocator counts for all threads.
#[test]
fn the_budget_holds_all_that_keeping_takes_and_a_hit_takes_nothing() {
    let one: &[&str] = &["8 MiB"];
    for (length, caches) in [
        (0, one),
        (100, one),
        (1_000, one),
        (20_000, one),
        // Between them they take no more than one.
        (100, &["1 MiB", "5 MiB", "2 MiB"]),
        (1_000, &["2 MiB", "6 MiB"]),
    ] {
        let (bare, oids) = stack(length, &[]);
        let before = LIVE.load(Ordering::Relaxed);
        read_all(&*bare, &oids);
        let own = LIVE.load(Ordering::Relaxed).saturating_sub(before);
        drop(bare);

        let (store, oids) = stack(length, caches);
        let before = LIVE.load(Ordering::Relaxed);
        for _ in 0..2 {
            read_all(&*store, &oids);
            let more = LIVE.load(Ordering::Relaxed).saturating_sub(before);
            let figures = store.status().figures;
            let figure = |name: &str| figures.iter().find(|(of, _)| *of == name).unwrap().1;
            let (entries, bytes) = (figure("entries"), figure("bytes_of_all_caches"));
            println!(
                "{caches:?}, records of {length}: {entries} kept, {bytes} bytes counted, {more} bytes more \
                 in use, {own} of them not the cache's"
            );
            assert!(bytes <= MEMORY && more.saturating_sub(own) <= MEMORY);
            // And it is used.
            assert!(bytes > MEMORY * 9 / 10 && more > MEMORY / 2);
        }
        let newest = &oids[oids.len() - 1..];
        read_all(&*store, newest);
        let asked = ASKED.load(Ordering::Relaxed);
        for _ in 0..1_000 {
            read_all(&*store, newest);
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), asked);
    }
}
