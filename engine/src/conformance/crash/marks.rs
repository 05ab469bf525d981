//! Counters of what a set of runs went through: a branch that no run took was not tested.

use crate::conformance::sim::Class;

/// Something that a run may come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Branch {
    /// Opened after a clean close.
    OpenedClean,
    /// Opened after a crash with nothing unproven.
    OpenedWhole,
    /// Opened with batches that were not known durable.
    OpenedUnproven,
    /// Recovery cut a batch off that was valid.
    CutValid,
    /// Recovery wrote bytes.
    Rewrote,
    /// The newest segment had no readable header.
    HeadlessSegment,
    /// A small file was half replaced.
    HalfReplaced,
    /// Room for a next segment was left behind.
    SpareLeft,
    /// The log had more than one segment.
    ManySegments,
    /// A commit that nobody was told of survived.
    KeptUnknown,
    /// A commit that nobody was told of did not survive.
    LostUnknown,
    /// The process died while it opened or recovered.
    CrashInRecovery,
    /// It died again while it recovered from that.
    CrashInRecoveryAgain,
    /// And a third time.
    CrashInRecoveryThrice,
    /// A root was read after a kill, and then the power went before any commit.
    PowerCutAfterLook,
    /// Commits were in flight together.
    InFlight,
    /// A commit was not waited for.
    Forgotten,
    /// A commit was refused because a name had moved.
    Conflict,
    /// A commit below the level of the disk was acknowledged.
    LowLevel,
    /// A second process read while the writer ran, or before it opened.
    ReaderLooked,
    /// An old commit was looked at by its number.
    TimeTravel,
    /// The log refused to write after a failed call.
    Poisoned,
    /// A store was refused for want of room.
    Full,
    /// Writing went on after room was made, without reopening.
    WentOn,
    /// Damage was told when the log was opened.
    DamageAtOpen,
    /// Damage was told when a record was read.
    DamageAtRead,
    /// Damage changed no answer.
    DamageHarmless,
    /// Damage of the newest bytes was taken for a torn write.
    DamageMissed,
    /// A disk that lied showed an older state.
    OlderState,
    /// A disk that lied was caught.
    LieCaught,
    /// Opening failed and succeeded later.
    OpenedLater,
    /// A batch or a commit that had been taken was sent again.
    SentAgain,
    /// Another writer took over, and the first was refused.
    Fenced,
}

impl Branch {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::OpenedClean,
        Self::OpenedWhole,
        Self::OpenedUnproven,
        Self::CutValid,
        Self::Rewrote,
        Self::HeadlessSegment,
        Self::HalfReplaced,
        Self::SpareLeft,
        Self::ManySegments,
        Self::KeptUnknown,
        Self::LostUnknown,
        Self::CrashInRecovery,
        Self::CrashInRecoveryAgain,
        Self::CrashInRecoveryThrice,
        Self::PowerCutAfterLook,
        Self::InFlight,
        Self::Forgotten,
        Self::Conflict,
        Self::LowLevel,
        Self::ReaderLooked,
        Self::TimeTravel,
        Self::Poisoned,
        Self::Full,
        Self::WentOn,
        Self::DamageAtOpen,
        Self::DamageAtRead,
        Self::DamageHarmless,
        Self::DamageMissed,
        Self::OlderState,
        Self::LieCaught,
        Self::OpenedLater,
        Self::SentAgain,
        Self::Fenced,
    ];
    /// Whether runs of this class come by it, if there are enough of them.
    #[must_use]
    pub fn comes_with(self, class: Class) -> bool {
        match self {
            Self::Poisoned | Self::OpenedLater => matches!(class, Class::Errors | Class::Full),
            Self::Full | Self::WentOn => class == Class::Full,
            Self::DamageAtOpen | Self::DamageAtRead | Self::DamageHarmless | Self::DamageMissed => {
                class == Class::Corruption
            }
            Self::OlderState | Self::LieCaught => class == Class::Lying,
            Self::Fenced => class == Class::Crash,
            _ => true,
        }
    }

    /// How many there are.
    pub const COUNT: usize = Self::Fenced as usize + 1;
}

/// How often each branch was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks([u64; Branch::COUNT]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Branch::COUNT])
    }
}

impl Marks {
    /// Notes one.
    pub fn note(&mut self, branch: Branch) {
        self.0[branch as usize] += 1;
    }

    /// How often this one was taken.
    #[must_use]
    pub fn count(&self, branch: Branch) -> u64 {
        self.0[branch as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
