//! The writing side of a log: where the next batch goes, and what is not durable yet.

use std::sync::Arc;

use super::behind::Sealed;
use super::format::{Frame, SEGMENT_HEADER, SegmentHeader, segment_name};
use super::options::{Grow, LogOptions};
use super::segment::{Files, Segment};
use crate::contract::batch::FRAME_SLOT;
use crate::contract::{
    Batch, BatchHeader, End, Epoch, Error, ErrorKind, Level, Oid, Position, Proven, Result, Tail,
};
use crate::medium::{Medium, MediumFile};

/// Name of the file that holds room for the next segment.
pub(super) const SPARE: &str = "spare";
/// Name of the file that keeps room for whoever recovers this log on a full medium; it is never written.
pub(super) const RESERVE: &str = "reserve";
/// What a recovery takes besides the copy of a segment: small files that are replaced, and a marker.
const RECOVERY: u64 = 64 << 10;
/// Commits of at most this many bytes count as small.
const SMALL: u64 = 64 << 10;
/// Zeros are written ahead in pieces of at most this many bytes.
const ZEROS: usize = 1 << 20;
/// What zeros are written from: whole pages of memory, to go past the page cache without a copy.
#[repr(align(4096))]
struct Zeros([u8; 64 << 10]);
static ZERO: Zeros = Zeros([0; 64 << 10]);
/// Less room than this is not worth claiming.
const CLAIM_MIN: u64 = 64 << 10;

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn MediumFile>,
    /// Bytes of the file for which room is claimed.
    claimed: u64,
    /// Bytes of the file that are written, with batches or with zeros.
    written: u64,
}

#[derive(Debug)]
pub(super) struct Writing {
    /// The newest epoch: older senders are refused.
    pub(super) epoch: Epoch,
    /// Whether this handle was fenced with that epoch. Otherwise the epoch wrote here before, and comes
    /// back to a log that was opened again.
    pub(super) fenced: bool,
    /// Whether that epoch has decided where the older ones end.
    pub(super) adopted: bool,
    /// What it decided.
    pub(super) cut: End,
    pub(super) end: End,
    /// Where the epoch's batches may begin.
    pub(super) floor: Position,
    /// What a sync that has ended had reached.
    pub(super) durable: Position,
    /// Announced in the newest frame; and the part of it that is durable.
    pub(super) announced: Position,
    pub(super) announced_durable: Position,
    /// The highest ceiling told to the writer since it adopted. Everything below has room, in the
    /// open segment or in the spare.
    pub(super) promised: Position,
    pub(super) open: Option<OpenSegment>,
    /// A segment that was begun and that readers do not know of yet.
    pub(super) begun: Option<Arc<Segment>>,
    spare: Option<(Arc<dyn MediumFile>, u64)>,
    /// Room for a copy of the longest segment that may not be durable yet, as it is claimed, and a little
    /// more. Batches go only where that much is kept.
    reserve: Option<(Arc<dyn MediumFile>, u64)>,
    /// Files that hold bytes not yet synced, oldest first.
    pub(super) dirty: Vec<Arc<dyn MediumFile>>,
    /// Segments that ended and that nobody was asked to sync yet; dirty as well.
    pub(super) sealed: Vec<Sealed>,
    /// Counts created names; and the count that a sync of the directory has covered.
    pub(super) names: u64,
    pub(super) names_synced: u64,
    pub(super) poison: Option<Error>,
    /// End of the last batch that a commit answered for.
    pub(super) committed: Position,
    /// Newest marker stored.
    pub(super) newest: Option<Oid>,
    /// Newest commit that a batch named as proven.
    pub(super) proven: Option<Proven>,
    /// The last batch that was stored closed the log cleanly.
    pub(super) clean: bool,
    /// How many commits in a row were small.
    small: u32,
    since_commit: u64,
    next_zeros: usize,
    pub(super) batches: u64,
    pub(super) bytes: u64,
    pub(super) zeros: u64,
    pub(super) syncs: u64,
}

