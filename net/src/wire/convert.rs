//! The words of the contract as messages, and back.
//!
//! A marker goes as the record that it is, a batch as it lies on a medium: the checks that they carry
//! are verified by whoever receives them.

use std::sync::Arc;

use bytes::Bytes;
use travertine_engine::contract::limits::{BATCH_MAX, STREAMS_MAX};
use travertine_engine::contract::{
    Batch, Batches, ChainLink, Commit, End, Epoch, Error, Freed, Kind, Level, NewRecord, Oid,
    Position, Proven, Reclaim, Record, Result, RootAt, RootMarker, Sparse, Stream, StreamState,
    Tail, Vector,
};

pub(crate) use crate::convert::{epoch as to_epoch, oid};
use crate::proto;

fn wrong(what: &str) -> Error {
    Error::invalid(format!("this message has no {what} that makes sense"))
}

pub(crate) fn to_level(level: Option<proto::Level>) -> Result<Level> {
    crate::convert::level(level.ok_or_else(|| wrong("level"))?)
}

pub(crate) fn identity(bytes: &[u8]) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| wrong("identity"))
}

pub(crate) fn stream(stream: u32) -> Result<Stream> {
    u16::try_from(stream)
        .map(Stream)
        .map_err(|_| wrong("stream"))
}

pub(crate) fn position(position: u64) -> Result<Position> {
    let position = Position(position);
    (position <= Position::LIMIT)
        .then_some(position)
        .ok_or_else(|| wrong("position"))
}

/// A batch that came over the wire: also its records are what they say.
pub(crate) fn to_batch(bytes: Bytes) -> Result<Batch> {
    if bytes.len() > BATCH_MAX {
        return Err(wrong("batch"));
    }
    let length = bytes.len();
    let batch = Batch::decode(bytes)?;
    if batch.bytes().len() != length {
        return Err(Error::corrupt("more bytes came than the batch states"));
    }
    for (oid, record) in batch.records() {
        record.verify(oid)?;
    }
    Ok(batch)
}

/// A batch that is to be stored. One that is none is the caller's mistake: nothing that lies here is
/// damaged.
pub(crate) fn to_store(bytes: Bytes) -> Result<Batch> {
    to_batch(bytes).map_err(|error| Error::invalid(error.message()))
}

fn to_batches(bytes: Vec<Bytes>) -> Result<Vec<Batch>> {
    if bytes.len() > STREAMS_MAX {
        return Err(wrong("number of batches"));
    }
    bytes.into_iter().map(to_store).collect()
}

pub(crate) fn end(end: End) -> proto::End {
    proto::End {
        position: end.position.0,
        running: end.running,
    }
}

pub(crate) fn to_end(end: Option<&proto::End>) -> Result<End> {
    let end = end.ok_or_else(|| wrong("end"))?;
    Ok(End {
        position: position(end.position)?,
        running: end.running,
    })
}

pub(crate) fn tail(tail: Tail) -> proto::Tail {
    proto::Tail {
        end: tail.end.0,
        ceiling: tail.ceiling.0,
    }
}

pub(crate) fn to_tail(tail: &proto::Tail) -> Result<Tail> {
    Ok(Tail {
        end: position(tail.end)?,
        ceiling: position(tail.ceiling)?,
    })
}

pub(crate) fn commit(commit: &Commit) -> proto::CommitCall {
    proto::CommitCall {
        sender: Some(commit.sender.into()),
        level: Some(commit.level.into()),
        last: commit.last.iter().map(|it| it.bytes().clone()).collect(),
    }
}

pub(crate) fn to_commit(call: proto::CommitCall) -> Result<Commit> {
    Ok(Commit {
        sender: to_epoch(call.sender),
        level: to_level(call.level)?,
        last: to_batches(call.last)?,
    })
}

