//! Shared pieces of the benches: raw baselines that run beside ours in the same run, and figures.

pub mod counted;
pub mod raw;

/// Maps a whole file for reading: the baseline of point reads.
#[expect(
    unsafe_code,
    reason = "the baseline reads through a map; the bench owns the file"
)]
pub fn map(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the bench wrote the file and changes it no more while the map lives.
    let map = unsafe { memmap2::Mmap::map(file)? };
    let _ = map.advise(memmap2::Advice::Random);
    Ok(map)
}
