//! How a part is opened: as one more instance of a template, or as the next stack of a list.

use std::fmt::Debug;
use std::sync::Arc;

use travertine_engine::contract::{Error, Extent, Result, Store};
use travertine_engine::stack::Below;

/// Where parts come from. They are numbered from 1.
pub(super) trait Parts: Send + Sync + Debug {
    /// The highest number.
    fn most(&self) -> u32;

    /// Opens a part. Every part belongs to the same store.
    fn open(
        &self,
        number: u32,
        extent: Extent,
        store: [u8; 16],
        read_only: bool,
    ) -> Result<Arc<dyn Store>>;

    /// Whether a part that was closed can be opened again.
    fn persists(&self) -> bool;
}

/// One stack that is opened as often as needed.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) below: Below,
    pub(super) persists: bool,
}

/// Most parts of a template: their numbers have six digits.
const TEMPLATE_MOST: u32 = 999_999;

impl Parts for Template {
    fn most(&self) -> u32 {
        TEMPLATE_MOST
    }

    fn open(
        &self,
        number: u32,
        extent: Extent,
        store: [u8; 16],
        read_only: bool,
    ) -> Result<Arc<dyn Store>> {
        open(self.below.clone().part(number), extent, store, read_only)
    }

    fn persists(&self) -> bool {
        self.persists
    }
}

/// Stacks that are used one after the other.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) below: Vec<Below>,
    pub(super) persists: bool,
}

impl Parts for Listed {
    fn most(&self) -> u32 {
        self.below.len() as u32
    }

    fn open(
        &self,
        number: u32,
        extent: Extent,
        store: [u8; 16],
        read_only: bool,
    ) -> Result<Arc<dyn Store>> {
        let below = (number as usize)
            .checked_sub(1)
            .and_then(|index| self.below.get(index));
        let below = below.ok_or_else(|| {
            Error::unavailable(format!(
                "part {number} lies on a stack that the list does not have: it has {}",
                self.below.len()
            ))
        })?;
        open(below.clone(), extent, store, read_only)
    }

    fn persists(&self) -> bool {
        self.persists
    }
}

fn open(below: Below, extent: Extent, store: [u8; 16], read_only: bool) -> Result<Arc<dyn Store>> {
    let below = below.extent(extent).identity(store);
    if read_only { below.reading() } else { below }.open()
}
