//! Planted mistakes. Each must be found; a model that finds none of them proves nothing.

use crate::model;
use crate::setting::{Adoption, Setting};

/// One mistake an engine could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Recovery ends the log at the newest marker that a batch *names* as proven, and drops
    /// the markers above it.
    ChooseBelowProven,
    /// Recovery ranks candidates by position, not by epoch first.
    ChooseByPosition,
    /// Recovery keeps the valid chain to its last batch, marker or not.
    CutAboveMarker,
    /// A log cuts its own tail when it is opened, instead of reporting it.
    CutAtOpen,
    /// The new epoch starts behind the chosen marker instead of at the highest ceiling.
    StartAtTail,
    /// The new epoch starts at the lowest ceiling that was reported.
    StartAtLowestCeiling,
    /// A log that cuts a batch forgets the ceiling in its frame.
    CutLowersCeiling,
    /// A writer hands out positions below a ceiling that no quorum has durable yet.
    UseUnprovenCeiling,
    /// A serving writer calls a marker proven when one child has it.
    AckBeforeQuorum,
    /// A child forgets its promise in a crash.
    FenceNotDurable,
    /// A child takes batches from a writer whose epoch is below its promise.
    AcceptFenced,
    /// A child takes batches from a writer with a newer epoch without having promised it.
    AcceptUnpromised,
    /// Two writers with the same number count as the same epoch.
    EpochWithoutTag,
    /// A writer serves when the chosen marker is on a quorum, before its own first batch is.
    ServeBeforeAdopted,
    /// The first batch of an epoch names the marker it carries over as proven.
    NameCarriedAsProven,
    /// A recovering writer counts batches that a child has written but not synced.
    ServeBeforeSync,
    /// A wiped child counts as a child that holds nothing.
    CountWiped,
    /// A child whose valid chain ends below its durable frontier counts as it stands.
    CountDamaged,
    /// A new medium counts before a quorum of the others has noted it.
    RejoinUnnoted,
    /// The others note a new medium, but recovery still counts an answer from the old one.
    TrustOldMedium,
    /// Recovery finds the note of a new medium among the answers that it chooses from, not in one
    /// that comes later.
    IgnoreLateAnswers,
    /// A writer keeps counting what the old medium acknowledged.
    KeepAcksOfOldMedium,
    /// A new medium joins with what is proven, without the ceiling that is in use.
    RejoinWithoutCeiling,
    /// One child fewer than needed is fenced: the count is off by one.
    FenceOneTooFew,
    /// Recovery looks at the children, chooses from what it saw, and takes their promises later.
    ChooseFromLooks,
    /// Chains are ranked by their newest marker alone, where an epoch is adopted without writing one.
    RankByMarker,
    /// Chains are ranked by what the child promised, not by what it adopted.
    RankByPromise,
    /// A child notes an epoch as adopted before it has the chain up to the cut.
    NoteBeforeCaughtUp,
    /// A child that lags says that it has the newest batch.
    AckAhead,
    /// The new epoch goes on where some child says that its writer closed, though another child
    /// adopted a newer one.
    GoOnWhereOneClosed,
    /// A writer says absent of what lies above its ceiling.
    AbsentAboveCeiling,
    /// A child says absent of what it has not been sent yet.
    AbsentFromLagging,
    /// A child that drops its chain does not note before that it answers unknown.
    RebuildUnnoted,
    /// A child that was rolled back counts as any other, and no more children are asked than
    /// without rollbacks.
    TrustRolledBack,
    /// Recovery syncs the tail it found without writing it again.
    SyncWithoutRewrite,
    /// Recovery writes the unproven tail again in its old place, on a medium where a torn write
    /// destroys what was there.
    RewriteInPlace,
    /// A log goes on after a failed sync.
    RetryFailedSync,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::ChooseBelowProven,
        Self::ChooseByPosition,
        Self::CutAboveMarker,
        Self::CutAtOpen,
        Self::StartAtTail,
        Self::StartAtLowestCeiling,
        Self::CutLowersCeiling,
        Self::UseUnprovenCeiling,
        Self::AckBeforeQuorum,
        Self::FenceNotDurable,
        Self::AcceptFenced,
        Self::AcceptUnpromised,
        Self::EpochWithoutTag,
        Self::ServeBeforeAdopted,
        Self::NameCarriedAsProven,
        Self::ServeBeforeSync,
        Self::CountWiped,
        Self::CountDamaged,
        Self::RejoinUnnoted,
        Self::TrustOldMedium,
        Self::IgnoreLateAnswers,
        Self::KeepAcksOfOldMedium,
        Self::RejoinWithoutCeiling,
        Self::FenceOneTooFew,
        Self::ChooseFromLooks,
        Self::RankByMarker,
        Self::RankByPromise,
        Self::NoteBeforeCaughtUp,
        Self::AckAhead,
        Self::GoOnWhereOneClosed,
        Self::AbsentAboveCeiling,
        Self::AbsentFromLagging,
        Self::RebuildUnnoted,
        Self::TrustRolledBack,
        Self::SyncWithoutRewrite,
        Self::RewriteInPlace,
        Self::RetryFailedSync,
    ];

    /// The smallest bounds in which it was found.
    #[must_use]
    pub fn setting(self) -> Setting {
        let cluster = Setting::cluster("cluster");
        let marked = Setting {
            adoption: Adoption::Marker,
            ..cluster.clone()
        };
        let single = Setting::single("single log");
        let setting = match self {
            Self::ChooseBelowProven | Self::AckBeforeQuorum | Self::CutAboveMarker => Setting {
                takes: 1,
                births: 1,
                ..cluster
            },
            Self::StartAtTail => Setting {
                takes: 1,
                births: 1,
                ..marked
            },
            Self::UseUnprovenCeiling => Setting {
                takes: 1,
                births: 2,
                ..marked
            },
            Self::StartAtLowestCeiling => Setting {
                takes: 2,
                births: 1,
                ..marked
            },
            Self::CutAtOpen => Setting {
                takes: 2,
                births: 1,
                ..cluster
            },
            Self::ChooseByPosition => Setting { takes: 3, ..marked },
            Self::CutLowersCeiling => Setting {
                takes: 2,
                births: 2,
                crashes: 1,
                ..single
            },
            Self::AcceptUnpromised => Setting {
                takes: 2,
                births: 1,
                ..cluster
            },
            Self::FenceNotDurable => Setting {
                takes: 1,
                births: 1,
                crashes: 1,
                ..cluster
            },
            Self::AcceptFenced => Setting {
                takes: 1,
                births: 1,
                ..cluster
            },
            Self::EpochWithoutTag => Setting {
                takes: 2,
                births: 1,
                ..cluster
            },
            Self::ServeBeforeAdopted | Self::NameCarriedAsProven => Setting {
                takes: 3,
                births: 1,
                ..marked
            },
            Self::ServeBeforeSync => Setting {
                takes: 2,
                births: 1,
                crashes: 1,
                ..single
            },
            Self::CountWiped => Setting {
                takes: 1,
                births: 1,
                wipes: 1,
                ..cluster
            },
            Self::CountDamaged => Setting {
                takes: 1,
                births: 1,
                damages: 1,
                ..single
            },
            Self::RejoinUnnoted | Self::TrustOldMedium => Setting {
                takes: 1,
                births: 1,
                wipes: 1,
                ..cluster
            },
            Self::IgnoreLateAnswers => Setting {
                children: 2,
                takes: 1,
                births: 1,
                wipes: 1,
                ..cluster
            },
            Self::KeepAcksOfOldMedium => Setting {
                takes: 1,
                births: 1,
                wipes: 1,
                ..cluster
            },
            Self::RejoinWithoutCeiling => Setting {
                takes: 1,
                births: 2,
                wipes: 1,
                ..marked
            },
            Self::FenceOneTooFew | Self::ChooseFromLooks | Self::AckAhead => Setting {
                takes: 1,
                births: 1,
                ..cluster
            },
            Self::RankByMarker => Setting {
                writers: 1,
                takes: 3,
                births: 2,
                only_markers: true,
                ..cluster
            },
            Self::RankByPromise | Self::NoteBeforeCaughtUp => Setting {
                takes: 2,
                births: 1,
                ..cluster
            },
            Self::GoOnWhereOneClosed => Setting {
                writers: 1,
                takes: 2,
                births: 2,
                only_markers: true,
                closes: 1,
                ..cluster
            },
            Self::AbsentAboveCeiling | Self::AbsentFromLagging => Setting {
                takes: 1,
                births: 1,
                ..cluster
            },
            Self::RebuildUnnoted => Setting {
                takes: 1,
                births: 1,
                rebuilds: 1,
                ..cluster
            },
            Self::TrustRolledBack => Setting {
                takes: 1,
                births: 1,
                forgetful: 1,
                rollbacks: 1,
                ..cluster
            },
            Self::SyncWithoutRewrite => Setting {
                takes: 2,
                births: 1,
                crashes: 1,
                failed_syncs: 1,
                ..single
            },
            Self::RewriteInPlace => Setting {
                takes: 2,
                births: 1,
                crashes: 1,
                ..single
            },
            Self::RetryFailedSync => Setting {
                takes: 1,
                births: 1,
                crashes: 1,
                failed_syncs: 1,
                ..single
            },
        };
        setting.with(self)
    }

    /// The property that the checker is asked to violate. Others may fall with it.
    #[must_use]
    pub fn found_by(self) -> &'static str {
        match self {
            Self::CutAboveMarker => model::ENDS_AT_MARKER,
            Self::StartAtTail
            | Self::StartAtLowestCeiling
            | Self::CutLowersCeiling
            | Self::UseUnprovenCeiling
            | Self::GoOnWhereOneClosed
            | Self::RejoinWithoutCeiling => model::ONE_CONTENT,
            Self::RankByMarker => model::GROWS,
            Self::AbsentAboveCeiling | Self::AbsentFromLagging => model::ABSENT_IS_TRUE,
            Self::NameCarriedAsProven => model::FLOOR_MET,
            Self::AcceptFenced => model::NO_LATE_ACK,
            Self::ChooseByPosition => model::GROWS,
            _ => model::PROVEN_KEPT,
        }
    }
}
