//! What is offered: how to open it, and what it guarantees.

use std::fmt;
use std::sync::Arc;

use travertine_engine::contract::{Env, Level, Result, Store};
use travertine_engine::stack::{Floor, Gives, Opening, Plan, Properties, Property};

type Open = Box<dyn Fn() -> Result<Arc<dyn Store>> + Send + Sync>;

/// A stack to be served.
pub struct Offer {
    pub(super) open: Open,
    pub(super) gives: Gives,
    /// What it does not give, and which layer is to blame.
    pub(super) lacks: Vec<(Property, String)>,
}

impl Offer {
    /// The stack of a plan. It is opened, and opened anew when another writer takes over.
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
            open: Box::new(move || Ok(plan.open(&env, opening.clone())?.store())),
        }
    }

    /// Something that is no stack of a plan. `open` is called again when another writer takes over, after
    /// what it opened before was closed.
    #[must_use]
    pub fn new(
        level: Level,
        properties: Properties,
        open: impl Fn() -> Result<Arc<dyn Store>> + Send + Sync + 'static,
    ) -> Self {
        let lacks = Properties::ALL.without(properties);
        Self {
            open: Box::new(open),
            gives: Gives { level, properties },
            lacks: lacks
                .iter()
                .map(|it| (it, "what is served".to_owned()))
                .collect(),
        }
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
