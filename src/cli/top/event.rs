//! What a monitor tells each second, and what two of them together say of the time between.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{number, size};
use crate::cli::Failure;
use crate::contract::Error;

/// What is used of an event; the rest is for others.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) at_ns: u64,
    pub(super) since_ns: u64,
    pub(super) health: Health,
    moderation: Option<BTreeMap<String, u64>>,
    slow_calls: Option<u64>,
    pub(super) floors: Vec<Floor>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Health {
    pub(super) writes: bool,
    pub(super) says: String,
}

/// One floor, and the boundary on top of it.
#[derive(Debug, Deserialize)]
pub(super) struct Floor {
    pub(super) depth: usize,
    pub(super) kind: String,
    pub(super) name: Option<String>,
    pending: u64,
    /// In the order of the contract.
    verbs: Map<String, Value>,
    pub(super) refusing: Option<String>,
    own: Option<BTreeMap<String, u64>>,
    segments: Option<Segments>,
}

#[derive(Debug, Deserialize)]
struct Segments {
    count: u64,
    bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Verb {
    calls: u64,
    bytes: u64,
    errors: BTreeMap<String, u64>,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    buckets: Vec<(u64, u64)>,
}

/// One verb, in the time between two events.
#[derive(Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) verb: String,
    /// A second.
    pub(super) calls: f64,
    /// A second.
    pub(super) bytes: f64,
    /// Of the time between or, if nothing was timed in it, since the opening.
    pub(super) p50: Option<u64>,
    pub(super) p99: Option<u64>,
    /// Calls since the opening.
    pub(super) all: u64,
    /// Since the opening.
    pub(super) failed: u64,
}

impl Event {
    /// Reads what came from `address`.
    pub(super) fn parse(text: &str, address: &str) -> Result<Self, Failure> {
        serde_json::from_str(text).map_err(|error| {
            let what = format!("{address} tells something that is no monitor's: {error}");
            Error::invalid(what).into()
        })
    }

