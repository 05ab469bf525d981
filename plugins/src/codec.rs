//! The floor that holds a codec: it tells the engine of it, and passes every verb on.
//!
//! The engine runs codecs, see [`codec`](travertine_engine::contract::codec): here, bodies are stored
//! ones already, and stay so.

use std::sync::Arc;

use travertine_engine::contract::{Codecs, Status, Store};
use travertine_engine::forward;
use travertine_engine::stack::TreeRule;

use crate::compress::Packing;
use crate::encrypt::Sealing;

#[derive(Debug)]
pub(crate) struct CodecStore {
    pub(crate) below: Arc<dyn Store>,
    pub(crate) kind: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) codec: Codec,
}

#[derive(Debug)]
pub(crate) enum Codec {
    Compress(Arc<Packing>),
    Encrypt(Arc<Sealing>),
}

/// Codecs stand above everything else, each once, in the order in which the engine runs them.
pub(crate) const fn only_under(kinds: &'static [&'static str]) -> TreeRule {
    TreeRule::OnlyUnder {
        kinds,
        why: "the engine runs codecs before anything else",
        instead: "put `compress` first and `encrypt` next, and everything else below them",
    }
}

impl Store for CodecStore {
    forward!(below: store read commit root fence adopt scan reclaim close);

    fn status(&self) -> Status {
        let below = Status::over(self.below.status(), self.kind, self.name.clone());
        let codecs = below.codecs.clone();
        let (codecs, figures): (Codecs, _) = match &self.codec {
            Codec::Compress(packing) => (codecs.packing(packing.clone()), packing.figures()),
            Codec::Encrypt(sealing) => (codecs.sealing(sealing.clone()), sealing.figures()),
        };
        Status {
            codecs,
            figures,
            ..below
        }
    }
}

/// What the tests of both codecs do to a stack on a simulated disk.
#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;
    use std::sync::Arc;

    use travertine_engine::conformance::env::SimEnv;
    use travertine_engine::conformance::kit::{Between, Nothing};
    use travertine_engine::conformance::sim::{Plan as DiskPlan, SimDisk, SimMedium};
    use travertine_engine::contract::codec::Way;
    use travertine_engine::contract::{
        BatchBuilder, End, Epoch, Kind, Name, NewRecord, Oid, Position, Record, Reference, Result,
        Store, Stream,
    };
    use travertine_engine::front::{Change, Engine, Hint, Options};
    use travertine_engine::medium::Medium;
    use travertine_engine::stack::{Floor, Layer, Media, Opening, Plan, Probe, Secret, Spec};

    use crate::standard;

    /// A disk, and what every secret reads as.
    pub(crate) struct On {
        pub(crate) disk: SimDisk,
        pub(crate) env: SimEnv,
        pub(crate) secret: String,
        between: Arc<dyn Between>,
    }

    #[derive(Debug)]
    struct Places(SimMedium, String);

    #[derive(Debug)]
    struct Everywhere(Arc<dyn Between>);

    impl Probe for Everywhere {
        fn wrap(&self, _floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
            self.0.put(store)
        }
    }

    impl Media for Places {
        fn medium(&self, _place: &Path, _unit: u64) -> Arc<dyn Medium> {
            Arc::new(self.0.clone())
        }

        fn secret(&self, _secret: &Secret) -> Option<Vec<u8>> {
            Some(self.1.clone().into_bytes())
        }
    }

    impl On {
        pub(crate) fn new() -> Self {
            Self::watched(Arc::new(Nothing))
        }

        /// With this at every boundary.
        pub(crate) fn watched(between: Arc<dyn Between>) -> Self {
            Self {
                disk: SimDisk::new(1, DiskPlan::calm()),
                env: SimEnv::new(1),
                secret: "5a".repeat(32),
                between,
            }
        }

        /// An engine on these layers over a log.
        pub(crate) fn open(&self, layers: &[Layer], read_only: bool) -> Result<Engine> {
            let file = Layer::new("file").with("path", "log");
            let spec = Spec::linear(layers.iter().cloned().chain([file]));
            let plan = Plan::new(&spec, &standard(), Path::new("/")).unwrap();
            let opening = Opening {
                read_only,
                media: Some(Arc::new(Places(self.disk.medium(), self.secret.clone()))),
                probes: vec![Arc::new(Everywhere(self.between.clone()))],
                ..Opening::default()
            };
            let options = Options {
                read_only,
                // What was sent is read from below.
                recent_max: 0,
                ..Options::default()
            };
            let store = plan.open(self.env.env(), opening)?.store();
            Engine::open(store, self.env.env(), options)
        }

        /// Stores a body and commits it under a name.
        pub(crate) fn put(engine: &Engine, name: &str, body: &[u8]) -> Reference {
            let session = engine.session().unwrap();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[body],
            };
            let reference = session.store(&record, Hint::default()).unwrap();
            let change = Change::set(Name::new(name).unwrap(), reference);
            session.commit(&[change], None).wait().unwrap();
            reference
        }

        /// The record of a name.
        pub(crate) fn get(engine: &Engine, name: &str) -> Result<Record> {
            let snapshot = engine.snapshot();
            let reference = snapshot.root(&Name::new(name).unwrap()).unwrap();
            snapshot.read(&reference).wait()
        }

        /// Whether these bytes lie anywhere on the disk.
        pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
            let mut files = self.disk.files().into_iter();
            files.any(|(_, file)| file.windows(bytes.len()).any(|window| window == bytes))
        }
    }

    /// A record as it would be stored this way, and where.
    pub(crate) fn stored(body: &[u8], way: &Way<'_>) -> (Oid, Record) {
        let before = End {
            position: Position::START,
            running: 0,
        };
        let epoch = Epoch { number: 3, tag: 77 };
        let mut batch = BatchBuilder::new(Stream(0), Position::START, before, epoch, 0);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[body],
        };
        let oid = batch.push_through(&record, way).unwrap().oid;
        (oid, batch.read(oid).unwrap().unwrap())
    }
}
