//! The matrix: the conformance kit on the plug-ins that come with Travertine, alone, in pairs, and as
//! the example stacks put them together; and the law above all on random stacks.
//!
//! `SEED=n` runs one seed of the law again, `TRAVERTINE_SEEDS=n` says how many there are.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made fails its test"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use travertine::standard;
use travertine_engine::conformance::kit::law::{self, Tally};
use travertine_engine::conformance::kit::{Between, Fixture, Jittered, Nothing, StackFixture};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::conformance::sim::{Class, Plan as DiskPlan};
use travertine_engine::conformance_suite;
use travertine_engine::stack::{Data, Layer, Over, Plan, Property, Spec, Table, Value};

/// The stack of these layers, by kind, on a simulated machine.
fn simulated(seed: u64, layers: &[&str]) -> StackFixture {
    let layers = layers.iter().enumerate().map(|(index, kind)| {
        let place = |layer: Layer| layer.with("path", format!("place-{index}").as_str());
        match *kind {
            "file" => place(Layer::new("file")).with("segment", "64 KiB"),
            "sequence, short" => Layer::new("sequence").with("segment", "64 KiB"),
            "file, copying" => place(Layer::new("file")).with("read", "pread"),
            // As small as may be, so that what is kept is let go again.
            "cache" => Layer::new("cache").with("memory", "64 KiB"),
            "sequence" => Layer::new("sequence").with("segment", "256 KiB"),
            "jitter" => Layer::new("jitter").with("seed", 7),
            "jitter, slow" => Layer::new("jitter").with("delay", "50 us"),
            "compress" => Layer::new("compress").with("least", "16 B"),
            "compress, hard" => Layer::new("compress").with("method", "zstd"),
            "encrypt" => encrypt(),
            // Held back all the time, but for the first moments.
            "monitor, slowing" => {
                let marks = Table::default().with("slow", "4 KiB");
                let moderate = Table::default().with("pause", "1 ms").with("dirty", marks);
                Layer::new("monitor").with("moderate", moderate)
            }
            kind => Layer::new(kind),
        }
    });
    let spec = Spec::linear(layers).for_tests();
    let disk = DiskPlan::draw(seed, Class::Crash);
    StackFixture::simulated(&spec, &standard(), seed, disk).unwrap()
}

/// Secrets are there on a simulated machine.
fn encrypt() -> Layer {
    let name = Value::plain(Data::Text("TRAVERTINE_KEY".to_owned()));
    let key = Table::default().with("env", name);
    Layer::new("encrypt").with("key", Value::plain(Data::Table(key)))
}

/// A stack in memory.
fn memory(layers: &[&str]) -> StackFixture {
    let layers = layers.iter().map(|kind| match *kind {
        "sequence, short" => Layer::new("sequence").with("segment", "64 KiB"),
        "jitter, slow" => Layer::new("jitter").with("delay", "50 us"),
        kind => Layer::new(kind),
    });
    memory_of(Spec::linear(layers).for_tests())
}

fn memory_of(spec: Spec) -> StackFixture {
    let plan = Plan::new(&spec.level("memory"), &standard(), Path::new("/nowhere")).unwrap();
    StackFixture::real(plan, ())
}

/// A log in a directory of its own, read as said.
fn reading(by: &str) -> StackFixture {
    let directory = tempfile::tempdir().unwrap();
    let layer = Layer::new("file").with("path", "log").with("read", by);
    let plan = Plan::new(&Spec::linear([layer]), &standard(), directory.path()).unwrap();
    StackFixture::real(plan, directory)
}

/// An example stack, on the file system, in a directory of its own.
fn example(text: &str) -> StackFixture {
    example_in(text, tempfile::tempdir().unwrap())
}

/// As [`example`], with the key that one would make.
fn sealed(text: &str) -> StackFixture {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    #[expect(clippy::disallowed_methods, reason = "a user makes the key")]
    std::fs::create_dir(&data)
        .and_then(|()| std::fs::write(data.join("sealed.key"), [0x9A; 32]))
        .unwrap();
    example_in(text, directory)
}

fn example_in(text: &str, directory: tempfile::TempDir) -> StackFixture {
    let file = travertine::config::StackFile::parse(
        "example.toml",
        text,
        directory.path(),
        &standard(),
        &travertine::config::Overrides::default(),
    )
    .unwrap();
    StackFixture::real(file.plan().clone(), directory)
}

