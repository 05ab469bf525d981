//! Bugs that a partition could have, planted at its children: the crash runs find each.

use travertine_engine::conformance::kit::{Twist, Twisted};
use travertine_engine::conformance::sim::Class;
use travertine_engine::conformance::trace::run;
use travertine_engine::contract::{Batch, Commit, Epoch, Op, StreamState, Tail};
use travertine_engine::stack::Floor;

use super::crashes::{Crashing, trace_plan};
use super::*;

/// A bug, on every child but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// A commit asks the child with the marker only: what waits for the others is stored, not synced.
    OthersNotAsked,
    /// A commit asks the children that a batch of it is for, and forgets what was stored before.
    StoredBeforeForgotten,
    /// What the others report is their ends, and not how they came there.
    WindowNotJoined,
    /// A batch that a child had no room for counts as stored.
    FullIsStored,
}

#[derive(Debug)]
struct Planted(Bug);

impl Planted {
    fn is_other(below: &dyn Store) -> bool {
        below.status().root_stream != 0
    }
}

impl Twist for Planted {
    fn store(&self, below: &dyn Store, sender: Epoch, batch: Batch) -> Op<Tail> {
        let end = batch.header().end;
        let op = below.store(sender, batch);
        if self.0 == Bug::FullIsStored && Self::is_other(below) {
            return op.shape(move |answer| match answer {
                Err(error) if error.kind() == ErrorKind::Full => Ok(Tail { end, ceiling: end }),
                answer => answer,
            });
        }
        op
    }

    fn commit(&self, below: &dyn Store, commit: Commit) -> Op<Level> {
        let level = commit.level;
        if !Self::is_other(below) {
            return below.commit(commit);
        }
        match self.0 {
            Bug::OthersNotAsked => {
                let calls = commit.last.into_iter();
                let mut stored = calls.map(|batch| below.store(commit.sender, batch).wait());
                Op::ready(
                    stored
                        .try_for_each(|answer| answer.map(drop))
                        .map(|()| level),
                )
            }
            Bug::StoredBeforeForgotten if commit.last.is_empty() => Op::ok(level),
            _ => below.commit(commit),
        }
    }

    fn fence(&self, below: &dyn Store, epoch: Epoch) -> Op<Vec<StreamState>> {
        let op = below.fence(epoch);
        if self.0 == Bug::WindowNotJoined && Self::is_other(below) {
            return op.map(|mut states| {
                states.iter_mut().for_each(|state| state.chain.clear());
                states
            });
        }
        op
    }
}

#[derive(Debug)]
struct OnChildren(Arc<Planted>);

impl Probe for OnChildren {
    fn wrap(&self, floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match floor.kind().name {
            "file" => Arc::new(Twisted::new(store, self.0.clone())),
            _ => store,
        }
    }
}

fn hunt(bug: Bug) -> Option<(u64, String)> {
    let class = match bug {
        Bug::FullIsStored => Class::Full,
        _ => Class::Crash,
    };
    (0..500).find_map(|seed| {
        let mut fixture = Crashing::new(seed, class);
        fixture.probe = Some(Arc::new(OnChildren(Arc::new(Planted(bug)))));
        let failure = run(seed, &mut fixture, &trace_plan()).err()?;
        Some((seed, failure.to_string()))
    })
}

macro_rules! must_find {
    ($($test:ident: $bug:ident,)*) => {$(
        #[test]
        fn $test() {
            let found = hunt(Bug::$bug);
            println!("{found:?}");
            assert!(found.is_some());
        }
    )*};
}

must_find! {
    a_commit_that_asks_the_child_with_the_marker_only: OthersNotAsked,
    a_commit_that_forgets_what_was_stored_before: StoredBeforeForgotten,
    a_fence_that_joins_no_window: WindowNotJoined,
    a_full_child_that_counts_as_written: FullIsStored,
}
