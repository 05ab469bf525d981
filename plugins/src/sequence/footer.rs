//! What a sequence writes down about itself and its parts: two small files' bytes.
//!
//! ```text
//!  card     0 magic "TRAVSEQ\0"   8 crc32 of 12..  12 format  16 store identity  32 stream u64
//!          40 part u64, 0 for the sequence itself    48 made at: microseconds since 1970
//!
//!  footer   0 magic "TRAVSEAL"    8 crc32 of 12..  12 format  16 store identity  32 stream u64
//!          40 part u64            48 start: position, running     64 end: position, running
//!          80 ceiling             88 epoch: tag, number u32      100 proven: epoch u32
//!         104 proven: sequence   112 proven: OID
//!         120 newest marker at the end: OID     128 first marker: OID
//!         136 batches            144 records    152 bytes        160 flags: 1 counts are of the whole part
//!         168 ended at: microseconds since 1970
//! ```

use travertine_engine::contract::{End, Epoch, Error, Oid, Position, Proven, Result, Stream};

const FORMAT: u32 = 1;
const CARD_MAGIC: &[u8; 8] = b"TRAVSEQ\0";
const FOOTER_MAGIC: &[u8; 8] = b"TRAVSEAL";
const CARD: usize = 56;
const FOOTER: usize = 176;

/// Whose a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) store: [u8; 16],
    pub(super) stream: Stream,
    /// Zero: the sequence itself.
    pub(super) part: u32,
    /// When it was written, in microseconds since 1970.
    pub(super) made: u64,
}

impl Card {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = begin(CARD, &self.store, self.stream, self.part);
        out[48..56].copy_from_slice(&self.made.to_le_bytes());
        seal(&mut out, CARD_MAGIC);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let bytes = opened(bytes, CARD_MAGIC, CARD, "sequence file")?;
        Ok(Self {
            store: array(bytes, 16),
            stream: Stream(word(bytes, 32) as u16),
            part: word(bytes, 40) as u32,
            made: word(bytes, 48),
        })
    }
}

/// What was counted in a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) first_marker: Option<Oid>,
    /// Whether nothing of the part came before the counting.
    pub(super) whole: bool,
}

/// What is known of a part that has ended, so that nobody need look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) part: u32,
    pub(super) start: End,
    pub(super) end: End,
    /// The highest ceiling that any part has told up to here.
    pub(super) ceiling: Position,
    pub(super) epoch: Epoch,
    /// The newest commit that was named as proven; no marker at or before the end is newer.
    pub(super) proven: Option<Proven>,
    /// The newest root marker at or before the end, in this part or an older one.
    pub(super) marker: Option<Oid>,
    pub(super) counts: Counts,
    /// When the next part took over, in microseconds since 1970.
    pub(super) ended: u64,
}

