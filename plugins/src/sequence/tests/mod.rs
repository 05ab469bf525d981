//! Stacks with a `sequence`, over memory and over simulated disks.

mod crashes;
mod wrong;

use std::path::Path;
use std::sync::Arc;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::sim::{Plan as DiskPlan, SimDisk, SimMedium};
use travertine_engine::contract::{Env, Position, Result, Store, Stream};
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
