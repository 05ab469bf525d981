//! Looking at everything in a journaled map: the base as it does itself, then the deltas, read anew.
//!
//! What the index below counted is put right by what lies over it, so that a report tells of the map
//! and not of its base. Memory: the deltas, as for reading.

use std::sync::Arc;

use travertine_engine::contract::{Error, Reference, Result};

use super::load::load;
use super::overlay::{Generation, Lay};
use super::root::Root;
use super::view::Over;
use crate::apart;
use crate::edits::Edit;
use crate::index::{Apart, Found, Value, View};
use crate::records::{Source, check_edge};
use crate::report::Report;

pub(super) fn verify<V: View>(base: &V, over: &Over, report: &mut Report) {
    let before = report.damaged;
    let mut below = Report::new();
    base.verify(&mut below);
    add(report, below);
    report.height += 1;
    let Some((root, source)) = &over.from else {
        return;
    };
    match read(over, root, source) {
        Err(error) => report.add_error(root.oid, &error),
        Ok((lays, records, bytes)) => {
            report.nodes += records;
            report.node_bytes += bytes;
            values(&**source, &lays, report);
            let sound = report.damaged == before;
            tally(base, &lays, report);
            if sound && report.entries != over.entries {
                let found = report.entries;
                report.add(
                    root.oid,
                    format!(
                        "the journal states {} entries, there are {found}",
                        over.entries
                    ),
                );
            }
        }
    }
}

/// The deltas as they lie in records, the upper first; how many records that were, and their bytes.
fn read(over: &Over, root: &Reference, source: &Arc<dyn Source>) -> Result<(Vec<Lay>, u64, u64)> {
    let (mut records, mut bytes) = (0, 0);
    let record = source.read(root).wait()?;
    check_edge(root, &record)?;
    let root = Root::decode(&record)?;
    let mut generations = vec![load(source, root.young.named())];
    if let Some(old) = &root.old {
        let named = [(old.list, old.count)].into_iter();
        generations.push(load(source, named));
    }
    let mut lays = Vec::new();
    for loaded in generations {
        let loaded = loaded.wait()?;
        records += loaded.records;
        bytes += loaded.bytes;
        let (generation, reach): (Arc<_>, _) = Generation::of(loaded.deltas);
        lays.extend(Lay::of(&generation, &reach));
    }
    if root.entries != over.entries {
        return Err(Error::corrupt(
            "the journal's root is another than the one that was opened",
        ));
    }
    Ok((lays, records + 1, bytes + record.stored_len() as u64))
}

/// Looks at every value that a delta names, also at those that are superseded.
fn values(source: &dyn Source, lays: &[Lay], report: &mut Report) {
    for value in lays
        .iter()
        .flat_map(Lay::deltas)
        .flat_map(|delta| delta.values_apart())
    {
        let mut looked = Report::new();
        apart::verify(source, &value, &mut looked);
        looked.apart = 0;
        looked.apart_bytes = 0;
        add(report, looked);
    }
}

/// So many keys are looked up side by side: where records are far away, one after the other takes long.
const SIDE_BY_SIDE: usize = 256;

/// What the base has at these keys, as far as it can be read.
fn found_in<V: View>(base: &V, keys: &[&[u8]]) -> Vec<Option<Found>> {
    let one = |key: &&[u8]| base.find(key).wait().ok().flatten();
    let found = base.find_many(keys).wait();
    found.unwrap_or_else(|_| keys.iter().map(one).collect())
}

/// Puts right what was counted in the base by what lies over it.
fn tally<V: View>(base: &V, lays: &[Lay], report: &mut Report) {
    for (nth, lay) in lays.iter().enumerate() {
        let mut items = Vec::new();
        lay.each(|item| {
            let key = lay.key(item);
            if lays[..nth].iter().all(|upper| upper.find(key).is_none()) {
                items.push((item, key));
            }
        });
        let found = items.chunks(SIDE_BY_SIDE).flat_map(|items| {
            let keys: Vec<_> = items.iter().map(|(_, key)| *key).collect();
            found_in(base, &keys)
        });
        for (&(item, key), found) in items.iter().zip(found) {
            if let Some(found) = found {
                let (payload, apart) = match found {
                    Found::Inline(bytes) => (bytes.len(), None),
                    Found::Apart(apart) => (0, Some(apart)),
                };
                report.entries = report.entries.saturating_sub(1);
                let payload = (key.len() + payload) as u64;
                report.payload_bytes = report.payload_bytes.saturating_sub(payload);
                report.apart = report.apart.saturating_sub(apart.iter().count() as u64);
                report.apart_bytes = report.apart_bytes.saturating_sub(length(apart));
            }
            let Edit::Put(value) = lay.edit(item) else {
                continue;
            };
            let (payload, apart) = match value {
                Value::Inline(bytes) => (bytes.len(), None),
                Value::Apart(apart) => (0, Some(apart)),
            };
            report.entries += 1;
            report.payload_bytes += (key.len() + payload) as u64;
            report.apart += apart.iter().count() as u64;
            report.apart_bytes += length(apart);
        }
    }
}

fn length(apart: Option<Apart>) -> u64 {
    apart.map_or(0, |apart| apart.length)
}

fn add(report: &mut Report, more: Report) {
    report.nodes += more.nodes;
    report.leaves += more.leaves;
    report.height = report.height.max(more.height);
    report.entries += more.entries;
    report.node_bytes += more.node_bytes;
    report.payload_bytes += more.payload_bytes;
    report.sparse += more.sparse;
    report.apart += more.apart;
    report.apart_bytes += more.apart_bytes;
    report.damaged += more.damaged - more.damage.len() as u64;
    for damage in more.damage {
        report.add(damage.oid, damage.what);
    }
}
