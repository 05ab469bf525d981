//! A floor of one's own, in one file: `throttle` lets writers through at so many bytes a second, so
//! that a bulk load leaves the device to those who read beside it.
//!
//! ```text
//!   [[layer]]
//!   use = "throttle"           cargo run --example plugin -- check examples/plugin.toml
//!   rate = "20 MiB"            cargo run --example plugin -- plugins
//!                              cargo test --example plugin
//! ```
//!
//! It promises that every batch goes down at once and as it is; what is over the rate is only
//! *answered* later, which is how a floor slows those above it. Reads are never slowed, and an answer
//! that is within the rate passes through without an allocation. It refuses nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use travertine::contract::{Batch, Commit, Env, Epoch, Level, Op, Result, Status, Store, Tail};
use travertine::forward;
use travertine::stack::{
    Arity, Below, ByteSize, Declared, Fault, OpenContext, OptionRow, OptionType, Plugin, PluginKind,
};

fn main() -> ExitCode {
    travertine::cli::main(travertine::standard().with::<Throttle>())
}

/// The config of a `throttle` layer.
#[derive(Debug, Deserialize)]
struct Throttle {
    rate: ByteSize,
    burst: ByteSize,
}

/// What both options may be.
const SIZE: OptionType = OptionType::Size {
    min: 1 << 20,
    max: 1 << 40,
};

impl Plugin for Throttle {
    const KIND: PluginKind = PluginKind {
        summary: "lets writers through at so many bytes a second",
        cost: "a reading of the clock for each batch; over the rate, the time that it takes",
        doc: "What is over the rate is stored at once and answered later. Reads are not slowed.",
        options: &[
            OptionRow::required("rate", SIZE, "20 MiB", "how much goes through in a second"),
            OptionRow::preset("burst", SIZE, "8 MiB", "how much may be ahead of the rate"),
        ],
        // Whatever the floors below guarantee holds above it too.
        declared: Declared::TRANSPARENT,
        ..PluginKind::new("throttle", Arity::One)
    };

    fn declare(&self, _declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        let Self { rate, burst } = self;
        Ok(vec![format!(
            "writers get {rate} a second, and {burst} at once after a rest"
        )])
    }

    fn open(&self, context: &OpenContext, below: Vec<Below>) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(ThrottleStore {
            below: Below::only(below)?.open()?,
            name: context.name.clone(),
            env: context.env.clone(),
            rate: self.rate.0,
            burst_ns: nanoseconds(self.burst.0, self.rate.0),
            paid_ns: AtomicU64::new(0),
            slowed: AtomicU64::new(0),
        }))
    }
}

/// How long so many bytes take at a rate.
fn nanoseconds(bytes: u64, rate: u64) -> u64 {
    let time = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(time).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct ThrottleStore {
    below: Arc<dyn Store>,
    name: Option<String>,
    env: Env,
    rate: u64,
    burst_ns: u64,
    /// When everything that went down so far would be through, had it kept to the rate.
    paid_ns: AtomicU64,
    slowed: AtomicU64,
}

impl ThrottleStore {
    /// The same answer, once its bytes are within the rate.
    fn slow<T: Send + 'static>(&self, bytes: usize, answer: Op<T>) -> Op<T> {
        let now = self.env.clock.monotonic_ns();
        let takes = nanoseconds(bytes as u64, self.rate);
        let pay = |paid: u64| paid.max(now).saturating_add(takes);
        let relaxed = Ordering::Relaxed;
        let next = |paid| Some(pay(paid));
        let (Ok(paid) | Err(paid)) = self.paid_ns.fetch_update(relaxed, relaxed, next);
        let until = pay(paid).saturating_sub(self.burst_ns);
        if until <= now {
            return answer;
        }
        self.slowed.fetch_add(1, relaxed);
        let env = self.env.clone();
        answer.then(move |value| {
            let clock = env.clock.clone();
            env.offload(move || {
                let left = until.saturating_sub(clock.monotonic_ns());
                clock.sleep(Duration::from_nanos(left));
                Ok(value)
            })
        })
    }
}

impl Store for ThrottleStore {
    // No verb has a default, so that no floor bypasses one by accident; these pass as they are.
    forward!(below: read root fence adopt scan reclaim close);

    fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
        let bytes = batch.bytes().len();
        self.slow(bytes, self.below.store(sender, batch))
    }

    fn commit(&self, commit: Commit) -> Op<Level> {
        let bytes = commit.last.iter().map(|batch| batch.bytes().len()).sum();
        self.slow(bytes, self.below.commit(commit))
    }

    fn status(&self) -> Status {
        let mut status = Status::over(self.below.status(), Throttle::KIND.name, self.name.clone());
        let slowed = self.slowed.load(Ordering::Relaxed);
        status.figures.push(("slowed_calls", slowed));
        status
    }
}

/// The conformance kit on stacks with a throttle in them, and what is to be said of it alone.
#[cfg(test)]
mod tests {
    use std::path::Path;

    use travertine::conformance::env::SimEnv;
    use travertine::conformance::kit::{Jittered, StackFixture, law};
    use travertine::conformance::sim::{Class, Plan as DiskPlan};
    use travertine::contract::{Kind, NewRecord};
    use travertine::front::{Engine, Hint, Options};
    use travertine::stack::{Layer, Opening, Plan, Registry, Spec};

    use super::Throttle;

    fn registry() -> Registry {
        travertine::standard().with::<Throttle>()
    }

    /// On a simulated disk, with crashes.
    fn over_a_file(seed: u64) -> StackFixture {
        let throttle = Layer::new("throttle").with("rate", "1 MiB");
        let spec = Spec::linear([throttle, Layer::new("file").with("path", "log")]);
        let disk = DiskPlan::draw(seed, Class::Crash);
        StackFixture::simulated(&spec, &registry(), seed, disk).unwrap()
    }

    travertine::conformance_suite!(throttle_over_a_file, over_a_file(1));
    travertine::conformance_suite!(throttle_with_jitter, Jittered::new(over_a_file(2), 3));

    #[test]
    fn random_stacks_with_a_throttle_behave_as_the_one_file_stack() {
        for seed in 0..12 {
            law::run(seed, &registry(), 80).unwrap();
        }
    }

    #[test]
    fn twenty_mebibytes_at_one_a_second_take_nineteen_seconds() {
        let throttle = Layer::new("throttle").with("rate", "1 MiB");
        let throttle = throttle.with("burst", "1 MiB");
        let spec = Spec::linear([throttle, Layer::new("memory")]).level("memory");
        let plan = Plan::new(&spec, &registry(), Path::new("/nowhere")).unwrap();
        let sim = SimEnv::new(1);
        let stack = plan.open(sim.env(), Opening::default()).unwrap();
        let options = Options {
            level: plan.level(),
            ..Options::default()
        };
        let engine = Engine::open(stack.store(), sim.env(), options).unwrap();
        let began = sim.env().clock.monotonic_ns();
        for _ in 0..20 {
            let session = engine.session().unwrap();
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&[7; 1 << 20]],
            };
            session.store(&record, Hint::default()).unwrap();
            session.commit(&[], None).wait().unwrap();
        }
        let took = sim.env().clock.monotonic_ns() - began;
        assert!((19_000_000_000..19_200_000_000).contains(&took), "{took}");
        engine.close().unwrap();
    }
}
