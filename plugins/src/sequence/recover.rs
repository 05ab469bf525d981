//! Opening, fencing and adopting: from what the parts report to one stream that goes on.
//!
//! Opening looks at the newest footer and at the parts behind it, newest first: a reader who looks
//! while somebody writes then never sees a part whose past it has not seen yet.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use travertine_engine::contract::{
    End, Env, Epoch, Error, Extent, Level, Oid, Position, Result, Store, Stream, Vector,
};

use super::catalogue::{Catalogue, Listing};
use super::config::Weights;
use super::footer::{Counts, Footer};
use super::join::{Found, Joined, START, join, join_around, own};
use super::parts::Parts;
use super::roll::make_part;
use super::shared::{Shared, report_of};
use super::state::{Ended, Member, State};
use super::table::{Part, Table};

/// Footers at the end that may be damaged: their parts are looked into instead.
const FOOTERS_DAMAGED_MAX: usize = 3;
/// Parts behind the newest footer that are looked into.
const OPEN_AT_ONCE_MAX: usize = 64;
/// How often a reader looks at the catalogue until it makes sense.
const LISTINGS_MAX: usize = 8;

/// What a sequence is opened with.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) env: Env,
    pub(super) stream: Stream,
    pub(super) name: Option<String>,
    pub(super) read_only: bool,
    /// How long a part gets; `None`: until it is full.
    pub(super) limit: Option<u64>,
    pub(super) weights: Weights,
    /// How long a part is written to.
    pub(super) age: Option<Duration>,
    /// Whether each part is a stack of its own, with room of its own.
    pub(super) listed: bool,
    /// What every part reaches.
    pub(super) level: Level,
    /// How many parts that have ended stay open.
    pub(super) open_max: usize,
    /// What no part may do with less of, where the next may be on another device.
    pub(super) unit_min: u64,
    pub(super) parts: Arc<dyn Parts>,
    pub(super) catalogue: Catalogue,
}

