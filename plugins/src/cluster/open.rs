//! Opening: whose each child is, by its note, and what they report together.
//!
//! ```text
//!   no note, no child noted as written to     the cluster is made, with all its children
//!   a note of this cluster                    opened
//!   no note, and others are noted             wiped: stays out until it is replaced
//!   a note of another store, a seat that      stays out, named
//!   was replaced, or one that is taken
//! ```
//!
//! Children may stand in another order than before: which one it is, its note says.

use std::sync::{Arc, Condvar, Mutex};

use travertine_engine::contract::{Env, Epoch, Error, Level, Result, Stream};
use travertine_engine::stack::{Below, OpenContext};

use super::catchup::wiped;
use super::child::Child;
use super::config::Cluster;
use super::note::{Note, Roster, SeatId, Standing};
use super::quorum::Quorum;
use super::shared::{Figures, Shared, is_lost};
use super::state::{Lane, Role, State};
use crate::places::{lasts, refuse_leftovers};

pub(super) fn open(
    config: &Cluster,
    context: &OpenContext,
    below: Vec<Below>,
) -> Result<Arc<Shared>> {
    let quorum = Quorum::new(below.len(), config.write, config.ack)?;
    let least = below.iter().map(|below| below.floor().gives().level).min();
    let least = least.unwrap_or(Level::Memory);
    let persists = below.iter().all(lasts);
    refuse_leftovers(&below, "cluster")?;
    let below = below.into_iter().enumerate();
    let children: Vec<_> = below
        .map(|(index, below)| Child::new(index, below, persists))
        .collect();
    let mut lanes: Vec<_> = children.iter().map(|_| Lane::new()).collect();
    for (child, lane) in children.iter().zip(&mut lanes) {
        match child.read_note() {
            Ok(note) => child.found_note(note),
            Err(error) => {
                lane.lost = is_lost(&error);
                lane.trouble = Some(error);
            }
        }
    }
    let mut opening = Opening {
        env: &context.env,
        stream: context.stream,
        quorum,
        children,
        lanes,
        replacing: None,
    };
    let written = |note: &Note| note.standing != Standing::Forming || note.normal.number > 0;
    let forming = !opening.notes().iter().any(written);
    let (identity, roster) = match forming {
        true if context.read_only && opening.notes().is_empty() => {
            return Err(Error::invalid("there is no cluster here to read"));
        }
        // It was begun, and nothing was written to it yet.
        true if context.read_only => opening.find(context.identity, None)?,
        true => opening.make(context.identity)?,
        false => opening.find(context.identity, config.replace)?,
    };
    let Opening {
        children,
        lanes,
        replacing,
        ..
    } = opening;
    let shared = Arc::new(Shared {
        env: context.env.clone(),
        stream: context.stream,
        name: context.name.clone(),
        read_only: context.read_only,
        identity,
        quorum,
        level: match least >= Level::Disk {
            true => Level::Replicated(quorum.children as u8),
            false => least,
        },
        reading: config.read,
        verify: config.verify,
        queue_max: config.queue.0,
        wait_ns: u64::try_from(config.wait.0.as_nanos()).unwrap_or(u64::MAX),
        children,
        state: Mutex::new(State::new(forming, roster, replacing, lanes)),
        changed: Condvar::new(),
        tail: Default::default(),
        vouched: Default::default(),
        figures: Figures::default(),
        watching: Default::default(),
    });
    // What is wrong is told to who asks how the stream lies; single records may still be read.
    let _ = shared.look(Epoch::default());
    Ok(shared)
}

struct Opening<'a> {
    env: &'a Env,
    stream: Stream,
    quorum: Quorum,
    children: Vec<Child>,
    lanes: Vec<Lane>,
    replacing: Option<(usize, usize, SeatId)>,
}

