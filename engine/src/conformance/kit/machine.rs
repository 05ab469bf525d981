//! A simulated machine: any number of places on one simulated disk, which loses its power as one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fixture::Crash;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::conformance::sim::{Plan, SimDisk};
use crate::medium::Medium;
use crate::stack::{Media, Secret};

/// A machine, decided by its seed. Clones are the same machine.
#[derive(Clone)]
pub struct Machine {
    disk: SimDisk,
    seed: u64,
    crashes: Arc<AtomicU64>,
}

impl Machine {
    /// A machine whose disk has these habits.
    #[must_use]
    pub fn new(seed: u64, plan: Plan) -> Self {
        Self {
            disk: SimDisk::new(seed, plan),
            seed,
            crashes: Arc::default(),
        }
    }

    /// The disk, to let it crash inside a call and to see what was asked of it.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Ends every process, and starts the machine again.
    pub fn crash(&self, crash: Crash) {
        match crash {
            Crash::Kill => self.disk.kill(),
            Crash::PowerCut => self.disk.power_cut(),
        }
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it crashed.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        self.crashes.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            sector,
            power_safe,
            names,
            persist,
            torn,
            fill,
            evict,
            map,
            ..
        } = self.disk.plan();
        write!(
            f,
            "machine {}: sectors of {sector}, power safe {power_safe}, names {names:?}, \
             {persist} of 1000 unsynced sectors persist, {torn} are torn, lengths are filled with \
             {fill:?}, {evict} of 1000 kills evict, maps {map}",
            self.seed
        )
    }
}

/// Each place is a directory of its own.
impl Media for Machine {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let name = place.to_string_lossy().replace('/', ":");
        Arc::new(self.disk.medium().within(&name))
    }

    /// Each secret is 64 hexadecimal digits of its own, the same on every machine.
    fn secret(&self, secret: &Secret) -> Option<Vec<u8>> {
        let words = (0..4).map(|word| xxh3_64_with_seed(secret.to_string().as_bytes(), word));
        let digits: String = words.map(|word| format!("{word:016x}")).collect();
        Some(digits.into_bytes())
    }
}
