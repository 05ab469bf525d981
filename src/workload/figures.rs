//! What a run is measured by: latencies, bytes and syncs below, memory and processor time.

use hdrhistogram::Histogram;

use crate::contract::{Error, Result, Status};

/// Longest step that is told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// How long the steps of one thread took.
#[derive(Debug, Clone)]
pub struct Steps {
    histogram: Histogram<u64>,
}

impl Steps {
    /// None yet.
    pub fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3)
            .map_err(|error| Error::invalid(format!("no histogram: {error}")))?;
        Ok(Self { histogram })
    }

    /// One more, in nanoseconds. What is longer than a minute counts as a minute.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.max(1));
    }

    /// Takes those of another in.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.histogram
            .add(&other.histogram)
            .map_err(|error| Error::invalid(format!("histograms do not add: {error}")))
    }

    /// The time that this share of the steps stays below, in nanoseconds.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        self.histogram.value_at_quantile(share)
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }
}

/// What the bottoms of a stack have written so far, as they count it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Bytes of batches and zeros written ahead.
    pub bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
}

impl Written {
    /// The sums over all floors that stand on nothing.
    #[must_use]
    pub fn of(status: &Status) -> Self {
        if !status.below.is_empty() {
            return status
                .below
                .iter()
                .map(Self::of)
                .fold(Self::default(), |sum, below| Self {
                    bytes: sum.bytes + below.bytes,
                    syncs: sum.syncs + below.syncs,
                });
        }
        let figure = |wanted: &str| {
            let named = status.figures.iter().filter(|(name, _)| *name == wanted);
            named.map(|(_, value)| value).sum::<u64>()
        };
        Self {
            bytes: figure("bytes") + figure("zeros"),
            syncs: figure("syncs"),
        }
    }

    /// What was written since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            syncs: self.syncs.saturating_sub(before.syncs),
        }
    }
}

/// What a run took from this process. Where the system does not tell, zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Processor time of all threads so far, in nanoseconds.
    pub cpu_ns: u64,
    /// Most memory that was resident at once, in bytes; since [`Process::reset_peak`], where the
    /// system allows that.
    pub peak: u64,
}

#[cfg(target_os = "linux")]
mod system {
    //! Asks the kernel, through its own files.
    #![expect(
        clippy::disallowed_methods,
        reason = "these files are the kernel's, not a store's"
    )]

    use rustix::time::{ClockId, clock_gettime};

    use super::Process;

    impl Process {
        /// So far.
        #[must_use]
        pub fn now() -> Self {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            Self {
                cpu_ns: time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
                peak: line("VmHWM:"),
            }
        }

        /// Bytes that are resident now.
        #[must_use]
        pub fn resident() -> u64 {
            line("VmRSS:")
        }

        /// Forgets the peak so far. `false`: the system does not allow it.
        #[must_use]
        pub fn reset_peak() -> bool {
            std::fs::write("/proc/self/clear_refs", "5").is_ok()
        }
    }

    fn line(name: &str) -> u64 {
        let status = std::fs::read("/proc/self/status").unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = value.and_then(|value| value.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

#[cfg(not(target_os = "linux"))]
impl Process {
    /// So far: unknown here.
    #[must_use]
    pub fn now() -> Self {
        Self::default()
    }

    /// Bytes that are resident now: unknown here.
    #[must_use]
    pub fn resident() -> u64 {
        0
    }

    /// Forgets the peak so far: not possible here.
    #[must_use]
    pub fn reset_peak() -> bool {
        false
    }
}
