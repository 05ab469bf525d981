//! Stacks with a `sequence`, over memory and over simulated disks.

mod bounded;
mod crashes;
mod list;
mod missing;
mod reclaim;
mod status;
mod threads;
mod wrong;

use std::path::Path;
use std::sync::Arc;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::sim::{Plan as DiskPlan, SimDisk, SimMedium};
use travertine_engine::contract::{
    Env, Kind, Level, Name, NewRecord, Position, Reference, Result, Status, Store, Stream,
};
use travertine_engine::front::{Change, Engine, Expect, Hint, Options};
use travertine_engine::medium::Medium;
use travertine_engine::stack::{Layer, Media, Opening, Plan, Spec};

/// A stack on a simulated disk, opened as a program would open it.
#[derive(Debug)]
struct OnDisk {
    disk: SimDisk,
    plan: Plan,
    wrong: Option<wrong::Wrong>,
}

impl OnDisk {
    fn new(disk: SimDisk, spec: &Spec) -> Self {
        let plan = Plan::new(spec, &crate::standard(), Path::new("/")).unwrap();
        Self {
            disk,
            plan,
            wrong: None,
        }
    }

    /// On a disk without faults, with an environment of its own.
    fn calm(spec: &Spec) -> (Self, SimEnv) {
        let disk = SimDisk::new(1, DiskPlan::calm());
        (Self::new(disk, spec), SimEnv::new(1))
    }

    /// The same disk, under another stack.
    fn under(&self, spec: &Spec) -> Self {
        Self::new(self.disk.clone(), spec)
    }

    fn open_as(&self, env: &Env, read_only: bool) -> Result<Arc<dyn Store>> {
        let media = Places {
            medium: self.disk.medium(),
            wrong: self.wrong,
        };
        let opening = Opening {
            read_only,
            media: Some(Arc::new(media)),
            ..Opening::default()
        };
        Ok(self.plan.open(env, opening)?.store())
    }

    fn write(&self, env: &SimEnv) -> Result<Engine> {
        let options = Options {
            level: self.plan.level(),
            ..Options::default()
        };
        Engine::open(self.open_as(env.env(), false)?, env.env(), options)
    }

    fn read(&self, env: &SimEnv) -> Result<Engine> {
        Engine::open(
            self.open_as(env.env(), true)?,
            env.env(),
            Options::reading(),
        )
    }

    /// Everything on the disk, to see that nothing was changed.
    fn image(&self) -> Vec<(String, Vec<u8>)> {
        let files = self.disk.files().into_iter();
        let settled = files.filter(|(name, _)| !name.ends_with("lock"));
        settled
            .map(|(name, bytes)| (name, bytes.to_vec()))
            .collect()
    }
}

/// Directories of one simulated disk.
#[derive(Debug)]
struct Places {
    medium: SimMedium,
    wrong: Option<wrong::Wrong>,
}

impl Media for Places {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let names = place.components().skip(1);
        let medium = names.fold(self.medium.clone(), |medium, name| {
            medium.within(&name.as_os_str().to_string_lossy())
        });
        match self.wrong {
            Some(wrong) => Arc::new(wrong::WrongMedium::new(medium, wrong)),
            None => Arc::new(medium),
        }
    }
}

fn file(path: &str) -> Layer {
    Layer::new("file")
        .with("path", path)
        .with("segment", "64 KiB")
}

fn sequence(segment: &str) -> Layer {
    Layer::new("sequence").with("segment", segment)
}

#[test]
fn a_sequence_that_nobody_wrote_to_is_empty_and_lacks_no_part() {
    let disk = SimDisk::new(1, DiskPlan::calm());
    let spec = Spec::linear([sequence("64 KiB"), file("log")]);
    let on = OnDisk::new(disk, &spec);
    let env = SimEnv::new(1);
    // Opened for writing, then gone: the first part is there, and nothing is in it.
    drop(on.open_as(env.env(), false).unwrap());
    for read_only in [true, false] {
        let store = on.open_as(env.env(), read_only).unwrap();
        let found = store.scan(Stream(0), Position::START).wait().unwrap();
        assert!(found.batches.is_empty() && found.next.is_none());
    }
}

fn over_one() -> Spec {
    Spec::linear([sequence("64 KiB"), file("/data")])
}

/// A list of directories, under this `sequence`.
fn over_these(sequence: Layer, names: &[&str]) -> Spec {
    let stacks = names.iter().map(|name| vec![file(&format!("/{name}"))]);
    Spec::linear([sequence.over(stacks.collect())])
}

fn body(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|index| (number * 31 + index * 7) as u8)
        .collect()
}

/// Commits one record, and tells where it lies.
fn commit(engine: &Engine, number: u64, length: usize) -> Result<Reference> {
    let session = engine.session()?;
    let record = NewRecord {
        kind: Kind::BLOB,
        references: &[],
        body: &[&body(number, length)],
    };
    let reference = session.store(&record, Hint::default())?;
    let change = Change {
        name: Name::new("it").unwrap(),
        expect: Expect::Any,
        to: Some(reference),
    };
    session.commit(&[change], None).wait()?;
    Ok(reference)
}

/// Commits so many records of 4 KiB.
fn fill(engine: &Engine, numbers: std::ops::Range<u64>) -> Vec<Reference> {
    numbers
        .map(|number| commit(engine, number, 4096).unwrap())
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

/// A figure of the `sequence` floor, which stands right below the engine.
fn figure(engine: &Engine, name: &str) -> u64 {
    figure_of(&engine.status().below[0], name)
}

fn figure_of(status: &Status, name: &str) -> u64 {
    assert_eq!(status.kind, "sequence");
    let found = status.figures.iter().find(|(of, _)| *of == name);
    found.map_or(0, |(_, value)| *value)
}
