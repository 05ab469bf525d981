//! Media that forget a sync, as a planted bug would.

use std::sync::Arc;
use std::sync::Mutex;

use travertine_engine::conformance::sim::SimMedium;
use travertine_engine::contract::{Level, Result};
use travertine_engine::medium::{Medium, MediumFile};

/// Which sync of a directory is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// After the name of a part was entered in the catalogue.
    PartEntered,
    /// After a segment was begun in a part that is not the first.
    SegmentOfLaterPart,
    /// After a footer was written, and the other name of the part taken out.
    Footer,
}

#[derive(Debug)]
pub(super) struct WrongMedium {
    medium: SimMedium,
    wrong: Wrong,
    /// Names that came since the last honest sync, forgotten ones excepted.
    news: Mutex<Vec<String>>,
}

impl WrongMedium {
    pub(super) fn new(medium: SimMedium, wrong: Wrong) -> Self {
        Self {
            medium,
            wrong,
            news: Mutex::default(),
        }
    }

    fn forgotten(&self, name: &str) -> bool {
        let later = !self.place().ends_with("part-000001") && self.place().contains("part-");
        match self.wrong {
            Wrong::PartEntered => name.starts_with("begun-") && !name.ends_with("1"),
            Wrong::SegmentOfLaterPart => name.starts_with("seg-") && later,
            Wrong::Footer => name.starts_with("sealed-"),
        }
    }
}

impl Medium for WrongMedium {
    fn place(&self) -> String {
        self.medium.place()
    }

    fn list(&self) -> Result<Vec<String>> {
        self.medium.list()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        self.medium.create(name)
    }

    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        self.medium.open(name, write)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.news.lock().unwrap().push(to.to_owned());
        self.medium.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.medium.remove(name)
    }

    fn sync_dir(&self) -> Result<()> {
        let news = std::mem::take(&mut *self.news.lock().unwrap());
        if !news.is_empty() && news.iter().all(|name| self.forgotten(name)) {
            return Ok(());
        }
        self.medium.sync_dir()
    }

    fn lock(&self) -> Result<()> {
        self.medium.lock()
    }

    fn unlock(&self) {
        self.medium.unlock();
    }

    fn unit(&self) -> u64 {
        self.medium.unit()
    }

    fn level(&self) -> Level {
        self.medium.level()
    }
}
