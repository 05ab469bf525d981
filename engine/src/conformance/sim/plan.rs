//! What a run's disk is like and which faults it has: drawn from the seed before the run, so that
//! every run has a few kinds of fault rather than all of them a little.

use crate::conformance::rng::Rng;

/// Everything the simulated disk can do to its user. Each firing is counted, so that a run set in
/// which a fault never fired can be told from one that survived it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fault {
    /// The power went: what was not synced is there, or not, sector by sector.
    PowerCut,
    /// The process was killed: the page cache stays.
    Kill,
    /// A kill, after which clean pages were dropped from the page cache.
    Eviction,
    /// The call at which the process died was carried out, or half of it.
    HalfDone,
    /// An unsynced sector did not survive the power cut.
    LostSector,
    /// A sector that was being written at the power cut holds new bytes in front, old ones behind.
    TornSector,
    /// A sector that was being written at the power cut holds garbage, synced bytes included. Only
    /// without power-safe overwrite.
    GarbageSector,
    /// An unsynced name did not survive the power cut.
    LostName,
    /// An unsynced length did not survive the power cut.
    LostLength,
    /// The length survived the power cut, the bytes did not: zeros.
    ZeroTail,
    /// The length survived the power cut, the bytes did not: garbage, or bytes of another file.
    GarbageTail,
    /// A write failed, nothing written.
    WriteError,
    /// A write failed after a part of it was written.
    PartialWrite,
    /// A sync failed and the data is gone: pages are clean, reads give bytes that are on no disk,
    /// the next sync succeeds.
    SyncDropped,
    /// As `SyncDropped`, for some of the sectors only.
    SyncDroppedPartly,
    /// A sync failed although the data is durable.
    SyncKept,
    /// A sync of the directory failed; names stay unsynced.
    DirSyncError,
    /// A create, rename, remove, resize or claim failed.
    NameError,
    /// A read failed once.
    ReadError,
    /// A sector cannot be read until it is written again.
    LatentSector,
    /// No space at a write; part of it may be written.
    FullWrite,
    /// No space at a claim.
    FullClaim,
    /// No space for a new file.
    FullCreate,
    /// No space was found out at the sync: the data is gone.
    FullSync,
    /// A bit of a synced sector flipped on the disk.
    BitFlip,
    /// A bit flipped on the way to the reader; the disk is fine.
    ReadFlip,
    /// A sector was written to another sector's place.
    Misdirected,
    /// A sector was reported as written and was not.
    LostWrite,
    /// A read gave a sector as it was before its last write.
    StaleRead,
    /// A sync did nothing and said it did.
    LyingSync,
    /// A sync of the directory did nothing and said it did.
    LyingDirSync,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::PowerCut,
        Self::Kill,
        Self::Eviction,
        Self::HalfDone,
        Self::LostSector,
        Self::TornSector,
        Self::GarbageSector,
        Self::LostName,
        Self::LostLength,
        Self::ZeroTail,
        Self::GarbageTail,
        Self::WriteError,
        Self::PartialWrite,
        Self::SyncDropped,
        Self::SyncDroppedPartly,
        Self::SyncKept,
        Self::DirSyncError,
        Self::NameError,
        Self::ReadError,
        Self::LatentSector,
        Self::FullWrite,
        Self::FullClaim,
        Self::FullCreate,
        Self::FullSync,
        Self::BitFlip,
        Self::ReadFlip,
        Self::Misdirected,
        Self::LostWrite,
        Self::StaleRead,
        Self::LyingSync,
        Self::LyingDirSync,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::LyingDirSync as usize + 1;
}

/// Which promises a run can still hold its log to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Kills and power cuts on an honest disk: nothing acknowledged is lost.
    Crash,
    /// Calls fail, and say so: nothing acknowledged is lost, nothing is acknowledged after.
    Errors,
    /// The disk runs full, and is freed again: nothing is lost, and it goes on.
    Full,
    /// Bytes change: never wrong bytes, damage is told.
    Corruption,
    /// Syncs lie: an older complete state, or an error.
    Lying,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Crash,
        Self::Errors,
        Self::Full,
        Self::Corruption,
        Self::Lying,
    ];

    /// The faults that may come on top of crashes.
    #[must_use]
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Self::Crash => &[],
            Self::Errors => &[
                Fault::WriteError,
                Fault::PartialWrite,
                Fault::SyncDropped,
                Fault::SyncDroppedPartly,
                Fault::SyncKept,
                Fault::DirSyncError,
                Fault::NameError,
                Fault::ReadError,
                Fault::LatentSector,
            ],
            Self::Full => &[
                Fault::FullWrite,
                Fault::FullClaim,
                Fault::FullCreate,
                Fault::FullSync,
            ],
            Self::Corruption => &[
                Fault::BitFlip,
                Fault::ReadFlip,
                Fault::Misdirected,
                Fault::LostWrite,
                Fault::StaleRead,
            ],
            Self::Lying => &[Fault::LyingSync, Fault::LyingDirSync],
        }
    }
}

