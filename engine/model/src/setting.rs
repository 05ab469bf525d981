//! What is explored: how many children and writers, and the bounds that make it finite.

use std::fmt;

use crate::mutations::Mutation;
use crate::rules::Quorums;

/// How an epoch is adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// When its first batch, which holds a marker, is durable on `ack` children. The marker is the
    /// note: it makes the newest marker of a chain tell the epoch that the child adopted.
    Marker,
    /// When `ack` children have the chain up to the cut durable, and a durable note of the epoch
    /// beside it. The first batch comes when there is something to write, and holds nothing.
    Note,
}

/// One configuration of the model.
///
/// Every bound counts actions in one run of the protocol, over all children and writers. Within
/// the bounds every order of events is explored.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its name, for the report.
    pub name: &'static str,
    /// One child is a single log; several are a cluster.
    pub children: usize,
    /// How many children acknowledge.
    pub ack: usize,
    /// How many more than needed a takeover must hear from, so that as many may have forgotten.
    pub forgetful: usize,
    /// How an epoch is adopted.
    pub adoption: Adoption,
    /// How many writer processes exist. One at a time is alive in the place of each.
    pub writers: usize,
    /// Whether writer and log share one machine, so that a loss of power ends both.
    pub local: bool,
    /// How many positions above the end of a batch its frame announces.
    pub window: u8,
    /// How often a process starts and takes an epoch, after the first.
    pub takes: u8,
    /// How many batches are made, the first ones of the epochs not counted.
    pub births: u8,
    /// Whether every batch holds a marker, which halves what a batch can be.
    pub only_markers: bool,
    /// How often a writer closes.
    pub closes: u8,
    /// How often a child crashes and loses a suffix of what it had not synced.
    pub crashes: u8,
    /// How many children are wiped and answer unknown.
    pub wipes: u8,
    /// How often a child loses part of what it had made durable.
    pub damages: u8,
    /// How often a sync fails.
    pub failed_syncs: u8,
    /// How often a child is rolled back to an image of itself.
    pub rollbacks: u8,
    /// How often a child drops its chain to be brought back.
    pub rebuilds: u8,
    /// The planted mistake, if any.
    pub mutation: Option<Mutation>,
}

impl Setting {
    /// A cluster with all bounds at zero.
    #[must_use]
    pub const fn cluster(name: &'static str) -> Self {
        Self {
            name,
            children: 3,
            ack: 2,
            forgetful: 0,
            adoption: Adoption::Note,
            writers: 2,
            local: false,
            window: 1,
            takes: 0,
            births: 0,
            only_markers: false,
            closes: 0,
            crashes: 0,
            wipes: 0,
            damages: 0,
            failed_syncs: 0,
            rollbacks: 0,
            rebuilds: 0,
            mutation: None,
        }
    }

    /// A log on the writer's own machine, with all bounds at zero.
    #[must_use]
    pub const fn single(name: &'static str) -> Self {
        Self {
            children: 1,
            ack: 1,
            adoption: Adoption::Marker,
            writers: 1,
            local: true,
            ..Self::cluster(name)
        }
    }

    /// What the tests explore.
    #[must_use]
    pub fn small() -> Vec<Self> {
        let cluster = |name| Self {
            takes: 1,
            births: 1,
            ..Self::cluster(name)
        };
        let single = |name| Self {
            takes: 2,
            births: 2,
            window: 2,
            ..Self::single(name)
        };
        vec![
            Self {
                crashes: 2,
                failed_syncs: 1,
                ..single("single log")
            },
            Self {
                crashes: 1,
                damages: 1,
                ..single("single log, damaged")
            },
            Self {
                crashes: 1,
                local: false,
                writers: 2,
                ..single("served log")
            },
            Self {
                births: 2,
                crashes: 1,
                ..cluster("cluster, crash")
            },
            Self {
                births: 2,
                window: 2,
                ..cluster("cluster, wide window")
            },
            Self {
                crashes: 1,
                wipes: 1,
                ..cluster("cluster, crash and wipe")
            },
            Self {
                crashes: 1,
                damages: 1,
                ..cluster("cluster, crash and damage")
            },
            Self {
                takes: 2,
                ..cluster("cluster, two takeovers")
            },
            Self {
                takes: 2,
                adoption: Adoption::Marker,
                ..cluster("cluster, adopted by a marker")
            },
            Self {
                births: 0,
                closes: 1,
                ..cluster("cluster, close")
            },
            Self {
                rebuilds: 1,
                ..cluster("cluster, rebuilt child")
            },
            Self {
                forgetful: 1,
                rollbacks: 1,
                ..cluster("cluster, rolled back, all asked")
            },
            Self {
                children: 2,
                wipes: 1,
                ..cluster("pair, wipe")
            },
        ]
    }

