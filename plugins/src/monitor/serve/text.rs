//! The figures as Prometheus and all who read OpenMetrics want them: the table of the monitor's docs.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use travertine_engine::contract::Status;

use crate::monitor::figures::{Figures, media};
use crate::monitor::probe::Spot;
use crate::monitor::seen::{Taken, Verb, is_figure};

/// What a scraper is told that it gets.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the buckets, as powers of two of nanoseconds: 1 µs to 17 s, each four times the one
/// before.
const POWERS: (u32, u32, usize) = (10, 34, 2);

/// The registry of one stack.
pub(super) fn registry(figures: Arc<Figures>) -> Registry {
    let mut registry = Registry::with_prefix("travertine");
    registry.register_collector(Box::new(Scrape(figures)));
    registry
}

#[derive(Debug)]
struct Scrape(Arc<Figures>);

type Labels = Vec<(&'static str, String)>;

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = &*self.0;
        let mut page = Page(encoder);
        let spots = figures.watch.spots();
        let calls = |count: fn(&Spot, Verb) -> u64| called(spots, count);
        page.counters(
            "calls",
            "Calls at the boundary on top of a floor",
            None,
            calls(|spot, verb| spot.seen.calls(verb)),
        )?;
        page.counters(
            "call",
            "Bytes that calls brought or fetched",
            Some(Unit::Bytes),
            calls(|spot, verb| spot.seen.bytes(verb)),
        )?;
        page.counters("errors", "Calls that failed", None, errors(spots))?;
        page.times(spots)?;
        page.gauges("pending_calls", "Answers on their way", None, {
            let spots = spots.iter();
            spots.map(|spot| (labels(spot), spot.seen.pending().0 as f64))
        })?;
        page.gauges(
            "pending_calls_most",
            "Most answers ever on their way",
            None,
            {
                let spots = spots.iter();
                spots.map(|spot| (labels(spot), spot.seen.pending().1 as f64))
            },
        )?;
        let written = figures.written();
        let at = |at: &str, bytes| (vec![("at", at.to_owned())], bytes);
        page.counters(
            "written",
            "Bytes written since the stack was opened: records, whole batches, those of all bottoms",
            Some(Unit::Bytes),
            [
                at("records", written.records),
                at("sent", written.sent),
                at("bottoms", written.bottoms),
            ],
        )?;
        if let Some(slow) = &figures.slow {
            let help = "Calls that took longer than `slow`";
            page.counters("slow_calls", help, None, [(Vec::new(), slow.count())])?;
        }
        self.moderation(&mut page)?;
        self.status(&mut page)
    }
}

impl Scrape {
    fn moderation(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(moderator) = &self.0.moderator else {
            return Ok(());
        };
        for (name, value) in moderator.figures() {
            let gauge = |name, help, unit, value| (name, help, unit, value);
            let (name, help, unit, value) = match name {
                "stage_changes" | "refused" | "paused" => {
                    let help = "What moderation did";
                    page.counters(name, help, None, [(Vec::new(), value)])?;
                    continue;
                }
                "stage" => gauge(
                    "stage",
                    "Of moderation: 0 ok, 1 slow, 2 shed, 3 read-only",
                    None,
                    value as f64,
                ),
                "dirty_bytes" => gauge(
                    "dirty",
                    "Bytes sent down and in no commit on disk yet",
                    Some(Unit::Bytes),
                    value as f64,
                ),
                "lag_bytes" => gauge(
                    "replica_lag",
                    "Bytes that the replica furthest behind lacks",
                    Some(Unit::Bytes),
                    value as f64,
                ),
                "commit_ns" => gauge(
                    "commit_mean",
                    "How long a commit takes below",
                    Some(Unit::Seconds),
                    value as f64 / 1e9,
                ),
                "fill_per_mille" => gauge(
                    "fill_ratio",
                    "Share of the fullest medium that is taken",
                    None,
                    value as f64 / 1e3,
                ),
                _ => gauge(
                    "error_ratio",
                    "Share of calls that failed at the worst boundary",
                    None,
                    value as f64 / 1e3,
                ),
            };
            page.gauges(name, help, unit, [(Vec::new(), value)])?;
        }
        Ok(())
    }

