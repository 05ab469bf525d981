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

/// The rows that a bench was asked for, as its arguments name them.
#[derive(Debug)]
pub struct Asked {
    /// Whether it shall be over soon.
    pub quick: bool,
    rows: Vec<String>,
}

impl Asked {
    /// What this process was called with.
    #[must_use]
    pub fn of_process() -> Self {
        let (options, rows): (Vec<_>, Vec<_>) = std::env::args()
            .skip(1)
            .partition(|it| it.starts_with("--"));
        Self {
            quick: options.iter().any(|it| it == "--quick"),
            rows,
        }
    }

    /// Whether a row is wanted: all are, if none is named.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|it| name.contains(it.as_str()))
    }
}

/// Processor time of all threads so far.
#[must_use]
pub fn processor() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
