//! Taking a log over: the report of how it lies, the fence, and the cut that the engine decided on.
//!
//! ```text
//!   report ──> fence: epoch and ceiling durable ──> adopt: rewrite what is unproven, sync,
//!                                                          record the cut, unlink what lies above
//! ```
//!
//! Invariant: a ceiling never goes down, whatever a cut removes: the writer file keeps it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::format::{SEGMENT_HEADER, Writer, segment_base, segment_name};
use super::segment::Segment;
use super::{IDENTITY, Shared, WRITER, recovery, writer};
use crate::contract::{
    End, Epoch, Error, ErrorKind, Extent, Level, Position, Result, StreamState, Vector,
};
use crate::medium::{MediumFile, replace_small};

impl Shared {
    pub(super) fn replace_writer(&self, change: impl FnOnce(&mut Writer)) -> Result<()> {
        let mut writer = self
            .writer_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        change(&mut writer);
        replace_small(&*self.medium, WRITER, &writer.encode())?;
        *self
            .writer_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = writer;
        Ok(())
    }

    fn found(&self) -> recovery::Found {
        let found = self.found.lock();
        found.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the stream lies. A handle that wrote since it was opened looks again: what it saw then is
    /// history.
    pub(super) fn report(&self) -> Result<StreamState> {
        let (adopted, known) = {
            let writing = self.writing();
            (writing.adopted, writing.durable)
        };
        if adopted {
            let writer = self
                .writer_file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            // Somebody may go on writing: what becomes durable beside this look is no damage.
            let again = recovery::recover(&self.files, &writer, &self.options.extent, known)?;
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) = again;
        }
        let found = self.found();
        if let Some(damage) = found.damage {
            return Err(damage.at(self.medium.place()));
        }
        Ok(StreamState {
            stream: self.identity.stream,
            end: found.end,
            durable: found.durable,
            safe: match self.writes() && self.medium.level() < Level::Disk {
                // No sync makes it any safer.
                true => found.end.position,
                false => found.durable.max(known).min(found.end.position),
            },
            ceiling: found.ceiling,
            clean: found.clean,
            proven: found.proven,
            epoch: found.epoch,
            chain: found.chain,
        })
    }

    pub(super) fn fence(&self, epoch: Epoch) -> Result<Vec<StreamState>> {
        let _whole = self.hold_reclaims();
        let _turn = self.take_turn();
        if epoch.number == 0 {
            return Ok(vec![self.report()?]);
        }
        if !self.held.load(Ordering::Acquire) {
            return Err(Error::closed("the log is closed, or open for reading only"));
        }
        // Older senders are refused before anybody looks: what they were told is stored must not be
        // missing from the report.
        let before = self.writing().epoch;
        self.writing().epoch = before.max(epoch);
        let fenced = self.fence_from(before, epoch);
        if fenced.is_err() {
            self.writing().epoch = before;
        }
        fenced
    }

    fn fence_from(&self, before: Epoch, epoch: Epoch) -> Result<Vec<StreamState>> {
        let state = self.report()?;
        if epoch == before {
            return Ok(vec![state]);
        }
        if epoch <= state.epoch {
            return Err(Error::fenced(format!(
                "epoch {epoch} is not newer than epoch {}, which wrote here",
                state.epoch
            )));
        }
        let near = match self.options.extent {
            Extent::Part { near, .. } => near,
            _ => Position::START,
        };
        let ahead = Position((state.ceiling.max(near).0).saturating_add(self.options.window / 8));
        let ceiling = ahead.min(Position::LIMIT);
        let note = |writer: &mut Writer| {
            writer.epoch = epoch;
            writer.ceiling = ceiling;
            // Decided anew by `adopt`: an older cut must not void the tail that came after it.
            writer.cut = None;
            writer.clean = None;
            writer.fingerprint.clone_from(&self.options.fingerprint);
        };
        match self.replace_writer(note) {
            // What is kept for a recovery is kept for this.
            Err(error) if error.kind() == ErrorKind::Full => {
                self.remove_leftovers()?;
                self.replace_writer(note)?;
            }
            noted => noted?,
        }
        let mut writing = self.writing();
        writing.fenced = true;
        writing.adopted = false;
        writing.open = None;
        writing.drop_spare(&*self.medium);
        writing.announced = ceiling;
        writing.announced_durable = ceiling;
        writing.promised = Position::START;
        Ok(vec![state])
    }

