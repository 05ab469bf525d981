//! Notes of whoever stands on the served stack: kept beside it, in one small file.
//!
//! ```text
//!   0 magic "TRAVNOTE"   8 crc32 of 12..   12 format u32   16 count u32
//!  20 each note: length of its name u32, length of its text u32, name, text
//! ```
//!
//! A note is replaced only by who knows what it says, so of two that stand on one server the second is
//! told of the first. There are few, and they are short. Where the served stack goes on in another
//! server, its notes lie there, under a longer name: what stands on the served stack is not mixed up
//! with what stands in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use travertine_engine::contract::{Error, Result};
use travertine_engine::stack::Shelf;

/// Most notes.
const NOTES: usize = 8;
/// Most bytes of a note.
const TEXT: usize = 2 << 10;
/// Most bytes of a name.
const NAME: usize = 96;
/// The file.
const FILE: &str = "notes";
const MAGIC: &[u8; 8] = b"TRAVNOTE";
const FORMAT: u32 = 1;

/// By name.
type Texts = BTreeMap<String, Bytes>;

/// The notes of one served stack.
#[derive(Debug)]
pub(super) struct Notes {
    shelf: Arc<dyn Shelf>,
    /// One is replaced after the other.
    turn: Mutex<()>,
}

impl Notes {
    pub(super) fn new(shelf: Arc<dyn Shelf>) -> Self {
        Self {
            shelf,
            turn: Mutex::default(),
        }
    }

    /// What a note says, if there is one of this name.
    pub(super) fn read(&self, name: &str) -> Result<Option<Bytes>> {
        check_name(name)?;
        if self.shelf.is_shared() {
            return self.shelf.read(&further(name));
        }
        Ok(self.texts()?.remove(name))
    }

    /// Replaces a note, durably.
    ///
    /// Errors: `Conflict`, if it does not say `before`.
    pub(super) fn replace(&self, name: &str, before: Option<&[u8]>, text: Bytes) -> Result<()> {
        check_name(name)?;
        if text.len() > TEXT {
            return Err(Error::invalid(format!(
                "a note has at most {TEXT} bytes, and this one {}",
                text.len()
            )));
        }
        if self.shelf.is_shared() {
            return self.shelf.replace(&further(name), before, &text);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut texts = self.texts()?;
        let there = texts.get(name);
        if there == Some(&text) {
            // The same again, because the answer was lost.
            return Ok(());
        }
        if there.map(|there| &there[..]) != before {
            return Err(Error::conflict(format!(
                "the note `{name}` says something else by now: somebody else has replaced it"
            )));
        }
        if there.is_none() && texts.len() == NOTES {
            return Err(Error::full(format!(
                "{NOTES} notes are kept here, and no more"
            )));
        }
        texts.insert(name.to_owned(), text);
        self.shelf.replace(FILE, None, &encode(&texts))
    }

    fn texts(&self) -> Result<Texts> {
        let Some(bytes) = self.shelf.read(FILE)? else {
            return Ok(Texts::new());
        };
        let damaged = || {
            Error::corrupt(format!(
                "the file `{FILE}` in {} is damaged",
                self.shelf.place()
            ))
        };
        decode(&bytes).ok_or_else(damaged)
    }
}

/// The name of a note one server further on.
fn further(name: &str) -> String {
    format!("over-{name}")
}

fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME || !name.bytes().all(fits) {
        return Err(Error::invalid(format!(
            "a note has a name of 1 to {NAME} letters a to z, digits and hyphens"
        )));
    }
    Ok(())
}

fn encode(texts: &Texts) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let words = |out: &mut Vec<u8>, one: usize, two: usize| {
        out.extend_from_slice(&(one as u32).to_le_bytes());
        out.extend_from_slice(&(two as u32).to_le_bytes());
    };
    words(&mut out, 0, FORMAT as usize);
    out.extend_from_slice(&(texts.len() as u32).to_le_bytes());
    for (name, text) in texts {
        words(&mut out, name.len(), text.len());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text);
    }
    let crc = crc32fast::hash(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &Bytes) -> Option<Texts> {
    let mut at = 0;
    let mut take = |length: usize| {
        let end = at + length;
        let piece = (end <= bytes.len()).then(|| bytes.slice(at..end));
        at = end;
        piece
    };
    let word = |bytes: Bytes| Some(u32::from_le_bytes(bytes[..].try_into().ok()?));
    let sound = take(8)? == MAGIC[..]
        && word(take(4)?)? == crc32fast::hash(bytes.get(12..)?)
        && word(take(4)?)? == FORMAT;
    let count = sound.then(|| take(4)).flatten().and_then(word)? as usize;
    let mut texts = Texts::new();
    for _ in 0..count.min(NOTES + 1) {
        let (name, text) = (word(take(4)?)? as usize, word(take(4)?)? as usize);
        if name > NAME || text > TEXT {
            return None;
        }
        let name = String::from_utf8(take(name)?.to_vec()).ok()?;
        texts.insert(name, take(text)?);
    }
    (texts.len() == count && count <= NOTES && at == bytes.len()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_engine::contract::ErrorKind;
    use travertine_engine::medium::memory::MemoryMedium;
    use travertine_engine::stack::Beside;

    fn notes() -> Notes {
        Notes::new(Arc::new(Beside(Arc::new(MemoryMedium::new()))))
    }

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_note_is_replaced_only_by_who_knows_what_it_says() {
        let notes = notes();
        assert_eq!(notes.read("a").unwrap(), None);
        notes.replace("a", None, text("one")).unwrap();
        let late = notes.replace("a", None, text("two")).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict);
        notes.replace("a", Some(b"one"), text("two")).unwrap();
        // Whose answer was lost asks again.
        notes.replace("a", Some(b"one"), text("two")).unwrap();
        assert_eq!(notes.read("a").unwrap(), Some(text("two")));
        assert_eq!(notes.read("b").unwrap(), None);
    }

    #[test]
    fn there_are_few_notes_and_they_are_short() {
        let notes = notes();
        for number in 0..NOTES {
            let name = format!("note-{number}");
            notes
                .replace(&name, None, Bytes::from(vec![7; TEXT]))
                .unwrap();
        }
        let kind = |name: &str, length| {
            let refused = notes.replace(name, None, Bytes::from(vec![7; length]));
            refused.unwrap_err().kind()
        };
        assert_eq!(kind("one-more", 1), ErrorKind::Full);
        assert_eq!(kind("note-1", TEXT + 1), ErrorKind::Invalid);
        for name in ["", "A", "../x", "a\0", &"n".repeat(NAME + 1)] {
            assert_eq!(kind(name, 1), ErrorKind::Invalid, "{name:?}");
            assert!(notes.read(name).is_err(), "{name:?}");
        }
        assert_eq!(notes.read("note-7").unwrap().unwrap().len(), TEXT);
    }

    #[test]
    fn notes_with_any_bit_flipped_or_cut_short_are_damaged() {
        let texts: Texts = [("a", "one"), ("bc", "")]
            .map(|(name, of)| (name.to_owned(), text(of)))
            .into();
        let bytes = encode(&texts);
        assert_eq!(decode(&bytes.clone().into()), Some(texts));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes.into()), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length].to_vec().into()), None, "{length}");
        }
    }
}