/// Opens a sequence. Nothing is recovered and nothing changed, but for a first part where there is
/// none yet.
pub(super) fn open(setup: Setup) -> Result<Arc<Shared>> {
    let (listing, base) = settled_listing(&setup)?;
    let (members, lost) = open_members(&setup, &listing, base.as_ref())?;
    let units = members.iter().map(|member| member.store.status().unit);
    let unit = units.max().unwrap_or(8);
    let table = Table::default();
    for (number, start) in &listing.sealed {
        let part = Part::sealed(*number, *start);
        if let Some(footer) = base.as_ref().filter(|base| base.part == *number) {
            part.know(footer);
        }
        table.push(part);
    }
    let state = State {
        members,
        end: base.as_ref().map_or(START, |footer| footer.end),
        base,
        report: Err(Error::unavailable(
            "the sequence has not been looked at yet",
        )),
        epoch: Epoch::default(),
        adopted: false,
        last: None,
        handed: Position::START,
        newest: None,
        proven: None,
        lost,
        poison: None,
        switching: false,
        preparing: false,
        announced: Position::START,
        retry_at: Position::START,
        sealing: false,
        seal_failed: false,
        tasks: VecDeque::new(),
        running: 0,
        rolls: 0,
    };
    let shared = Arc::new(Shared {
        unit: unit.max(setup.unit_min),
        setup,
        table,
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    // Damage does not hinder opening: it is told by whoever asks for the stream as a whole.
    if let Err(error) = shared.look(Epoch::default()) {
        tracing::warn!(%error, "the sequence is not whole");
    }
    Ok(shared)
}

/// What the catalogue holds, with the newest footer. A reader may look while the writer writes a
/// footer and takes out the other name of its part, and see neither.
fn settled_listing(setup: &Setup) -> Result<(Listing, Option<Footer>)> {
    let mut tries = if setup.read_only { LISTINGS_MAX } else { 1 };
    loop {
        let mut listing = setup.catalogue.list()?;
        let base = newest_footer(&setup.catalogue, &mut listing)?;
        let begun = listing.begun.last().copied().unwrap_or_default();
        let newest = base.as_ref().map_or(begun, |footer| begun.max(footer.part));
        if newest > setup.parts.most() {
            return Err(Error::invalid(format!(
                "the catalogue tells of {newest} parts, and the list has {} stacks: put those that \
                 were taken out back at its end; nothing was changed",
                setup.parts.most()
            )));
        }
        let sealed = base.as_ref().map_or(0, |footer| footer.part);
        let missing = (sealed + 1..newest).find(|number| !listing.begun.contains(number));
        tries -= 1;
        match missing {
            None => return Ok((listing, base)),
            Some(_) if tries > 0 => {}
            Some(number) => {
                return Err(Error::unavailable(format!(
                    "part {number} is missing from the catalogue of the sequence; nothing was changed"
                )));
            }
        }
    }
}

/// The footer of the newest part that has ended; parts whose footers are damaged count as not ended.
fn newest_footer(catalogue: &Catalogue, listing: &mut Listing) -> Result<Option<Footer>> {
    let mut damaged = 0;
    while let Some((&number, &start)) = listing.sealed.last_key_value() {
        match catalogue.footer(number, start) {
            Ok(footer) => return Ok(Some(footer)),
            Err(error) if damaged < FOOTERS_DAMAGED_MAX => {
                tracing::warn!(%error, number, "a footer is damaged: its part is looked into");
                damaged += 1;
                listing.sealed.remove(&number);
                listing.begun.insert(number);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Opens every part behind the newest footer. A reader does without one that cannot be opened, unless
/// it is the newest: these are told as well.
fn open_members(
    setup: &Setup,
    listing: &Listing,
    base: Option<&Footer>,
) -> Result<(VecDeque<Member>, Vec<Error>)> {
    let sealed = base.map_or(0, |footer| footer.part);
    let begun: Vec<_> = listing.begun.range(sealed + 1..).copied().collect();
    if begun.len() > OPEN_AT_ONCE_MAX {
        return Err(Error::corrupt(format!(
            "{} parts of the sequence are without a footer, at most {OPEN_AT_ONCE_MAX} can be",
            begun.len()
        )));
    }
    let near = |number: u32| {
        let end = base.map_or(Position::START, |footer| footer.end.position);
        let parts = u64::from(number - sealed);
        let ahead = setup.limit.unwrap_or_default() / 8 * parts;
        Position(end.0.saturating_add(ahead)).min(Position::LIMIT)
    };
    let (mut members, mut lost) = (VecDeque::new(), Vec::new());
    for &number in begun.iter().rev() {
        let extent = Extent::Part {
            near: near(number),
            make: false,
        };
        let opened = setup
            .parts
            .open(number, extent, setup.catalogue.store(), setup.read_only)
            .map_err(|error| error.at(format!("part {number} of the sequence")));
        match opened {
            Ok(store) => members.push_front(Member {
                number,
                store,
                begins: None,
                ended: None,
                counts: Counts::default(),
                gaps: 0,
                since: setup.env.clock.unix_us(),
            }),
            Err(error) if setup.read_only && !members.is_empty() => {
                tracing::warn!(%error, number, "a part is missing: what lies there is unknown");
                lost.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    if begun.is_empty() && !setup.read_only && sealed < setup.parts.most() {
        let (parts, catalogue) = (&*setup.parts, &setup.catalogue);
        let number = sealed + 1;
        let near = base.map_or(Position::START, |footer| footer.end.position);
        let member = make_part(parts, catalogue, setup.stream, number, near)?;
        catalogue.enter(number)?;
        members.push_back(member);
    }
    if let Some(first) = members
        .front_mut()
        .filter(|first| first.number == sealed + 1)
    {
        // How long the others have been written to is not written down, nor worth it.
        first.since = base.map_or(setup.catalogue.made(), |footer| footer.ended);
    }
    Ok((members, lost))
}

impl Shared {
    /// Fences every part that may still be written, and tells how the stream lies.
    pub(super) fn fence(
        self: &Arc<Self>,
        epoch: Epoch,
    ) -> Result<travertine_engine::contract::StreamState> {
        if epoch.number > 0 && self.setup.read_only {
            return Err(Error::closed("the sequence is open for reading only"));
        }
        self.rest();
        // Whoever holds the epoch already only asks how things lie.
        let held = self.lock().epoch == epoch;
        let looked = self.look(if held { Epoch::default() } else { epoch })?;
        Ok(looked.state)
    }

    /// Asks every part that has not been sealed, and joins what they say.
    pub(super) fn look(self: &Arc<Self>, epoch: Epoch) -> Result<Joined> {
        let answer = self.ask(epoch);
        let mut state = self.lock();
        if epoch.number > 0 && answer.is_ok() {
            state.epoch = epoch;
            state.adopted = false;
        }
        let (found, joined) = match &answer {
            Ok(looked) => looked,
            Err(error) => {
                state.report = Err(error.clone());
                return Err(error.clone());
            }
        };
        let lost = state.lost.first().cloned();
        if !state.adopted {
            state.end = joined.state.end;
            state.last = None;
            state.newest = joined.newest;
            state.proven = joined.state.proven;
        }
        let live: Vec<_> = found
            .iter()
            .filter_map(|part| {
                let begins = part.begins?;
                let member = state.member(part.number)?;
                Some(Part::live(
                    part.number,
                    begins.position,
                    member.store.clone(),
                ))
            })
            .collect();
        let holding = found.iter().filter(|part| part.begins.is_some());
        let ends: Vec<_> = holding.map(|part| part.state.end.position).collect();
        let joined = joined.clone();
        let adopted = state.adopted;
        state.report = match &lost {
            Some(error) => Err(error.clone()),
            None => answer,
        };
        drop(state);
        if !adopted {
            if lost.is_some() {
                // Nothing goes on in a part that others follow.
                for (part, found) in live.iter().zip(&ends) {
                    let _ = part.end.set(*found);
                }
            }
            self.table.set_live(live);
        }
        match lost {
            Some(error) => Err(error),
            None => Ok(joined),
        }
    }

    fn ask(&self, epoch: Epoch) -> Result<(Vec<Found>, Joined)> {
        let (members, base, lost) = {
            let state = self.lock();
            (state.members.clone(), state.base, !state.lost.is_empty())
        };
        let sealed = base.map_or(0, |footer| footer.part);
        let mut found = Vec::with_capacity(members.len());
        for member in members.iter().rev() {
            let place = |error: Error| error.at(format!("part {} of the sequence", member.number));
            let state = report_of(&member.store, epoch, self.setup.stream).map_err(place)?;
            let begins = if state.end.position == Position::START {
                None
            } else if member.number == sealed + 1 {
                // It is made to go on where the footer ends, and nothing before that is ever cut.
                Some(base.map_or(START, |footer| footer.end))
            } else {
                Some(self.begins(&member.store, state.end).map_err(place)?)
            };
            found.push(Found {
                number: member.number,
                begins,
                state,
            });
        }
        found.reverse();
        let joined = match lost {
            true => join_around(self.setup.stream, base.as_ref(), &found),
            false => join(self.setup.stream, base.as_ref(), &found)?,
        };
        Ok((found, joined))
    }

    /// What the first batch of a part follows on; `end`, if its beginning is all there is of it.
    fn begins(&self, store: &Arc<dyn Store>, end: End) -> Result<End> {
        let first = store.scan(self.setup.stream, Position::START).wait()?;
        let left = first.sparse.and_then(|left| left.before);
        Ok(first
            .batches
            .first()
            .map_or(left.unwrap_or(end), |first| End {
                position: first.header().before_end,
                running: first.header().before_running,
            }))
    }

    /// Makes the cut true in every part, oldest first: what lies below is made durable where it was
    /// not, what lies above is emptied.
    pub(super) fn adopt(self: &Arc<Self>, epoch: Epoch, vector: &Vector) -> Result<()> {
        let (found, joined, members, base) = {
            let state = self.lock();
            if state.epoch != epoch || epoch.number == 0 {
                return Err(Error::fenced(format!(
                    "epoch {epoch} has not fenced this sequence"
                )));
            }
            let (found, joined) = state.report.clone()?;
            (found, joined, state.members.clone(), state.base)
        };
        let mine = vector
            .iter()
            .find(|(stream, _)| *stream == self.setup.stream);
        let cut = mine.map_or(joined.state.end, |(_, end)| *end);
        let floor = base.as_ref().map_or(START, |footer| footer.end);
        if cut.position < joined.state.durable {
            return Err(Error::invalid(format!(
                "a cut at {} would lose bytes known durable up to {}",
                cut.position, joined.state.durable
            )));
        }
        let known = cut == joined.state.end
            || cut == floor
            || joined.state.chain.iter().any(|link| link.end == cut);
        if !known {
            return Err(Error::invalid(format!(
                "no batch of this sequence ends at {} with the running checksum given",
                cut.position
            )));
        }
        let mut kept = Vec::new();
        for (index, part) in found.iter().enumerate() {
            let Some(member) = members.get(index) else {
                continue;
            };
            let stays = joined.follow.contains(&index)
                && part
                    .begins
                    .is_some_and(|begins| begins.position < cut.position);
            let at = if stays && part.state.end.position <= cut.position {
                part.state.end
            } else {
                cut
            };
            // Also where nothing lies: a torn beginning may, that nobody can read.
            self.adopt_part(member, epoch, at)?;
            if stays {
                kept.push((index, at));
            }
        }
        if members.is_empty() {
            return Err(Error::unavailable(
                "no part of the sequence is open for writing",
            ));
        }
        self.settle_adopted(&found, &joined, &kept, cut);
        self.tend();
        Ok(())
    }

    fn adopt_part(&self, member: &Member, epoch: Epoch, cut: End) -> Result<()> {
        let adopted = member
            .store
            .adopt(epoch, vec![(self.setup.stream, cut)])
            .wait();
        adopted.map_err(|error| error.at(format!("part {} of the sequence", member.number)))
    }

    fn settle_adopted(&self, found: &[Found], joined: &Joined, kept: &[(usize, End)], cut: End) {
        let markers = markers(found, joined);
        let now = self.setup.env.clock.unix_us();
        let mut state = self.lock();
        let newest_below = |end: Position| {
            let below = markers.iter().filter(|oid| oid.position() < end);
            below.max().copied()
        };
        let last = kept.last().map_or(0, |(index, _)| *index);
        for (index, member) in state.members.iter_mut().enumerate() {
            let stays = kept.iter().find(|(kept, _)| *kept == index);
            member.ended = stays.filter(|_| index < last).map(|(_, end)| Ended {
                end: *end,
                marker: newest_below(end.position),
                synced: true,
                at: now,
            });
            if stays.is_some() && index > 0 && index == last {
                member.since = now;
            }
            member.begins = match stays {
                Some(_) => found.get(index).and_then(|part| part.begins),
                None => (kept.is_empty() && index == 0).then_some(cut),
            };
            if stays.is_none() {
                member.gaps = 0;
                member.counts = Counts {
                    whole: true,
                    ..Counts::default()
                };
            }
        }
        state.adopted = true;
        state.end = cut;
        state.last = None;
        state.handed = cut.position;
        state.newest = newest_below(cut.position);
        state.proven = joined.state.proven;
        state.retry_at = Position::START;
        state.announced = cut.position;
        state.seal_failed = false;
        let live: Vec<_> = state
            .members
            .iter()
            .filter_map(|member| {
                let begins = member.begins?.position;
                Some(Part::live(member.number, begins, member.store.clone()))
            })
            .collect();
        drop(state);
        self.table.set_live(live);
    }
}

/// Every marker in this stream that is known of.
fn markers(found: &[Found], joined: &Joined) -> Vec<Oid> {
    let chains = found.iter().flat_map(|part| &part.state.chain);
    let markers = chains.filter_map(|link| link.marker.as_ref().map(|(oid, _)| *oid));
    let named = found.iter().map(|part| part.state.proven);
    let named = named.filter_map(|proven| own(joined.state.stream, proven));
    markers.chain(named).chain(joined.newest).collect()
}