    pub(super) fn adopt(&self, epoch: Epoch, vector: &Vector) -> Result<()> {
        let _whole = self.hold_reclaims();
        let _turn = self.take_turn();
        if !self.held.load(Ordering::Acquire) {
            return Err(Error::closed("the log is closed, or open for reading only"));
        }
        if self.writing().epoch != epoch || epoch.number == 0 {
            return Err(Error::fenced(format!(
                "epoch {epoch} has not fenced this log"
            )));
        }
        let mut ends = vector.iter();
        let asked = ends.find(|(stream, _)| *stream == self.identity.stream);
        let asked = asked.map(|(_, end)| *end);
        let found = self.found();
        {
            let writing = self.writing();
            if writing.adopted && writing.end != writing.cut {
                // What was stored since lies above the cut: to settle again would unlink it.
                if asked.is_none_or(|end| end == writing.cut) {
                    return Ok(());
                }
                return Err(Error::invalid(format!(
                    "epoch {epoch} has written since it decided that the older ones end at {}",
                    writing.cut.position
                )));
            }
        }
        let cut = asked.unwrap_or(found.end);
        if cut.position < found.durable {
            return Err(Error::invalid(format!(
                "a cut at {} would lose bytes known durable up to {}",
                cut.position, found.durable
            )));
        }
        let anew = self.begins_anew(&found, cut);
        if !anew && cut != found.end && found.chain.iter().all(|link| link.end != cut) {
            return Err(Error::invalid(format!(
                "no batch of this log ends at {} with the running checksum given",
                cut.position
            )));
        }
        self.carry_out(&found, cut, anew)
            .inspect_err(|error| self.writing().poison(error))
    }

    /// Makes the cut that was decided on, on the medium and here.
    fn carry_out(&self, found: &recovery::Found, cut: End, anew: bool) -> Result<()> {
        // Where nothing lies, there is nothing to decide about.
        if !found.empty && (!found.clean || cut != found.end) {
            self.settle(found, cut, anew)?;
        }
        if anew {
            self.announce_from(cut.position)?;
        }
        let fenced = self.writing().fenced;
        if !fenced {
            // The frame that announced it may lie above the cut.
            self.replace_writer(|writer| writer.ceiling = writer.ceiling.max(found.ceiling))?;
        }
        self.remove_leftovers()?;
        let mut writing = self.writing();
        writing.end = cut;
        // What a part says to be durable is its own bytes: those before it are not its to vouch for.
        writing.durable = if anew { Position::START } else { cut.position };
        // The end of the part before lies in no block of this one, and that of a run of which a reclaim
        // left something in no block that is written again.
        let ends_sparse = self
            .segments()
            .last()
            .is_some_and(|last| last.ends().is_some());
        writing.committed = match ends_sparse {
            true => Position::START,
            false => writing.durable,
        };
        // Below the ceiling of before, addresses may have been handed out that nobody saw stored.
        let part = anew && matches!(self.options.extent, Extent::Part { .. });
        writing.floor = if found.clean || part || !fenced {
            cut.position
        } else {
            found.ceiling.max(cut.position)
        };
        writing.adopted = true;
        writing.cut = cut;
        writing.newest = found
            .chain
            .iter()
            .rev()
            .filter(|link| link.end.position <= cut.position)
            .find_map(|link| link.marker.as_ref().map(|(oid, _)| *oid))
            .or(found.proven.map(|proven| proven.oid));
        if found.clean
            && !anew
            && let Some(last) = self.segments().last().cloned()
        {
            let file = last.file_to_write()?;
            writing.resume(last, file)?;
        }
        if part {
            // Whoever fills the part before wants to know how much fits here, and hands it out.
            writing.keep_spare(&*self.medium, &self.options);
            writing.tail();
        }
        self.tail.store(cut.position.0, Ordering::Release);
        self.durable.store(writing.durable.0, Ordering::Release);
        self.vouched.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes what a crash left half made, and gives back the room that was kept: for going on, and for
    /// what a recovery takes.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let mut writing = self.writing();
        writing.drop_spare(&*self.medium);
        writing.drop_reserve(&*self.medium);
        drop(writing);
        for name in self.medium.list()? {
            let made = name.strip_suffix(".new");
            let ours = |made| [IDENTITY, WRITER].contains(&made) || segment_base(made).is_some();
            let room = [writer::SPARE, writer::RESERVE].contains(&name.as_str());
            if room || made.is_some_and(ours) {
                self.medium.remove(&name)?;
            }
        }
        self.remove_covered()
    }

