//! Indexes with one planted fault each: the suite must find it, or it checks nothing.

use std::sync::Arc;

use travertine_engine::contract::{Op, Reference, Result};
use travertine_interfaces::btree::{BtreeLoader, BtreeView};
use travertine_interfaces::conformance::{checks, seed};
use travertine_interfaces::edits::{Edit, EditLog, Edits};
use travertine_interfaces::records::{Sink, Source};
use travertine_interfaces::{Btree, Index};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// A delete that comes last in a batch is not done.
    ForgetsADelete,
    /// A batch is done to nothing instead of to what was there.
    ForgetsTheRoot,
    /// A record is stored that nobody names, again and again.
    Litters,
    /// A long value's entry names the root instead.
    NamesAnother,
}

#[derive(Debug, Clone)]
struct Wrong(Fault);

impl Index for Wrong {
    type View = BtreeView;
    type Loader<'s> = BtreeLoader<'s>;

    fn view(&self, source: Arc<dyn Source>, root: Option<Reference>) -> Op<BtreeView> {
        Btree::default().view(source, root)
    }

    fn apply(
        &self,
        sink: &dyn Sink,
        root: Option<Reference>,
        edits: &Edits,
    ) -> Result<Option<Reference>> {
        let mut log = EditLog::new();
        for (nth, (key, edit)) in edits.iter().enumerate() {
            let last = nth + 1 == edits.len();
            match (self.0, edit) {
                (Fault::ForgetsADelete, Edit::Delete) if last => {}
                (Fault::NamesAnother, Edit::Put(value)) => {
                    let wrong = match value {
                        travertine_interfaces::Value::Apart(mut apart) => {
                            apart.reference = root.unwrap_or(apart.reference);
                            travertine_interfaces::Value::Apart(apart)
                        }
                        inline => inline,
                    };
                    log.push(key, Edit::Put(wrong))?;
                }
                _ => log.push(key, edit)?,
            }
        }
        let base = root.filter(|_| self.0 != Fault::ForgetsTheRoot);
        let after = Btree::default().apply(sink, base, &log.sorted());
        if self.0 == Fault::Litters {
            for _ in 0..9 {
                Btree::default().apply(sink, None, edits)?;
            }
        }
        after
    }

    fn loader<'s>(&self, sink: &'s dyn Sink) -> BtreeLoader<'s> {
        Btree::default().loader(sink)
    }

    fn inline_max(&self) -> usize {
        Btree::default().inline_max()
    }
}

fn failures(fault: Fault) -> Vec<&'static str> {
    let fails = |index: &Wrong, run: fn(&Wrong, u64)| {
        std::panic::catch_unwind(|| run(index, seed())).is_err()
    };
    checks::<Wrong>()
        .into_iter()
        .filter(|check| fails(&Wrong(fault), check.run))
        .map(|check| check.name)
        .collect()
}

#[test]
fn an_index_without_a_fault_passes() {
    assert!(failures(Fault::None).is_empty());
}

#[test]
fn a_forgotten_delete_is_found() {
    let found = failures(Fault::ForgetsADelete);
    assert!(
        found.contains(&"random_edits_answer_like_an_ordered_map"),
        "{found:?}"
    );
    assert!(
        found.contains(&"deleted_to_nothing_it_fills_again"),
        "{found:?}"
    );
}

#[test]
fn a_forgotten_root_is_found() {
    let found = failures(Fault::ForgetsTheRoot);
    assert!(
        found.contains(&"random_edits_answer_like_an_ordered_map"),
        "{found:?}"
    );
}

#[test]
fn litter_is_found_and_by_nothing_else() {
    let found = failures(Fault::Litters);
    assert_eq!(
        found,
        [
            "edits_that_change_nothing_keep_the_root",
            "what_is_stored_is_reachable"
        ]
    );
}

#[test]
fn a_wrong_reference_to_a_value_is_found() {
    let found = failures(Fault::NamesAnother);
    assert!(
        found.contains(&"values_of_any_length_are_kept"),
        "{found:?}"
    );
}