pub(crate) fn root_at(at: RootAt) -> proto::RootCall {
    use proto::root_call::At;
    proto::RootCall {
        at: match at {
            RootAt::Newest => None,
            RootAt::Proven => Some(At::Proven(true)),
            RootAt::Sequence(sequence) => Some(At::Sequence(sequence)),
            RootAt::Time(time) => Some(At::Time(time)),
        },
    }
}

pub(crate) fn to_root_at(call: &proto::RootCall) -> RootAt {
    use proto::root_call::At;
    match call.at {
        None => RootAt::Newest,
        Some(At::Proven(_)) => RootAt::Proven,
        Some(At::Sequence(sequence)) => RootAt::Sequence(sequence),
        Some(At::Time(time)) => RootAt::Time(time),
    }
}

pub(crate) fn marker(oid: Oid, marker: &RootMarker) -> proto::Marker {
    let (references, body) = marker.encode();
    let mut record = Vec::new();
    let new = NewRecord {
        kind: Kind::MARKER,
        references: &references,
        body: &[&body],
    };
    new.encode(oid, marker.epoch.number, &mut record);
    proto::Marker {
        oid: oid.raw(),
        record: record.into(),
    }
}

pub(crate) fn to_marker(marker: &proto::Marker) -> Result<(Oid, RootMarker)> {
    let oid = oid(marker.oid)?;
    let record = Record::decode(oid, marker.record.clone())?;
    Ok((oid, RootMarker::decode(oid, &record)?))
}

pub(crate) fn root(found: Option<(Oid, RootMarker)>) -> proto::RootAnswer {
    proto::RootAnswer {
        marker: found.map(|(oid, found)| marker(oid, &found)),
    }
}

pub(crate) fn to_root(answer: &proto::RootAnswer) -> Result<Option<(Oid, RootMarker)>> {
    answer.marker.as_ref().map(to_marker).transpose()
}

pub(crate) fn streams(states: &[StreamState]) -> proto::FenceAnswer {
    let streams = states.iter().map(|state| proto::StreamState {
        stream: u32::from(state.stream.0),
        end: Some(end(state.end)),
        durable: state.durable.0,
        safe: state.safe.0,
        ceiling: state.ceiling.0,
        clean: state.clean,
        proven: state.proven.map(|proven| proto::Proven {
            sequence: proven.sequence,
            epoch: proven.epoch,
            oid: proven.oid.raw(),
        }),
        epoch: Some(state.epoch.into()),
        chain: state.chain.iter().map(link).collect(),
    });
    proto::FenceAnswer {
        streams: streams.collect(),
    }
}

fn link(link: &ChainLink) -> proto::ChainLink {
    proto::ChainLink {
        end: Some(end(link.end)),
        marker: link.marker.as_ref().map(|(oid, it)| marker(*oid, it)),
    }
}

pub(crate) fn to_streams(answer: &proto::FenceAnswer) -> Result<Vec<StreamState>> {
    if answer.streams.len() > STREAMS_MAX {
        return Err(wrong("number of streams"));
    }
    answer.streams.iter().map(to_stream_state).collect()
}

fn to_stream_state(state: &proto::StreamState) -> Result<StreamState> {
    let proven = state.proven.as_ref().map(|proven| {
        Ok::<_, Error>(Proven {
            sequence: proven.sequence,
            epoch: proven.epoch,
            oid: oid(proven.oid)?,
        })
    });
    let chain = state.chain.iter().map(|link| {
        Ok(ChainLink {
            end: to_end(link.end.as_ref())?,
            marker: link.marker.as_ref().map(to_marker).transpose()?,
        })
    });
    Ok(StreamState {
        stream: stream(state.stream)?,
        end: to_end(state.end.as_ref())?,
        durable: position(state.durable)?,
        safe: position(state.safe)?,
        ceiling: position(state.ceiling)?,
        clean: state.clean,
        proven: proven.transpose()?,
        epoch: to_epoch(state.epoch),
        chain: chain.collect::<Result<_>>()?,
    })
}