    /// Whether nothing here outlives this cut, so that the log begins at it.
    fn begins_anew(&self, found: &recovery::Found, cut: End) -> bool {
        match self.options.extent {
            // Where a batch of this part ends, its first segment has begun before.
            Extent::Part { .. } => found
                .segments
                .first()
                .is_none_or(|first| cut.position <= first.base),
            _ => cut.position == Position::START,
        }
    }

    /// Makes durable what was found here, before anybody decides where it ends. What has been adopted its
    /// writer commits.
    pub(super) fn keep(&self) -> Result<()> {
        let _whole = self.hold_reclaims();
        let _turn = self.take_turn();
        if !self.held.load(Ordering::Acquire) {
            return Err(Error::closed("the log is closed, or open for reading only"));
        }
        let found = self.found();
        if let Some(damage) = found.damage {
            return Err(damage);
        }
        let end = found.end.position;
        {
            let writing = self.writing();
            if let Some(poison) = &writing.poison {
                return Err(Error::closed(format!("a write failed earlier: {poison}")));
            }
            if writing.adopted || end <= writing.durable {
                return Ok(());
            }
        }
        if self.medium.level() >= Level::Disk {
            // What a crash tore is not copied, and may announce a ceiling.
            self.replace_writer(|writer| writer.ceiling = writer.ceiling.max(found.ceiling))?;
            self.remove_leftovers()?;
            let rewritten = self.rewrite_tail(&found, end)?;
            self.medium.sync_dir()?;
            self.maps.clear();
            tracing::info!(end = end.0, rewritten, "what was found is durable");
        }
        let mut writing = self.writing();
        (writing.durable, writing.committed) = (end, end);
        self.durable.store(end.0, Ordering::Release);
        Ok(())
    }

    /// Raises what is announced durably, where a part begins further on than was thought when it was
    /// fenced.
    pub(super) fn announce_from(&self, position: Position) -> Result<()> {
        let announced = self.writing().announced_durable;
        let window = self.options.window;
        if position == Position::START || announced.bytes_since(position) >= window / 2 {
            return Ok(());
        }
        let ceiling = Position(position.0.saturating_add(window / 8)).min(Position::LIMIT);
        self.replace_writer(|writer| writer.ceiling = ceiling)?;
        let mut writing = self.writing();
        writing.announced = ceiling;
        writing.announced_durable = ceiling;
        Ok(())
    }

    /// Makes the cut true on the medium, then records it and unlinks what lies above.
    pub(super) fn settle(&self, found: &recovery::Found, cut: End, anew: bool) -> Result<()> {
        let medium = &*self.medium;
        self.remove_leftovers()?;
        let rewritten = self.rewrite_tail(found, cut.position)?;
        // From here on the cut holds, whatever happens to the bytes above it.
        self.replace_writer(|writer| writer.cut = Some(cut.position))?;
        let mut void = 0;
        for name in medium.list()? {
            // Of a log that begins anew nothing stays, wherever an older beginning lay.
            if segment_base(&name).is_some_and(|base| anew || base >= cut.position) {
                medium.remove(&name)?;
                void += 1;
            }
        }
        medium.sync_dir()?;
        let segments = self.files.segments()?;
        *self
            .segments
            .write()
            .unwrap_or_else(PoisonError::into_inner) = segments;
        self.maps.clear();
        tracing::info!(
            cut = cut.position.0,
            rewritten,
            void_bytes = found.end.position.bytes_since(cut.position),
            void_segments = void,
            "log recovered"
        );
        Ok(())
    }

