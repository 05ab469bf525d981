//! What a sequence tells of itself and its parts, without touching a device.
//!
//! ```text
//!   making ──> next ──> active ──> ended ──> synced ──> sealed        lost: a number without a part, or
//!   on a driver         written    by length, age, room    footer           one that could not be opened
//! ```

use std::sync::atomic::Ordering;

use travertine_engine::contract::{
    Codecs, Oid, PartState, PartStatus, Placement, Position, Status, StreamStatus,
};

use super::shared::Shared;
use super::state::{Member, State};
use super::table::Part;

/// So many parts are told of: the newest.
const PARTS_MAX: usize = 4096;

impl Shared {
    pub(super) fn status(&self) -> Status {
        let members: Vec<_> = self.lock().members.iter().cloned().collect();
        let below: Vec<_> = members.iter().map(|member| member.store.status()).collect();
        let own = |status: &Status| {
            let mut streams = status.streams.iter();
            streams.find(|of| of.stream == self.setup.stream.0).cloned()
        };
        let streams: Vec<_> = below.iter().filter_map(own).collect();
        let parts = self.table.all();
        let spans = parts.windows(2).filter(|pair| !pair[0].is_live());
        let sealed: u64 = spans
            .map(|pair| pair[1].start.bytes_since(pair[0].start))
            .sum();
        let (count, open) = self.table.count();
        let state = self.lock();
        let dirty = members
            .iter()
            .position(|member| member.ended.is_none_or(|ended| !ended.synced));
        let durable = dirty
            .and_then(|index| streams.get(index))
            .map(|of| of.durable);
        let begins = state.members.front().and_then(|member| member.begins);
        let stream = StreamStatus {
            stream: self.setup.stream.0,
            end: state.end.position.0,
            // What a part has not synced yet begins at its beginning.
            durable: durable
                .unwrap_or(state.end.position.0)
                .max(begins.map_or(0, |begins| begins.position.0)),
            ceiling: state.handed.0,
            bytes: sealed + streams.iter().map(|of| of.bytes).sum::<u64>(),
            segments: streams.iter().map(|of| of.segments).sum(),
        };
        let refusing = if self.setup.read_only {
            Some("open for reading only".to_owned())
        } else {
            let poison = state.poison.as_ref().map(ToString::to_string);
            poison.or_else(|| {
                let mut refusals = below.iter().rev().filter_map(|of| of.refusing.clone());
                refusals.next()
            })
        };
        let identity = self.setup.catalogue.store();
        Status {
            kind: "sequence",
            name: self.setup.name.clone(),
            identity: Status::identity_text(&identity),
            level: self.setup.level,
            root_stream: self.setup.stream.0,
            placement: Placement::One(self.setup.stream.0),
            codecs: Codecs::default(),
            gate: None,
            unit: self.unit,
            refusing,
            streams: vec![stream],
            parts: told(&parts, &state),
            figures: vec![
                ("parts", count),
                ("parts_open", open),
                ("parts_unsealed", state.unsealed() as u64),
                ("rolls", state.rolls),
            ],
            below,
        }
    }
}

/// All parts in their order, with those that are missing between them.
fn told(parts: &[std::sync::Arc<Part>], state: &State) -> Vec<PartStatus> {
    let parts = &parts[parts.len().saturating_sub(PARTS_MAX)..];
    let mut told = Vec::with_capacity(parts.len() + 2);
    let mut before: Option<(u32, Option<u64>)> = (parts.len() < PARTS_MAX).then_some((0, Some(0)));
    for (index, part) in parts.iter().enumerate() {
        if let Some((number, ends)) = before
            && number + 1 < part.number
        {
            told.push(PartStatus {
                begins: ends,
                ends: Some(part.start.0),
                ..PartStatus::new(missing(number + 1, part.number - 1), PartState::Lost)
            });
        }
        let next = parts.get(index + 1);
        let one = match state.members.iter().find(|of| of.number == part.number) {
            Some(member) => live(part, member, next.map(|next| next.start), state),
            None => ended(part, next),
        };
        before = Some((part.number, one.ends));
        told.push(one);
    }
    let empty = state.members.iter().filter(|of| of.begins.is_none());
    told.extend(empty.map(|of| PartStatus::new(name(of.number), PartState::Next)));
    if state.preparing {
        let number = state.newest_number() + 1;
        told.push(PartStatus::new(name(number), PartState::Making));
    }
    told
}

/// One that has a footer.
fn ended(part: &Part, next: Option<&std::sync::Arc<Part>>) -> PartStatus {
    let footer = part.footer.get();
    // Until somebody read the footer, it ends where the next begins, if none is missing between.
    let next = next.filter(|next| next.number == part.number + 1);
    let ends = part.end.get().copied().or(next.map(|next| next.start));
    let counted = footer.filter(|footer| footer.counts.whole);
    PartStatus {
        begins: Some(part.start.0),
        ends: ends.map(|ends| ends.0),
        bytes: counted
            .map(|footer| footer.counts.bytes)
            .or(ends.map(|ends| ends.bytes_since(part.start))),
        epoch: footer.map(|footer| footer.epoch.number),
        marker: footer.and_then(|footer| footer.marker).map(Oid::raw),
        ..PartStatus::new(
            name(part.number),
            match part.lost.load(Ordering::Relaxed) {
                true => PartState::Lost,
                false => PartState::Sealed,
            },
        )
    }
}

/// One that has none.
fn live(part: &Part, member: &Member, next: Option<Position>, state: &State) -> PartStatus {
    let ends = match (member.ended, next) {
        (Some(ended), _) => ended.end.position,
        (None, Some(next)) => next,
        (None, None) => state.end.position,
    };
    let (life, marker) = match member.ended {
        Some(ended) if ended.synced => (PartState::Synced, ended.marker),
        Some(ended) => (PartState::Ended, ended.marker),
        None if next.is_some() => (PartState::Ended, None),
        None => (PartState::Active, state.newest),
    };
    let writes = state.adopted && life == PartState::Active;
    PartStatus {
        begins: Some(part.start.0),
        ends: Some(ends.0),
        bytes: Some(match member.counts.whole {
            true => member.counts.bytes,
            false => ends.bytes_since(part.start),
        }),
        epoch: writes.then_some(state.epoch.number),
        marker: marker.map(Oid::raw),
        ..PartStatus::new(name(part.number), life)
    }
}

fn name(number: u32) -> String {
    format!("part-{number:06}")
}

fn missing(from: u32, to: u32) -> String {
    match from == to {
        true => name(from),
        false => format!("{} to {}", name(from), name(to)),
    }
}
