//! Rights that may change while a server runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use travertine_engine::contract::{Env, Result};

use super::Rights;
use crate::files::Watched;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

type Load = Box<dyn Fn() -> Result<Rights> + Send + Sync>;

/// The rights that hold now.
pub struct Live {
    rights: RwLock<Arc<Rights>>,
    generation: AtomicU64,
    source: Option<(Watched, Load, Env)>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rights.fmt(f)
    }
}

impl Live {
    /// These, until others are [set](Live::set).
    #[must_use]
    pub fn fixed(rights: Rights) -> Arc<Self> {
        Arc::new(Self {
            rights: RwLock::new(Arc::new(rights)),
            generation: AtomicU64::new(0),
            source: None,
        })
    }

    /// What `load` says, now and whenever one of these files was changed. A change that does not load
    /// leaves what held before, and is told.
    ///
    /// Errors: those of `load`, the first time.
    pub fn watching(
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<Rights> + Send + Sync + 'static,
        env: &Env,
    ) -> Result<Arc<Self>> {
        let watched = Watched::new(paths, LOOK);
        let rights = RwLock::new(Arc::new(load()?));
        Ok(Arc::new(Self {
            rights,
            generation: AtomicU64::new(0),
            source: Some((watched, Box::new(load), env.clone())),
        }))
    }

    /// From now on these hold.
    pub fn set(&self, rights: Rights) {
        *self.rights.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rights);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Those that hold now.
    #[must_use]
    pub fn now(&self) -> Arc<Rights> {
        self.rights
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks whether the files were changed.
    pub(super) fn refresh(&self) {
        let Some((watched, load, env)) = &self.source else {
            return;
        };
        if !watched.changed(env) {
            return;
        }
        match load() {
            Ok(rights) => {
                self.set(rights);
                tracing::info!("rights were read again");
            }
            Err(error) => tracing::error!(
                %error,
                "rights were changed and do not hold: those from before still do"
            ),
        }
    }
}