    /// Writes what is not known durable again, up to a place, segment by segment.
    fn rewrite_tail(&self, found: &recovery::Found, to: Position) -> Result<u64> {
        let mut rewritten = 0;
        for (index, segment) in found.segments.iter().enumerate() {
            let next = match found.segments.get(index + 1) {
                // It ends below the next one: nothing there needs to be looked at.
                Some(next) if next.base <= found.durable => continue,
                Some(next) => next.header()?.before.position,
                None => Position::LIMIT,
            };
            let end = to.min(next);
            if segment.ends().is_some() {
                // Durable before it got its name.
                continue;
            }
            if segment.base < end && end > found.durable && !planted!(ServedBeforeSync) {
                rewritten += self.rewrite(segment, found.durable, end)?;
            }
        }
        Ok(rewritten)
    }

    /// Writes the unproven bytes of a segment again, up to `end`, and makes them durable: a sync
    /// alone does nothing for pages that the kernel called clean after a failed write-back.
    ///
    /// They may hold a commit that was acknowledged and that no later frame vouches for, so a torn
    /// rewrite must not lose them: where the medium may damage a block by writing it again, the
    /// segment is copied to a new file that takes its place whole.
    pub(super) fn rewrite(
        &self,
        segment: &Segment,
        durable: Position,
        end: Position,
    ) -> Result<u64> {
        let medium = &*self.medium;
        if planted!(TailOnlySynced) {
            return segment.file_to_write()?.sync().map(|()| 0);
        }
        let file = segment.file()?;
        let (from, to) = (
            segment.offset(durable.max(segment.base)),
            segment.offset(end),
        );
        if medium.unit() > 8 {
            let name = segment_name(segment.base);
            let new = format!("{name}.new");
            medium.remove(&new)?;
            let copied = medium.create(&new).and_then(|copy| {
                copy_range(&*file, &*copy, 0, to)?;
                drop(file);
                if !planted!(RewriteNotSynced) {
                    copy.sync()?;
                }
                medium.rename(&new, &name)
            });
            // Nobody is to keep the room of the old file.
            segment.close();
            return match copied {
                Ok(()) => medium.sync_dir().map(|()| to),
                Err(error) => {
                    // In place a torn write would lose the tail: better no writer until there is
                    // room for the copy.
                    let _ = medium.remove(&new);
                    Err(error)
                }
            };
        }
        // The header of a segment begun since is as unproven as its batches.
        let from = if segment.base >= durable {
            0
        } else {
            from - from % SEGMENT_HEADER
        };
        let file = segment.file_to_write()?;
        copy_range(&*file, &*file, from, to)?;
        file.set_len(to)?;
        if !planted!(RewriteNotSynced) {
            file.sync()?;
        }
        Ok(to - from)
    }
}

/// Writes the bytes at `from..to` of one file to the same place of another, or of the same.
fn copy_range(file: &dyn MediumFile, to_file: &dyn MediumFile, from: u64, to: u64) -> Result<()> {
    const PIECE: u64 = 4 << 20;
    let mut at = from;
    while at < to {
        let bytes = file.read_at(at, (to - at).min(PIECE) as usize)?;
        if bytes.is_empty() {
            return Err(Error::unavailable(
                "a segment became shorter while it was rewritten",
            ));
        }
        to_file.write_at(at, &[&bytes])?;
        at += bytes.len() as u64;
    }
    Ok(())
}
