//! What a floor says of itself, over the wire.
//!
//! Kinds and figures have names that live as long as the program; those that come from outside are
//! kept in a table that is bounded. Of a tree that is larger than any stack the rest is left out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use travertine_engine::contract::limits::STREAMS_MAX;
use travertine_engine::contract::{Error, Placement, Result, Status, StreamStatus};

use super::convert::{self, identity};
use super::error::text;
use crate::proto;

/// Deepest tree of floors.
const DEPTH: usize = 32;
/// Most figures of a floor.
const FIGURES: usize = 64;
/// Most names that are kept, and the longest.
const NAMES: (usize, usize) = (1_024, 48);

/// A status as a message.
pub(crate) fn to_proto(status: &Status) -> Result<proto::Status> {
    let codecs = serde_names(&status.codecs);
    Ok(proto::Status {
        kind: status.kind.to_owned(),
        name: status.name.clone(),
        identity: status.identity_bytes()?.to_vec().into(),
        level: Some(status.level.into()),
        root_stream: status.root_stream.into(),
        placement: Some(placement(&status.placement)),
        unit: status.unit,
        refusing: status.refusing.clone(),
        streams: status.streams.iter().map(stream).collect(),
        figures: status
            .figures
            .iter()
            .map(|(name, value)| proto::Figure {
                name: (*name).to_owned(),
                value: *value,
            })
            .collect(),
        below: status.below.iter().map(to_proto).collect::<Result<_>>()?,
        codecs,
    })
}

/// A status from a message.
///
/// Errors: `Invalid`, where it is none.
pub(crate) fn from_proto(status: &proto::Status) -> Result<Status> {
    at_depth(status, 0)
}

fn at_depth(status: &proto::Status, depth: usize) -> Result<Status> {
    let below = if depth < DEPTH {
        status.below.iter().take(STREAMS_MAX)
    } else {
        [].iter().take(0)
    };
    let figures = status.figures.iter().take(FIGURES);
    Ok(Status {
        kind: interned(&status.kind),
        name: status.name.as_deref().map(|name| text(name, 64)),
        identity: Status::identity_text(&identity(&status.identity)?),
        level: convert::to_level(status.level)?,
        root_stream: small(status.root_stream)?,
        placement: to_placement(status.placement.as_ref())?,
        codecs: Default::default(),
        unit: status.unit,
        refusing: status.refusing.as_deref().map(|why| text(why, 1 << 10)),
        streams: status
            .streams
            .iter()
            .take(STREAMS_MAX)
            .map(to_stream)
            .collect::<Result<_>>()?,
        parts: Vec::new(),
        figures: figures
            .map(|figure| (interned(&figure.name), figure.value))
            .collect(),
        gate: None,
        below: below
            .map(|below| at_depth(below, depth + 1))
            .collect::<Result<_>>()?,
    })
}

fn stream(status: &StreamStatus) -> proto::StreamStatus {
    proto::StreamStatus {
        stream: status.stream.into(),
        end: status.end,
        durable: status.durable,
        ceiling: status.ceiling,
        bytes: status.bytes,
        segments: status.segments,
    }
}

fn to_stream(status: &proto::StreamStatus) -> Result<StreamStatus> {
    Ok(StreamStatus {
        stream: small(status.stream)?,
        end: status.end,
        durable: status.durable,
        ceiling: status.ceiling,
        bytes: status.bytes,
        segments: status.segments,
    })
}

fn placement(placement: &Placement) -> proto::Placement {
    use proto::placement::{Class, Rule};
    let class = |most: u32, streams: &[u16]| Class {
        most,
        streams: streams.iter().map(|&stream| stream.into()).collect(),
    };
    let (rule, classes) = match placement {
        Placement::One(stream) => (Rule::One, vec![class(0, &[*stream])]),
        Placement::Tag(streams) => (Rule::Tag, vec![class(0, streams)]),
        Placement::RoundRobin(streams) => (Rule::RoundRobin, vec![class(0, streams)]),
        Placement::Size(classes) => {
            let classes = classes.iter();
            let classes = classes.map(|(most, streams)| class(*most, streams));
            (Rule::Size, classes.collect())
        }
    };
    proto::Placement {
        rule: rule.into(),
        classes,
    }
}

fn to_placement(placement: Option<&proto::Placement>) -> Result<Placement> {
    use proto::placement::Rule;
    let wrong = || Error::invalid("the other side tells no way to place records");
    let placement = placement.ok_or_else(wrong)?;
    let mut classes = Vec::new();
    for class in placement.classes.iter().take(STREAMS_MAX) {
        let streams = class.streams.iter().take(STREAMS_MAX).map(|&it| small(it));
        let streams: Vec<u16> = streams.collect::<Result<_>>()?;
        if streams.is_empty() {
            return Err(wrong());
        }
        classes.push((class.most, streams));
    }
    let rule = Rule::try_from(placement.rule).map_err(|_| wrong())?;
    if rule == Rule::Size && !classes.is_empty() {
        return Ok(Placement::Size(classes));
    }
    let (Some((_, streams)), true) = (classes.pop(), classes.is_empty()) else {
        return Err(wrong());
    };
    Ok(match rule {
        Rule::Tag => Placement::Tag(streams),
        Rule::RoundRobin => Placement::RoundRobin(streams),
        _ => Placement::One(streams[0]),
    })
}

fn small(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| Error::invalid(format!("there is no stream {number}")))
}

/// The names of what bodies go through.
fn serde_names(codecs: &travertine_engine::contract::Codecs) -> Vec<String> {
    if codecs.is_empty() {
        return Vec::new();
    }
    vec![format!("{codecs:?}")]
}

/// The same text, for as long as the program lives.
fn interned(name: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(name) {
        return known;
    }
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b" _-,()".contains(&byte);
    if known.len() >= NAMES.0 || name.is_empty() || name.len() > NAMES.1 || !name.bytes().all(plain)
    {
        return "unknown";
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    known.insert(name);
    name
}