pub(crate) fn adopt(to: Epoch, vector: &Vector) -> proto::AdoptCall {
    let ends = vector.iter().map(|(stream, at)| proto::StreamEnd {
        stream: u32::from(stream.0),
        end: Some(end(*at)),
    });
    proto::AdoptCall {
        epoch: Some(to.into()),
        vector: ends.collect(),
    }
}

pub(crate) fn to_adopt(call: &proto::AdoptCall) -> Result<(Epoch, Vector)> {
    if call.vector.len() > STREAMS_MAX {
        return Err(wrong("number of streams"));
    }
    let ends = call
        .vector
        .iter()
        .map(|it| Ok((stream(it.stream)?, to_end(it.end.as_ref())?)));
    Ok((to_epoch(call.epoch), ends.collect::<Result<Vector>>()?))
}

pub(crate) fn batches(found: &Batches) -> proto::ScanAnswer {
    proto::ScanAnswer {
        batches: found.batches.iter().map(|it| it.bytes().clone()).collect(),
        sparse: found.sparse.as_ref().map(sparse),
        next: found.next.map(|next| next.0),
    }
}

fn sparse(sparse: &Sparse) -> proto::Sparse {
    proto::Sparse {
        from: sparse.from.0,
        to: sparse.to.0,
        before: sparse.before.map(end),
        records: sparse.records.iter().map(placed).collect(),
        after: sparse.after.map(end),
    }
}

fn to_sparse(sparse: proto::Sparse) -> Result<Sparse> {
    let optional = |end: Option<proto::End>| end.map(|end| to_end(Some(&end))).transpose();
    let records = sparse.records.into_iter().map(|it| {
        let oid = oid(it.oid)?;
        Ok((oid, Record::decode(oid, it.record)?))
    });
    Ok(Sparse {
        from: position(sparse.from)?,
        to: position(sparse.to)?,
        records: records.collect::<Result<_>>()?,
        before: optional(sparse.before)?,
        after: optional(sparse.after)?,
    })
}

fn placed((oid, record): &(Oid, Record)) -> proto::Placed {
    proto::Placed {
        oid: oid.raw(),
        record: record.encoded().clone(),
    }
}

pub(crate) fn to_found(answer: proto::ScanAnswer) -> Result<Batches> {
    let batches = answer.batches.into_iter().map(to_batch);
    Ok(Batches {
        batches: batches.collect::<Result<_>>()?,
        sparse: answer.sparse.map(to_sparse).transpose()?,
        next: answer.next.map(position).transpose()?,
    })
}

pub(crate) fn reclaim(decision: &Reclaim) -> proto::ReclaimCall {
    proto::ReclaimCall {
        sender: Some(decision.sender.into()),
        stream: u32::from(decision.stream.0),
        from: decision.from.0,
        to: decision.to.0,
        alive: decision.alive.iter().map(|it| it.0).collect(),
        left: decision.left.as_deref().map(sparse),
    }
}

pub(crate) fn to_reclaim(call: proto::ReclaimCall) -> Result<Reclaim> {
    let decision = Reclaim {
        sender: to_epoch(call.sender),
        stream: stream(call.stream)?,
        from: position(call.from)?,
        to: position(call.to)?,
        alive: call.alive.iter().map(|&at| Position(at)).collect(),
        left: call.left.map(to_sparse).transpose()?.map(Arc::new),
    };
    decision.check()?;
    Ok(decision)
}

pub(crate) fn freed(freed: Freed) -> proto::ReclaimAnswer {
    proto::ReclaimAnswer {
        bytes: freed.bytes,
        kept: freed.kept,
        to: freed.to.0,
    }
}

pub(crate) fn to_freed(answer: &proto::ReclaimAnswer) -> Result<Freed> {
    Ok(Freed {
        bytes: answer.bytes,
        kept: answer.kept,
        to: position(answer.to)?,
    })
}