impl Writing {
    pub(super) fn new(end: End, durable: Position, ceiling: Position, epoch: Epoch) -> Self {
        Self {
            epoch,
            fenced: false,
            adopted: false,
            cut: end,
            end,
            floor: end.position,
            durable,
            announced: ceiling,
            announced_durable: ceiling,
            promised: end.position,
            open: None,
            begun: None,
            spare: None,
            reserve: None,
            dirty: Vec::new(),
            sealed: Vec::new(),
            names: 0,
            names_synced: 0,
            poison: None,
            committed: durable,
            newest: None,
            proven: None,
            clean: false,
            small: 0,
            since_commit: 0,
            next_zeros: 256 << 10,
            batches: 0,
            bytes: 0,
            zeros: 0,
            syncs: 0,
        }
    }

    /// Refuses who may not write.
    pub(super) fn admit(&self, sender: Epoch) -> Result<()> {
        if let Some(poison) = &self.poison {
            return Err(Error::closed(format!(
                "a write failed earlier and nothing is written since; reopen the log: {poison}"
            )));
        }
        let sender = match planted!(StaleEpochWrites) {
            true => sender.max(self.epoch),
            false => sender,
        };
        self.epoch.admit(sender, self.adopted)
    }

    /// How far OIDs may be handed out.
    pub(super) fn tail(&mut self) -> Tail {
        let tail = self.look();
        self.promised = self.promised.max(tail.ceiling);
        tail
    }

    /// As [`Writing::tail`], without promising it.
    pub(super) fn look(&self) -> Tail {
        let here = self.open.as_ref().map_or(self.end.position, |open| {
            let claimed = open
                .claimed
                .saturating_sub(open.segment.offset(open.segment.base));
            open.segment.base.plus_bytes(claimed & !7)
        });
        // A batch that does not fit here goes to the spare as a whole.
        let there = self.end.position.plus_bytes(self.spare_room());
        Tail {
            end: self.end.position,
            ceiling: here.max(there).min(self.ceiling()),
        }
    }

    /// How far positions are announced durably.
    pub(super) fn ceiling(&self) -> Position {
        if planted!(CeilingNotDurable) {
            return self.announced;
        }
        self.announced_durable
    }

    /// Bytes that are claimed for the next segment, if there is a file for it.
    pub(super) fn spare_claimed(&self) -> Option<u64> {
        self.spare.as_ref().map(|(_, claimed)| *claimed)
    }

    /// Bytes of batches that the spare has room for.
    fn spare_room(&self) -> u64 {
        let claimed = self.spare.as_ref().map_or(0, |(_, claimed)| *claimed);
        claimed.saturating_sub(2 * SEGMENT_HEADER) & !7
    }

    /// Whether a batch goes to the open segment, rather than to a new one.
    ///
    /// A segment ends when it is long enough, unless the room that was promised is here and a new
    /// segment would not have as much.
    fn goes_here(&self, open: &OpenSegment, header: &BatchHeader, options: &LogOptions) -> bool {
        // A wide gap is where an epoch ended; its positions must not take room in a file.
        let near = header.base.bytes_since(self.end.position) <= SEGMENT_HEADER;
        let end = open.segment.offset(header.end);
        let promised = self.promised.bytes_since(self.end.position);
        let elsewhere = self.spare_room() >= promised.max(header.length());
        let short = end <= options.segment + SEGMENT_HEADER;
        let room = end <= open.claimed;
        near && if elsewhere {
            short && room
        } else {
            short || room
        }
    }

