//! Changing a stack: random pairs of stacks, each change proved safe and working, or refused with a true
//! reason.
//!
//! A store is written through the first stack of a pair and closed. Where every difference is found safe,
//! the second stack must read everything back, write on, and read that. Where one is refused, the second
//! stack must really not find what was written; nothing that lies on disk changes by trying, and the
//! first stack still reads everything. So a refusal that is only cautious fails as well as a promise that
//! does not hold.
//!
//! `SEED=n` runs one pair again, `TRAVERTINE_SEEDS=n` says how many there are.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use travertine::contract::{Env, Name, Result};
use travertine::front::{Engine, Options};
use travertine::interfaces::{Btree, CursorExt, Map};
use travertine::stack::{
    Arity, Change, Data, Layer, Opening, Over, Plan, PluginKind, Property, Registry, Spec, Table,
    Value,
};
use travertine_engine::conformance::kit::law::random_stack;
use travertine_engine::conformance::rng::Rng;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A random legal stack without kinds that are there for tests.
fn draw(rng: &mut Rng, registry: &Registry) -> Spec {
    loop {
        let mut spec = random_stack(rng, registry).unwrap();
        let test = |layer: &str| registry.kind(layer).is_none_or(|kind| kind.test_only);
        if !spec.all_layers().any(|layer| test(&layer.uses.value)) {
            secrets_in_files(&mut spec.layers);
            return spec;
        }
    }
}

/// Secrets of a random stack are variables; here they are files of the same names, in the directory above
/// that of the stack.
fn secrets_in_files(layers: &mut [Layer]) {
    for layer in layers {
        let key = layer.options.get("key").and_then(|key| match &key.data {
            Data::Table(table) => table.get("env")?.as_text().map(str::to_owned),
            _ => None,
        });
        if let Some(name) = key {
            let file = Table::default().with("file", format!("../{name}"));
            *layer = layer.clone().with("key", Value::plain(Data::Table(file)));
        }
        for over in layer.over.iter_mut().flat_map(|over| &mut over.value) {
            if let Over::Inline(layers) = over {
                secrets_in_files(layers);
            }
        }
    }
}

/// A key for each name that a random stack may draw.
fn write_secrets(directory: &Path) {
    for n in 0..100 {
        std::fs::write(directory.join(format!("SECRET_{n}")), format!("{n:064x}\n")).unwrap();
    }
}

/// A list of layers somewhere in the tree.
fn somewhere<'a>(rng: &mut Rng, layers: &'a mut Vec<Layer>) -> &'a mut Vec<Layer> {
    let deeper = layers.last().is_some_and(|layer| layer.over.is_some());
    if !deeper || rng.chance(1, 3) {
        return layers;
    }
    let over = layers
        .last_mut()
        .and_then(|layer| layer.over.as_mut())
        .unwrap();
    let index = rng.below(over.value.len() as u64) as usize;
    match &mut over.value[index] {
        Over::Inline(layers) => somewhere(rng, layers),
        Over::Named(name) => panic!("a random stack names {}", name.value),
    }
}

fn at(rng: &mut Rng, length: usize) -> usize {
    rng.below(length as u64) as usize
}

/// One change, legal or not.
fn change(rng: &mut Rng, spec: &mut Spec, other: &Spec, registry: &Registry) {
    let what = rng.below(9);
    if what == 0 {
        *spec = other.clone();
        return;
    }
    let list = somewhere(rng, &mut spec.layers);
    if list.is_empty() {
        return;
    }
    let index = at(rng, list.len());
    match what {
        // Floors come and go.
        1 | 2 => {
            let from: Vec<_> = other
                .all_layers()
                .filter(|layer| layer.over.is_none())
                .collect();
            let one = |kind: &&PluginKind| kind.arity != Arity::Bottom && !kind.test_only;
            let kinds: Vec<_> = registry.kinds().filter(one).collect();
            let kind = rng.pick(&kinds).unwrap().name;
            let found = from.into_iter().find(|layer| layer.uses.value == kind);
            list.insert(index, found.cloned().unwrap_or_else(|| Layer::new(kind)));
        }
        3 => {
            list.remove(index);
        }
        // Options change.
        4 | 5 => {
            let kind = list[index].uses.value.clone();
            let same = other.all_layers().find(|layer| layer.uses.value == kind);
            let path = list[index].options.get("path").cloned();
            let mut options = same.map_or_else(Default::default, |layer| layer.options.clone());
            if let Some(path) = path {
                options = options.with("path", path);
            }
            list[index].options = options;
        }
        // Places change.
        6 => {
            if list[index].options.get("path").is_some() {
                list[index] = list[index].clone().with("path", "elsewhere");
            }
        }
        // Lists change.
        _ => {
            let Some(over) = list.last_mut().and_then(|layer| layer.over.as_mut()) else {
                return;
            };
            let length = over.value.len();
            if length == 0 {
                return;
            }
            match rng.below(4) {
                0 | 1 => {
                    let layer = Layer::new("file").with("path", "one-more");
                    over.value.push(Over::Inline(vec![layer]));
                }
                2 => {
                    over.value.remove(at(rng, length));
                }
                _ => {
                    over.value.swap(0, length - 1);
                }
            }
        }
    }
}