impl Footer {
    pub(super) fn encode(&self, store: &[u8; 16], stream: Stream) -> Vec<u8> {
        let mut out = begin(FOOTER, store, stream, self.part);
        let (sequence, epoch, oid) = self.proven.map_or((0, 0, 0), |proven| {
            (proven.sequence, proven.epoch, proven.oid.raw())
        });
        let words = [
            (48, self.start.position.0),
            (56, self.start.running),
            (64, self.end.position.0),
            (72, self.end.running),
            (80, self.ceiling.0),
            (88, self.epoch.tag),
            (96, u64::from(self.epoch.number) | u64::from(epoch) << 32),
            (104, sequence),
            (112, oid),
            (120, self.marker.map_or(0, Oid::raw)),
            (128, self.counts.first_marker.map_or(0, Oid::raw)),
            (136, self.counts.batches),
            (144, self.counts.records),
            (152, self.counts.bytes),
            (160, u64::from(self.counts.whole)),
            (168, self.ended),
        ];
        for (at, word) in words {
            out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        seal(&mut out, FOOTER_MAGIC);
        out
    }

    pub(super) fn decode(bytes: &[u8], store: &[u8; 16], stream: Stream) -> Result<Self> {
        let bytes = opened(bytes, FOOTER_MAGIC, FOOTER, "footer")?;
        if bytes[16..32] != store[..] || word(bytes, 32) != u64::from(stream.0) {
            return Err(Error::invalid("the footer belongs to another sequence"));
        }
        let end = |at| End {
            position: Position(word(bytes, at)),
            running: word(bytes, at + 8),
        };
        let numbers = word(bytes, 96);
        let footer = Self {
            part: word(bytes, 40) as u32,
            start: end(48),
            end: end(64),
            ceiling: Position(word(bytes, 80)),
            epoch: Epoch {
                tag: word(bytes, 88),
                number: numbers as u32,
            },
            proven: Oid::from_raw(word(bytes, 112)).map(|oid| Proven {
                sequence: word(bytes, 104),
                epoch: (numbers >> 32) as u32,
                oid,
            }),
            marker: Oid::from_raw(word(bytes, 120)),
            counts: Counts {
                first_marker: Oid::from_raw(word(bytes, 128)),
                batches: word(bytes, 136),
                records: word(bytes, 144),
                bytes: word(bytes, 152),
                whole: word(bytes, 160) & 1 != 0,
            },
            ended: word(bytes, 168),
        };
        if footer.start.position > footer.end.position || footer.end.position > Position::LIMIT {
            return Err(Error::corrupt("the footer states a range that is none"));
        }
        Ok(footer)
    }
}

fn begin(length: usize, store: &[u8; 16], stream: Stream, part: u32) -> Vec<u8> {
    let mut out = vec![0; length];
    out[16..32].copy_from_slice(store);
    out[32..34].copy_from_slice(&stream.0.to_le_bytes());
    out[40..44].copy_from_slice(&part.to_le_bytes());
    out
}

fn seal(out: &mut [u8], magic: &[u8; 8]) {
    out[..8].copy_from_slice(magic);
    out[12..16].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc32fast::hash(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
}

fn opened<'a>(bytes: &'a [u8], magic: &[u8; 8], length: usize, what: &str) -> Result<&'a [u8]> {
    let Some(bytes) = bytes.get(..length).filter(|bytes| &bytes[..8] == magic) else {
        return Err(Error::corrupt(format!("this is no {what}, or cut short")));
    };
    if half(bytes, 8) != crc32fast::hash(&bytes[12..]) {
        return Err(Error::corrupt(format!("the {what} fails its checksum")));
    }
    match half(bytes, 12) {
        FORMAT => Ok(bytes),
        newer => Err(Error::invalid(format!(
            "the {what} has format {newer}, this program reads format {FORMAT}; use a newer one"
        ))),
    }
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Footer {
        Footer {
            part: 7,
            start: End {
                position: Position(100),
                running: 1,
            },
            end: End {
                position: Position(900),
                running: 2,
            },
            ceiling: Position(5_000),
            epoch: Epoch { number: 3, tag: 4 },
            proven: Some(Proven {
                sequence: 9,
                epoch: 3,
                oid: Oid::from_raw(800).unwrap(),
            }),
            marker: Oid::from_raw(800),
            counts: Counts {
                batches: 11,
                records: 12,
                bytes: 13,
                first_marker: Oid::from_raw(120),
                whole: true,
            },
            ended: 14,
        }
    }

    #[test]
    fn a_footer_reads_back_and_notices_every_bit() {
        let (store, stream) = ([6; 16], Stream(2));
        let bytes = sample().encode(&store, stream);
        assert_eq!(Footer::decode(&bytes, &store, stream).unwrap(), sample());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::decode(&bad, &store, stream).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Footer::decode(&bytes[..length], &store, stream).is_err());
        }
        assert!(Footer::decode(&bytes, &[7; 16], stream).is_err());
    }

    #[test]
    fn a_footer_and_a_card_have_these_golden_bytes() {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let card = Card {
            store: [1; 16],
            stream: Stream(2),
            part: 3,
            made: 4,
        };
        assert_eq!(Card::decode(&card.encode()).unwrap(), card);
        assert_eq!(
            hex(&card.encode()),
            "5452415653455100605e6bf40100000001010101010101010101010101010101020000000000000003000000000000000400000000000000"
        );
        assert_eq!(
            hex(&sample().encode(&[1; 16], Stream(2))),
            "545241565345414c23fa7e7e010000000101010101010101010101010101010102000000000000000700000000000000640000000000000001000000000000008403000000000000020000000000000088130000000000000400000000000000030000000300000009000000000000002003000000000000200300000000000078000000000000000b000000000000000c000000000000000d0000000000000001000000000000000e00000000000000"
        );
    }
}
