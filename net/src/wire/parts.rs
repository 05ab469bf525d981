//! Calls and answers that are too long for one message, in parts; and messages that are filled until
//! they are worth sending.
//!
//! ```text
//!   call ──encode──> [ part | part | part ]      each in a message of its own, in order
//!                      id, whole, bytes           the whole is known before the first byte is kept
//! ```

use bytes::{Bytes, BytesMut};
use travertine_engine::contract::{Error, Result};

use super::{PART, WHOLE_MAX};
use crate::proto::Part;

/// The parts of an encoded message that is too long to go whole.
pub(crate) fn cut(id: u64, whole: Vec<u8>) -> impl Iterator<Item = Part> {
    let whole = Bytes::from(whole);
    let mut at = 0;
    std::iter::from_fn(move || {
        let to = whole.len().min(at + PART);
        let bytes = whole.slice(at..to);
        at = to;
        (!bytes.is_empty()).then(|| Part {
            id,
            whole: whole.len() as u32,
            bytes,
        })
    })
}

/// A message that comes in parts. Of one side only one is on its way at a time.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    id: u64,
    whole: usize,
    bytes: BytesMut,
}

impl Assembly {
    /// How long the message is that this part is the first of.
    ///
    /// Errors: `Invalid`, where that is too long.
    pub(crate) fn announced(part: &Part) -> Result<usize> {
        let whole = part.whole as usize;
        if whole > WHOLE_MAX {
            return Err(Error::invalid(format!(
                "a message of {whole} bytes was announced, and {WHOLE_MAX} are the limit"
            )));
        }
        Ok(whole)
    }

    /// Takes the next part; all of the message, if that was the last. Room is made as bytes come, not
    /// as they are announced.
    ///
    /// Errors: `Invalid`, where parts do not belong together or the whole is too long.
    pub(crate) fn take(&mut self, part: Part) -> Result<Option<(u64, Bytes)>> {
        let whole = Self::announced(&part)?;
        if self.bytes.is_empty() {
            (self.id, self.whole) = (part.id, whole);
        }
        let known = (self.id, self.whole) == (part.id, whole);
        // Each is as long as it may be, so that there are few.
        let next = PART.min(whole.saturating_sub(self.bytes.len()));
        if !known || next == 0 || part.bytes.len() != next {
            return Err(Error::invalid(format!(
                "a part of {} bytes of message {} does not belong to the one that has begun",
                part.bytes.len(),
                part.id
            )));
        }
        self.bytes.extend_from_slice(&part.bytes);
        if self.bytes.len() < whole {
            return Ok(None);
        }
        Ok(Some((self.id, std::mem::take(&mut self.bytes).freeze())))
    }

    /// Bytes that wait for the rest.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto::Figure;

    #[test]
    fn what_is_cut_is_put_together_again() -> Result<()> {
        for length in [1, PART - 20, PART, PART + 1, 5 * PART] {
            let message = Figure {
                name: "x".repeat(length),
                value: 7,
            };
            let mut assembly = Assembly::default();
            let mut parts: Vec<_> = cut(3, message.encode_to_vec()).collect();
            let last = parts.pop();
            for part in parts {
                assert!(part.bytes.len() <= PART && assembly.take(part)?.is_none());
            }
            let whole = last.map(|last| assembly.take(last)).transpose()?.flatten();
            assert_eq!(whole, Some((3, message.encode_to_vec().into())));
        }
        Ok(())
    }

    #[test]
    fn parts_that_lie_are_refused_before_room_is_made() {
        const TWO: u32 = 2 * PART as u32;
        let part = |id, whole, bytes: usize| Part {
            id,
            whole,
            bytes: vec![0; bytes].into(),
        };
        for parts in [
            vec![part(1, u32::MAX, 1)],
            vec![part(1, 1, 2)],
            vec![part(1, 9, 0)],
            vec![part(1, 9, 4)],
            vec![part(1, TWO, PART), part(2, TWO, PART)],
            vec![part(1, TWO, PART), part(1, TWO - 1, PART - 1)],
            vec![part(1, TWO, PART), part(1, TWO, PART - 1)],
            vec![part(1, TWO, PART), part(1, TWO, PART + 1)],
        ] {
            let mut assembly = Assembly::default();
            let ends = parts
                .into_iter()
                .try_for_each(|it| assembly.take(it).map(drop));
            assert!(ends.is_err() && assembly.held() <= PART);
        }
    }
}