/// What makes a name durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameRule {
    /// Only a sync of the directory; unsynced names are lost one by one, in any order.
    Strict,
    /// One journal: a sync of any file takes all earlier names along, and names are lost from the
    /// newest backwards.
    Journalled,
}

/// What a byte is that a length promises and no write delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fill {
    /// Zero.
    Zeros,
    /// Anything.
    Garbage,
    /// What another file has, or had, at the same place: well-formed, and wrong.
    Stale,
}

/// One run's disk. Rates are in thousandths, of the calls or sectors that the fault may hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes that are written together: 512 or 4,096.
    pub sector: u64,
    /// Whether bytes outside of a torn write keep their value.
    pub power_safe: bool,
    /// What makes names durable.
    pub names: NameRule,
    /// How likely an unsynced sector survives a power cut.
    pub persist: u64,
    /// How likely an unsynced name survives a power cut.
    pub persist_name: u64,
    /// How likely an unsynced length survives a power cut.
    pub persist_length: u64,
    /// How likely a sector that did not quite survive is torn.
    pub torn: u64,
    /// What unwritten bytes are.
    pub fill: Fill,
    /// How likely a kill is followed by the loss of all clean pages.
    pub evict: u64,
    /// Whether files can be mapped.
    pub map: bool,
    /// Whether whole sectors can be written past the page cache.
    pub through: bool,
    /// Bytes there is room for.
    pub capacity: Option<u64>,
    /// How often each fault hits, by its number; [`Plan::with`] sets one.
    pub rates: [u64; Fault::COUNT],
}

impl Plan {
    /// A disk without faults, which loses at a power cut exactly what was not synced.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            sector: 4096,
            power_safe: false,
            names: NameRule::Strict,
            persist: 0,
            persist_name: 0,
            persist_length: 0,
            torn: 0,
            fill: Fill::Zeros,
            evict: 0,
            map: false,
            through: false,
            capacity: None,
            rates: [0; Fault::COUNT],
        }
    }

    /// The disk of run `seed`, with some of the faults of its class.
    #[must_use]
    pub fn draw(seed: u64, class: Class) -> Self {
        let mut rng = Rng::new(seed ^ 0x504C_414E);
        let mut plan = Self {
            sector: one(&mut rng, &[512, 4096]),
            power_safe: rng.chance(500, 1000),
            names: one(&mut rng, &[NameRule::Strict, NameRule::Journalled]),
            persist: one(&mut rng, &[0, 500, 500, 1000]),
            persist_name: one(&mut rng, &[0, 500, 1000]),
            persist_length: one(&mut rng, &[0, 500, 1000]),
            torn: one(&mut rng, &[0, 50, 500]),
            fill: one(&mut rng, &[Fill::Zeros, Fill::Garbage, Fill::Stale]),
            evict: one(&mut rng, &[0, 300]),
            map: rng.chance(300, 1000),
            through: false,
            capacity: None,
            rates: [0; Fault::COUNT],
        };
        let faults = class.faults();
        // Half of them, each; and at least one.
        for &fault in faults {
            if rng.chance(500, 1000) {
                plan.rates[fault as usize] = one(&mut rng, &[3, 20, 100]);
            }
        }
        if !faults.is_empty() && plan.rates.iter().all(|&rate| rate == 0) {
            plan.rates[one(&mut rng, faults) as usize] = one(&mut rng, &[20, 100]);
        }
        plan.through = rng.chance(500, 1000);
        plan
    }

    /// The same with this fault at this rate.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: u64) -> Self {
        self.rates[fault as usize] = rate;
        self
    }

    /// How often a fault hits.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> u64 {
        self.rates[fault as usize]
    }

    /// The same disk without faults: crashes go on, lies and errors have stopped.
    #[must_use]
    pub fn quiet(&self) -> Self {
        Self {
            rates: [0; Fault::COUNT],
            capacity: None,
            ..self.clone()
        }
    }
}

/// One of these, of which there must be some.
pub(super) fn one<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.below_usize(among.len())]
}
