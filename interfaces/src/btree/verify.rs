//! Looking at everything in a tree: the structural check.
//!
//! Memory: one path from the top to a leaf, whatever the size of the tree. What is damaged is
//! reported with the record it was found in, and the walk goes on beside it.

use travertine_engine::contract::{Oid, Result};

use super::level::{Fill, Link};
use super::node::{HEADER, Key, Node};
use super::view::Shared;
use crate::apart;
use crate::index::{KEY_MAX, Value};
use crate::records::check_edge;
use crate::report::Report;

pub(super) fn verify(shared: &Shared, report: &mut Report) {
    let Some((top, _)) = &shared.top else {
        return;
    };
    report.height = u64::from(top.level) + 1;
    let mut walk = Walk { shared, report };
    walk.node(top.level, top.link, None, None, true);
}

struct Walk<'a> {
    shared: &'a Shared,
    report: &'a mut Report,
}

impl Walk<'_> {
    /// Looks at the node that `link` names; its keys must lie in `low .. high`.
    fn node(&mut self, level: u8, link: Link, low: Option<&[u8]>, high: Option<&[u8]>, top: bool) {
        let (reference, count) = link;
        let oid = reference.oid;
        let answer = self.shared.source.read(&reference).wait();
        let record = match answer.and_then(|record| {
            check_edge(&reference, &record)?;
            Ok(record)
        }) {
            Ok(record) => record,
            Err(error) => return self.report.add_error(oid, &error),
        };
        let node = match Node::of(&record, level) {
            Ok(node) => node,
            Err(error) => return self.report.add_error(oid, &error),
        };
        self.report.nodes += 1;
        self.report.node_bytes += record.stored_len() as u64;
        if node.count() != count {
            let found = node.count();
            self.report.add(
                oid,
                format!("it holds {found} entries, its parent says {count}"),
            );
        }
        if node.keys() == 0 {
            self.report.add(oid, "a node without a key");
        }
        let options = &self.shared.options;
        let least = Fill::new(if level == 0 {
            options.leaf_bytes
        } else {
            options.inner_bytes
        })
        .least;
        if !top && record.body().len() < least.saturating_sub(HEADER) {
            self.report.sparse += 1;
        }
        let mut keys = Keys {
            low,
            high,
            last: None,
        };
        let before = self.report.damaged;
        for index in 0..node.keys() {
            match node.key(index) {
                Err(error) => self.report.add_error(oid, &error),
                Ok(key) => {
                    if let Err(what) = keys.next(key, node.head(index)) {
                        self.report.add(oid, format!("key {index} {what}"));
                    }
                }
            }
        }
        // Below a node that lies about its range, nothing can be judged; and since a node has one
        // honest place at most, nothing is walked twice however often it is named.
        if self.report.damaged > before {
            return;
        }
        if level == 0 {
            self.leaf(&node, reference.oid, record.reference_count());
        } else {
            self.inner(&node, oid, low, high);
        }
    }

    fn leaf(&mut self, node: &Node<'_>, oid: Oid, references: usize) {
        self.report.leaves += 1;
        let mut apart = 0;
        for index in 0..node.keys() {
            self.report.entries += 1;
            let key = node.key(index).map_or(0, |key| key.len());
            self.report.payload_bytes += key as u64;
            match node.value(index) {
                Err(error) => self.report.add_error(oid, &error),
                Ok(Value::Inline(bytes)) => self.report.payload_bytes += bytes.len() as u64,
                Ok(Value::Apart(value)) => {
                    apart += 1;
                    apart::verify(&*self.shared.source, &value, self.report);
                }
            }
        }
        if references != apart {
            self.report.add(
                oid,
                format!("{references} references for {apart} values apart"),
            );
        }
    }

    fn inner(&mut self, node: &Node<'_>, oid: Oid, low: Option<&[u8]>, high: Option<&[u8]>) {
        let mut from = low.map(<[u8]>::to_vec);
        for child in 0..node.children() {
            let to = match node.key(child) {
                Ok(key) if child < node.keys() => {
                    let mut bytes = Vec::with_capacity(key.len());
                    key.append_to(&mut bytes);
                    Some(bytes)
                }
                _ => high.map(<[u8]>::to_vec),
            };
            let link: Result<_> = node
                .child(child)
                .and_then(|reference| Ok((reference, node.child_count(child)?)));
            match link {
                Ok(link) => self.node(
                    node.level() - 1,
                    link,
                    from.as_deref(),
                    to.as_deref(),
                    false,
                ),
                Err(error) => self.report.add_error(oid, &error),
            }
            from = to;
        }
    }
}

/// Checks that keys ascend within bounds.
struct Keys<'a> {
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
    last: Option<Vec<u8>>,
}

impl Keys<'_> {
    fn next(&mut self, key: Key<'_>, head: &[u8; 8]) -> Result<(), &'static str> {
        let mut bytes = Vec::with_capacity(key.len());
        key.append_to(&mut bytes);
        let last = self.last.replace(bytes);
        let bytes = self.last.as_deref().unwrap_or_default();
        if bytes.len() > KEY_MAX {
            return Err("is over the limit");
        }
        if head[key.head.len()..].iter().any(|byte| *byte != 0) {
            return Err("has a head with bytes after its end");
        }
        if last.is_some_and(|last| &last[..] >= bytes) {
            return Err("is not greater than the one before");
        }
        if self.low.is_some_and(|low| bytes < low) || self.high.is_some_and(|high| bytes >= high) {
            return Err("lies outside its node's range");
        }
        Ok(())
    }
}
