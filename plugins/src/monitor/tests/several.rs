//! Moderation over several devices: a replica that lags, and which medium it is that fills up.

use std::path::Path;

use travertine_engine::conformance::sim::{Plan as Faults, SimDisk};
use travertine_engine::medium::Medium;
use travertine_engine::stack::{Media, Value};

use super::*;

/// A disk for each directory `disk-N`.
#[derive(Debug, Clone)]
struct Disks([SimDisk; 3]);

impl Media for Disks {
    fn medium(&self, place: &Path, _unit: u64) -> Arc<dyn Medium> {
        let name = place.file_name().unwrap().to_string_lossy();
        let number: usize = name.trim_start_matches("disk-").parse().unwrap();
        Arc::new(self.0[number].medium())
    }
}

struct House {
    env: SimEnv,
    disks: Disks,
    stack: Stack,
    engine: Engine,
}

impl House {
    /// A monitor with this mark, over a floor of this kind over three disks, of which the last is held
    /// by somebody else.
    fn new(
        kind: &str,
        rule: &str,
        mark: (&str, Value),
        held: Option<&dyn Medium>,
        disks: Disks,
    ) -> Self {
        let env = SimEnv::new(3);
        if let Some(held) = held {
            held.lock().unwrap();
        }
        let over = (0..3).map(|number| {
            let file = Layer::new("file");
            vec![
                file.with("path", format!("disk-{number}").as_str())
                    .with("segment", "64 KiB"),
            ]
        });
        let marks = Table::default().with(mark.0, mark.1);
        let moderate = Table::default().with(rule, marks).with("pause", "1 ms");
        let monitor = Layer::new("monitor").with("moderate", moderate);
        let layers = [monitor, Layer::new(kind).over(over.collect())];
        let plan = Plan::new(&Spec::linear(layers), &standard(), Path::new("/")).unwrap();
        let opening = Opening {
            media: Some(Arc::new(disks.clone())),
            ..Opening::default()
        };
        let stack = plan.open(env.env(), opening).unwrap();
        let engine = Engine::open(stack.store(), env.env(), Options::default()).unwrap();
        Self {
            env,
            disks,
            stack,
            engine,
        }
    }

    fn write(&self, length: usize) -> Result<()> {
        self.env.advance(Duration::from_millis(100));
        let session = self.engine.session()?;
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&vec![7; length]],
        };
        let stored = session.store(&record, Hint::default())?;
        let change = Change::set(Name::new("it")?, stored);
        session.commit(&[change], None).wait().map(drop)
    }

    fn figure(&self, name: &str) -> u64 {
        let figures = self.stack.status().figures;
        let found = figures.iter().find(|(of, _)| *of == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
            .1
    }
}

fn disks() -> Disks {
    Disks([1, 2, 3].map(|seed| SimDisk::new(seed, Faults::calm())))
}

/// A cluster of which a replica is away, after it was made by all.
fn without_one(mark: (&str, Value)) -> (House, Arc<dyn Medium>) {
    let disks = disks();
    let whole = House::new("cluster", "lag", mark.clone(), None, disks.clone());
    whole.write(100).unwrap();
    whole.engine.close().unwrap();
    drop(whole);
    let held: Arc<dyn Medium> = Arc::new(disks.0[2].medium());
    let house = House::new("cluster", "lag", mark, Some(&*held), disks);
    (house, held)
}

#[test]
fn a_replica_that_lags_slows_writers_until_it_has_caught_up() {
    let (house, held) = without_one(("slow", "256 KiB".into()));
    let mut written = 0;
    while house.figure("stage") == 0 {
        house.write(10_000).unwrap();
        written += 10_000;
        assert!(
            written < 4 << 20,
            "a replica lacks that much, and nobody is held back"
        );
    }
    assert!(written > 200_000, "{written}");
    assert!(house.figure("lag_bytes") >= 256 << 10);
    held.unlock();
    drop(held);
    for _ in 0..100 {
        house.env.advance(Duration::from_secs(1));
        house.write(100).unwrap();
        if house.figure("stage") == 0 {
            break;
        }
    }
    assert_eq!((house.figure("stage"), house.figure("lag_bytes")), (0, 0));
    house.engine.close().unwrap();
}

#[test]
fn a_replica_that_lags_far_behind_sheds_writers_and_says_so() {
    let (house, _held) = without_one(("shed", "256 KiB".into()));
    let error = (0..400).find_map(|_| house.write(10_000).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("a replica lacks"), "{error}");
    assert!(error.retry_after().is_some());
}

#[test]
fn of_several_disks_the_one_that_fills_up_is_named() {
    let house = House::new("partition", "fill", ("shed", 0.9.into()), None, disks());
    for _ in 0..6 {
        house.write(100).unwrap();
    }
    let [first, second, third] = &house.disks.0;
    first.set_capacity(Some(1 << 30));
    third.set_capacity(Some(1 << 30));
    second.set_capacity(Some(second.used() + 4096));
    let error = (0..100).find_map(|_| house.write(100).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.message().contains("`file` at 0.1"), "{error}");
}