    /// Checks that `header` follows on, in order and in a unit of its own.
    pub(super) fn check_follows(&self, header: &BatchHeader, unit: u64) -> Result<()> {
        let before = End {
            position: header.before_end,
            running: header.before_running,
        };
        if before != self.end {
            return Err(Error::invalid(format!(
                "the batch at {} follows on {}, the log ends at {}",
                header.base, header.before_end, self.end.position
            )));
        }
        // What an older epoch left elsewhere and is carried here lies where it was born.
        let floor = match header.epoch < self.epoch {
            true => Position::START,
            false => self.floor,
        };
        if header.base < self.end.position.max(floor) {
            return Err(Error::invalid(format!(
                "the batch at {} begins below {}, where its epoch may begin, or below {}, where the \
                 log ends",
                header.base, floor, self.end.position
            )));
        }
        if header.base.align_down(unit) < self.committed {
            return Err(Error::invalid(format!(
                "the batch at {} begins in the {unit} bytes that hold the end of a commit at {}",
                header.base, self.committed
            )));
        }
        Ok(())
    }

    /// Whether everything that was written is durable, names as well.
    pub(super) fn is_synced(&self) -> bool {
        self.dirty.is_empty() && self.names_synced >= self.names
    }

    /// Writes a batch that follows on, in the open segment or in a new one; `through` to the device, if
    /// it may and can: over zeros, with nothing else to be synced.
    pub(super) fn append(
        &mut self,
        files: &Arc<Files>,
        options: &LogOptions,
        batch: &Batch,
        through: bool,
    ) -> Result<()> {
        let (medium, identity) = (&*files.medium, &files.identity);
        let header = batch.header();
        let window = (options.window / 8).max(1);
        let ceiling = self
            .announced
            .max(Position(header.end.0.saturating_add(window)));
        let ceiling = if header.clean {
            header.end
        } else {
            ceiling.min(Position::LIMIT)
        };
        self.make_room(files, options, header, ceiling)?;
        let through = through && self.is_synced();
        let Some(open) = &mut self.open else {
            return Err(Error::closed("the log has no open segment"));
        };
        let running = batch.running();
        let frame = Frame {
            durable: if planted!(VouchedTooEarly) {
                self.end.position
            } else {
                self.durable
            },
            ceiling,
            running,
            length: batch.bytes().len() as u32,
        };
        let frame = frame.encode(identity, header.base);
        let offset = open.segment.offset(header.base);
        let rest = &batch.bytes()[FRAME_SLOT..];
        let end = offset + header.length();
        // The next batch begins in the next unit: the rest of this one stays zeros.
        let whole = end.next_multiple_of(SEGMENT_HEADER);
        let fits = header.length() <= SMALL && whole <= open.written;
        let through = match through && fits {
            true => open.file.write_through(offset, &[&frame, rest]),
            false => Ok(false),
        };
        // The room was there: it is unknown now what lies in it.
        if !through.map_err(|error| Error::closed(format!("a commit's write failed: {error}")))? {
            match open.file.write_at(offset, &[&frame, rest]) {
                Err(_) if planted!(FailedWriteCounts) => {}
                written => written?,
            }
            open.written = open.written.max(end);
            let file = open.file.clone();
            self.mark_dirty(&file);
        }
        self.end = End {
            position: header.end,
            running,
        };
        self.announced = ceiling;
        self.clean = header.clean;
        if header.marker.is_some() {
            self.newest = header.marker;
        }
        self.proven = self.proven.max(header.proven);
        self.since_commit += header.length();
        self.batches += 1;
        self.bytes += header.length();
        self.keep_room(medium, options);
        Ok(())
    }

