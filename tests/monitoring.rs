//! The dashboard and the alert rules of `examples/monitoring` name nothing that /metrics does not have.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "desk/metrics.rs"]
mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use metrics::metrics;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Commit, Env, Epoch, Kind, Level, Name, NewRecord};
use travertine::front::{Change, Engine, Hint};
use travertine::stack::Stack;

/// All that a monitor can tell of: a cache, replicas, moderation, slow calls, and calls that fail.
const STACK: &str = r#"
level = "memory"
test = true

[[layer]]
use = "monitor"
serve = "127.0.0.1:0"
slow = "1 us"
moderate = { sync = { slow = "10 min" } }

[[layer]]
use = "cache"
name = "front"
memory = "64 KiB"

[[layer]]
use = "fault"
seed = 7
read = { unavailable = 1.0 }

[[layer]]
use = "cluster"
over = ["a", "b", "c"]

[[stack.a]]
use = "memory"
[[stack.b]]
use = "memory"
[[stack.c]]
use = "memory"
"#;

/// Labels that a scraper adds.
const ADDED: [&str; 2] = ["instance", "job"];

fn work(stack: &Stack, engine: &Engine) {
    let mut stored = Vec::new();
    for n in 0..300u32 {
        let session = engine.session().unwrap();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&n.to_le_bytes().repeat(2_000)],
        };
        let reference = session.store(&record, Hint::default()).unwrap();
        let change = Change::set(Name::new("it").unwrap(), reference);
        session.commit(&[change], None).wait().unwrap();
        stored.push(reference.oid);
    }
    // Reads fail below the cache, as the stack says; and nobody has this epoch.
    let store = stack.store();
    for oid in stored {
        let _ = store.read(oid).wait();
    }
    let stranger = Commit {
        sender: Epoch { number: 0, tag: 1 },
        level: Level::Memory,
        last: Vec::new(),
    };
    store.commit(stranger).wait().unwrap_err();
}

/// The names of all series, each with the labels that it was seen with.
fn series(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::<_, BTreeSet<_>>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = series.entry(name.to_owned()).or_default();
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in inside.iter().flat_map(|(inside, _)| inside.split(',')) {
            labels.insert(label.split_once('=').unwrap().0.to_owned());
        }
    }
    series
}

/// Checks that each name and each label of an expression is there.
fn check(expression: &str, series: &BTreeMap<String, BTreeSet<String>>) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut named = 0;
    let mut labels = BTreeSet::new();
    for (at, _) in expression.match_indices("travertine_") {
        let name = &expression[at..];
        let end = name.find(|c| !word(c)).unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        let known = series.get(name);
        let known = known.unwrap_or_else(|| panic!("no {name} in /metrics, but in {expression}"));
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for label in inside.iter().flat_map(|(inside, _)| inside.split(',')) {
            let label = label.split_once('=').unwrap().0;
            let found = known.contains(label) || ADDED.contains(&label);
            assert!(found, "{name} has no {label}: {expression}");
        }
        labels.extend(known.iter().map(String::as_str));
        named += 1;
    }
    for (at, _) in expression.match_indices("by (") {
        let by = expression[at + 4..].split_once(')').unwrap().0;
        for label in by.split(", ") {
            let found = labels.contains(label) || ADDED.contains(&label);
            assert!(found, "nothing has {label}: {expression}");
        }
    }
    let count = |bracket| expression.matches(bracket).count();
    assert_eq!(count('('), count(')'), "{expression}");
    named
}

fn read(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring");
    std::fs::read_to_string(file.join(name)).unwrap()
}

#[test]
fn every_metric_of_the_dashboard_and_of_the_rules_is_there() {
    let registry = travertine::standard();
    let file = StackFile::parse(
        "all.toml",
        STACK,
        Path::new(""),
        &registry,
        &Overrides::none(),
    );
    let (stack, engine) = file.unwrap().engine(&Env::system(), false).unwrap();
    work(&stack, &engine);
    let figures = stack.status().figures;
    let port = figures.iter().find(|(name, _)| *name == "port").unwrap().1;
    let series = series(&metrics(port));

    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let mut named = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let found = check(target["expr"].as_str().unwrap(), &series);
            assert!(found > 0, "{panel}");
            named += found;
        }
    }
    assert!(named > 20, "{named}");

    let rules = read("alerts.yml");
    let expressions: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert_eq!(rules.matches("- alert: ").count(), 3);
    assert_eq!(expressions.len(), 3);
    for expression in expressions {
        assert_eq!(check(expression, &series), 1, "{expression}");
    }
    engine.close().unwrap();
}