conformance_suite!(memory_alone, memory(&["memory"]));
conformance_suite!(memory_under_monitor, memory(&["monitor", "memory"]));
conformance_suite!(file_alone, simulated(1, &["file"]));
conformance_suite!(file_by_copying, simulated(2, &["file, copying"]));
conformance_suite!(file_through_a_ring, reading("uring"));
conformance_suite!(file_under_monitor, simulated(3, &["monitor", "file"]));
conformance_suite!(
    file_under_two_monitors,
    simulated(4, &["monitor", "monitor", "file"])
);
conformance_suite!(
    file_under_a_monitor_that_slows,
    simulated(18, &["monitor, slowing", "file"])
);
conformance_suite!(
    file_under_monitor_with_jitter,
    Jittered::new(simulated(5, &["monitor", "file"]), 6)
);
conformance_suite!(cache_over_memory, memory(&["cache", "memory"]));
conformance_suite!(cache_over_file, simulated(8, &["cache", "file"]));
conformance_suite!(
    cache_over_file_by_copying,
    simulated(9, &["cache", "file, copying"])
);
conformance_suite!(cache_over_cache, simulated(10, &["cache", "cache", "file"]));
conformance_suite!(
    monitor_over_cache,
    simulated(11, &["monitor", "cache", "file"])
);
conformance_suite!(
    cache_over_monitor,
    simulated(12, &["cache", "monitor", "file"])
);
conformance_suite!(
    cache_over_sequence,
    simulated(13, &["cache", "sequence", "file"])
);
conformance_suite!(
    monitor_over_sequence,
    simulated(14, &["monitor", "sequence", "file"])
);
conformance_suite!(
    sequence_over_monitor,
    simulated(15, &["sequence", "monitor", "file"])
);
conformance_suite!(compress_over_file, simulated(18, &["compress", "file"]));
conformance_suite!(compress_over_memory, memory(&["compress", "memory"]));
conformance_suite!(encrypt_over_file, simulated(19, &["encrypt", "file"]));
conformance_suite!(
    codecs_over_cache_with_jitter,
    Jittered::new(
        simulated(20, &["compress, hard", "encrypt", "cache", "file"]),
        21
    )
);
conformance_suite!(
    codecs_over_sequence,
    simulated(22, &["compress", "encrypt", "monitor", "sequence", "file"])
);
conformance_suite!(
    example_sealed,
    sealed(include_str!("../examples/stacks/sealed.toml"))
);
conformance_suite!(sequence_over_memory, memory(&["sequence", "memory"]));
conformance_suite!(
    cache_over_sequence_with_jitter,
    Jittered::new(simulated(16, &["monitor", "cache", "sequence", "file"]), 17)
);
conformance_suite!(jitter_over_file, simulated(18, &["jitter", "file"]));
conformance_suite!(
    jitter_that_takes_time_over_file,
    simulated(19, &["jitter, slow", "file"])
);
conformance_suite!(
    jitter_over_memory_with_drivers,
    memory(&["jitter, slow", "memory"])
);
conformance_suite!(
    jitter_at_every_depth,
    simulated(
        20,
        &["jitter", "cache", "jitter", "sequence", "jitter", "file"]
    )
);
conformance_suite!(
    cache_over_jitter_with_drivers,
    memory(&["cache", "jitter, slow", "memory"])
);
conformance_suite!(fault_that_fails_nothing, simulated(21, &["fault", "file"]));
conformance_suite!(
    example_cached,
    example(include_str!("../examples/stacks/cached.toml"))
);
conformance_suite!(
    example_solo,
    example(include_str!("../examples/stacks/solo.toml"))
);
conformance_suite!(
    example_embedded,
    example(include_str!("../examples/stacks/embedded.toml"))
);
conformance_suite!(
    example_memory,
    example(include_str!("../examples/stacks/memory.toml"))
);
conformance_suite!(
    example_monitored,
    example(include_str!("../examples/stacks/monitored.toml"))
);

conformance_suite!(
    example_sequence,
    example(include_str!("../examples/stacks/sequence.toml"))
);

/// Several stacks under one `sequence`.
fn listed(segment: &str, stacks: Vec<Vec<Layer>>) -> Spec {
    Spec::linear([Layer::new("sequence").with("segment", segment).over(stacks)])
}

fn directory(name: &str) -> Layer {
    Layer::new("file")
        .with("path", name)
        .with("segment", "64 KiB")
}