    pub(super) fn mark_dirty(&mut self, file: &Arc<dyn MediumFile>) {
        if !self
            .dirty
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, file))
        {
            self.dirty.push(file.clone());
        }
    }

    fn make_room(
        &mut self,
        files: &Arc<Files>,
        options: &LogOptions,
        header: &BatchHeader,
        ceiling: Position,
    ) -> Result<()> {
        if let Some(open) = &self.open
            && self.goes_here(open, header, options)
        {
            return Ok(());
        }
        let medium = &*files.medium;
        let segment_header = SegmentHeader {
            base: header.base,
            before: self.end,
            epoch: self.epoch,
            ceiling,
            durable: self.durable,
            newest: self.newest,
        };
        if self.spare.is_none() {
            self.make_spare(medium, options.ahead().max(header.length()))?;
        }
        let Some((file, claimed)) = self.spare.take() else {
            return Err(no_room(medium));
        };
        let needed = header.length() + 2 * SEGMENT_HEADER;
        let claimed = self.claim(medium, &*file, claimed, needed.max(claimed));
        if claimed < needed {
            self.spare = Some((file, claimed));
            return Err(no_room(medium));
        }
        let name = segment_name(header.base);
        let made = file
            .write_at(0, &[&segment_header.encode(&files.identity)])
            .and_then(|()| medium.rename(SPARE, &name));
        if let Err(error) = made {
            self.spare = Some((file, claimed));
            return Err(error);
        }
        self.give_back();
        if let Some(ended) = self.open.take() {
            self.sealed.push(Sealed {
                file: ended.file,
                epoch: self.epoch,
                names: self.names,
                announced: (!self.clean).then_some(self.announced),
            });
        }
        self.names += 1;
        let segment = Arc::new(Segment::begun(files, segment_header, file.clone()));
        let written = SEGMENT_HEADER;
        self.mark_dirty(&file);
        self.open = Some(OpenSegment {
            segment: segment.clone(),
            file,
            claimed,
            written,
        });
        self.begun = Some(segment);
        Ok(())
    }

    /// Gives back what was claimed in a segment that ends here: where segments are shorter than the
    /// room that is kept, each would hold on to many times its own length.
    fn give_back(&self) {
        let Some((file, length)) = self.cut_len() else {
            return;
        };
        let claimed = self
            .open
            .as_ref()
            .map_or(0, |open| open.claimed.max(open.written));
        if claimed > length + CLAIM_MIN {
            // Room that stays claimed is no harm to what lies there.
            let _ = file.set_len(length);
        }
    }

    /// Goes on behind a run that was taken over, all of it durable: in a segment of its own.
    pub(super) fn go_on_behind(&mut self, after: End, ceiling: Position, marker: Option<Oid>) {
        self.give_back();
        self.open = None;
        self.end = after;
        self.durable = after.position;
        self.newest = marker;
        self.clean = false;
        self.announced = self.announced.max(ceiling);
        self.announced_durable = self.announced_durable.max(ceiling);
    }

    /// Claims room ahead, here or in a spare file. That there is none is told by the ceiling.
    pub(super) fn keep_room(&mut self, medium: &dyn Medium, options: &LogOptions) {
        // A little at a time is claimed often, but seldom enough.
        self.claim_ahead(medium, options, options.ahead(), options.ahead() / 5 * 4);
    }

    /// As [`Writing::keep_room`], for somebody who asks: as much as the longest batch takes, and room that
    /// was scarce may be there again.
    pub(super) fn look_for_room(&mut self, medium: &dyn Medium, options: &LogOptions) {
        if let Some((file, claimed)) = self.spare.take() {
            let wanted = options.longest() + 2 * SEGMENT_HEADER;
            let claimed = self.claim(medium, &*file, claimed, wanted);
            self.spare = Some((file, claimed));
        }
        self.claim_ahead(medium, options, options.longest(), options.longest());
    }

    /// Claims so many bytes ahead of the tail, if fewer than `least` are.
    fn claim_ahead(&mut self, medium: &dyn Medium, options: &LogOptions, ahead: u64, least: u64) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let offset = open.segment.offset(self.end.position);
        let most = options.segment + SEGMENT_HEADER;
        let wanted = (offset + ahead).min(most);
        if open.claimed < wanted.min(offset + least) {
            open.claimed = self.claim(medium, &*open.file, open.claimed, wanted);
        }
        self.open = Some(open);
        if most.saturating_sub(offset) < ahead {
            self.spare_of(medium, ahead);
        }
    }

    /// Claims room for the next segment, or for the first before there is one. That there is none is
    /// told by the ceiling.
    pub(super) fn keep_spare(&mut self, medium: &dyn Medium, options: &LogOptions) {
        self.spare_of(medium, options.longest());
    }

    fn spare_of(&mut self, medium: &dyn Medium, room: u64) {
        if self.spare.is_none() {
            let _ = self.make_spare(medium, room);
        }
    }

    fn make_spare(&mut self, medium: &dyn Medium, room: u64) -> Result<()> {
        medium.remove(SPARE)?;
        let file = medium.create(SPARE)?;
        let claimed = self.claim(medium, &*file, 0, room + 2 * SEGMENT_HEADER);
        if claimed == 0 {
            medium.remove(SPARE)?;
            return Err(no_room(medium));
        }
        self.spare = Some((file, claimed));
        Ok(())
    }

    /// Claims up to `wanted` bytes of a file for batches, or as much of it as there is, halving; never
    /// more than the reserve has room to copy.
    fn claim(&mut self, medium: &dyn Medium, file: &dyn MediumFile, have: u64, wanted: u64) -> u64 {
        let mut more = wanted.saturating_sub(have);
        while more > 0 {
            let end = have + more;
            let reserved = self.reserved();
            if self.reserve_for(medium, end).is_ok() {
                if file.claim(end).is_ok() {
                    return end;
                }
                self.shrink_reserve(reserved);
            }
            more = if more > CLAIM_MIN {
                (more / 2).max(CLAIM_MIN)
            } else {
                0
            };
        }
        have
    }

    fn reserved(&self) -> u64 {
        self.reserve.as_ref().map_or(0, |(_, claimed)| *claimed)
    }

    /// Keeps what the recovery of a segment of this length takes.
    fn reserve_for(&mut self, medium: &dyn Medium, length: u64) -> Result<()> {
        let wanted = match medium.unit() {
            _ if medium.level() < Level::Disk => return Ok(()),
            // Rewritten where it lies.
            ..=8 => RECOVERY,
            _ => length + RECOVERY,
        };
        self.keep_reserve(medium, wanted)
    }

    fn keep_reserve(&mut self, medium: &dyn Medium, wanted: u64) -> Result<()> {
        let (file, claimed) = match self.reserve.take() {
            Some(reserve) => reserve,
            None => {
                medium.remove(RESERVE)?;
                (medium.create(RESERVE)?, 0)
            }
        };
        let grown = match claimed < wanted {
            true => file.claim(wanted),
            false => Ok(()),
        };
        let claimed = match &grown {
            Ok(()) => claimed.max(wanted),
            Err(_) => claimed,
        };
        self.reserve = Some((file, claimed));
        grown
    }

    /// Lets somebody have the room that is kept, who brings it back: how much it was.
    pub(super) fn lend_reserve(&mut self, medium: &dyn Medium) -> u64 {
        let lent = self.reserved();
        self.drop_reserve(medium);
        lent
    }

    /// Keeps again what was lent. Where somebody else has taken the room, the next batches are kept from
    /// making it worse: no more is claimed for them.
    pub(super) fn take_reserve_back(&mut self, medium: &dyn Medium, lent: u64) {
        if let Err(error) = self.keep_reserve(medium, lent) {
            tracing::warn!(%error, "the room that is kept for a recovery is gone");
        }
    }

    /// Gives back what the reserve has grown by. What it had stays claimed all the while.
    fn shrink_reserve(&mut self, to: u64) {
        if let Some((file, claimed)) = &mut self.reserve
            && *claimed > to
            // Only what lies within a file is cut off for certain.
            && file.set_len(*claimed).and_then(|()| file.set_len(to)).is_ok()
        {
            *claimed = to;
        }
    }

    /// Goes on in a segment that was closed cleanly.
    pub(super) fn resume(
        &mut self,
        segment: Arc<Segment>,
        file: Arc<dyn MediumFile>,
    ) -> Result<()> {
        let written = file.len()?;
        self.open = Some(OpenSegment {
            segment,
            file,
            claimed: written,
            written,
        });
        Ok(())
    }

    /// While commits are small, writes zeros ahead of the tail. Without room for them it goes on without.
    /// They go `through` if commits do: in a page that is not at hand, a plain write reads first.
    pub(super) fn prepare_commit(&mut self, options: &LogOptions, through: bool) -> Result<()> {
        if self.since_commit == 0 {
            // Behind the tail lies the unit of an acknowledged commit: not even zeros go there.
            return Ok(());
        }
        let small = self.since_commit <= SMALL;
        self.small = if small {
            self.small.saturating_add(1)
        } else {
            0
        };
        self.since_commit = 0;
        if options.grow == Grow::Plain || self.small < 3 {
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let offset = open.segment.offset(self.end.position);
        if open.written >= offset + SMALL {
            return Ok(());
        }
        let most = (options.segment + SEGMENT_HEADER).min(open.claimed.max(open.written));
        // In whole blocks: what lies between holds no batch, and reads as zeros.
        let from = open.written.next_multiple_of(SEGMENT_HEADER);
        let room = most.saturating_sub(from) / SEGMENT_HEADER * SEGMENT_HEADER;
        let length = self.next_zeros.min(room as usize);
        if length == 0 {
            return Ok(());
        }
        let mut parts: Vec<&[u8]> = vec![&ZERO.0; length / ZERO.0.len()];
        parts.push(&ZERO.0[..length % ZERO.0.len()]);
        let written = match through {
            true => open.file.write_through(from, &parts),
            false => Ok(false),
        };
        let written = match written {
            Ok(false) => open.file.write_at(from, &parts).map(|()| false),
            written => written,
        };
        let through = match written {
            Err(error) if error.kind() == ErrorKind::Full => {
                self.small = 0;
                return Ok(());
            }
            written => written?,
        };
        open.written = from + length as u64;
        if !through {
            let file = open.file.clone();
            self.mark_dirty(&file);
        }
        self.zeros += length as u64;
        self.next_zeros = (self.next_zeros * 2).min(ZEROS);
        Ok(())
    }

    /// Where the open file may be cut to give back what was claimed or written ahead. Cutting writes
    /// the rest of the last block again, so it spares the block that holds the end of a commit; after
    /// a clean end it is exact, for that lies in a block of its own.
    pub(super) fn cut_len(&self) -> Option<(Arc<dyn MediumFile>, u64)> {
        let open = self.open.as_ref()?;
        let exact = open.segment.offset(self.end.position);
        let length = match self.clean {
            true => exact,
            false => exact
                .next_multiple_of(SEGMENT_HEADER)
                .min(open.file.len().ok()?),
        };
        Some((open.file.clone(), length))
    }

    pub(super) fn drop_spare(&mut self, medium: &dyn Medium) {
        if self.spare.take().is_some() {
            // A spare that stays behind is found and removed by the next writer.
            let _ = medium.remove(SPARE);
        }
    }

    /// Gives back the room that was kept for a recovery.
    pub(super) fn drop_reserve(&mut self, medium: &dyn Medium) {
        if self.reserve.take().is_some() {
            let _ = medium.remove(RESERVE);
        }
    }

    /// Nothing is written after this: `error` is what the medium said.
    pub(super) fn poison(&mut self, error: &Error) {
        if self.poison.is_none() {
            tracing::error!(%error, "log poisoned: nothing more is written until it is reopened");
            self.poison = Some(error.clone());
        }
    }
}

fn no_room(medium: &dyn Medium) -> Error {
    let place = medium.place();
    Error::full(format!("no room for another segment in {place}"))
}
