//! All that a monitor knows, for whoever asks: the status, the command line, a scrape.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use travertine_engine::contract::{Env, Status, Store};

use super::look::{Look, Looked};
use super::moderate::Moderator;
use super::probe::{Spot, Watch};
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
    ) -> Self {
        Self {
            env: env.clone(),
            watch,
            look,
            slow,
            moderator,
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

    /// Everything as one object.
    pub(super) fn json(&self, looked: Option<&Looked>) -> Value {
        let (accepts, health) = self.health(looked);
        let written = self.written();
        let grown = looked.map(|looked| self.grown(&looked.status));
        let ratio = |bytes: u64| match written.records {
            0 => Value::Null,
            records => json!((bytes as f64 / records as f64 * 1e3).round() / 1e3),
        };
        let commits = written.commits.max(1);
        let now = self.env.clock.monotonic_ns();
        json!({
            "health": { "writes": accepts, "says": health },
            "written": {
                "commits": written.commits,
                "records_bytes": written.records,
                "sent_bytes": written.sent,
                "bottoms_bytes": written.bottoms,
                "media_bytes": grown,
                "per_commit": {
                    "records_bytes": written.records / commits,
                    "sent_bytes": written.sent / commits,
                    "bottoms_bytes": written.bottoms / commits,
                    "media_bytes": grown.map(|grown| grown / commits),
                },
                "amplification": {
                    "sent": ratio(written.sent),
                    "bottoms": ratio(written.bottoms),
                    "media": grown.map(ratio),
                },
            },
            "slow_calls": self.slow.as_ref().map(|slow| slow.count()),
            "moderation": self.moderator.as_ref().map(|moderator| named(&moderator.figures())),
            "floors": self.watch.spots().iter().map(floor).collect::<Vec<_>>(),
            "status": looked.map(|looked| &looked.status),
            "status_age_ns": looked.map(|looked| now.saturating_sub(looked.at_ns)),
        })
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

fn named(figures: &[(&'static str, u64)]) -> Map<String, Value> {
    let named = figures.iter();
    named
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect()
}

fn floor(spot: &Spot) -> Value {
    let seen = &spot.seen;
    let (pending, most) = seen.pending();
    let verb = |verb: Verb| {
        let times = seen.times(verb);
        let errors = seen.errors(verb).filter(|(_, count)| *count > 0);
        let errors: Map<_, _> = errors
            .map(|(kind, count)| (kind.to_string(), json!(count)))
            .collect();
        json!({
            "calls": seen.calls(verb),
            "bytes": seen.bytes(verb),
            "errors": errors,
            "timed": times.all,
            "mean_ns": times.sum.checked_div(times.all),
            "p50_ns": times.quantile(500),
            "p90_ns": times.quantile(900),
            "p99_ns": times.quantile(990),
            "p999_ns": times.quantile(999),
            "max_ns": times.max,
        })
    };
    let called = Verb::ALL.into_iter().filter(|verb| seen.calls(*verb) > 0);
    let verbs: Map<_, _> = called.map(|of| (of.name().to_owned(), verb(of))).collect();
    json!({
        "floor": spot.index,
        "kind": spot.kind,
        "name": spot.name,
        "pending": pending,
        "pending_most": most,
        "verbs": verbs,
    })
}
