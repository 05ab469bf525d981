//! Reading what lies on a medium: valid chain to here, durable to here, ceiling. Changes nothing.
//!
//! ```text
//!   … | segment k          | segment k+1 (newest)         |
//!     ^ start: the newest segment whose past is known durable
//!       batch batch batch batch ✗ . . . frame? . . . frame?
//!                              ^ p: end of the valid chain
//!                                 looked through for durable marks m
//!
//!   m <= p   the rest is a torn tail: void, silently, once the engine decides so
//!   m >  p   a durable batch is damaged: reported, never cut
//! ```
//!
//! A close that was clean left an empty batch at the very end of the newest file, so that opening
//! reads two places and nothing else. Should that batch be gone, the writer file still vouches for
//! all that lay before it.

use std::sync::Arc;

use super::format::{Frame, Identity, SegmentHeader, Writer};
use super::segment::{Files, Segment};
use super::walk::{self, Window};
use crate::contract::batch::BATCH_HEADER;
use crate::contract::{
    BatchHeader, ChainLink, End, Epoch, Error, ErrorKind, Extent, Level, Oid, Position, Proven,
    Result, RootMarker,
};

/// Most links of the chain that a report carries. Older ones lie below many newer commits.
const LINKS_MAX: usize = 1024;

/// What recovery found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) segments: Vec<Arc<Segment>>,
    /// End of the valid chain.
    pub(super) end: End,
    /// Nothing below may be cut.
    pub(super) durable: Position,
    pub(super) ceiling: Position,
    pub(super) clean: bool,
    pub(super) proven: Option<Proven>,
    pub(super) epoch: Epoch,
    pub(super) chain: Vec<ChainLink>,
    /// The newest marker in the valid chain, or the proven one.
    pub(super) newest: Option<Oid>,
    /// A durable batch is damaged: where and what.
    pub(super) damage: Option<Error>,
    /// Bytes read through, for the report of an open.
    pub(super) scanned: u64,
    /// Whether no segment is here, not even a torn one.
    pub(super) empty: bool,
}

/// Where every stream begins.
const START: End = End {
    position: Position::START,
    running: 0,
};

/// Reads the log on `medium`.
///
/// While somebody writes, durable marks may be seen ahead of a chain that was read a moment before.
/// Once it reaches as far as was known durable before this look began, nothing is missing of it:
/// `known` is that position, or the limit where nobody writes.
pub(super) fn recover(
    files: &Arc<Files>,
    writer: &Writer,
    extent: &Extent,
    known: Position,
) -> Result<Found> {
    let (medium, identity) = (&*files.medium, &files.identity);
    let mut segments = files.segments()?;
    let mut found = Found {
        segments: Vec::new(),
        end: START,
        durable: Position::START,
        ceiling: writer.ceiling,
        clean: true,
        proven: None,
        epoch: writer.epoch,
        chain: Vec::new(),
        newest: None,
        damage: None,
        scanned: 0,
        empty: segments.is_empty(),
    };
    if let Extent::Sealed { start, end } = *extent {
        segments.retain(|segment| segment.base < end.position);
        check_run(&segments, start, end)?;
        found.segments = segments;
        found.end = end;
        found.durable = end.position;
        found.ceiling = end.position;
        return Ok(found);
    }
    let mut torn = drop_headless(&mut segments)?;
    drop_void(&mut segments)?;
    found.segments = segments;
    if torn.is_empty() && clean_close(identity, writer, &mut found)? {
        return Ok(found);
    }
    if medium.level() >= Level::Disk {
        // Said only after all before it was synced: what is missing of it was lost since.
        found.durable = found.durable.max(writer.clean.unwrap_or(Position::START));
    }
    // Nobody ever wrote, so nobody was ever handed a position.
    found.clean = writer.epoch.number == 0 && found.segments.is_empty() && torn.is_empty();
    let Some(k) = known_durable(&mut torn, &mut found)? else {
        // No segment yet, or only torn beginnings of the first one.
        look_on(identity, &torn, Position::START, &mut found)?;
        // What lies below the first segment of a part lies in another one: the marks of a batch whose
        // header page was lost speak of that, and of nothing that could be missing here.
        let first = torn.iter().map(|segment| segment.base).min();
        let elsewhere = matches!(extent, Extent::Part { .. });
        if elsewhere && first.is_some_and(|first| found.durable <= first) {
            found.durable = Position::START;
        }
        judge(&mut found, known);
        return Ok(found);
    };
    begin_with_end(identity, k, &mut found)?;
    read_forward(identity, writer, k, &mut found)?;
    let p = found.end.position;
    let read = found.segments[k..].to_vec();
    look_on(identity, &read, p, &mut found)?;
    look_on(identity, &torn, p, &mut found)?;
    judge(&mut found, known);
    Ok(found)
}

