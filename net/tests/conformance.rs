//! The conformance kit on stacks that go on in a server on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

mod rig;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rig::{Served, plan_of, remote};
use travertine_engine::conformance::kit::law::{self, Tally};
use travertine_engine::conformance::kit::{
    Between, Crash, Fixture, Machine, Nothing, Promises, StackFixture,
};
use travertine_engine::conformance_suite;
use travertine_engine::contract::{Env, Level, Result, Store};
use travertine_engine::stack::{Layer, Opening, Plan, Probe, Spec};

/// A stack over servers, each of which serves a stack of a fixture of its own.
#[derive(Debug)]
struct Over {
    /// What is served.
    served: Vec<Arc<StackFixture>>,
    servers: Mutex<Vec<Served>>,
    /// The client's stack, over servers at these addresses.
    stack: fn(&[SocketAddr]) -> Spec,
    env: Env,
    /// Where the client's stack stands.
    home: tempfile::TempDir,
}

impl Over {
    fn new(served: Vec<StackFixture>, stack: fn(&[SocketAddr]) -> Spec) -> Self {
        Self {
            served: served.into_iter().map(Arc::new).collect(),
            servers: Mutex::default(),
            stack,
            env: Env::system(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn plan(&self) -> Plan {
        let servers = self.servers.lock().unwrap();
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let spec = (self.stack)(&addresses);
        drop(servers);
        let level = self.served[0].promises().level.to_string();
        plan_of(spec.level(level.as_str()), self.home.path())
    }

    /// Servers are begun once, and stay.
    fn serve(&self) -> Result<()> {
        let mut servers = self.servers.lock().unwrap();
        for fixture in self.served.iter().skip(servers.len()) {
            servers.push(Served::plan(fixture.plan().clone(), fixture.env())?);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Everywhere(Arc<dyn Between>);

impl Probe for Everywhere {
    fn wrap(
        &self,
        _floor: &travertine_engine::stack::Floor,
        store: Arc<dyn Store>,
    ) -> Arc<dyn Store> {
        self.0.put(store)
    }
}

impl Fixture for Over {
    fn env(&self) -> &Env {
        &self.env
    }

    fn promises(&self) -> Promises {
        let below = self.served[0].promises();
        // What it promises does not hang on where the servers are.
        let nowhere = vec![SocketAddr::from(([127, 0, 0, 1], 1)); self.served.len()];
        let spec = (self.stack)(&nowhere).level(&below.level.to_string());
        let plan = plan_of(spec, self.home.path());
        Promises {
            level: below.level.min(Level::Disk),
            properties: plan.top().gives().properties,
            kill: below.kill,
            power_cut: below.power_cut,
            prompt: below.prompt,
            readers: true,
        }
    }

    fn open(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        self.open_as(between, false)
    }

    fn read(&self, between: &Arc<dyn Between>) -> Result<Arc<dyn Store>> {
        self.open_as(between, true)
    }

    fn crash(&self, crash: Crash) {
        // Whoever served is gone with the machine.
        self.servers.lock().unwrap().clear();
        for fixture in &self.served {
            fixture.crash(crash);
        }
    }

    fn machine(&self) -> Option<&Machine> {
        None
    }
}

impl Over {
    fn open_as(&self, between: &Arc<dyn Between>, read_only: bool) -> Result<Arc<dyn Store>> {
        self.serve()?;
        let opening = Opening {
            read_only,
            probes: vec![Arc::new(Everywhere(between.clone()))],
            ..Opening::default()
        };
        Ok(self.plan().open(&self.env, opening)?.store())
    }
}

fn spec_of(layers: impl IntoIterator<Item = Layer>) -> Spec {
    Spec::linear(layers)
}

/// What a log in memory is expected to give.
fn fleeting(address: SocketAddr) -> Layer {
    remote(address)
        .with("level", "memory")
        .with("expects", "fences, proves absence, one stream")
}

fn memory() -> StackFixture {
    StackFixture::real(rig::memory(), ())
}

fn file() -> StackFixture {
    let directory = tempfile::tempdir().unwrap();
    StackFixture::real(rig::file(directory.path()), directory)
}

mod over_memory {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![memory()], |at| spec_of([fleeting(at[0])]))
    );
}

mod over_a_file {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![file()], |at| spec_of([remote(at[0])]))
    );
}

mod cache_over_a_file {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![file()], |at| spec_of([
            Layer::new("cache").with("memory", "64 KiB"),
            remote(at[0])
        ]))
    );
}

mod cluster_over_files {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![file(), file(), file()], |at| {
            let children = at.iter().map(|at| vec![remote(*at)]).collect();
            spec_of([Layer::new("cluster").over(children)])
        })
    );
}

fn parted(at: &[SocketAddr]) -> Layer {
    let children = at.iter().map(|at| vec![remote(*at)]).collect();
    Layer::new("partition")
        .with("place", "round-robin")
        .over(children)
}

mod partition_over_files {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![file(), file()], |at| spec_of([parted(at)]))
    );
}

mod cache_over_partition_over_files {
    use super::*;

    conformance_suite!(
        suite,
        Over::new(vec![file(), file(), file()], |at| {
            spec_of([Layer::new("cache").with("memory", "64 KiB"), parted(at)])
        })
    );
}

/// Shards of two servers each.
fn clusters() -> Over {
    Over::new(vec![file(), file(), file(), file()], |at| {
        let cluster = |at: &[SocketAddr]| {
            let children = at.iter().map(|at| vec![remote(*at)]).collect();
            vec![Layer::new("cluster").over(children)]
        };
        let shards = at.chunks(2).map(cluster).collect();
        let partition = Layer::new("partition").with("place", "round-robin");
        spec_of([partition.over(shards)])
    })
}

mod partition_over_clusters {
    use super::*;

    conformance_suite!(suite, clusters());
}

/// The law above all, over servers; and whoever reads beside the writer, or after it, is shown the same.
#[test]
fn stacks_over_servers_behave_as_the_one_file_stack() {
    const STEPS: usize = 150;
    let between: Arc<dyn Between> = Arc::new(Nothing);
    let mut tally = Tally::default();
    for seed in 0..4 {
        let shards = |count| {
            Over::new((0..count).map(|_| file()).collect(), |at| {
                spec_of([parted(at)])
            })
        };
        for fixture in [shards(2), shards(3), clusters()] {
            match law::run_on(seed, &fixture, &between, STEPS) {
                Ok(one) => tally += one,
                Err(wrong) => panic!("{wrong}"),
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.looks > 10 && tally.reopened > 10, "{tally:?}");
}

mod a_served_partition {
    use super::*;

    fn parts() -> StackFixture {
        let directory = tempfile::tempdir().unwrap();
        let part = |name: &str| vec![Layer::new("file").with("path", name)];
        let partition = Layer::new("partition").with("place", "round-robin");
        let spec = spec_of([partition.over(vec![part("a"), part("b")])]);
        StackFixture::real(plan_of(spec, directory.path()), directory)
    }

    conformance_suite!(
        suite,
        Over::new(vec![parts()], |at| spec_of([
            remote(at[0]).with("expects", "persists, fences, proves absence")
        ]))
    );
}
