//! Mapping a file for reading: with the ring's, the one unsafe code of this crate.
//!
//! Promises bytes that do not change while they are held. It rests on three habits of the log: only
//! proven bytes are mapped, a segment is append-only, and a file is never cut below a proven byte.
#![expect(unsafe_code, reason = "a map is the kernel's promise, argued below")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions};

/// Maps the first `length` bytes of `file`, which must be at least that long now.
pub(super) fn map(file: &File, length: u64) -> io::Result<Bytes> {
    let there = file.metadata()?.len();
    let short = || {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file is shorter than its map",
        )
    };
    let length = usize::try_from(length).map_err(|_| short())?;
    if (there as u128) < length as u128 {
        return Err(short());
    }
    // SAFETY: the map is read-only and private to this module's callers, who see it as `&[u8]`. Its
    // bytes would change under them only if somebody wrote below `length` or cut the file there. The
    // log writes a position once and maps it only after a sync has covered it; recovery rewrites
    // unproven bytes with the same bytes and cuts above them; other processes are kept from writing
    // by the lock. Whoever truncates the file behind the lock's back gets this process a SIGBUS,
    // which is why the length was compared above and why `read = "pread"` exists.
    let map = unsafe { MmapOptions::new().len(length).map(file)? };
    // Point reads touch a page here and there: reading ahead of them would only push others out.
    let _ = map.advise(Advice::Random);
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    #[test]
    fn a_map_shows_the_bytes_and_is_never_longer_than_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 5000]).unwrap();
        assert_eq!(super::map(&file, 5000).unwrap().as_ref(), &[7; 5000]);
        assert!(super::map(&file, 5001).is_err());
    }
}