/// A list on a simulated machine.
fn simulated_list(seed: u64, stacks: Vec<Vec<Layer>>) -> StackFixture {
    let disk = DiskPlan::draw(seed, Class::Crash);
    StackFixture::simulated(&listed("64 KiB", stacks), &standard(), seed, disk).unwrap()
}

conformance_suite!(
    example_disks,
    example(include_str!("../examples/stacks/disks.toml"))
);
conformance_suite!(
    sequence_over_file,
    simulated(8, &["sequence, short", "file"])
);
conformance_suite!(
    sequence_over_files_of_different_sizes,
    simulated_list(
        9,
        vec![
            vec![directory("a")],
            vec![
                Layer::new("file")
                    .with("path", "b")
                    .with("overwrite", "safe")
            ],
            vec![
                Layer::new("monitor"),
                directory("c").with("segment", "256 KiB")
            ],
            vec![directory("d").with("read", "pread").with("grow", "none")],
        ],
    )
);
conformance_suite!(
    sequence_over_a_list_with_jitter,
    Jittered::new(
        simulated_list(
            10,
            vec![
                vec![directory("a")],
                vec![directory("b")],
                vec![directory("c")]
            ]
        ),
        11
    )
);
conformance_suite!(
    sequence_over_memories,
    memory_of(listed(
        "64 KiB",
        vec![
            vec![Layer::new("memory").with("segment", "64 KiB")],
            vec![Layer::new("monitor"), Layer::new("memory")],
            vec![Layer::new("memory")],
        ],
    ))
);
conformance_suite!(sequence_over_memory_and_file, {
    let guard = tempfile::tempdir().unwrap();
    let spec = listed(
        "64 KiB",
        vec![vec![Layer::new("memory")], vec![directory("a")]],
    );
    let plan = Plan::new(&spec.level("memory"), &standard(), guard.path()).unwrap();
    StackFixture::real(plan, guard)
});

/// Every example on a simulated machine that crashes, against the model.
#[test]
fn every_example_stack_behaves_as_the_one_file_stack_through_crashes() {
    const SEEDS: u64 = 6;
    const STEPS: usize = 120;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    #[expect(
        clippy::disallowed_methods,
        reason = "the test looks at the repository"
    )]
    let files = std::fs::read_dir(directory).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "toml")) {
        let none = travertine::config::Overrides::none();
        let file = travertine::config::StackFile::load(&path, &standard(), &none).unwrap();
        let mut tally = Tally::default();
        for seed in 0..SEEDS {
            let disk = DiskPlan::draw(seed, Class::Crash);
            let fixture = StackFixture::simulated(file.spec(), &standard(), seed, disk).unwrap();
            let between: Arc<dyn Between> = Arc::new(Nothing);
            match law::run_on(seed, &fixture, &between, STEPS) {
                Ok(one) => tally += one,
                Err(wrong) => panic!("{}: {wrong}", path.display()),
            }
        }
        // What keeps nothing is never opened again.
        let lasts = file.plan().top().gives().properties.has(Property::Persists);
        let happened = tally.commits > 0 && (!lasts || tally.reopened > 0 && tally.crashes > 0);
        assert!(happened, "{}: {tally:?}", path.display());
    }
}

/// Several stacks under one `partition`.
fn partition(place: &str, stacks: Vec<Vec<Layer>>) -> Layer {
    Layer::new("partition").with("place", place).over(stacks)
}

fn simulated_spec(seed: u64, spec: &Spec) -> StackFixture {
    let disk = DiskPlan::draw(seed, Class::Crash);
    StackFixture::simulated(spec, &standard(), seed, disk).unwrap()
}

conformance_suite!(
    example_scale_up,
    example(include_str!("../examples/stacks/scale-up.toml"))
);
conformance_suite!(
    partition_over_memories,
    memory_of(Spec::linear([partition(
        "round-robin",
        vec![vec![Layer::new("memory")], vec![Layer::new("memory")]],
    )]))
);
conformance_suite!(
    partition_over_files,
    simulated_spec(
        21,
        &Spec::linear([partition(
            "tag",
            vec![
                vec![directory("a")],
                vec![directory("b").with("overwrite", "safe")],
                vec![Layer::new("monitor"), directory("c")],
                vec![Layer::new("cache"), directory("d").with("read", "pread")],
            ],
        )]),
    )
);
conformance_suite!(
    partition_of_sequences_with_jitter,
    Jittered::new(
        simulated_spec(
            22,
            &Spec::linear([
                Layer::new("monitor"),
                Layer::new("cache").with("memory", "64 KiB"),
                partition(
                    "size",
                    vec![
                        vec![directory("a")],
                        vec![
                            Layer::new("sequence").with("segment", "64 KiB"),
                            directory("b"),
                        ],
                        vec![Layer::new("sequence").with("segment", "64 KiB").over(vec![
                            vec![directory("c")],
                            vec![directory("d")],
                            vec![directory("e")],
                        ])],
                    ],
                ),
            ]),
        ),
        23
    )
);

