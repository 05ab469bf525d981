//! Partitions over memory and over simulated disks, each with a power supply of its own.

mod clustered;
mod committing;
mod crashes;
mod growing;
mod losing;
mod wrong;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::sim::{Plan as DiskPlan, SimDisk};
use travertine_engine::contract::{
    Env, ErrorKind, Kind, Level, Name, NewRecord, Reference, Result, Store, Stream,
};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::medium::Medium;
use travertine_engine::stack::{Layer, Media, Opening, Plan, Probe, Spec};

/// Simulated disks by the name of the place that each is.
#[derive(Debug, Clone)]
struct Disks(Arc<Mutex<BTreeMap<String, SimDisk>>>);

impl Disks {
    fn new(names: &[&str], seed: u64, plan: &DiskPlan) -> Self {
        let disks = (0..).zip(names).map(|(index, name)| {
            let disk = SimDisk::new(seed.wrapping_mul(64) + index, plan.clone());
            ((*name).to_owned(), disk)
        });
        Self(Arc::new(Mutex::new(disks.collect())))
    }

    fn calm(names: &[&str]) -> Self {
        Self::new(names, 1, &DiskPlan::calm())
    }

    fn disk(&self, name: &str) -> SimDisk {
        self.0.lock().unwrap()[name].clone()
    }

    fn put(&self, name: &str, disk: SimDisk) {
        self.0.lock().unwrap().insert(name.to_owned(), disk);
    }

    fn swap(&self, one: &str, other: &str) {
        let (was, is) = (self.disk(one), self.disk(other));
        self.put(one, is);
        self.put(other, was);
    }

    fn each(&self) -> Vec<SimDisk> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    /// All of them as they are now, with no process running on them. What comes next there is drawn
    /// from the seed.
    fn image(&self, seed: u64) -> Self {
        let disks = self.0.lock().unwrap();
        let images = (0..).zip(disks.iter()).map(|(index, (name, disk))| {
            let image = disk.image(seed.wrapping_mul(64) + index);
            image.crash_never();
            image.kill();
            (name.clone(), image)
        });
        Self(Arc::new(Mutex::new(images.collect())))
    }

    /// Everything on them, to see that nothing was changed.
    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let disks = self.0.lock().unwrap();
        let files = disks.iter().flat_map(|(place, disk)| {
            let files = disk.files().into_iter();
            let settled = files.filter(|(name, _)| !name.ends_with("lock"));
            settled.map(move |(name, bytes)| (format!("{place}/{name}"), bytes.to_vec()))
        });
        files.collect()
    }
}

impl Media for Disks {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let mut names = place.components().skip(1);
        let disk = names.next().map(|name| name.as_os_str().to_string_lossy());
        let disk = self.disk(&disk.unwrap_or_default());
        let medium = names.fold(disk.medium(), |medium, name| {
            medium.within(&name.as_os_str().to_string_lossy())
        });
        Arc::new(medium)
    }
}

fn file(name: &str) -> Layer {
    Layer::new("file")
        .with("path", format!("/{name}").as_str())
        .with("segment", "64 KiB")
}

/// One `file` for each of these places, under this `partition`.
fn over(partition: Layer, names: &[&str]) -> Spec {
    let stacks = names.iter().map(|name| vec![file(name)]);
    Spec::linear([partition.over(stacks.collect())])
}

fn over_files(names: &[&str]) -> Spec {
    over(Layer::new("partition"), names)
}

fn plan(spec: &Spec) -> Plan {
    Plan::new(spec, &crate::standard(), Path::new("/")).unwrap()
}

/// Opens a stack on these disks.
fn open_probed(
    disks: &Disks,
    spec: &Spec,
    env: &Env,
    read_only: bool,
    probe: Option<Arc<dyn Probe>>,
) -> Result<Arc<dyn Store>> {
    let opening = Opening {
        read_only,
        media: Some(Arc::new(disks.clone())),
        probes: probe.into_iter().collect(),
        ..Opening::default()
    };
    Ok(plan(spec).open(env, opening)?.store())
}

fn open(disks: &Disks, spec: &Spec, env: &SimEnv) -> Result<Arc<dyn Store>> {
    open_probed(disks, spec, env.env(), false, None)
}

fn write(disks: &Disks, spec: &Spec, env: &SimEnv) -> Result<Engine> {
    Engine::open(open(disks, spec, env)?, env.env(), Options::default())
}

fn read(disks: &Disks, spec: &Spec, env: &SimEnv) -> Result<Engine> {
    let store = open_probed(disks, spec, env.env(), true, None)?;
    Engine::open(store, env.env(), Options::reading())
}

fn body(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|index| (number * 31 + index * 7) as u8)
        .collect()
}

