//! Opening: parts, probes, errors with their place.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::conformance::env::SimEnv;
use crate::contract::Store;
use crate::medium::Medium;
use crate::medium::memory::MemoryMedium;

#[derive(Debug, Default)]
struct Seen {
    kinds: Mutex<Vec<&'static str>>,
    wraps: AtomicUsize,
}

impl Probe for Seen {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.kinds.lock().unwrap().push(floor.kind().name);
        self.wraps.fetch_add(1, Ordering::Relaxed);
        store
    }
}

#[test]
fn every_floor_is_opened_and_every_boundary_probed() {
    let spec = Spec::linear([Layer::new("pass"), Layer::new("roll"), bottom("data/x")]);
    let seen = Arc::new(Seen::default());
    let opening = Opening {
        probes: vec![seen.clone()],
        ..Opening::default()
    };
    let stack = plan(&spec)
        .unwrap()
        .open(SimEnv::new(1).env(), opening)
        .unwrap();
    // Below first, and the bottom twice: `roll` opens two parts.
    assert_eq!(
        *seen.kinds.lock().unwrap(),
        ["disk", "disk", "roll", "pass"]
    );
    assert!(stack.to_string().contains("fingerprint "));
    stack.close().unwrap();
}

#[derive(Debug, Default)]
struct Places(Mutex<Vec<PathBuf>>);

impl Media for Places {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        self.0.lock().unwrap().push(place.to_owned());
        Arc::new(MemoryMedium::new())
    }
}

#[test]
fn every_place_leads_to_the_media_that_the_opening_brings() {
    let spec = Spec::linear([Layer::new("roll"), bottom("data/x")]);
    let places = Arc::new(Places::default());
    let opening = Opening {
        media: Some(places.clone()),
        ..Opening::default()
    };
    plan(&spec)
        .unwrap()
        .open(SimEnv::new(1).env(), opening)
        .unwrap();
    let part = |part| Path::new("/base/data/x").join(part);
    assert_eq!(
        *places.0.lock().unwrap(),
        [part("part-000001"), part("part-000000")]
    );
}

#[test]
fn an_error_of_opening_names_the_layers_it_rose_through() {
    let spec = Spec::linear([
        Layer::new("pass").named("front"),
        Layer::new("hiccup"),
        bottom("a"),
    ])
    .for_tests();
    let error = plan(&spec)
        .unwrap()
        .open(SimEnv::new(1).env(), Opening::default())
        .unwrap_err();
    assert_eq!(error.trail(), ["layer hiccup", "layer front"]);
}