/// A cluster of these stacks.
fn cluster(layer: Layer, stacks: Vec<Vec<Layer>>) -> Spec {
    Spec::linear([layer.over(stacks)])
}

fn simulated_cluster(seed: u64, layer: Layer, stacks: Vec<Vec<Layer>>) -> StackFixture {
    let disk = DiskPlan::draw(seed, Class::Crash);
    StackFixture::simulated(&cluster(layer, stacks), &standard(), seed, disk).unwrap()
}

fn three_directories() -> Vec<Vec<Layer>> {
    ["a", "b", "c"].map(|name| vec![directory(name)]).into()
}

fn three_memories() -> Vec<Vec<Layer>> {
    vec![vec![Layer::new("memory")]; 3]
}

conformance_suite!(
    example_replicated,
    example(include_str!("../examples/stacks/replicated.toml"))
);
conformance_suite!(
    example_durable_laptop,
    example(include_str!("../examples/stacks/durable-laptop.toml"))
);
conformance_suite!(
    cluster_over_memories,
    memory_of(cluster(Layer::new("cluster"), three_memories()))
);
conformance_suite!(
    cluster_over_files,
    simulated_cluster(18, Layer::new("cluster"), three_directories())
);
conformance_suite!(
    cluster_with_jitter,
    Jittered::new(
        simulated_cluster(19, Layer::new("cluster"), three_directories()),
        20
    )
);
conformance_suite!(
    cluster_of_all_that_must_agree,
    simulated_cluster(
        21,
        Layer::new("cluster")
            .with("ack", 2)
            .with("read", "verify")
            .with("verify", 2),
        vec![vec![directory("a")], vec![directory("b")]],
    )
);
conformance_suite!(
    cluster_over_different_stacks,
    simulated_cluster(
        22,
        Layer::new("cluster").with("read", "hedged"),
        vec![
            vec![Layer::new("cache"), directory("a")],
            vec![Layer::new("monitor"), directory("b").with("read", "pread")],
            vec![
                Layer::new("sequence").with("segment", "256 KiB"),
                directory("c")
            ],
        ],
    )
);

conformance_suite!(
    partition_of_clusters,
    simulated_spec(
        24,
        &Spec::linear([partition(
            "tag",
            vec![
                vec![directory("a")],
                vec![Layer::new("cluster").over(vec![vec![directory("b")], vec![directory("c")]])],
                vec![Layer::new("cluster").over(vec![vec![directory("d")], vec![directory("e")]])],
            ],
        )]),
    )
);

#[test]
fn every_example_stack_is_in_the_matrix() {
    const MATRIX: &str = include_str!("stacks.rs");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks");
    #[expect(
        clippy::disallowed_methods,
        reason = "the test looks at the repository"
    )]
    let missing: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // What the stacks themselves keep lies here too, once somebody used one.
        .filter(|name| name.ends_with(".toml"))
        .filter(|name| !MATRIX.contains(&format!("(include_str!(\"../examples/stacks/{name}\"))")))
        .collect();
    assert!(missing.is_empty(), "give a suite here to {missing:?}");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_random_legal_stack_behaves_as_the_one_file_stack() {
    const STEPS: usize = 150;
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(60),
    };
    let registry = standard();
    let single = seeds.end - seeds.start == 1;
    let mut tally = Tally::default();
    for seed in seeds {
        match law::run(seed, &registry, STEPS) {
            Ok(one) => tally += one,
            Err(wrong) => panic!("{wrong}\nagain: SEED={seed} cargo test --test stacks random"),
        }
    }
    println!("{tally:?}");
    // What never happened was not tested.
    let happened = [
        tally.commits,
        tally.refused,
        tally.reopened,
        tally.crashes,
        tally.reclaims[1],
    ];
    assert!(
        single || happened.iter().all(|count| *count > 0),
        "{tally:?}"
    );
}

/// A random legal stack with floors that fail calls, at least one.
fn faulty_stack(rng: &mut Rng) -> Spec {
    let registry = standard();
    loop {
        let mut spec = law::random_stack(rng, &registry).unwrap();
        let faults = faulty(rng, &mut spec.layers);
        if faults > 0 && Plan::new(&spec, &registry, Path::new("/nowhere")).is_ok() {
            return spec;
        }
    }
}

