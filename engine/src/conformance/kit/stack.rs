//! A fixture from a stack's spec: any kinds, on simulated or real disks.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::between::Between;
use super::fixture::{Crash, Fixture, Promises};
use super::machine::Machine;
use crate::conformance::env::SimEnv;
use crate::conformance::sim::Plan as DiskPlan;
use crate::contract::{Env, Result, Store};
use crate::stack::{Floor, Opening, Plan, Probe, Property, Registry, Spec, SpecError};

/// A stack as its spec says, opened with the registry that knows its kinds.
pub struct StackFixture {
    plan: Plan,
    env: Env,
    machine: Option<Machine>,
    /// Something to keep while the stack is in use, such as a temporary directory.
    _guard: Option<Box<dyn Send + Sync>>,
}

impl StackFixture {
    /// On a simulated machine, decided by the seed. Errors: what is illegal about the spec.
    pub fn simulated(
        spec: &Spec,
        registry: &Registry,
        seed: u64,
        disk: DiskPlan,
    ) -> Result<Self, Vec<SpecError>> {
        let plan = Plan::new(spec, registry, Path::new("/simulated"))?;
        Ok(Self {
            plan,
            env: SimEnv::new(seed).env().clone(),
            machine: Some(Machine::new(seed, disk)),
            _guard: None,
        })
    }

    /// On the file system, in the real world. Relative paths of the plan were resolved when it was
    /// made; `guard` is kept as long as the fixture, so that a temporary directory stays.
    #[must_use]
    pub fn real(plan: Plan, guard: impl Send + Sync + 'static) -> Self {
        Self {
            plan,
            env: Env::system(),
            machine: None,
            _guard: Some(Box::new(guard)),
        }
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Fixture for StackFixture {
    fn env(&self) -> &Env {
        &self.env
    }

    fn promises(&self) -> Promises {
        let gives = self.plan.top().gives();
        let simulated = self.machine.is_some() && gives.properties.has(Property::Persists);
        let mut floors = self.plan.top().walk();
        Promises {
            level: gives.level,
            properties: gives.properties,
            kill: simulated,
            power_cut: simulated,
            // A kind that is there for tests may let callers wait.
            prompt: !floors.any(|(_, floor)| floor.kind().test_only),
            readers: gives.properties.has(Property::Persists),
        }
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        self.open_as(between, false)
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        self.open_as(between, true)
    }

    fn crash(&self, crash: Crash) {
        if let Some(machine) = &self.machine {
            machine.crash(crash);
        }
    }

    fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }
}

impl StackFixture {
    fn open_as(&self, between: &Arc<dyn Between>, read_only: bool) -> Result<Arc<dyn Store>> {
        let probe: Arc<dyn Probe> = Arc::new(Everywhere(between.clone()));
        let media = self.machine.clone();
        let opening = Opening {
            read_only,
            probes: vec![probe],
            media: media.map(|machine| Arc::new(machine) as _),
            ..Opening::default()
        };
        Ok(self.plan.open(&self.env, opening)?.store())
    }
}

impl fmt::Debug for StackFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the stack\n{}", self.plan)?;
        for (depth, floor) in self.plan.top().walk() {
            for setting in floor.settings() {
                if let Some(value) = &setting.value {
                    let name = &setting.name;
                    writeln!(f, "  {depth} {}.{name} = {value}", floor.title())?;
                }
            }
        }
        match &self.machine {
            Some(machine) => write!(f, "on {machine:?}"),
            None => f.write_str("on the file system"),
        }
    }
}

#[derive(Debug)]
struct Everywhere(Arc<dyn Between>);

impl Probe for Everywhere {
    fn wrap(&self, _floor: &Floor, store: Arc<dyn Store>) -> Arc<dyn Store> {
        self.0.put(store)
    }
}
