//! What a message will take in memory, reckoned before any of it is made.
//!
//! ```text
//!   12 00 12 00 12 00 …      two bytes each on the wire, and an `Answer` of hundreds of bytes each in memory
//! ```
//!
//! Messages of ours take about what they have in bytes. So one may take [`TIMES`] its length and
//! [`FREE`] besides, items in items counted, and is refused above that. How messages lie in one another
//! is written down by the build, from the protocol itself.

use travertine_engine::contract::{Error, Result};

/// So many times its length a message may take.
const TIMES: usize = 8;
/// And so much besides.
const FREE: usize = 256 << 10;
/// Items in items, at most.
const DEPTH: usize = 40;

/// A message that can be reckoned.
pub(crate) trait Shaped {
    /// What in it takes room.
    const SHAPE: &'static Shape;
}

/// The fields of a message that take room beside it, by their numbers.
#[derive(Debug)]
pub(crate) struct Shape(&'static [(u32, Field)]);

#[derive(Debug)]
enum Field {
    /// Another message; if there may be many, each takes so much.
    Message { each: usize, shape: &'static Shape },
    /// One of many texts or runs of bytes.
    Bytes { each: usize },
    /// Numbers: none takes less than a byte, and none more than eight when it is read.
    Numbers,
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// No item takes more than this for each of its bytes: there are two at least.
const MOST: usize = {
    let (mut most, mut at) = (32, 0);
    while at < SIZES.len() {
        most = if SIZES[at] > most { SIZES[at] } else { most };
        at += 1;
    }
    most / 2 + 1
};

/// Whether a message may be read.
///
/// Errors: `Invalid`, if it would take too much, or these bytes are none.
pub(crate) fn check(shape: &Shape, bytes: &[u8]) -> Result<()> {
    // Most are too short to do harm.
    if bytes.len() <= FREE / MOST {
        return Ok(());
    }
    let mut left = bytes.len().saturating_mul(TIMES).saturating_add(FREE);
    match walk(shape, bytes, DEPTH, &mut left) {
        Ok(()) => Ok(()),
        Err(Wrong::Large) => Err(Error::invalid(format!(
            "a message of {} bytes holds so many items that it would take over {TIMES} times its length",
            bytes.len()
        ))),
        Err(Wrong::Garbled) => Err(Error::invalid("this is no message")),
    }
}

enum Wrong {
    Garbled,
    Large,
}

fn walk(
    shape: &Shape,
    mut bytes: &[u8],
    depth: usize,
    left: &mut usize,
) -> std::result::Result<(), Wrong> {
    while !bytes.is_empty() {
        let (number, inner) = field(&mut bytes).ok_or(Wrong::Garbled)?;
        let mut fields = shape.0.iter();
        let Some((_, field)) = fields.find(|(known, _)| *known == number) else {
            continue;
        };
        let takes = match field {
            Field::Message { each, .. } | Field::Bytes { each } => *each,
            Field::Numbers => 8 * inner.len().max(1),
        };
        *left = left.checked_sub(takes).ok_or(Wrong::Large)?;
        if let Field::Message { shape, .. } = field
            && !shape.0.is_empty()
        {
            let depth = depth.checked_sub(1).ok_or(Wrong::Large)?;
            walk(shape, inner, depth, left)?;
        }
    }
    Ok(())
}

/// The next field: its number, and the bytes of it, if it says how many there are.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let length = match tag & 7 {
        0 => {
            varint(bytes)?;
            return Some((number, &[]));
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        // Groups are of an older time, and nothing here sends one.
        _ => return None,
    };
    let (inner, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((number, inner))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use crate::proto::{Answer, Answers, Call, Calls, Part, ReclaimCall, Status, call};
    use crate::wire::codec::read;

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_is_refused_before_it_is_read() {
        let calls = Calls {
            calls: vec![Call::default(); 100_000],
            ..Calls::default()
        };
        let answers = Answers {
            answers: vec![Answer::default(); 100_000],
            ..Answers::default()
        };
        let numbers = ReclaimCall {
            alive: vec![1; 1 << 20],
            ..ReclaimCall::default()
        };
        let within = Call {
            verb: Some(call::Verb::Reclaim(numbers.clone().into())),
            ..Call::default()
        };
        let wide = Status {
            below: vec![Status::default(); 50_000],
            ..Status::default()
        };
        for refused in [
            read::<Calls>(&calls.encode_to_vec()[..]).map(drop),
            read::<Answers>(&answers.encode_to_vec()[..]).map(drop),
            read::<Status>(&wide.encode_to_vec()[..]).map(drop),
        ] {
            let error = refused.unwrap_err();
            assert!(error.to_string().contains("so many items"), "{error}");
        }
        // Numbers of one byte take eight each, which is as much as a message may.
        assert_eq!(
            read::<ReclaimCall>(&numbers.encode_to_vec()[..]).unwrap(),
            numbers
        );
        assert_eq!(read::<Call>(&within.encode_to_vec()[..]).unwrap(), within);
    }

    #[test]
    fn what_lies_deep_is_refused_and_what_is_long_is_not() {
        let mut deep = Status::default();
        for _ in 0..60 {
            deep = Status {
                kind: "x".repeat(100),
                below: vec![deep],
                ..Status::default()
            };
        }
        assert!(read::<Status>(&deep.encode_to_vec()[..]).is_err());
        let long = Calls {
            parts: vec![Part {
                id: 1,
                whole: 3 << 20,
                bytes: vec![0x12; 3 << 20].into(),
            }],
            ..Calls::default()
        };
        assert_eq!(read::<Calls>(&long.encode_to_vec()[..]).unwrap(), long);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let group = [vec![0x0b, 0x0c], vec![0x12, 0]].concat();
        for bytes in [
            group.repeat(5_000),
            vec![0xff; 9_000],
            vec![0x12; 9_000],
            vec![0x0b; 9_000],
            [vec![0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], vec![0; 9_000]].concat(),
        ] {
            assert!(read::<Calls>(&bytes[..]).is_err());
        }
    }
}