    fn status(&self, page: &mut Page<'_>) -> fmt::Result {
        let looked = self.0.look.latest();
        let (accepted, _) = self.0.health(looked.as_deref());
        let accepted = f64::from(u8::from(accepted));
        let help = "1 if writes are accepted";
        page.gauges("writes_accepted", help, None, [(Vec::new(), accepted)])?;
        let Some(looked) = looked else {
            return Ok(());
        };
        let now = self.0.env.clock.monotonic_ns();
        let age = now.saturating_sub(looked.at_ns) as f64 / 1e9;
        let help = "How old what floors say of themselves is: media_bytes, floor_up, floor_segments, floor_figure";
        page.gauges("status_age", help, Some(Unit::Seconds), [(Vec::new(), age)])?;
        let bytes = media(&looked.status) as f64;
        let help = "Bytes that logs took since they were opened";
        page.gauges("media", help, Some(Unit::Bytes), [(Vec::new(), bytes)])?;
        let states = || {
            let states = self.0.watch.states(&looked.status);
            let spots = self.0.watch.spots().iter().zip(states);
            spots.filter_map(|(spot, state)| Some((labels(spot), state?)))
        };
        let up = |of: &Status| f64::from(u8::from(of.refusing.is_none()));
        let help = "1 if a floor is well, 0 if it says why it does not accept writes";
        let each = states().map(|(labels, of)| (labels, up(of)));
        page.gauges("floor_up", help, None, each)?;
        let segments = |of: &Status| of.streams.iter().map(|stream| stream.segments).sum::<u64>();
        let each = states().map(|(labels, of)| (labels, segments(of) as f64));
        page.gauges("floor_segments", "Segments on the media", None, each)?;
        let mut all = Vec::new();
        own(&looked.status, "0".to_owned(), &mut all);
        page.gauges("floor_figure", "A floor's own figures", None, all)
    }
}

fn labels(spot: &Spot) -> Labels {
    let mut labels = vec![
        ("floor", spot.index.to_string()),
        ("kind", spot.kind.to_owned()),
    ];
    labels.extend(spot.name.iter().map(|name| ("name", name.clone())));
    labels
}

fn called(spots: &[Spot], count: fn(&Spot, Verb) -> u64) -> impl Iterator<Item = (Labels, u64)> {
    with_verbs(spots).map(move |(spot, verb)| (verb_labels(spot, verb), count(spot, verb)))
}

fn with_verbs(spots: &[Spot]) -> impl Iterator<Item = (&Spot, Verb)> {
    let verbs = |spot| Verb::ALL.into_iter().map(move |verb| (spot, verb));
    spots
        .iter()
        .flat_map(verbs)
        .filter(|(spot, verb)| spot.seen.calls(*verb) > 0)
}

fn verb_labels(spot: &Spot, verb: Verb) -> Labels {
    let mut labels = labels(spot);
    labels.push(("verb", verb.name().to_owned()));
    labels
}

fn errors(spots: &[Spot]) -> impl Iterator<Item = (Labels, u64)> {
    with_verbs(spots).flat_map(|(spot, verb)| {
        let some = spot.seen.errors(verb).filter(|(_, count)| *count > 0);
        some.map(move |(kind, count)| {
            let mut labels = verb_labels(spot, verb);
            labels.push(("error", kind.to_string()));
            (labels, count)
        })
    })
}

/// The figures of a floor and of all below that no probe counted.
fn own(status: &Status, at: String, all: &mut Vec<(Labels, f64)>) {
    for (figure, value) in status.figures.iter().filter(|(name, _)| !is_figure(name)) {
        let mut labels = vec![("at", at.clone()), ("kind", status.kind.to_owned())];
        labels.extend(status.name.iter().map(|name| ("name", name.clone())));
        labels.push(("figure", (*figure).to_owned()));
        all.push((labels, *value as f64));
    }
    for (index, below) in status.below.iter().enumerate() {
        own(below, format!("{at}.{index}"), all);
    }
}

/// What is written to.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let mut family =
            self.0
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in values {
            one(&mut family, &labels, |metric| {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
            })?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in values {
            one(&mut family, &labels, |metric| metric.encode_gauge(&value))?;
        }
        Ok(())
    }

    fn times(&mut self, spots: &[Spot]) -> fmt::Result {
        let help = "How long calls took: of stores and reads those sampled, else all";
        let unit = Unit::Seconds;
        let mut family =
            self.0
                .encode_descriptor("call", help, Some(&unit), MetricType::Histogram)?;
        for (spot, verb) in with_verbs(spots) {
            let times = spot.seen.times(verb);
            one(&mut family, &verb_labels(spot, verb), |metric| {
                let sum = times.sum as f64 / 1e9;
                metric.encode_histogram::<NoLabelSet>(sum, times.all, &buckets(&times), None)
            })?;
        }
        Ok(())
    }
}

/// How many there are in each bucket, the last without a bound.
fn buckets(times: &Taken) -> Vec<(f64, u64)> {
    let (from, to, step) = POWERS;
    let mut before = 0;
    let mut buckets: Vec<_> = times
        .below_powers(from, to, step)
        .map(|(end, below)| {
            (
                end as f64 / 1e9,
                below - std::mem::replace(&mut before, below),
            )
        })
        .collect();
    buckets.push((f64::INFINITY, times.all - before));
    buckets
}

fn one(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() {
        return encode(family);
    }
    encode(&mut family.encode_family(labels)?)
}