/// Gives some calls of some verbs of each `fault` a share that fails. Tells how many there are.
fn faulty(rng: &mut Rng, layers: &mut [Layer]) -> usize {
    const WAYS: [(&str, &str); 9] = [
        ("read", "unavailable"),
        ("read", "corrupt"),
        ("scan", "unavailable"),
        ("root", "unavailable"),
        ("store", "failed"),
        ("store", "full"),
        ("commit", "failed"),
        ("fence", "failed"),
        ("adopt", "failed"),
    ];
    let mut faults = 0;
    for layer in layers {
        for stack in layer.over.iter_mut().flat_map(|over| &mut over.value) {
            if let Over::Inline(layers) = stack {
                faults += faulty(rng, layers);
            }
        }
        if layer.uses.value != "fault" {
            continue;
        }
        faults += 1;
        *layer = Layer::new("fault").with("after", rng.below(40) as i64);
        for (verb, way) in WAYS {
            if rng.chance(1, 3) {
                let share = 0.01 * (1 + rng.below(8)) as f64;
                *layer = layer.clone().with(verb, Table::default().with(way, share));
            }
        }
    }
    faults
}

/// Faults may make an answer unknown. They never make it another one.
#[test]
fn a_stack_with_faults_answers_as_the_one_file_stack_or_not_at_all() {
    const STEPS: usize = 150;
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(60),
    };
    let single = seeds.end - seeds.start == 1;
    let mut tally = Tally::default();
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let spec = faulty_stack(&mut rng);
        let disk = DiskPlan::draw(rng.next_u64(), Class::Crash);
        let fixture = StackFixture::simulated(&spec, &standard(), rng.next_u64(), disk).unwrap();
        let nothing: Arc<dyn Between> = Arc::new(Nothing);
        match law::run_with_faults_on(seed, &fixture, &nothing, STEPS) {
            Ok(one) => tally += one,
            Err(wrong) => panic!("{wrong}\nagain: SEED={seed} cargo test --test stacks faults"),
        }
    }
    println!("{tally:?}");
    let happened = [tally.commits, tally.unknown, tally.reopened, tally.crashes];
    assert!(
        single || happened.iter().all(|count| *count > 0),
        "{tally:?}"
    );
}

/// What the law is tried on: over enough seeds, every floor at every legal place.
#[test]
fn random_stacks_put_every_floor_over_every_other_that_may_lie_below_it() {
    let registry = standard();
    let mut pairs = BTreeSet::new();
    for seed in 0..2_000 {
        let spec = law::random_stack(&mut Rng::new(seed), &registry).unwrap();
        let plan = Plan::new(&spec, &registry, Path::new("/nowhere")).unwrap();
        for (_, floor) in plan.top().walk() {
            for below in floor.below() {
                pairs.insert(format!("{} {}", floor.kind().name, below.kind().name));
            }
        }
    }
    let floors = [
        "cache",
        "cluster",
        "fault",
        "jitter",
        "monitor",
        "partition",
        "sequence",
    ];
    let all = ["compress", "encrypt"].iter().chain(&floors);
    let all = all.flat_map(|floor| {
        let below = floors.iter().chain(&["file", "memory"]);
        below.map(move |below| format!("{floor} {below}"))
    });
    let all = all.chain(["compress encrypt".to_owned()]);
    let missing: Vec<_> = all.filter(|pair| !pairs.contains(pair)).collect();
    let illegal = [
        "cluster cluster",
        "cluster partition",
        "partition partition",
        "sequence cache",
        "sequence cluster",
        "sequence partition",
        "sequence sequence",
    ];
    assert_eq!(missing, illegal);
}

#[test]
fn one_seed_is_one_run() {
    let registry = standard();
    for seed in 0..5 {
        let once = law::run(seed, &registry, 80).unwrap();
        assert_eq!(once, law::run(seed, &registry, 80).unwrap(), "SEED={seed}");
    }
}

#[test]
fn a_fixture_of_a_stack_promises_what_its_plan_gives() {
    let fixture = simulated(7, &["monitor", "file"]);
    let gives = fixture.plan().top().gives();
    let promises = fixture.promises();
    assert_eq!(
        (promises.level, promises.properties),
        (gives.level, gives.properties)
    );
    assert!(promises.kill && promises.power_cut);
}
