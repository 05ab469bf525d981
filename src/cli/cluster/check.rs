//! `cluster check`: whether the children hold the same.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde::Serialize;

use super::super::{Failure, Outcome, Run, StackArg, Terminal};
use super::find;
use crate::contract::{End, Env, Position, Result as Answer, Store, Stream};
use crate::stack::{Floor, Opening, Probe, Registry};

/// Compare the children of a cluster, batch by batch
///
/// Each child is read on its own. Where two have a batch at the same place, its running checksum, which
/// covers everything before it, must be the same; and so must a record that stayed on both where space
/// was given back, which children do each in their own time. A child that ends earlier is behind, which
/// is no damage. Exit code 1 if children differ, are damaged or are missing.
#[derive(Debug, Args)]
#[command(after_help = "Example: travertine cluster check stack.toml")]
pub(super) struct Check {
    #[command(flatten)]
    stack: StackArg,
    /// The name of the cluster's layer, if the stack has several
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// What was found of one child.
#[derive(Debug, Serialize)]
struct Facts {
    child: usize,
    floor: String,
    batches: u64,
    /// Where it ends, in steps of eight bytes.
    end: u64,
    /// What is wrong with it.
    trouble: Option<String>,
}

impl Run for Check {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let file = self.stack.load(registry)?;
        let floor = find(file.plan(), self.layer.as_deref())?;
        let gather = Arc::new(Gather {
            wanted: floor.below().to_vec(),
            found: Mutex::new(vec![None; floor.below().len()]),
        });
        let opening = Opening {
            read_only: true,
            probes: vec![gather.clone()],
            ..Opening::default()
        };
        let stack = file.plan().open(&Env::system(), opening)?;
        let stores = gather
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let walked: Vec<_> = stores.iter().map(|store| walk(store.as_deref())).collect();
        let nothing = Walked::default();
        let reaches = |child: &&Walked| child.ends.last().map(|end| end.position);
        let longest = walked.iter().max_by_key(reaches).unwrap_or(&nothing);
        let facts: Vec<_> = walked
            .iter()
            .zip(floor.below())
            .enumerate()
            .map(|(index, (child, below))| Facts {
                child: index + 1,
                floor: below.kind().name.to_owned(),
                batches: child.ends.len() as u64,
                end: child.ends.last().map_or(0, |end| end.position.0),
                trouble: child.trouble.clone().or_else(|| differs(child, longest)),
            })
            .collect();
        let last = longest
            .ends
            .last()
            .map_or(Position::START, |end| end.position);
        stack.close()?;
        if self.json {
            terminal.json(&facts)?;
        } else {
            for of in &facts {
                let lacks = longest
                    .ends
                    .iter()
                    .filter(|end| end.position.0 > of.end)
                    .count();
                let words = match &of.trouble {
                    Some(trouble) => trouble.clone(),
                    None if of.end == last.0 => "whole".to_owned(),
                    None => format!("{lacks} batches behind"),
                };
                terminal.say(format_args!(
                    "child {} ({}): {} batches up to o{}: {words}",
                    of.child, of.floor, of.batches, of.end
                ))?;
            }
        }
        let wrong = facts.iter().filter(|of| of.trouble.is_some()).count();
        if wrong == 0 {
            return Ok(Outcome::Fine);
        }
        terminal.complain(&format!(
            "{wrong} of {} children are not whole",
            facts.len()
        ))?;
        Ok(Outcome::Fault)
    }
}

/// Takes hold of the stores of these floors as they are opened.
#[derive(Debug)]
struct Gather {
    wanted: Vec<Arc<Floor>>,
    found: Mutex<Vec<Option<Arc<dyn Store>>>>,
}

impl Probe for Gather {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let index = self
            .wanted
            .iter()
            .position(|wanted| std::ptr::eq(&**wanted, floor));
        if let Some(index) = index {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found[index] = Some(store.clone());
        }
        store
    }
}

#[derive(Debug, Default)]
struct Walked {
    ends: Vec<End>,
    /// Runs of which a reclaim left something, and the records that stayed: where, and their checksums.
    freed: Vec<(Position, Position)>,
    stayed: Vec<(Position, u32)>,
    trouble: Option<String>,
}

/// The ends of all batches of a child.
fn walk(store: Option<&dyn Store>) -> Walked {
    let mut walked = Walked::default();
    let Some(store) = store else {
        walked.trouble = Some("it does not belong to the cluster, or cannot be opened".to_owned());
        return walked;
    };
    // Under a partition it need not be the stream of the roots.
    let stream = Stream(store.status().root_stream);
    if let Err(error) = read(store, stream, &mut walked) {
        walked.trouble = Some(error.to_string());
    }
    walked
}

fn read(store: &dyn Store, stream: Stream, walked: &mut Walked) -> Answer<()> {
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let found = store.scan(stream, at).wait()?;
        if let Some(left) = &found.sparse {
            for (oid, record) in &left.records {
                record.verify(*oid)?;
                walked.stayed.push((oid.position(), record.check()));
            }
            walked.freed.push((left.from, left.to));
            walked.ends.extend(left.after);
        }
        for batch in &found.batches {
            for (oid, record) in batch.records() {
                record.verify(oid)?;
            }
            walked.ends.push(End {
                position: batch.header().end,
                running: batch.running(),
            });
        }
        from = found.next;
    }
    Ok(())
}

/// Where a child has other bytes than the longest one. What one of them has given back, the other may have.
fn differs(child: &Walked, longest: &Walked) -> Option<String> {
    let mut both = ends_apart_from(&child.ends, &longest.freed)
        .zip(ends_apart_from(&longest.ends, &child.freed));
    let ends = both.find(|(one, other)| one != other);
    let ends = ends.map(|(one, other)| one.position.min(other.position));
    let differs = |(at, check): &&(Position, u32)| {
        let found = longest.stayed.binary_search_by_key(at, |(at, _)| *at);
        found.is_ok_and(|found| longest.stayed[found].1 != *check)
    };
    let stayed = child.stayed.iter().find(differs).map(|(at, _)| *at);
    let at = ends.into_iter().chain(stayed).min()?;
    Some(format!("it has other bytes than the others before {at}"))
}

/// The ends of batches that lie in none of these runs.
fn ends_apart_from<'a>(
    ends: &'a [End],
    runs: &'a [(Position, Position)],
) -> impl Iterator<Item = End> + 'a {
    let inside = |end: &&End| {
        let after = runs.partition_point(|(from, _)| *from < end.position);
        let run = after.checked_sub(1).map(|index| runs[index]);
        run.is_none_or(|(_, to)| end.position >= to)
    };
    ends.iter().filter(inside).copied()
}
