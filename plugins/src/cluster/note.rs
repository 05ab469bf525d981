//! What a child keeps of the cluster that it belongs to: one note beside what it stores.
//!
//! ```text
//!    0 magic "TRAVCLUS"   8 crc32 of 12..   12 format      16 store identity
//!   32 seat: its own id  48 stream u64      56 standing    64 normal: tag, number
//!   80 roster: tag, number                  96 ack u32    100 children u32   104 unit u64
//!  112 each seat: id, then what was seen of it: epoch tag, number, position
//! ```
//!
//! `normal` is the newest epoch whose chosen chain this child was brought to hold, whole and durable:
//! children of the same `normal` hold beginnings of one line. It is written after that chain, never
//! before: a short child would outrank a long one. The roster names the media that count; the newest
//! one that anybody holds is in force.

use travertine_engine::contract::{Epoch, Error, Position, Result, Stream};
use travertine_engine::stack::Shelf;

use super::config::CHILDREN_MAX;

const FILE: &str = "cluster";
const MAGIC: &[u8; 8] = b"TRAVCLUS";
const FORMAT: u32 = 1;
const FIXED: usize = 112;
const SEAT: usize = 40;

/// What one child's medium is called, whatever place of the list it stands in.
pub(super) type SeatId = [u8; 16];

/// How a child belongs to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The cluster was made and nobody has ever written to it.
    Forming,
    /// It takes the seat of a lost one, and lacks what that one had acknowledged.
    Joining,
    /// It holds what it acknowledged.
    Member,
}

/// Which media count, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roster {
    /// The epoch that made it.
    pub(super) version: Epoch,
    pub(super) ack: usize,
    /// After a commit the next batch begins at a multiple of this, on every child.
    pub(super) unit: u64,
    pub(super) seats: Vec<SeatId>,
}

impl Roster {
    pub(super) fn index(&self, seat: &SeatId) -> Option<usize> {
        self.seats.iter().position(|other| other == seat)
    }
}

/// How far a child had got: what it was brought to hold, and where it ended.
pub(super) type Seen = (Epoch, Position);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) store: [u8; 16],
    pub(super) stream: Stream,
    pub(super) seat: SeatId,
    pub(super) standing: Standing,
    pub(super) normal: Epoch,
    pub(super) roster: Roster,
    /// Of each seat of the roster.
    pub(super) seen: Vec<Seen>,
}

impl Note {
    /// The note on a shelf; `None`: there is none.
    pub(super) fn read(shelf: &dyn Shelf) -> Result<Option<Self>> {
        let Some(bytes) = shelf.read(FILE)? else {
            return Ok(None);
        };
        let damaged = || {
            Error::corrupt(format!(
                "the file `{FILE}` in {} is damaged: clear the directory and replace the child",
                shelf.place()
            ))
        };
        Self::decode(&bytes).ok_or_else(damaged).map(Some)
    }

    /// Replaces the note on a shelf, durably. `before`: what it is known to say.
    pub(super) fn write(&self, shelf: &dyn Shelf, before: Option<&Self>) -> Result<()> {
        let before = before.map(Self::encode);
        shelf.replace(FILE, before.as_deref(), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; FIXED];
        out[..8].copy_from_slice(MAGIC);
        out[12..16].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..32].copy_from_slice(&self.store);
        out[32..48].copy_from_slice(&self.seat);
        let sizes = self.roster.ack as u64 | (self.roster.seats.len() as u64) << 32;
        let words = [
            (48, u64::from(self.stream.0)),
            (56, self.standing as u64),
            (64, self.normal.tag),
            (72, u64::from(self.normal.number)),
            (80, self.roster.version.tag),
            (88, u64::from(self.roster.version.number)),
            (96, sizes),
            (104, self.roster.unit),
        ];
        for (at, word) in words {
            out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        for (seat, (epoch, end)) in self.roster.seats.iter().zip(&self.seen) {
            out.extend_from_slice(seat);
            for word in [epoch.tag, u64::from(epoch.number), end.0] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let sound = bytes.len() >= FIXED
            && &bytes[..8] == MAGIC
            && word32(bytes, 8) == crc32fast::hash(&bytes[12..])
            && word32(bytes, 12) == FORMAT;
        let (ack, children) = (
            sound.then(|| word32(bytes, 96))? as usize,
            word32(bytes, 100) as usize,
        );
        if !(2..=CHILDREN_MAX).contains(&children)
            || !(1..=children).contains(&ack)
            || bytes.len() != FIXED + children * SEAT
        {
            return None;
        }
        let standing = match word(bytes, 56) {
            0 => Standing::Forming,
            1 => Standing::Joining,
            2 => Standing::Member,
            _ => return None,
        };
        let seats = bytes[FIXED..].chunks_exact(SEAT);
        Some(Self {
            store: id(bytes, 16),
            stream: Stream(u16::try_from(word(bytes, 48)).ok()?),
            seat: id(bytes, 32),
            standing,
            normal: epoch(bytes, 64),
            roster: Roster {
                version: epoch(bytes, 80),
                ack,
                unit: Some(word(bytes, 104)).filter(|unit| unit.is_power_of_two())?,
                seats: seats.clone().map(|seat| id(seat, 0)).collect(),
            },
            seen: seats
                .map(|seat| {
                    (
                        epoch(seat, 16),
                        Position(word(seat, 32)).min(Position::LIMIT),
                    )
                })
                .collect(),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn id(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[at..at + 16]);
    id
}

fn epoch(bytes: &[u8], at: usize) -> Epoch {
    Epoch {
        tag: word(bytes, at),
        number: word32(bytes, at + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        let epoch = |number| Epoch { number, tag: 77 };
        Note {
            store: [1; 16],
            stream: Stream(5),
            seat: [3; 16],
            standing: Standing::Joining,
            normal: epoch(9),
            roster: Roster {
                version: epoch(8),
                ack: 2,
                unit: 4096,
                seats: vec![[2; 16], [3; 16], [4; 16]],
            },
            seen: vec![
                (epoch(9), Position(800)),
                (epoch(7), Position(16)),
                (epoch(0), Position(0)),
            ],
        }
    }

    #[test]
    fn a_note_reads_back_as_it_was_written() {
        assert_eq!(Note::decode(&note().encode()), Some(note()));
    }

    #[test]
    fn a_note_with_any_bit_flipped_or_cut_short_is_none() {
        let bytes = note().encode();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Note::decode(&bytes), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Note::decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}
