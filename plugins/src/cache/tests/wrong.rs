//! Caches with one rule taken away: the kit must notice each, and nothing else about them.

use std::collections::BTreeSet;

use serde::Deserialize;
use travertine_engine::conformance::kit::{CHECKS, Fixture, StackFixture};
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan};
use travertine_engine::contract::{ErrorKind, Result};
use travertine_engine::stack::{
    Arity, Below, Declared, Fault, Layer, OpenContext, OptionRow, OptionType, Plugin, PluginKind,
    Spec,
};

use super::*;
use crate::standard;

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Wrong {
    /// None: this one is right.
    Nothing,
    /// An absence is kept wherever it is.
    KeepsAnyAbsence,
    /// What nobody could tell is kept as an absence.
    KeepsUnknown,
    /// A cut is not heard.
    KeepsWhatIsVoid,
}

impl Wrong {
    /// What it keeps of an answer, where that is not what the right one keeps.
    pub(in super::super) fn lasting(
        self,
        answer: &Result<Option<Record>>,
    ) -> Option<&Option<Record>> {
        static ABSENT: Option<Record> = None;
        match (self, answer) {
            (Self::KeepsAnyAbsence, Ok(None)) => Some(&ABSENT),
            (Self::KeepsUnknown, Err(error)) if error.kind() == ErrorKind::Unavailable => {
                Some(&ABSENT)
            }
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
struct WrongCache {
    wrong: Wrong,
}

impl Plugin for WrongCache {
    const KIND: PluginKind = PluginKind {
        options: &[OptionRow::required(
            "wrong",
            OptionType::Choice {
                words: &[
                    "nothing",
                    "keeps_any_absence",
                    "keeps_unknown",
                    "keeps_what_is_void",
                ],
            },
            "nothing",
            "what is wrong",
        )],
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("wrong-cache", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        let below = Below::only(below)?.open()?;
        let mut shared = Shared::new(below, &context.env, alone(1 << 20));
        shared.wrong = Some(self.wrong);
        Ok(Arc::new(CacheStore::new(shared, None)))
    }
}

/// The checks that notice.
fn noticed(wrong: &str) -> BTreeSet<&'static str> {
    let registry = standard().with::<WrongCache>();
    let spec = Spec::linear([
        Layer::new("wrong-cache").with("wrong", wrong),
        Layer::new("file")
            .with("path", "log")
            .with("segment", "64 KiB"),
    ]);
    let mut noticed = BTreeSet::new();
    for check in CHECKS {
        let disk = DiskPlan::draw(5, Class::Crash);
        let fixture = StackFixture::simulated(&spec, &registry, 5, disk).unwrap();
        assert!(check.lacks(&fixture.promises()).is_none());
        if (check.run)(&fixture).is_err() {
            noticed.insert(check.name);
        }
    }
    noticed
}

#[test]
fn a_right_cache_fails_no_check() {
    assert_eq!(noticed("nothing"), BTreeSet::new());
}

#[test]
fn an_absence_kept_without_proof_is_noticed() {
    let expected = ["what_was_absent_is_found_once_it_is_stored"];
    assert_eq!(noticed("keeps_any_absence"), BTreeSet::from(expected));
}

#[test]
fn an_unknown_that_is_kept_is_noticed() {
    let expected = ["an_unvouched_tail_proves_nothing_absent"];
    assert_eq!(noticed("keeps_unknown"), BTreeSet::from(expected));
}

#[test]
fn a_cut_that_is_not_heard_is_noticed() {
    let expected = ["adopting_voids_what_lies_above"];
    assert_eq!(noticed("keeps_what_is_void"), BTreeSet::from(expected));
}
