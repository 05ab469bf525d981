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
/// covers everything before it, must be the same. A child that ends earlier is behind, which is no
/// damage. Exit code 1 if children differ, are damaged or are missing.
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
        let longest = walked.iter().max_by_key(|child| child.ends.len());
        let longest = longest.map_or(&[][..], |child| &child.ends);
        let facts: Vec<_> = walked
            .iter()
            .zip(floor.below())
            .enumerate()
            .map(|(index, (child, below))| Facts {
                child: index + 1,
                floor: below.kind().name.to_owned(),
                batches: child.ends.len() as u64,
                end: child.ends.last().map_or(0, |end| end.position.0),
                trouble: child
                    .trouble
                    .clone()
                    .or_else(|| differs(&child.ends, longest)),
            })
            .collect();
        stack.close()?;
        if self.json {
            terminal.json(&facts)?;
        } else {
            for of in &facts {
                let behind = longest.len() as u64 - of.batches;
                let words = match (&of.trouble, behind) {
                    (Some(trouble), _) => trouble.clone(),
                    (None, 0) => "whole".to_owned(),
                    (None, behind) => format!("{behind} batches behind"),
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
    if let Err(error) = read(store, stream, &mut walked.ends) {
        walked.trouble = Some(error.to_string());
    }
    walked
}

fn read(store: &dyn Store, stream: Stream, ends: &mut Vec<End>) -> Answer<()> {
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let found = store.scan(stream, at).wait()?;
        if let Some(left) = &found.sparse {
            for (oid, record) in &left.records {
                record.verify(*oid)?;
            }
            ends.extend(left.after);
        }
        for batch in &found.batches {
            for (oid, record) in batch.records() {
                record.verify(oid)?;
            }
            ends.push(End {
                position: batch.header().end,
                running: batch.running(),
            });
        }
        from = found.next;
    }
    Ok(())
}

/// Where a child has other bytes than the longest one.
fn differs(ends: &[End], longest: &[End]) -> Option<String> {
    let (one, other) = ends.iter().zip(longest).find(|(one, other)| one != other)?;
    Some(format!(
        "it has other bytes than the others before {}",
        one.position.min(other.position)
    ))
}
