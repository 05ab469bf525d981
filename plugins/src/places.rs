//! The places below a floor, for those that keep something of their own in them.

use travertine_engine::contract::{Error, Result};
use travertine_engine::stack::{Below, Property};

/// Bytes that may be torn together where a medium does not know better.
pub(crate) const UNIT: u64 = 4096;

/// Whether what lies there outlives the process.
pub(crate) fn lasts(below: &Below) -> bool {
    below.floor().gives().properties.has(Property::Persists)
}

/// Refuses to begin anew over stacks of which some outlive the process and others do not, while something
/// of another process lies in one of them: what it belonged to is gone. `kind` begins anew.
pub(crate) fn refuse_leftovers(below: &[Below], kind: &str) -> Result<()> {
    if below.iter().all(lasts) {
        return Ok(());
    }
    let lasting = below.iter().filter(|below| lasts(below));
    for shelf in lasting.flat_map(|below| below.shelves()) {
        if !shelf.is_bare()? {
            return Err(Error::invalid(format!(
                "{} holds something, and this {kind} begins anew each time: another stack in its list \
                 keeps nothing; use stacks that all outlive the process, or clear that place",
                shelf.place()
            )));
        }
    }
    Ok(())
}
