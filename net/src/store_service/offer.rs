//! What is offered: how to open it, and what it guarantees.

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{Env, Level, Result, Store, Stream};
use travertine_engine::medium::memory::MemoryMedium;
use travertine_engine::stack::{Beside, Floor, Gives, Opening, Plan, Properties, Property, Shelf};

/// What a client wants made: a store of this identity, for the batches of this stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) identity: Option<[u8; 16]>,
    pub(super) stream: Stream,
}

type Open = Box<dyn Fn(Wanted) -> Result<Arc<dyn Store>> + Send + Sync>;

/// A stack to be served.
pub struct Offer {
    pub(super) open: Open,
    pub(super) gives: Gives,
    /// What it does not give, and which layer is to blame.
    pub(super) lacks: Vec<(Property, String)>,
    /// Where notes lie beside it.
    pub(super) shelves: Vec<Arc<dyn Shelf>>,
    /// Whether a store is made there only when a client wants one.
    pub(super) waits: bool,
}

impl Offer {
    /// The stack of a plan. It is opened, and opened anew when another writer takes over. Where nothing
    /// lies yet, a store is made when the first client wants to write, with the identity that it expects.
    #[must_use]
    pub fn of_plan(plan: Plan, env: Env, opening: Opening) -> Self {
        let gives = *plan.top().gives();
        let lacks = Property::ALL.into_iter();
        let lacks = lacks.filter(|property| !gives.properties.has(*property));
        Self {
            lacks: lacks
                .map(|property| (property, blame(plan.top(), property)))
                .collect(),
            gives,
            shelves: plan.shelves(&env, &opening),
            waits: !opening.read_only,
            open: Box::new(move |wanted| {
                let mut opening = opening.clone();
                opening.identity = opening.identity.or(wanted.identity);
                opening.stream = wanted.stream;
                Ok(plan.open(&env, opening)?.store())
            }),
        }
    }

    /// Something that is no stack of a plan. `open` is called again when another writer takes over, after
    /// what it opened before was closed. Notes beside it lie in memory, unless they are given a place.
    #[must_use]
    pub fn new(
        level: Level,
        properties: Properties,
        open: impl Fn() -> Result<Arc<dyn Store>> + Send + Sync + 'static,
    ) -> Self {
        let lacks = Properties::ALL.without(properties);
        Self {
            open: Box::new(move |_| open()),
            shelves: vec![Arc::new(Beside(Arc::new(MemoryMedium::new())))],
            waits: false,
            gives: Gives { level, properties },
            lacks: lacks
                .iter()
                .map(|it| (it, "what is served".to_owned()))
                .collect(),
        }
    }

    /// The same, with notes beside it here.
    #[must_use]
    pub fn notes(mut self, shelf: Arc<dyn Shelf>) -> Self {
        self.shelves = vec![shelf];
        self
    }

    /// Whether there is no store yet, and it is made when a client wants one.
    pub(super) fn is_bare(&self) -> Result<bool> {
        if !self.waits || self.shelves.is_empty() {
            return Ok(false);
        }
        for shelf in &self.shelves {
            if !shelf.is_bare()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({:?})", self.gives)
    }
}

/// The floor that lacks or drops a property.
fn blame(top: &Floor, property: Property) -> String {
    let mut culprit = top;
    let lacks = |floor: &&Arc<Floor>| !floor.gives().properties.has(property);
    while let Some(below) = culprit.below().iter().find(lacks) {
        culprit = below;
    }
    culprit.title().to_owned()
}