/// Two legal stacks, the second often much like the first.
fn pair(seed: u64, registry: &Registry) -> (Spec, Spec) {
    let mut rng = Rng::new(seed);
    let old = draw(&mut rng, registry);
    loop {
        let other = draw(&mut rng, registry);
        let mut new = old.clone();
        for _ in 0..1 + rng.below(2) {
            change(&mut rng, &mut new, &other, registry);
        }
        if new != old && Plan::new(&new, registry, Path::new("/nowhere")).is_ok() {
            return (old, new);
        }
    }
}

fn map() -> Map<Btree> {
    Map::new(Name::new("rows").unwrap(), Btree::default())
}

fn with<T>(plan: &Plan, work: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
    let env = Env::system();
    let stack = plan.open(&env, Opening::default())?;
    let options = Options {
        level: plan.level(),
        ..Options::default()
    };
    let engine = Engine::open(stack.store(), &env, options)?;
    let done = work(&engine);
    let closed = engine.close();
    let done = done?;
    closed?;
    Ok(done)
}

/// Some commits, one with values that lie apart.
fn write(plan: &Plan, rng: &mut Rng, rows: &mut Rows) -> Result<()> {
    with(plan, |engine| {
        for commit in 0..3 {
            let session = engine.session()?;
            let map = map();
            let mut writer = map.writer(&session);
            for _ in 0..20 {
                let key = format!("row-{:04}", rng.below(500)).into_bytes();
                let length = if commit == 2 { 9_000 } else { 900 };
                let value = vec![rng.below(256) as u8; length + rng.below(100) as usize];
                writer.put(&key, &value)?;
                rows.insert(key, value);
            }
            writer.commit(None)?.wait()?;
        }
        Ok(())
    })
}

fn read(plan: &Plan) -> Result<Rows> {
    with(plan, |engine| {
        let reader = map().reader(&engine.snapshot()).wait()?;
        let mut rows = Rows::new();
        let mut cursor = reader.cursor();
        while let Some(entry) = cursor.next()? {
            let value = reader.value(entry.value).wait()?;
            rows.insert(entry.key.to_vec(), value.to_vec());
        }
        Ok(rows)
    })
}

/// Every file below a directory with its bytes, the locks left out.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[derive(Debug, Default)]
struct Tally {
    unchanged: u64,
    safe: u64,
    refused: u64,
    /// Of these, how many were refused on opening as well; the others begin another store.
    by_opening: u64,
}

fn try_pair(seed: u64, registry: &Registry, tally: &mut Tally) {
    let (old, new) = pair(seed, registry);
    let ground = tempfile::tempdir().unwrap();
    write_secrets(ground.path());
    let directory = ground.path().join("stack");
    std::fs::create_dir(&directory).unwrap();
    let plan = |spec: &Spec| Plan::new(spec, registry, &directory).unwrap();
    let (old, new) = (plan(&old), plan(&new));
    let changes = new.changes_from(&old);
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let scene = format!("SEED={seed}\nold\n{old}new\n{new}{}\n", told.join("\n"));
    let mut rng = Rng::new(seed);
    let mut rows = Rows::new();
    write(&old, &mut rng, &mut rows).unwrap_or_else(|error| panic!("{scene}{error}"));
    let lasts = old.top().gives().properties.has(Property::Persists);
    if changes.iter().all(Change::is_safe) {
        if changes.is_empty() {
            tally.unchanged += 1;
        } else {
            tally.safe += 1;
        }
        if !lasts {
            rows.clear();
        }
        let found = read(&new).unwrap_or_else(|error| panic!("{scene}{error}"));
        assert!(
            found == rows,
            "{scene}{} of {} rows",
            found.len(),
            rows.len()
        );
        if new.top().gives().properties.has(Property::Persists) {
            write(&new, &mut rng, &mut rows).unwrap_or_else(|error| panic!("{scene}{error}"));
            let found = read(&new).unwrap_or_else(|error| panic!("{scene}{error}"));
            assert!(
                found == rows,
                "{scene}{} of {} rows",
                found.len(),
                rows.len()
            );
        }
        return;
    }
    tally.refused += 1;
    let before = files(&directory);
    match read(&new) {
        Err(_) => tally.by_opening += 1,
        Ok(found) => assert!(found != rows, "{scene}refused, and everything is there"),
    }
    let after = files(&directory);
    for (path, bytes) in &before {
        assert!(
            after.get(path) == Some(bytes),
            "{scene}{} changed",
            path.display()
        );
    }
    if lasts {
        let found = read(&old).unwrap_or_else(|error| panic!("{scene}{error}"));
        assert!(
            found == rows,
            "{scene}the old stack reads {} rows",
            found.len()
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_random_change_is_safe_and_works_or_is_refused_with_a_true_reason() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAVERTINE_SEEDS").unwrap_or(200),
    };
    let single = seeds.end - seeds.start == 1;
    let registry = travertine::standard();
    let mut tally = Tally::default();
    for seed in seeds {
        try_pair(seed, &registry, &mut tally);
    }
    println!("{tally:?}");
    let Tally {
        safe,
        refused,
        by_opening,
        ..
    } = tally;
    assert!(
        single || [safe, refused, by_opening].iter().all(|count| *count > 0),
        "{tally:?}"
    );
}