/// Checks that what lies here is the run of positions that was asked for, so that nothing is called
/// absent that lies elsewhere. A first header that cannot be read proves neither: every record
/// still tells its own position.
fn check_run(segments: &[Arc<Segment>], start: End, end: End) -> Result<()> {
    if start.position == end.position {
        return Ok(());
    }
    let Some(first) = segments.first() else {
        return Err(Error::corrupt(format!(
            "nothing lies here of {}..{}, which ended in this place: is it the directory of another \
             part?",
            start.position, end.position
        )));
    };
    match first.header() {
        Ok(header) if header.before == start => Ok(()),
        Ok(header) => Err(Error::corrupt(format!(
            "what lies here follows on {}, and {}..{} ended in this place: is it the directory of \
             another part?",
            header.before.position, start.position, end.position
        ))),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes segments without a readable header off the end: their creation may have been torn. What
/// they hold is still looked through for durable marks.
fn drop_headless(segments: &mut Vec<Arc<Segment>>) -> Result<Vec<Arc<Segment>>> {
    let mut torn = Vec::new();
    while let Some(last) = segments.last() {
        if last.ends().is_some() {
            // It was whole before it got its name.
            last.header()?;
            break;
        }
        match last.header() {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                torn.extend(segments.pop());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(torn)
}

/// Takes out segments that lie wholly above a cut which a later segment states.
fn drop_void(segments: &mut Vec<Arc<Segment>>) -> Result<()> {
    let Some(last) = segments.last().cloned() else {
        return Ok(());
    };
    let before = last.header()?.before.position;
    segments.retain(|segment| segment.base < before || segment.base >= last.base);
    Ok(())
}

/// Whether the newest writer closed at the end of this batch. That the batch says so is not enough: it
/// may be a page that never reached the device, or have outlived what it is the end of. The writer
/// file says it only after the sync of all that.
fn closed_at(header: &BatchHeader, writer: &Writer) -> bool {
    let said = writer.clean == Some(header.end) || planted!(PageSaysClean);
    header.clean && header.epoch == writer.epoch && said
}

/// The fast way: the newest file ends in a clean close.
fn clean_close(identity: &Identity, writer: &Writer, found: &mut Found) -> Result<bool> {
    let last = found.segments.last().cloned();
    let Some(last) = last.filter(|last| last.ends().is_none()) else {
        return Ok(false);
    };
    let file = last.file()?;
    let length = file.len()?;
    if !length.is_multiple_of(8) {
        return Ok(false);
    }
    let begins = last.offset(last.base);
    if length < begins + BATCH_HEADER as u64 {
        return Ok(false);
    }
    let base = last.base.plus_bytes(length - BATCH_HEADER as u64 - begins);
    let mut window = Window::narrow(file, BATCH_HEADER);
    let Some(end) = walk::at(&mut window, &last, identity, base)? else {
        return Ok(false);
    };
    let header = *end.batch.header();
    if !closed_at(&header, writer) {
        return Ok(false);
    }
    found.end = End {
        position: header.end,
        running: end.frame.running,
    };
    found.durable = header.end;
    found.ceiling = header.end;
    found.epoch = found.epoch.max(header.epoch);
    found.proven = header.proven;
    found.newest = header.proven.map(|proven| proven.oid);
    found.scanned = BATCH_HEADER as u64;
    Ok(true)
}

/// The newest segment whose whole past is known durable; reading forward starts there.
///
/// A segment without a readable header on the way there was lost in the making: nothing in it was
/// synced, so what follows it cannot be reached and counts as torn with it. Should that be wrong, the
/// durable marks in it tell.
fn known_durable(torn: &mut Vec<Arc<Segment>>, found: &mut Found) -> Result<Option<usize>> {
    let Some(mut k) = found.segments.len().checked_sub(1) else {
        return Ok(None);
    };
    loop {
        let sparse = found.segments[k].ends().is_some();
        if let Some(end) = k
            .checked_sub(1)
            .and_then(|before| found.segments[before].ends())
        {
            // What a reclaim left is durable to its end.
            found.durable = found.durable.max(end);
        }
        match found.segments[k].header() {
            Ok(header) => {
                found.durable = found.durable.max(header.durable);
                found.ceiling = found.ceiling.max(header.ceiling);
                found.epoch = found.epoch.max(header.epoch);
                if k == 0 || header.before.position <= found.durable {
                    return Ok(Some(k));
                }
            }
            Err(error) if error.kind() == ErrorKind::Corrupt && !sparse => {
                torn.extend(found.segments.drain(k..));
                if k == 0 {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
        k -= 1;
    }
}

/// Where the segment begins that reading starts with, a batch ended, and a cut may fall there: all below is
/// durable. The newest marker below is the oldest candidate: the commit after which nothing was committed
/// yet, and no batch has named as proven.
fn begin_with_end(identity: &Identity, k: usize, found: &mut Found) -> Result<()> {
    let end = found.segments[k].header()?.before;
    let marker = match marker_below(identity, k, found) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            found.damage = Some(error);
            return Ok(());
        }
        marker => marker?,
    };
    if let Some((oid, marker)) = &marker {
        found.proven = marker.proven;
        found.newest = Some(*oid);
    }
    // Before the first segment lies nothing, or another part, whose end it is.
    if k > 0 {
        found.chain.push(ChainLink { end, marker });
    }
    Ok(())
}

/// The newest marker below a segment.
fn marker_below(identity: &Identity, k: usize, found: &Found) -> Result<Option<(Oid, RootMarker)>> {
    let header = *found.segments[k].header()?;
    // Markers of a stack with several streams lie in another one, mostly.
    let Some(oid) = header.newest.filter(|oid| oid.stream() == identity.stream) else {
        return Ok(None);
    };
    let after = found.segments[..k].partition_point(|segment| segment.base <= oid.position());
    let Some(segment) = after.checked_sub(1).map(|index| &found.segments[index]) else {
        return Ok(None);
    };
    let end = found.segments[after].header()?;
    // Freed: something newer was proven then, and lies further on.
    let record = segment.read_now(oid, end.before.position)?;
    let marker = record.map(|record| Ok((oid, RootMarker::decode(oid, &record)?)));
    marker.transpose()
}

fn read_forward(identity: &Identity, writer: &Writer, k: usize, found: &mut Found) -> Result<()> {
    let mut end = found.segments[k].header()?.before;
    for index in k..found.segments.len() {
        let segment = found.segments[index].clone();
        let SegmentHeader { before, .. } = *segment.header()?;
        // The next segment states where this one ends; a cut may lie before its last batch.
        let limit = match found.segments.get(index + 1) {
            Some(next) => next.header()?.before.position,
            None => Position::LIMIT,
        };
        if before != end {
            break;
        }
        if segment.ends().is_some() {
            end = pass_over(identity, &segment, found)?;
            continue;
        }
        end = read_segment(identity, writer, &segment, (end, limit), found)?;
    }
    found.end = end;
    Ok(())
}

/// Reads the batches of one segment from one end on, up to a limit; returns where they end.
fn read_segment(
    identity: &Identity,
    writer: &Writer,
    segment: &Arc<Segment>,
    (mut end, limit): (End, Position),
    found: &mut Found,
) -> Result<End> {
    let mut window = Window::new(segment.file()?);
    let begun = segment.header()?.epoch;
    while end.position < limit {
        let next = walk::next(&mut window, segment, identity, end)?;
        let Some(next) = next.filter(|next| !is_void(next, writer, begun)) else {
            break;
        };
        end = End {
            position: next.batch.header().end,
            running: next.frame.running,
        };
        found.scanned += u64::from(next.frame.length);
        note(&next, end, writer, found);
    }
    Ok(end)
}

/// Goes on behind what a reclaim left: all of it is durable, and of its commits only the newest may
/// still be a candidate.
fn pass_over(identity: &Identity, segment: &Arc<Segment>, found: &mut Found) -> Result<End> {
    let Some(sparse) = segment.sparse()? else {
        return Err(Error::corrupt(format!("{} is not sparse", segment.name())));
    };
    let header = sparse.header;
    let end = header.end;
    found.durable = found.durable.max(end.position);
    found.ceiling = found.ceiling.max(header.common.ceiling);
    found.epoch = found.epoch.max(header.common.epoch);
    found.clean = false;
    let inside = |oid: &Oid| oid.stream() == identity.stream && segment.base <= oid.position();
    let record = match header.marker.filter(inside) {
        Some(oid) => segment
            .read_now(oid, end.position)?
            .map(|record| (oid, record)),
        None => None,
    };
    let marker =
        record.map(|(oid, record)| Ok::<_, Error>((oid, RootMarker::decode(oid, &record)?)));
    let marker = marker.transpose()?;
    found.newest = header.marker.or(found.newest);
    if let Some(proven) = marker.as_ref().and_then(|(_, marker)| marker.proven) {
        found.proven = found.proven.max(Some(proven));
    }
    found.chain.push(ChainLink { end, marker });
    Ok(end)
}

/// Goes on where an earlier look ended, in the newest segment of then.
pub(super) fn go_on(identity: &Identity, writer: &Writer, found: &mut Found) -> Result<()> {
    if let Some(last) = found.segments.last().cloned()
        && last.ends().is_none()
    {
        let from = (found.end, Position::LIMIT);
        found.end = read_segment(identity, writer, &last, from, found)?;
        judge(found, Position::LIMIT);
    }
    Ok(())
}

/// Whether an older epoch wrote this above the cut that a newer one decided on. In a segment that the
/// newer one began, batches of older epochs were carried here by it.
fn is_void(next: &walk::Found, writer: &Writer, begun: Epoch) -> bool {
    let header = next.batch.header();
    let above = writer.cut.is_some_and(|cut| header.end > cut);
    let older = |epoch: Epoch| epoch.number < writer.epoch.number;
    above && older(header.epoch) && older(begun)
}

fn note(next: &walk::Found, end: End, writer: &Writer, found: &mut Found) {
    let header = next.batch.header();
    found.durable = found.durable.max(next.frame.durable);
    found.ceiling = found.ceiling.max(next.frame.ceiling);
    found.epoch = found.epoch.max(header.epoch);
    found.clean = closed_at(header, writer);
    if found.proven.map(|proven| proven.sequence) < header.proven.map(|proven| proven.sequence) {
        found.proven = header.proven;
        let settled = match header.proven {
            Some(proven) if proven.oid.stream() == header.stream => proven.oid.position(),
            // Where the marker lies in another stream, its position says nothing of this one. What is
            // known durable here needs no link; its end, at which a cut may fall, keeps one.
            _ => Position(found.durable.0.saturating_sub(1)),
        };
        found.chain.retain(|link| link.end.position > settled);
    }
    let marker = header.marker.and_then(|oid| {
        let record = next.batch.read(oid).ok().flatten()?;
        RootMarker::decode(oid, &record)
            .ok()
            .map(|marker| (oid, marker))
    });
    found.newest = header
        .marker
        .or(found.newest)
        .or(found.proven.map(|proven| proven.oid));
    if found.chain.len() == LINKS_MAX {
        // The newest commit stays, however much was stored after it: nothing else may tell of it.
        let newest = found.chain.iter().rposition(|link| link.marker.is_some());
        let oldest = usize::from(newest == Some(0) && marker.is_none());
        found.chain.remove(oldest);
    }
    found.chain.push(ChainLink { end, marker });
}

/// Looks through what lies after the valid chain for frames that vouch for durable bytes.
fn look_on(
    identity: &Identity,
    segments: &[Arc<Segment>],
    p: Position,
    found: &mut Found,
) -> Result<()> {
    for segment in segments {
        if let Ok(header) = segment.header() {
            found.durable = found.durable.max(header.durable);
            found.ceiling = found.ceiling.max(header.ceiling);
        }
        if segment.ends().is_some() {
            continue;
        }
        let mut window = Window::new(segment.file()?);
        let from = p.max(segment.base);
        if let Some((durable, ceiling)) = walk::durable_marks(&mut window, segment, identity, from)?
        {
            found.durable = found.durable.max(durable);
            found.ceiling = found.ceiling.max(ceiling);
            found.clean = false;
        }
    }
    Ok(())
}

fn judge(found: &mut Found, known: Position) {
    if planted!(CeilingForgotten) {
        found.ceiling = found.end.position;
    }
    if planted!(CutAtFirstDamage) {
        found.durable = found.durable.min(found.end.position);
    }
    let Found { end, durable, .. } = found;
    if *durable > end.position && end.position >= known {
        *durable = end.position;
        found.clean = false;
    } else if *durable > end.position {
        found.clean = false;
        found.damage = Some(Error::corrupt(format!(
            "durable bytes are damaged: the chain of batches is whole up to {}, yet {} was known \
             durable; nothing was cut, restore the file or read a replica",
            end.position, durable
        )));
    } else if found.clean {
        found.durable = end.position;
        found.ceiling = end.position;
    }
}

/// The frame in front of a batch that was stored before, for comparing it with one sent again.
pub(super) fn frame_at(
    identity: &Identity,
    segment: &Segment,
    base: Position,
) -> Result<Option<Frame>> {
    if segment.ends().is_some() {
        return Err(Error::invalid(format!(
            "space was given back at {base}: what is sent again cannot be compared"
        )));
    }
    let bytes = segment
        .file()?
        .read_at(segment.offset(base), BATCH_HEADER)?;
    Ok(Frame::decode(&bytes, identity, base))
}