/// Commits one record under a name of its own, and tells where it lies.
fn commit_tagged(engine: &Engine, number: u64, length: usize, tag: u64) -> Result<Reference> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body(number, length)],
    };
    let reference = session.store(&record, Hint { tag })?;
    let change = Change {
        name: Name::new(format!("number {number}")).unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait()?;
    Ok(reference)
}

fn commit(engine: &Engine, number: u64) -> Result<Reference> {
    commit_tagged(engine, number, 300, 0)
}

/// Commits a record for each number.
fn fill(engine: &Engine, numbers: std::ops::Range<u64>) -> Vec<Reference> {
    numbers
        .map(|number| commit(engine, number).unwrap())
        .collect()
}

/// Checks that record `number` reads back.
fn reads(engine: &Engine, number: u64, reference: &Reference) -> Result<()> {
    let found = engine.read(reference.oid).wait()?;
    let found = found.unwrap_or_else(|| panic!("{reference:?} is called absent"));
    assert_eq!(found.body(), body(number, found.body().len()));
    Ok(())
}

fn all_read(engine: &Engine, references: &[Reference]) {
    for (number, reference) in (0..).zip(references) {
        reads(engine, number, reference).unwrap();
    }
}

/// How many of these lie in each stream.
fn spread(references: &[Reference]) -> BTreeMap<u16, usize> {
    let mut streams = BTreeMap::new();
    for reference in references {
        *streams.entry(reference.oid.stream().0).or_default() += 1;
    }
    streams
}

#[test]
fn records_go_where_the_rule_says_and_read_back_from_there() {
    for (place, expected) in [
        ("round-robin", vec![(0, 20), (1, 20), (2, 20)]),
        ("size", vec![(0, 20), (1, 20), (2, 20)]),
    ] {
        let disks = Disks::calm(&["a", "b", "c"]);
        let layer = Layer::new("partition")
            .with("place", place)
            .with("classes", "1 KiB, 4 KiB");
        let spec = over(layer, &["a", "b", "c"]);
        let env = SimEnv::new(1);
        let engine = write(&disks, &spec, &env).unwrap();
        let stored: Vec<_> = (0..60)
            .map(|number| {
                let length = [500, 3_000, 9_000][number as usize % 3];
                commit_tagged(&engine, number, length, number).unwrap()
            })
            .collect();
        assert_eq!(spread(&stored), expected.into_iter().collect(), "{place}");
        all_read(&engine, &stored);
        engine.close().unwrap();
        for engine in [
            write(&disks, &spec, &env).unwrap(),
            read(&disks, &spec, &env).unwrap(),
        ] {
            assert_eq!(engine.snapshot().sequence(), 60);
            all_read(&engine, &stored);
            engine.close().unwrap();
        }
    }
}

#[test]
fn records_of_one_tag_lie_together() {
    let disks = Disks::calm(&["a", "b", "c"]);
    let spec = over(
        Layer::new("partition").with("place", "tag"),
        &["a", "b", "c"],
    );
    let env = SimEnv::new(1);
    let engine = write(&disks, &spec, &env).unwrap();
    let mut streams = BTreeMap::new();
    for number in 0..120 {
        let tag = 1 + number % 12;
        let stored = commit_tagged(&engine, number, 100, tag).unwrap();
        let stream = stored.oid.stream();
        assert_eq!(*streams.entry(tag).or_insert(stream), stream, "tag {tag}");
    }
    let used: std::collections::BTreeSet<_> = streams.values().collect();
    assert_eq!(used.len(), 3);
    engine.close().unwrap();
}

#[test]
fn sizes_that_are_none_or_in_no_order_are_refused() {
    for classes in [
        "",
        "4 KiB,",
        "4 KiB, 4 KiB",
        "1 MiB, 1 KiB",
        "0 B",
        "1 GiB",
        "often",
    ] {
        let layer = Layer::new("partition").with("classes", classes);
        let spec = over(layer, &["a", "b"]);
        let errors = Plan::new(&spec, &crate::standard(), Path::new("/")).unwrap_err();
        assert!(
            errors[0].message.contains("`classes`"),
            "{classes:?}: {errors:?}"
        );
    }
}

#[test]
fn a_partition_that_keeps_nothing_refuses_directories_of_another_time() {
    let disks = Disks::calm(&["a"]);
    let below = vec![vec![Layer::new("memory")], vec![file("a")]];
    let spec = Spec::linear([Layer::new("partition").over(below)]).level("memory");
    let env = SimEnv::new(1);
    let store = open(&disks, &spec, &env).unwrap();
    assert_eq!(store.status().level, Level::Memory);
    store.close().wait().unwrap();
    let error = open(&disks, &spec, &env).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("begins anew"), "{error}");
}
