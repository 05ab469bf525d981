//! Clusters of directories on simulated disks, one disk for each child.

mod damage;
mod failing;
mod giving;
mod hunt;
mod returning;
mod short;
mod storm;
mod stuck;
mod threads;
mod turns;
mod wild;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::sim::{Plan as DiskPlan, SimDisk, SimMedium};
use travertine_engine::contract::{
    Env, Kind, Name, NewRecord, Position, Reference, Result, Status, Store, Stream,
};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::log::{Log, LogOptions};
use travertine_engine::medium::Medium;
use travertine_engine::stack::{Layer, Media, Opening, Plan, Probe, Spec};

/// A child: a directory of its own.
fn child(number: usize) -> Vec<Layer> {
    child_of(number, "64 KiB")
}

fn child_of(number: usize, segment: &str) -> Vec<Layer> {
    vec![
        Layer::new("file")
            .with("path", format!("/child-{number}").as_str())
            .with("segment", segment),
    ]
}

fn cluster() -> Layer {
    Layer::new("cluster")
}

/// A machine with a disk for each child of a cluster.
#[derive(Debug, Clone)]
struct Rig {
    disks: Vec<SimDisk>,
    env: SimEnv,
    /// What the cluster is opened in, if not in the simulated environment.
    world: Option<Env>,
    layer: Layer,
    /// Whether the second child ends its segments elsewhere than the others.
    uneven: bool,
    /// What lies between the cluster and each directory.
    between: Option<Layer>,
    /// What looks at each child from above.
    probe: Option<Arc<dyn Probe>>,
    /// Locks that somebody else holds.
    held: Arc<Mutex<BTreeMap<usize, SimMedium>>>,
}

/// The place of child `n` lies on disk `n`.
#[derive(Debug)]
struct Disks(Vec<SimDisk>);

impl Media for Disks {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let mut names = place
            .components()
            .skip(1)
            .map(|name| name.as_os_str().to_string_lossy());
        let child = names.next().unwrap();
        let number = child.trim_start_matches("child-").parse::<usize>();
        let disk = &self.0[number.unwrap() - 1];
        let medium = disk.medium().within("it");
        Arc::new(names.fold(medium, |medium, name| medium.within(&name)))
    }
}

impl Rig {
    fn new(children: usize) -> Self {
        Self::of(children, cluster())
    }

    fn of(children: usize, layer: Layer) -> Self {
        let disk = |seed: usize| SimDisk::new(seed as u64, DiskPlan::calm());
        Self {
            disks: (0..children).map(disk).collect(),
            env: SimEnv::new(1),
            world: None,
            layer,
            uneven: false,
            between: None,
            probe: None,
            held: Arc::default(),
        }
    }

    /// The same disks under a cluster with other options.
    fn with(&self, layer: Layer) -> Self {
        Self {
            layer,
            ..self.clone()
        }
    }

    fn world(&self) -> &Env {
        self.world.as_ref().unwrap_or(self.env.env())
    }

    fn store(&self, read_only: bool) -> Result<Arc<dyn Store>> {
        let tower = |number| {
            let uneven = self.uneven && number == 2;
            let child = child_of(number, if uneven { "96 KiB" } else { "64 KiB" });
            self.between.iter().cloned().chain(child).collect()
        };
        let over = (1..=self.disks.len()).map(tower).collect();
        let spec = Spec::linear([self.layer.clone().over(over)]);
        let plan = Plan::new(&spec, &crate::standard(), Path::new("/")).unwrap();
        let opening = Opening {
            read_only,
            media: Some(Arc::new(Disks(self.disks.clone()))),
            probes: self.probe.iter().cloned().collect(),
            ..Opening::default()
        };
        Ok(plan.open(self.world(), opening)?.store())
    }

    fn write(&self) -> Result<Engine> {
        self.over(self.store(false)?)
    }

    fn over(&self, store: Arc<dyn Store>) -> Result<Engine> {
        // Nothing is kept above: what is read is read from a child.
        let options = Options {
            recent_max: 0,
            flush_bytes: 8 << 10,
            ..Options::default()
        };
        Engine::open(store, self.world(), options)
    }

    /// A child alone, as a stack of its own would see it: only to compare bytes.
    fn bytes(&self, number: usize) -> Vec<(Position, u64)> {
        // A writer passes over a segment that was never begun, and writes to an image alone.
        let image = self.disks[number - 1].image(0);
        image.kill();
        batches_on(Arc::new(image.medium().within("it")), self.env.env())
    }

    fn are_alike(&self) {
        let first = self.bytes(1);
        for number in 2..=self.disks.len() {
            assert_eq!(
                first,
                self.bytes(number),
                "child {number} differs from child 1"
            );
        }
    }

    /// Somebody else holds the directory of a child.
    fn hold(&self, number: usize) {
        let medium = self.disks[number - 1].medium().within("it");
        if medium.lock().is_ok() {
            self.held.lock().unwrap().insert(number, medium);
        }
    }

    fn release(&self, number: usize) {
        self.held.lock().unwrap().remove(&number);
    }

    /// Empties the directory of a child.
    fn wipe(&self, number: usize) {
        self.disks[number - 1].rename_within("it", None);
    }
}

/// Where each batch of a log ends, with its running checksum.
fn batches_on(medium: Arc<dyn Medium>, env: &Env) -> Vec<(Position, u64)> {
    let log = Log::open("file", medium, env, LogOptions::default()).unwrap();
    let mut ends = Vec::new();
    let mut from = Some(Position::START);
    while let Some(at) = from {
        let found = log.scan(Stream::default(), at).wait().unwrap();
        let batches = found.batches.iter();
        ends.extend(batches.map(|batch| (batch.header().end, batch.running())));
        from = found.next;
    }
    ends
}

/// Commits a number, and tells where it lies.
fn commit(engine: &Engine, number: u64) -> Result<Reference> {
    commit_to(engine, "it", number)
}

fn commit_to(engine: &Engine, name: &str, number: u64) -> Result<Reference> {
    let session = engine.session()?;
    let body = number.to_le_bytes().repeat(40);
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body],
    };
    let reference = session.store(&record, Hint::default())?;
    let change = Change {
        name: Name::new(name).unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait()?;
    Ok(reference)
}

fn fill(engine: &Engine, numbers: std::ops::Range<u64>) -> Vec<Reference> {
    numbers
        .map(|number| commit(engine, number).unwrap())
        .collect()
}

fn number_at(engine: &Engine, reference: &Reference) -> Result<u64> {
    let record = engine.read(reference.oid).wait()?;
    let record = record.unwrap_or_else(|| panic!("{reference:?} is called absent"));
    Ok(u64::from_le_bytes(record.body()[..8].try_into().unwrap()))
}

/// The number that was committed last.
fn newest(engine: &Engine) -> Result<Option<u64>> {
    let snapshot = engine.snapshot();
    let name = Name::new("it").unwrap();
    match snapshot.names().get(&name) {
        Some(reference) => number_at(engine, reference).map(Some),
        None => Ok(None),
    }
}

fn all_read(engine: &Engine, from: u64, references: &[Reference]) {
    for (number, reference) in (from..).zip(references) {
        assert_eq!(number_at(engine, reference).unwrap(), number);
    }
}

fn figure(status: &Status, name: &str) -> u64 {
    assert_eq!(status.kind, "cluster");
    let found = status.figures.iter().find(|(of, _)| *of == name);
    found
        .unwrap_or_else(|| panic!("there is no figure {name}"))
        .1
}

/// A figure of the cluster right below the engine.
fn told(engine: &Engine, name: &str) -> u64 {
    figure(&engine.status().below[0], name)
}
