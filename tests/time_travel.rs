//! Time travel: random past commits of a tree under churn read back exactly as a model says, before a
//! reclaim, after one within what its policy keeps, after more churn and after an opening.
//!
//! The model keeps, of each key, the commits that changed it: a few words for each edit, whatever the
//! tree holds. `TRAVERTINE_TRAVELS` says how many commits are read each time (10,000 if not told).
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::sync::Arc;
use std::time::Duration;

use travertine::conformance::env::SimEnv;
use travertine::contract::{Level, Name, RootAt};
use travertine::front::{Engine, Options, Reclaiming, Snapshot};
use travertine::interfaces::{Btree, CursorExt, Journal, Map};
use travertine::log::{Log, LogOptions};
use travertine::medium::memory::MemoryMedium;
use travertine::workload::random::Rng;

const KEYS: u64 = 300;
const COMMITS: usize = 12_000;
/// Commits of the tree that the policy keeps.
const KEPT: usize = 8_000;
const TAGS: usize = 40;
/// One edit in so many has a value that lies apart.
const LARGE: u64 = 200;

/// What a commit did to a key.
#[derive(Debug, Clone, Copy)]
struct Edit {
    commit: u32,
    deleted: bool,
}

struct World {
    sim: SimEnv,
    medium: Arc<MemoryMedium>,
    map: Map<Journal<Btree>>,
    rng: Rng,
    /// Of each key, in order.
    edits: Vec<Vec<Edit>>,
    /// Of each commit of the tree, the number and the time of the engine's.
    commits: Vec<(u64, u64)>,
}

fn key(key: u64) -> Vec<u8> {
    format!("{:03}/{}", key * 7919 % KEYS, "k".repeat(key as usize % 30)).into_bytes()
}

fn value(key: u64, commit: u32) -> Vec<u8> {
    let chance = Rng::new(key, commit.into()).next_u64();
    let length = if chance.is_multiple_of(LARGE) {
        700
    } else {
        20
    };
    let word = format!("{key} at {commit} ");
    word.into_bytes()
        .into_iter()
        .cycle()
        .take(length + key as usize % 40)
        .collect()
}

impl World {
    fn new(seed: u64) -> Self {
        // Small nodes and few deltas, so that every commit finds the tree in another state of a merge.
        let tree = Journal {
            index: Btree {
                leaf_bytes: 512,
                inner_bytes: 256,
                inline_max: 300,
            },
            bytes_max: 8 << 10,
            merge_min: 4,
        };
        Self {
            sim: SimEnv::new(seed),
            medium: Arc::new(MemoryMedium::new()),
            map: Map::new(Name::new("tree").unwrap(), tree),
            rng: Rng::new(seed, 1),
            edits: vec![Vec::new(); KEYS as usize],
            commits: Vec::new(),
        }
    }

    fn open(&self) -> Engine {
        let log = LogOptions {
            segment: 64 << 10,
            ..LogOptions::default()
        };
        let log = Log::open("memory", self.medium.clone(), self.sim.env(), log).unwrap();
        let options = Options {
            level: Level::Memory,
            ..Options::default()
        };
        Engine::open(Arc::new(log), self.sim.env(), options).unwrap()
    }

    fn churn(&mut self, engine: &Engine, commits: usize) {
        for _ in 0..commits {
            let commit = self.commits.len() as u32;
            // Some commits share a moment.
            self.sim.advance(Duration::from_micros(self.rng.below(3)));
            let session = engine.session().unwrap();
            let mut writer = self.map.writer(&session);
            for _ in 0..=self.rng.below(6) {
                let key_of = self.rng.below(KEYS);
                let edits = &mut self.edits[key_of as usize];
                if edits.last().is_some_and(|last| last.commit == commit) {
                    continue;
                }
                let deleted = self.rng.below(4) == 0;
                match deleted {
                    true => writer.delete(&key(key_of)).unwrap(),
                    false => writer.put(&key(key_of), &value(key_of, commit)).unwrap(),
                }
                edits.push(Edit { commit, deleted });
            }
            let committed = writer.commit(None).unwrap().wait().unwrap();
            self.commits
                .push((committed.sequence, engine.snapshot().time()));
        }
    }

    /// The rows of a commit, in order.
    fn rows(&self, commit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let row = |key_of: u64| {
            let edits = &self.edits[key_of as usize];
            let before = edits.partition_point(|edit| edit.commit <= commit);
            let edit = edits[..before].last().filter(|edit| !edit.deleted)?;
            Some((key(key_of), value(key_of, edit.commit)))
        };
        let mut rows: Vec<_> = (0..KEYS).filter_map(row).collect();
        rows.sort();
        rows
    }