    /// What the command explores.
    #[must_use]
    pub fn full() -> Vec<Self> {
        let cluster = |name| Self {
            takes: 2,
            births: 1,
            ..Self::cluster(name)
        };
        let pair = |name| Self {
            children: 2,
            ack: 2,
            births: 2,
            ..cluster(name)
        };
        let single = |name| Self {
            takes: 3,
            births: 3,
            window: 2,
            ..Self::single(name)
        };
        vec![
            Self {
                crashes: 2,
                failed_syncs: 1,
                ..single("single log")
            },
            Self {
                births: 2,
                crashes: 1,
                damages: 1,
                ..single("single log, damaged")
            },
            Self {
                takes: 2,
                crashes: 1,
                local: false,
                writers: 2,
                ..single("served log")
            },
            Self {
                adoption: Adoption::Marker,
                crashes: 1,
                ..cluster("cluster, adopted by a marker")
            },
            Self {
                crashes: 1,
                ..cluster("cluster, crash")
            },
            Self {
                births: 2,
                ..cluster("cluster, two batches")
            },
            Self {
                takes: 1,
                births: 2,
                window: 2,
                crashes: 1,
                ..cluster("cluster, wide window")
            },
            Self {
                births: 0,
                closes: 1,
                ..cluster("cluster, close")
            },
            Self {
                takes: 1,
                births: 2,
                wipes: 1,
                ..cluster("cluster, wipe")
            },
            Self {
                takes: 1,
                crashes: 1,
                wipes: 1,
                ..cluster("cluster, crash and wipe")
            },
            Self {
                takes: 1,
                wipes: 1,
                damages: 1,
                ..cluster("cluster, wipe and damage")
            },
            Self {
                takes: 1,
                births: 2,
                damages: 1,
                ..cluster("cluster, damage")
            },
            Self {
                rebuilds: 1,
                ..cluster("cluster, rebuilt child")
            },
            Self {
                forgetful: 1,
                rollbacks: 1,
                ..cluster("cluster, rolled back, all asked")
            },
            Self {
                takes: 1,
                ack: 3,
                wipes: 1,
                ..cluster("cluster, all acknowledge, wipe")
            },
            Self {
                ack: 1,
                crashes: 1,
                ..cluster("cluster, one acknowledges")
            },
            Self {
                crashes: 1,
                wipes: 1,
                ..pair("pair, crash and wipe")
            },
            Self {
                ack: 1,
                crashes: 1,
                ..pair("pair, one acknowledges")
            },
            Self {
                takes: 3,
                only_markers: true,
                ..cluster("cluster, three takeovers")
            },
        ]
    }

    /// How many children have to agree on what.
    #[must_use]
    pub fn quorums(&self) -> Quorums {
        Quorums {
            children: self.children,
            ack: self.ack,
            forgetful: self.forgetful,
        }
    }

    /// This setting with a planted mistake.
    #[must_use]
    pub fn with(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }

    /// Whether this mistake is planted.
    #[must_use]
    pub fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} children, {} acknowledge, {} must be fenced, adopted by {:?}; {} writers, \
             window {}; at most {} takeovers, {} {}",
            self.name,
            self.children,
            self.ack,
            self.quorums().fence(),
            self.adoption,
            self.writers,
            self.window,
            self.takes,
            self.births,
            if self.only_markers {
                "batches (all with a marker)"
            } else {
                "batches"
            },
        )?;
        let bounds = [
            (self.closes, "closes"),
            (self.crashes, "crashes"),
            (self.wipes, "wipes"),
            (self.damages, "damages"),
            (self.failed_syncs, "failed syncs"),
            (self.rollbacks, "rollbacks"),
            (self.rebuilds, "rebuilds"),
        ];
        for (bound, word) in bounds.into_iter().filter(|(bound, _)| *bound > 0) {
            write!(f, ", {bound} {word}")?;
        }
        if let Some(mutation) = self.mutation {
            write!(f, "; planted: {mutation:?}")
        } else {
            Ok(())
        }
    }
}