impl Opening<'_> {
    fn notes(&self) -> Vec<Note> {
        self.children.iter().filter_map(Child::note).collect()
    }

    /// Makes a cluster of children that hold nothing, or goes on with making it. None may be missing.
    fn make(&mut self, wanted: Option<[u8; 16]>) -> Result<([u8; 16], Roster)> {
        let mut identity = wanted.or_else(|| self.notes().first().map(|note| note.store));
        let mut unit = 8;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(error) = &lane.trouble {
                return Err(error.clone().at(self.children[index].title.clone()));
            }
            if let Some(identity) = identity {
                let child = &mut self.children[index];
                child.below = child.below.clone().identity(identity);
            }
            let child = &self.children[index];
            let opened = child.below.open().map_err(|error| {
                error
                    .at(child.title.clone())
                    .at("a new cluster begins with all its children")
            })?;
            let status = opened.status();
            unit = unit.max(status.unit);
            if identity.is_none() {
                identity = Some(status.identity_bytes()?);
                let child = &mut self.children[index];
                child.below = child.below.clone().identity(status.identity_bytes()?);
            }
            self.children[index].set_store(Some(opened));
            lane.counts = true;
            lane.role = Role::Behind;
        }
        let identity = identity.unwrap_or_else(|| self.env.identity());
        let roster = Roster {
            version: Epoch::default(),
            ack: self.quorum.ack,
            unit: unit.next_power_of_two(),
            seats: self.children.iter().map(|_| self.env.identity()).collect(),
        };
        for (child, seat) in self.children.iter().zip(&roster.seats) {
            child.put_note(Note {
                store: identity,
                stream: self.stream,
                seat: *seat,
                standing: Standing::Forming,
                normal: Epoch::default(),
                seen: vec![Default::default(); roster.seats.len()],
                roster: roster.clone(),
            })?;
        }
        Ok((identity, roster))
    }

    /// Opens the children that belong to the cluster, and says of each other one why it does not.
    fn find(
        &mut self,
        wanted: Option<[u8; 16]>,
        replace: Option<usize>,
    ) -> Result<([u8; 16], Roster)> {
        let notes = self.notes();
        let identity = wanted.map_or_else(|| most(&notes), Ok)?;
        let ours = notes.iter().filter(|note| note.store == identity);
        let roster = ours
            .map(|note| &note.roster)
            .max_by_key(|roster| roster.version);
        let roster = roster
            .ok_or_else(|| Error::invalid("this cluster belongs to another store"))?
            .clone();
        if roster.seats.len() != self.children.len() || roster.ack != self.quorum.ack {
            return Err(Error::invalid(format!(
                "this cluster was made of {} children with ack = {}, the stack wants {} with ack = {}",
                roster.seats.len(),
                roster.ack,
                self.children.len(),
                self.quorum.ack
            )));
        }
        let mut taken = vec![false; roster.seats.len()];
        for index in 0..self.children.len() {
            let child = &mut self.children[index];
            child.below = child.below.clone().identity(identity);
            let refused = match child.note() {
                _ if self.lanes[index].trouble.is_some() => continue,
                None => Err(wiped()),
                Some(note) if note.store != identity => {
                    Err(Error::invalid("this child belongs to another store"))
                }
                Some(note) if note.stream != self.stream => Err(Error::invalid(format!(
                    "this child holds stream {}, the stack wants {} here",
                    note.stream, self.stream
                ))),
                Some(note) => match roster.index(&note.seat) {
                    None => Err(Error::invalid("this medium was replaced by another one")),
                    Some(seat) if taken[seat] && !planted!(CopyCounts) => {
                        Err(Error::invalid("this medium is a copy of another child"))
                    }
                    Some(seat) => {
                        taken[seat] = true;
                        Ok(note.standing != Standing::Joining)
                    }
                },
            };
            let lane = &mut self.lanes[index];
            match refused {
                Err(error) => {
                    lane.lost = true;
                    lane.trouble = Some(error);
                }
                Ok(counts) => {
                    lane.counts = counts;
                    match child.below.open() {
                        Ok(store) => {
                            child.set_store(Some(store));
                            lane.role = Role::Behind;
                        }
                        Err(error) => {
                            lane.lost = is_lost(&error);
                            lane.trouble = Some(error);
                        }
                    }
                }
            }
        }
        self.replace(replace, &taken)?;
        if self.children.iter().all(|child| child.store().is_none()) {
            let trouble = self.lanes.iter().find_map(|lane| lane.trouble.clone());
            return Err(trouble.unwrap_or_else(|| Error::unavailable("no child can be opened")));
        }
        Ok((identity, roster))
    }

    /// Finds the seat that an empty child is to take.
    fn replace(&mut self, replace: Option<usize>, taken: &[bool]) -> Result<()> {
        let Some(index) = replace.and_then(|number| number.checked_sub(1)) else {
            return Ok(());
        };
        let Some(child) = self.children.get(index) else {
            return Err(Error::invalid(format!(
                "there is no child {} to replace: the cluster has {}",
                index + 1,
                self.children.len()
            )));
        };
        if child.note().is_some() {
            return Ok(());
        }
        let free = |seat: &usize| taken.get(*seat) == Some(&false);
        let seat = Some(index)
            .filter(free)
            .or_else(|| (0..taken.len()).find(free));
        let seat = seat.ok_or_else(|| Error::invalid("no child of this cluster is missing"))?;
        let lane = &mut self.lanes[index];
        lane.lost = false;
        lane.trouble = Some(Error::unavailable(
            "this child is new, and lacks everything so far",
        ));
        self.replacing = Some((index, seat, self.env.identity()));
        Ok(())
    }
}

/// The identity that most notes name; two that as many name are for a person to tell apart.
fn most(notes: &[Note]) -> Result<[u8; 16]> {
    let count = |of: &Note| notes.iter().filter(|note| note.store == of.store).count();
    let best = notes.iter().max_by_key(|note| count(note));
    let best = best.ok_or_else(wiped)?;
    let rival = notes
        .iter()
        .find(|note| note.store != best.store && count(note) == count(best));
    match rival {
        Some(_) => Err(Error::invalid(
            "the children belong to different stores, as many to one as to the other",
        )),
        None => Ok(best.store),
    }
}