    fn compare(&self, snapshot: &Snapshot, commit: u32) {
        let reader = self.map.reader(snapshot).wait().unwrap();
        let rows = self.rows(commit);
        assert_eq!(reader.count(), rows.len() as u64, "commit {commit}");
        let mut cursor = reader.cursor();
        for (key, value) in &rows {
            let entry = cursor.next().unwrap().unwrap();
            assert_eq!(entry.key, key, "commit {commit}");
            let found = reader.value(entry.value).wait().unwrap();
            assert_eq!(&found[..], value, "commit {commit}");
        }
        assert!(cursor.next().unwrap().is_none(), "commit {commit}");
    }

    /// Reads so many random commits, half of them by their time. Those before the first that is kept,
    /// which no tag names and nobody held, are gone. Answers how many were there.
    fn travel(
        &mut self,
        engine: &Engine,
        travels: usize,
        kept: usize,
        tagged: &[u32],
        held: Option<u32>,
    ) -> usize {
        let mut there = 0;
        for _ in 0..travels {
            let commit = self.rng.below(self.commits.len() as u64) as u32;
            let (sequence, time) = self.commits[commit as usize];
            let by_time = self.rng.below(2) == 0;
            let stays = commit as usize >= kept || held == Some(commit);
            if by_time && commit as usize >= kept {
                // Of several at one moment, it is the last.
                let last = self.commits.partition_point(|commit| commit.1 <= time) - 1;
                let snapshot = engine.at(RootAt::Time(time)).unwrap().unwrap();
                self.compare(&snapshot, last as u32);
                there += 1;
                continue;
            }
            match engine.at(RootAt::Sequence(sequence)).unwrap() {
                Some(snapshot) => {
                    assert!(
                        stays || tagged.contains(&commit),
                        "commit {commit} is kept by nobody"
                    );
                    assert_eq!(snapshot.sequence(), sequence);
                    self.compare(&snapshot, commit);
                    there += 1;
                }
                None => assert!(
                    !stays && !tagged.contains(&commit),
                    "commit {commit} is gone"
                ),
            }
        }
        for (number, commit) in tagged.iter().enumerate() {
            let snapshot = engine.at_tag(&format!("tag-{number}")).unwrap().unwrap();
            self.compare(&snapshot, *commit);
        }
        there
    }

    /// Frees what is older than the last so many commits of the tree, and answers the first that stays.
    fn reclaim(&self, engine: &Engine, kept: usize) -> usize {
        let first = self.commits.len() - kept;
        let newest = engine.snapshot().sequence();
        let policy = format!(
            "keep last {}, tagged forever",
            newest - self.commits[first].0 + 1
        );
        let report = engine.reclaim(&policy.parse().unwrap(), &Reclaiming::default());
        assert!(report.unwrap().freed.bytes > 0);
        first
    }
}

#[test]
fn ten_thousand_past_commits_read_back_exactly_before_and_after_reclaims() {
    let travels = std::env::var("TRAVERTINE_TRAVELS").ok();
    let travels = travels.map_or(10_000, |text| text.parse().unwrap());
    let mut world = World::new(7);
    let engine = world.open();
    world.churn(&engine, COMMITS);
    let tags: Vec<u32> = (0..TAGS)
        .map(|number| {
            let commit = world.rng.below(COMMITS as u64) as u32;
            let (sequence, _) = world.commits[commit as usize];
            let snapshot = engine.at(RootAt::Sequence(sequence)).unwrap().unwrap();
            engine.tag(&format!("tag-{number}"), &snapshot).unwrap();
            commit
        })
        .collect();
    assert_eq!(world.travel(&engine, travels, 0, &tags, None), travels);

    // Somebody who holds a commit keeps it, whatever the policy says.
    let held = engine
        .at(RootAt::Sequence(world.commits[5].0))
        .unwrap()
        .unwrap();
    let first = world.reclaim(&engine, KEPT);
    let there = world.travel(&engine, travels, first, &tags, Some(5));
    assert!(there < travels, "nothing was freed");
    world.compare(&held, 5);
    drop(held);

    world.churn(&engine, COMMITS / 10);
    let first = world.reclaim(&engine, KEPT);
    engine.close().unwrap();
    drop(engine);
    let engine = world.open();
    world.travel(&engine, travels / 10, first, &tags, None);
    engine.close().unwrap();
}
