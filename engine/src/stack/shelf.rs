//! Shelves: where a floor keeps small notes of its own beside the stacks below it.
//!
//! A note says what the bytes beside it belong to, and may be read before any floor below is open. It
//! lasts as long as those bytes. A floor that gives [`Property::Notes`](super::Property::Notes) has a
//! shelf, or stands on floors that have.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

use crate::contract::Result;
use crate::medium::{Medium, read_small, replace_small};

/// A place for a few small notes.
pub trait Shelf: Send + Sync + Debug {
    /// Where this is, for people.
    fn place(&self) -> String;

    /// Whether nothing lies there yet: no notes, and nothing that they would lie beside.
    fn is_bare(&self) -> Result<bool>;

    /// Whether others may write notes there at the same time: no lock keeps them off.
    fn is_shared(&self) -> bool {
        false
    }

    /// A note; `None`: there is none of this name.
    fn read(&self, name: &str) -> Result<Option<Bytes>>;

    /// Replaces a note, durably: a crash leaves the old one or the new one. Where the shelf is shared,
    /// only if `before` is what it says, else [`Conflict`](crate::contract::ErrorKind::Conflict).
    fn replace(&self, name: &str, before: Option<&[u8]>, text: &[u8]) -> Result<()>;
}

/// Notes beside the files of a medium, one file each.
#[derive(Debug, Clone)]
pub struct Beside(pub Arc<dyn Medium>);

impl Shelf for Beside {
    fn place(&self) -> String {
        self.0.place()
    }

    fn is_bare(&self) -> Result<bool> {
        // Who died over the first file of all left it half made.
        let nothing = |name: &String| name == "lock" || name.ends_with(".new");
        Ok(self.0.list()?.iter().all(nothing))
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        if !self.0.list()?.iter().any(|there| there == name) {
            return Ok(None);
        }
        read_small(&*self.0, name).map(Some)
    }

    fn replace(&self, name: &str, _before: Option<&[u8]>, text: &[u8]) -> Result<()> {
        replace_small(&*self.0, name, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medium::memory::MemoryMedium;

    #[test]
    fn a_note_is_there_again_and_a_place_with_one_is_not_bare() {
        let medium = MemoryMedium::new();
        let shelf = Beside(Arc::new(medium.clone()));
        assert!(shelf.is_bare().unwrap());
        medium.create("identity.new").unwrap();
        assert!(shelf.is_bare().unwrap());
        assert_eq!(shelf.read("note").unwrap(), None);
        shelf.replace("note", None, b"one").unwrap();
        shelf.replace("note", Some(b"one"), b"two").unwrap();
        let again = Beside(Arc::new(medium));
        assert_eq!(again.read("note").unwrap().unwrap(), "two");
        assert!(!again.is_bare().unwrap());
    }
}
