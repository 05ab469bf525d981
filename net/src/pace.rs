//! Where one item ends and the next begins, in bytes that come in pieces.
//!
//! A peer that says nothing costs little and may be quiet for good reasons. A peer that has *begun* to
//! say something holds memory and a place until it ends. Which of the two it is can be told at three
//! heights, by the lengths alone:
//!
//! ```text
//!   TLS record     type 1, version 2, length 2             then so many bytes
//!   HTTP/2 frame   length 3, type 1, flags 1, stream 4     then so many bytes; 24 bytes come before the first
//!   gRPC message   packed? 1, length 4                     then so many bytes
//! ```
//!
//! It refuses nothing: what a header means is for others to judge.

/// How an item says its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    TlsRecord,
    Http2Frame,
    GrpcMessage,
}

/// What every HTTP/2 client says first.
const PREFACE: u32 = 24;
const HEADER_MAX: usize = 9;

impl Form {
    const fn header(self) -> usize {
        match self {
            Self::TlsRecord | Self::GrpcMessage => 5,
            Self::Http2Frame => HEADER_MAX,
        }
    }

    fn length(self, header: &[u8; HEADER_MAX]) -> u32 {
        match self {
            Self::TlsRecord => u32::from_be_bytes([0, 0, header[3], header[4]]),
            Self::Http2Frame => u32::from_be_bytes([0, header[0], header[1], header[2]]),
            Self::GrpcMessage => u32::from_be_bytes([header[1], header[2], header[3], header[4]]),
        }
    }
}

/// Follows the items of one direction of one stream of bytes.
#[derive(Debug)]
pub(crate) struct Items {
    form: Form,
    header: [u8; HEADER_MAX],
    /// How much of the header is there.
    said: usize,
    /// How much of the body is still to come.
    missing: u32,
    /// Bytes of the item that has begun.
    held: u64,
    ended: u64,
}

impl Items {
    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            header: [0; HEADER_MAX],
            said: 0,
            missing: if form == Form::Http2Frame { PREFACE } else { 0 },
            held: 0,
            ended: 0,
        }
    }

    /// These bytes came.
    pub(crate) fn came(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let header = self.form.header();
            let taken = if self.missing > 0 {
                let taken = bytes.len().min(self.missing as usize);
                self.missing -= taken as u32;
                taken
            } else {
                let taken = bytes.len().min(header - self.said);
                self.header[self.said..self.said + taken].copy_from_slice(&bytes[..taken]);
                self.said += taken;
                if self.said == header {
                    self.missing = self.form.length(&self.header);
                }
                taken
            };
            bytes = &bytes[taken..];
            self.held += taken as u64;
            if self.missing == 0 && (self.said == header || self.said == 0) {
                self.said = 0;
                self.held = 0;
                self.ended += 1;
            }
        }
    }

    /// Whether an item has begun and not ended. The greeting of HTTP/2 is owed from the first moment.
    pub(crate) fn is_open(&self) -> bool {
        self.held > 0 || self.missing > 0
    }

    /// How many bytes of the item that has begun are there.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// How many items have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(5 + length as usize, 7);
        bytes
    }

    #[test]
    fn items_are_told_apart_however_the_bytes_are_cut() {
        let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for length in [0, 1, 300_u32] {
            frames.extend(&length.to_be_bytes()[1..]);
            frames.extend([0; 6]);
            frames.resize(frames.len() + length as usize, 9);
        }
        let mut records = Vec::new();
        for length in [1_u16, 0, 700] {
            records.extend([23, 3, 3]);
            records.extend(length.to_be_bytes());
            records.resize(records.len() + usize::from(length), 9);
        }
        let messages = [message(0), message(3), message(500)].concat();
        for (form, bytes, items) in [
            (Form::Http2Frame, frames, 4),
            (Form::TlsRecord, records, 3),
            (Form::GrpcMessage, messages, 3),
        ] {
            for step in [1, 2, 3, 5, 7, 64, bytes.len()] {
                let mut seen = Items::new(form);
                for piece in bytes.chunks(step) {
                    seen.came(piece);
                }
                assert!(!seen.is_open(), "{form:?} in steps of {step}");
                assert_eq!((seen.ended(), seen.held()), (items, 0), "{form:?}");
            }
            let mut seen = Items::new(form);
            seen.came(&bytes[..bytes.len() - 1]);
            assert!(seen.is_open(), "{form:?}");
            assert_eq!(seen.ended(), items - 1, "{form:?}");
        }
    }

    #[test]
    fn a_quiet_stream_is_not_open_but_a_greeting_is_owed() {
        assert!(!Items::new(Form::TlsRecord).is_open());
        assert!(!Items::new(Form::GrpcMessage).is_open());
        let mut frames = Items::new(Form::Http2Frame);
        assert!(frames.is_open());
        frames.came(&[b'P'; 23]);
        assert!(frames.is_open());
        frames.came(b"I");
        assert!(!frames.is_open());
    }

    #[test]
    fn the_longest_lengths_overflow_nothing() {
        let mut seen = Items::new(Form::GrpcMessage);
        seen.came(&[1, 255, 255, 255, 255, 1, 2]);
        assert!(seen.is_open());
        assert_eq!(seen.held(), 7);
    }
}
