//! What takes the space: for each name, the records that can be reached from it.
//!
//! Every record is read once for each name that leads to it, unless its reference says that nothing lies
//! behind it. Memory: two bits for each 16 bytes of the stack, and the list of what is still to be read.

use serde::Serialize;

use super::inspect::kind_name;
use super::progress::Progress;
use super::verify::reach::Seen;
use super::{Failure, Terminal, tree};
use crate::front::Snapshot;

/// Space by name.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    sequence: u64,
    names: Vec<Name>,
    /// Reached from any name, each record once.
    records: u64,
    bytes: u64,
    /// How long the streams are, whatever lies in them.
    stream_bytes: u64,
    /// Whether the walk came to its end; else there is more than it says.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    /// What it leads to, in words.
    what: String,
    records: u64,
    bytes: u64,
}

/// Walks from every name of a commit, over at most so many records.
pub(super) fn measure(
    snapshot: &Snapshot,
    stream_bytes: u64,
    most: u64,
    progress: &Progress,
) -> Result<Facts, Failure> {
    let mut facts = Facts {
        sequence: snapshot.sequence(),
        names: Vec::new(),
        records: 0,
        bytes: 0,
        stream_bytes,
        complete: true,
    };
    let mut met = Seen::default();
    let mut walked = 0;
    for (name, root) in snapshot.names() {
        let mut mine = Seen::default();
        let record = snapshot.read(root).wait()?;
        let mut here = Name {
            name: name.to_string(),
            what: match tree::index_of(snapshot, &record)? {
                Some(index) => index.to_string(),
                None => kind_name(record.kind()).to_owned(),
            },
            records: 0,
            bytes: 0,
        };
        let mut left = vec![*root];
        while let Some(reference) = left.pop() {
            if !mine.insert(reference.oid) {
                continue;
            }
            if walked == most {
                facts.complete = false;
                break;
            }
            walked += 1;
            here.records += 1;
            here.bytes += u64::from(reference.length);
            if met.insert(reference.oid) {
                facts.records += 1;
                facts.bytes += u64::from(reference.length);
            }
            if !reference.leaf {
                let record = snapshot.read(&reference).wait()?;
                let strong = record.references().filter(|reference| !reference.weak);
                left.extend(strong);
            }
            progress.at(facts.bytes);
        }
        facts.names.push(here);
    }
    Ok(facts)
}

impl Facts {
    pub(super) fn tell(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let widest = self.names.iter().map(|name| name.name.chars().count());
        let widest = widest.max().unwrap_or(0).max("all names".len());
        let mut line = |name: &str, records: u64, bytes: u64, what: &str| {
            let line = format!("{name:widest$}  {records:>12} records  {bytes:>15} bytes  {what}");
            terminal.say(line.trim_end())
        };
        for name in &self.names {
            line(&name.name, name.records, name.bytes, &name.what)?;
        }
        line("all names", self.records, self.bytes, "")?;
        terminal.say(format_args!(
            "the streams are {} bytes long; the rest is history, root markers, gaps, and what no name leads to",
            self.stream_bytes
        ))?;
        if !self.complete {
            terminal.note(
                "the walk ended early, so there is more than it says; --most lets it go on",
            )?;
        }
        Ok(())
    }
}