    /// What moderation does, if it does anything, and slow calls.
    pub(super) fn moderated(&self) -> Option<String> {
        let mut told = Vec::new();
        if let Some(figures) = &self.moderation {
            let figure = |name: &str| figures.get(name).copied().unwrap_or(0);
            let stage = match figure("stage") {
                0 => "ok",
                1 => "slow",
                2 => "shed",
                _ => "read-only",
            };
            told.push(format!(
                "moderation {stage}, {} refused, {} paused, {} not on disk yet",
                number(figure("refused") as f64),
                number(figure("paused") as f64),
                size(figure("dirty_bytes") as f64),
            ));
        }
        let slow = self.slow_calls.map(|slow| number(slow as f64));
        told.extend(slow.map(|slow| format!("{slow} slow calls")));
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Floor {
    fn verb(&self, verb: &str) -> Option<Verb> {
        Verb::deserialize(self.verbs.get(verb)?).ok()
    }

    /// Each verb that was ever called.
    pub(super) fn rates(&self, was: Option<&Self>, seconds: f64) -> Vec<Rates> {
        let rates = |verb: &String| {
            let now = self.verb(verb)?;
            let was = was.and_then(|was| was.verb(verb)).unwrap_or_default();
            let rate = |now: u64, was: u64| now.saturating_sub(was) as f64 / seconds;
            let between = between(&now.buckets, &was.buckets);
            Some(Rates {
                verb: verb.clone(),
                calls: rate(now.calls, was.calls),
                bytes: rate(now.bytes, was.bytes),
                p50: quantile(&between, 500).or(now.p50_ns),
                p99: quantile(&between, 990).or(now.p99_ns),
                all: now.calls,
                failed: now
                    .errors
                    .values()
                    .fold(0, |sum, more| sum.saturating_add(*more)),
            })
        };
        self.verbs.keys().filter_map(rates).collect()
    }

    /// What it says of itself.
    pub(super) fn facts(&self, was: Option<&Self>) -> Vec<String> {
        let mut facts = Vec::new();
        if self.pending > 0 {
            facts.push(format!("{} on the way", self.pending));
        }
        let none = BTreeMap::new();
        let own = self.own.as_ref().unwrap_or(&none);
        let before = was.and_then(|was| was.own.as_ref()).unwrap_or(&none);
        let asked = |own: &BTreeMap<String, u64>| {
            let of = |name: &str| own.get(name).copied().unwrap_or(0);
            (
                of("hits"),
                of("hits")
                    .saturating_add(of("misses"))
                    .saturating_add(of("joined")),
            )
        };
        if own.contains_key("hits") {
            let (now, was) = (asked(own), asked(before));
            let since = (now.0.saturating_sub(was.0), now.1.saturating_sub(was.1));
            let (hits, all) = if since.1 > 0 { since } else { now };
            if all > 0 {
                let share = hits as f64 / all as f64 * 100.0;
                facts.push(format!("{share:.1} % hits"));
            }
        }
        let of = |name: &str| own.get(name).copied();
        if let (Some(in_line), Some(all)) = (of("children_in_line"), of("children")) {
            facts.push(format!("{in_line} of {all} in line"));
        }
        if let Some(behind) = of("bytes_behind").filter(|behind| *behind > 0) {
            facts.push(format!("{} behind", size(behind as f64)));
        }
        if let (Some(lost), Some(all)) =
            (of("children_lost").filter(|lost| *lost > 0), of("children"))
        {
            facts.push(format!("{lost} of {all} children lost"));
        }
        if let Some(syncs) = of("syncs") {
            facts.push(format!("{} syncs", number(syncs as f64)));
        }
        if let Some(lie) = self.segments.as_ref().filter(|lie| lie.count > 0) {
            let bytes = size(lie.bytes as f64);
            facts.push(format!("{} segments of {bytes}", lie.count));
            if let Some(freed) = self.verb("reclaim") {
                facts.push(format!("{} given back", size(freed.bytes as f64)));
            }
        }
        facts
    }
}

/// What was seen between two lists of buckets.
fn between(now: &[(u64, u64)], was: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let was: BTreeMap<_, _> = was.iter().copied().collect();
    let more = |(end, count): &(u64, u64)| {
        let before = was.get(end).copied().unwrap_or(0);
        (*end, count.saturating_sub(before))
    };
    now.iter().map(more).filter(|(_, more)| *more > 0).collect()
}

/// The time that this many in a thousand did not exceed.
fn quantile(buckets: &[(u64, u64)], per_mille: u64) -> Option<u64> {
    let all = buckets
        .iter()
        .fold(0u64, |all, (_, count)| all.saturating_add(*count));
    let wanted = all.saturating_mul(per_mille).div_ceil(1000).max(1);
    let mut seen = 0u64;
    let mut reached = buckets.iter().filter(|(_, count)| {
        seen = seen.saturating_add(*count);
        seen >= wanted
    });
    reached.next().map(|(end, _)| *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(calls: u64, fast: u64, slow: u64) -> Event {
        let text = format!(
            r#"{{"at_ns":1,"since_ns":0,"health":{{"writes":true,"says":"ok"}},"floors":[{{"depth":0,
            "kind":"cache","name":null,"pending":0,"refusing":null,"own":{{"hits":{calls},"misses":{slow}}},
            "segments":null,"verbs":{{"read":{{"calls":{calls},"bytes":{calls},"errors":{{"corrupt":1}},
            "p50_ns":5,"p99_ns":7,"buckets":[[100,{fast}],[900,{slow}]]}}}}}}]}}"#
        );
        Event::parse(&text, "here").unwrap()
    }

    #[test]
    fn times_are_those_of_the_time_between() {
        let (was, now) = (event(1_000, 500, 500), event(3_000, 1_480, 520));
        let rates = now.floors[0].rates(was.floors.first(), 2.0);
        assert_eq!((rates[0].calls, rates[0].bytes), (1_000.0, 1_000.0));
        assert_eq!((rates[0].p50, rates[0].p99), (Some(100), Some(900)));
        assert_eq!((rates[0].all, rates[0].failed), (3_000, 1));
        let facts = now.floors[0].facts(was.floors.first());
        assert_eq!(facts, ["99.0 % hits"]);
    }

    #[test]
    fn where_nothing_was_timed_the_times_since_the_opening_stand() {
        let now = event(10, 0, 0);
        let rates = now.floors[0].rates(Some(&now.floors[0]), 1.0);
        assert_eq!((rates[0].p50, rates[0].p99), (Some(5), Some(7)));
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for text in ["", "{}", "[1]", r#"{"at_ns":-1}"#] {
            Event::parse(text, "here").unwrap_err();
        }
    }
}
