//! All that a monitor knows, for whoever asks: the status, the command line, a scrape.

use std::sync::Arc;

use travertine_engine::contract::{Env, Status, Store};

use super::commits::Commits;
use super::look::{Look, Looked};
use super::moderate::Moderator;
use super::probe::Watch;
use super::rules::Stage;
use super::seen::Verb;
use super::slow::SlowLog;

/// What a monitor knows.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) env: Env,
    pub(super) watch: Arc<Watch>,
    pub(super) look: Arc<Look>,
    pub(super) slow: Option<Arc<SlowLog>>,
    pub(super) moderator: Option<Arc<Moderator>>,
    pub(super) commits: Option<Arc<Commits>>,
    /// When the stack was opened.
    pub(super) since_ns: u64,
    /// Bytes on the media when the stack was opened.
    media: u64,
}

/// What was written since the stack was opened, from the top down. What one is more than the one
/// before it is what the floors between add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Rounds of commits.
    pub(super) commits: u64,
    /// Records as the engine encoded them.
    pub(super) records: u64,
    /// Whole batches, as they came through the monitor.
    pub(super) sent: u64,
    /// Whole batches, as all bottoms got them: more where replicas are kept.
    pub(super) bottoms: u64,
}

impl Figures {
    pub(super) fn new(
        env: &Env,
        below: &Arc<dyn Store>,
        watch: Arc<Watch>,
        look: Arc<Look>,
        slow: Option<Arc<SlowLog>>,
        moderator: Option<Arc<Moderator>>,
        commits: Option<Arc<Commits>>,
    ) -> Self {
        Self {
            env: env.clone(),
            watch,
            look,
            slow,
            moderator,
            commits,
            since_ns: env.clock.monotonic_ns(),
            media: media(&below.status()),
        }
    }

    pub(super) fn written(&self) -> Written {
        let spots = self.watch.spots();
        let top = spots.first().map(|spot| &spot.seen);
        let (sent, records) = top.map_or((0, 0), |seen| seen.written());
        let bottoms = spots.iter().filter(|spot| spot.bottom);
        Written {
            commits: top.map_or(0, |seen| seen.calls(Verb::Commit)),
            records,
            sent,
            bottoms: bottoms.map(|spot| spot.seen.written().0).sum(),
        }
    }

    /// How many bytes more than at the opening lie on the media.
    pub(super) fn grown(&self, status: &Status) -> u64 {
        media(status).saturating_sub(self.media)
    }

    /// The figures of the monitor itself, where `below` is the status of what lies below.
    pub(super) fn own(&self, below: &Status) -> Vec<(&'static str, u64)> {
        let written = self.written();
        let mut figures = vec![
            ("records_bytes", written.records),
            ("sent_bytes", written.sent),
            ("bottoms_bytes", written.bottoms),
            ("media_bytes", self.grown(below)),
        ];
        let slow = self.slow.iter().map(|slow| ("slow_calls", slow.count()));
        figures.extend(slow);
        let moderator = self.moderator.iter();
        figures.extend(moderator.flat_map(|moderator| moderator.figures()));
        figures
    }

    /// Whether writes are accepted, and in words how things are.
    pub(super) fn health(&self, looked: Option<&Looked>) -> (bool, String) {
        if let Some(moderator) = &self.moderator {
            let (stage, why) = moderator.verdict();
            if stage > Stage::Ok {
                return (stage < Stage::Shed, format!("{}: {why}", stage.name()));
            }
        }
        match looked {
            None => (false, "the floors below do not answer".to_owned()),
            Some(looked) => match &looked.status.refusing {
                Some(why) => (false, format!("writes are refused: {why}")),
                None => (true, "ok".to_owned()),
            },
        }
    }
}

/// Bytes that the logs below took. A floor over replicas tells of one, and one over parts tells also of those
/// that are not open: more is true.
pub(super) fn media(status: &Status) -> u64 {
    let own = status
        .streams
        .iter()
        .map(|stream| stream.bytes)
        .sum::<u64>();
    own.max(status.below.iter().map(media).sum())
}
