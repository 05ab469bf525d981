//! The state of the whole system: children, writers, the history, and what is left of the bounds.

use crate::history::{Batch, History};
use crate::mark::{Epoch, Mark};
use crate::setting::Setting;

/// One log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child {
    /// The end of the valid chain, synced or not. A killed process leaves it as it is, because
    /// the page cache outlives the process.
    pub end: Mark,
    /// What survives a loss of power for certain.
    pub durable: Mark,
    /// The epoch it promised; durable before the promise is told.
    pub promised: Epoch,
    /// The newest epoch whose chain it had up to the cut; durable before it is told.
    pub adopted: Epoch,
    /// The highest ceiling in a durable frame.
    pub ceiling: u8,
    /// Goes up when the medium is wiped.
    pub medium: u8,
    /// False from a wipe, or from when it is rebuilt, until a writer has brought the child back.
    pub knows: bool,
    /// Whether it has durably noted that the wiped child has a new medium.
    pub noted: bool,
    /// Where the durable frontier stood when damage took what was below it; 0 without damage.
    pub short_of: u8,
    /// Whether the tail above `durable` only looks written: its sync failed, the pages are marked
    /// clean, and a later sync succeeds without writing them.
    pub ghost: bool,
}

/// What a child told one writer when it was fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// The end of the valid chain.
    pub end: Mark,
    /// Whether that is where a writer closed, and no other was promised before this one.
    pub clean: bool,
    /// What it promised before.
    pub promised: Epoch,
    /// What it adopted.
    pub adopted: Epoch,
    /// The durable frontier as the child remembers it.
    pub durable_base: u8,
    /// The highest ceiling it holds.
    pub ceiling: u8,
    /// The medium it stood on.
    pub medium: u8,
    /// Whether it knew what it holds.
    pub knows: bool,
    /// Whether it had noted a new medium.
    pub noted: bool,
}

/// What one writer knows of one child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// The answer to the fence, until the writer has chosen.
    pub answer: Option<Answer>,
    /// The medium of the answer that was counted, while that matters.
    pub counted: Option<u8>,
    /// How far the child has the writer's chain durable. An answer on its way is one that the
    /// writer has not yet acted on.
    pub acked: Mark,
    /// Whether the child noted a replacement for this writer.
    pub noted: bool,
}

/// A child with both writers' knowledge of it. Places are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The child.
    pub child: Child,
    /// One link a writer.
    pub links: [Link; 2],
    /// An image of the child that somebody kept.
    pub image: Option<Child>,
}

/// How far a writer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No process, or one that gave up.
    Idle,
    /// It has an epoch and asks the children.
    Fencing,
    /// It has chosen, and sends the chain and the first batch of its epoch.
    Recovering,
    /// It has adopted.
    Serving,
    /// It has made its last batch.
    Closing,
}

/// One writer process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// Its epoch. After a crash this only keeps the next one from being the same.
    pub epoch: Epoch,
    /// How far it has come.
    pub phase: Phase,
    /// The first batch of its epoch.
    pub first: Mark,
    /// The last batch it made.
    pub tail: Mark,
    /// The newest batch it has counted on a quorum.
    pub on_quorum: Mark,
    /// The newest marker it calls proven.
    pub proven: Mark,
}

/// What is left of the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Takeovers.
    pub takes: u8,
    /// Batches.
    pub births: u8,
    /// Clean closes.
    pub closes: u8,
    /// Crashes.
    pub crashes: u8,
    /// Wipes.
    pub wipes: u8,
    /// Damages.
    pub damages: u8,
    /// Failed syncs.
    pub failed_syncs: u8,
    /// Rollbacks to an image.
    pub rollbacks: u8,
    /// Rebuilt children.
    pub rebuilds: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Every batch ever made.
    pub history: History,
    /// The children, sorted.
    pub places: Vec<Place>,
    /// The writers.
    pub writers: [Writer; 2],
    /// Ghost: the first batches of the epochs that were adopted, in order of epoch.
    pub adopted: Vec<Mark>,
    /// What is left of the bounds.
    pub left: Left,
    /// Ghost: a writer acknowledged a marker that a newer epoch had already cut.
    pub late_ack: bool,
    /// Ghost: recovery met a proven marker that the best chain lacks.
    pub met_lost_proof: bool,
}

impl Child {
    /// Whether it stands on a new medium and nobody has brought it back yet.
    #[must_use]
    pub fn is_wiped(&self) -> bool {
        !self.knows && self.promised == Epoch::default()
    }
}

impl Writer {
    /// A place where no process runs.
    #[must_use]
    pub fn idle(epoch: Epoch) -> Self {
        Self {
            epoch,
            phase: Phase::Idle,
            first: Mark::NONE,
            tail: Mark::NONE,
            on_quorum: Mark::NONE,
            proven: Mark::NONE,
        }
    }

    /// Whether it sends batches.
    #[must_use]
    pub fn sends(&self) -> bool {
        matches!(
            self.phase,
            Phase::Recovering | Phase::Serving | Phase::Closing
        )
    }
}

impl State {
    /// The first writer serves: its first batch, with the marker of an empty store, is proven and
    /// durable on all children.
    #[must_use]
    pub fn first(setting: &Setting) -> Self {
        let epoch = Epoch { number: 1, tag: 0 };
        let root = Mark { epoch, base: 1 };
        let mut history = History::default();
        history.add(Batch {
            mark: root,
            before: Mark::NONE,
            is_marker: true,
            is_last: false,
            names: Mark::NONE,
            was_proven: true,
        });
        let child = Child {
            end: root,
            durable: root,
            promised: epoch,
            adopted: epoch,
            ceiling: crate::rules::announced(root.base, setting.window),
            medium: 0,
            knows: true,
            noted: false,
            short_of: 0,
            ghost: false,
        };
        let known = Link {
            acked: root,
            ..Link::default()
        };
        let place = Place {
            child,
            links: [known, Link::default()],
            image: None,
        };
        let serving = Writer {
            phase: Phase::Serving,
            first: root,
            tail: root,
            on_quorum: root,
            proven: root,
            ..Writer::idle(epoch)
        };
        Self {
            history,
            places: vec![place; setting.children],
            writers: [serving, Writer::idle(Epoch { number: 0, tag: 1 })],
            adopted: vec![root],
            left: Left {
                takes: setting.takes,
                births: setting.births,
                closes: setting.closes,
                crashes: setting.crashes,
                wipes: setting.wipes,
                damages: setting.damages,
                failed_syncs: setting.failed_syncs,
                rollbacks: setting.rollbacks,
                rebuilds: setting.rebuilds,
            },
            late_ack: false,
            met_lost_proof: false,
        }
    }

    /// The same state with the children in order: nothing depends on which child is which.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.places.sort_unstable();
        self
    }

    /// Ends a process. It keeps nothing but what the children hold.
    pub fn end_process(&mut self, writer: usize) {
        self.writers[writer] = Writer::idle(self.writers[writer].epoch);
        for place in &mut self.places {
            place.links[writer] = Link::default();
        }
    }
}
