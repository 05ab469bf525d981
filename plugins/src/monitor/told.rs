//! What a monitor tells whoever asks over HTTP: one object, the same for the page, for `top` and for
//! programs.
//!
//! Counts are since the opening. Who wants to know of now takes two of these objects and subtracts: also
//! the `buckets` of times, of which quantiles of the time between can be had. A floor's `own` figures
//! and its `parts` are as old as `status_age_ns` says.

use serde_json::{Map, Value, json};
use travertine_engine::contract::{PartState, PartStatus, Status};

use super::figures::Figures;
use super::look::Looked;
use super::probe::Spot;
use super::seen::{Verb, is_figure};

/// Of the parts of a floor the newest so many are told one by one.
const PARTS: usize = 64;
/// Floors that did not say for so long how they are do not answer.
const STALE_NS: u64 = 5_000_000_000;

impl Figures {
    /// Everything but the status as a whole.
    pub(super) fn told(&self, looked: Option<&Looked>) -> Value {
        let now = self.env.clock.monotonic_ns();
        let age = |looked: &Looked| now.saturating_sub(looked.at_ns);
        let (accepts, health) = self.health(looked.filter(|looked| age(looked) < STALE_NS));
        let written = self.written();
        let grown = looked.map(|looked| self.grown(&looked.status));
        let ratio = |bytes: u64| match written.records {
            0 => Value::Null,
            records => json!((bytes as f64 / records as f64 * 1e3).round() / 1e3),
        };
        let commits = written.commits.max(1);
        let spots = self.watch.spots();
        let states = match looked {
            Some(looked) => self.watch.states(&looked.status),
            None => vec![None; spots.len()],
        };
        let floors = spots.iter().zip(states);
        json!({
            "at_ns": now,
            "since_ns": self.since_ns,
            "unix_us": self.env.clock.unix_us(),
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
            "slow": self.slow(now),
            "moderation": self.moderator.as_ref().map(|moderator| named(&moderator.figures())),
            "commits": self.landed(),
            "floors": floors.map(|(spot, state)| floor(spot, state)).collect::<Vec<_>>(),
            "status_age_ns": looked.map(age),
        })
    }

    fn slow(&self, now: u64) -> Vec<Value> {
        let newest = self.slow.iter().flat_map(|slow| slow.newest());
        newest
            .map(|call| {
                json!({
                    "floor": call.floor,
                    "verb": call.verb.name(),
                    "oid": call.oid.map(|oid| oid.to_string()),
                    "took_ns": call.took_ns,
                    "age_ns": now.saturating_sub(call.at_ns),
                })
            })
            .collect()
    }

    /// Of the newest rounds of commits, the oldest first.
    fn landed(&self) -> Vec<Value> {
        let newest = self.commits.iter().flat_map(|commits| commits.newest());
        newest
            .map(|landed| {
                json!({
                    "sequence": landed.sequence,
                    "unix_us": landed.at_us,
                    "took_ns": landed.took_ns,
                    "bytes": landed.bytes,
                    "failed": landed.failed.map(|kind| kind.to_string()),
                })
            })
            .collect()
    }
}

fn named(figures: &[(&'static str, u64)]) -> Map<String, Value> {
    let named = figures.iter();
    named
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect()
}

fn floor(spot: &Spot, state: Option<&Status>) -> Value {
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
            "buckets": times.filled().collect::<Vec<_>>(),
        })
    };
    let called = Verb::ALL.into_iter().filter(|verb| seen.calls(*verb) > 0);
    let verbs: Map<_, _> = called.map(|of| (of.name().to_owned(), verb(of))).collect();
    let own = state.map(|state| {
        let own = state.figures.iter().filter(|(name, _)| !is_figure(name));
        named(&own.copied().collect::<Vec<_>>())
    });
    json!({
        "floor": spot.index,
        "depth": spot.depth,
        "kind": spot.kind,
        "name": spot.name,
        "pending": pending,
        "pending_most": most,
        "verbs": verbs,
        "refusing": state.and_then(|state| state.refusing.as_deref()),
        "level": state.map(|state| state.level.to_string()),
        "own": own,
        "segments": state.map(segments),
    })
}

/// Where the bytes of a floor lie: how many segments there are, what they take, and the newest parts.
fn segments(state: &Status) -> Value {
    let streams = state.streams.iter();
    let parts = &state.parts;
    let shown = &parts[parts.len().saturating_sub(PARTS)..];
    let lost = parts.iter().filter(|part| part.state == PartState::Lost);
    json!({
        "count": streams.clone().map(|stream| stream.segments).sum::<u64>(),
        "bytes": streams.map(|stream| stream.bytes).sum::<u64>(),
        "lost": lost.count(),
        "parts": shown.iter().map(part).collect::<Vec<_>>(),
    })
}

fn part(part: &PartStatus) -> Value {
    json!({
        "name": part.name,
        "state": part.state,
        "span": span(part),
        "bytes": part.bytes,
    })
}

/// The bytes that the positions of a part stand for.
fn span(part: &PartStatus) -> Option<u64> {
    Some(part.ends?.saturating_sub(part.begins?).saturating_mul(8))
}
