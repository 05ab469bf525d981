//! A random legal stack of the kinds that a registry knows.

use std::path::Path;

use crate::conformance::rng::Rng;
use crate::contract::Level;
use crate::stack::{
    Arity, ByteSize, Data, Layer, LevelRule, OptionRow, OptionType, Plan, PluginKind, Preset,
    Registry, Secret, Spec, Table, Time, Value,
};

/// Most floors above a bottom.
const FLOORS_MAX: u64 = 4;
/// Most stacks that a floor over many is put over.
const OVER_MAX: u64 = 3;
const TRIES: usize = 200;

/// A stack that [`Plan::new`] finds legal, of any kinds; `None` if chance found none, as with a
/// registry that has no bottom.
#[must_use]
pub fn random_stack(rng: &mut Rng, registry: &Registry) -> Option<Spec> {
    let of = |wanted: fn(Arity) -> bool| -> Vec<&PluginKind> {
        let here = registry.kinds().filter(|kind| !kind.elsewhere);
        here.filter(|kind| wanted(kind.arity)).collect()
    };
    let kinds = Kinds {
        bottoms: of(|arity| arity == Arity::Bottom),
        floors: of(|arity| arity != Arity::Bottom),
    };
    for _ in 0..TRIES {
        let mut drawn = Drawn {
            layers: 0,
            level: Level::Disk,
        };
        let layers = tower(rng, &kinds, &mut drawn, FLOORS_MAX)?;
        let mut spec = Spec::linear(layers).for_tests();
        if drawn.level < Level::Disk {
            spec = spec.level(&drawn.level.to_string());
        }
        if Plan::new(&spec, registry, Path::new("/simulated")).is_ok() {
            return Some(spec);
        }
    }
    None
}

struct Kinds<'a> {
    bottoms: Vec<&'a PluginKind>,
    floors: Vec<&'a PluginKind>,
}

/// What was drawn so far.
struct Drawn {
    layers: usize,
    /// The least that a bottom reaches.
    level: Level,
}

/// Layers from a top to a bottom, or to a floor over several towers.
fn tower(
    rng: &mut Rng,
    kinds: &Kinds<'_>,
    drawn: &mut Drawn,
    floors_max: u64,
) -> Option<Vec<Layer>> {
    let mut layers = Vec::new();
    for left in (0..rng.below(floors_max + 1)).rev() {
        let Some(kind) = rng.pick(&kinds.floors) else {
            break;
        };
        let layer = layer(rng, kind, drawn);
        let several = match kind.arity {
            Arity::Many { min, max } if min > 1 || (max > 1 && rng.chance(1, 2)) => {
                let most = (max as u64).min(OVER_MAX).max(min as u64);
                (min as u64).max(2) + rng.below(most.saturating_sub(1).max(1))
            }
            _ => 0,
        };
        if several > 0 {
            let towers = (0..several.min(OVER_MAX)).map(|_| tower(rng, kinds, drawn, left.min(1)));
            layers.push(layer.over(towers.collect::<Option<Vec<_>>>()?));
            return Some(layers);
        }
        layers.push(layer);
    }
    let bottom = *rng.pick(&kinds.bottoms)?;
    if let LevelRule::At(level) = bottom.declared.level {
        drawn.level = drawn.level.min(level);
    }
    layers.push(layer(rng, bottom, drawn));
    Some(layers)
}

fn layer(rng: &mut Rng, kind: &PluginKind, drawn: &mut Drawn) -> Layer {
    drawn.layers += 1;
    let mut layer = Layer::new(kind.name);
    for (name, value) in options(rng, kind.options, drawn.layers) {
        layer = layer.with(name, value);
    }
    layer
}

/// Values for some of these options, and for all that must be there.
fn options(rng: &mut Rng, rows: &[OptionRow], index: usize) -> Vec<(&'static str, Value)> {
    let mut given = Vec::new();
    for row in rows.iter().filter(|row| !row.refuses) {
        let must = matches!(row.preset, Preset::Required(_));
        if (must || rng.chance(1, 2))
            && let Some(value) = value(rng, row, index)
        {
            given.push((row.name, value));
        }
    }
    given
}

/// A value of an option, near its least: small segments and budgets are where stacks differ.
fn value(rng: &mut Rng, row: &OptionRow, index: usize) -> Option<Value> {
    let text = |text: String| Some(Value::plain(Data::Text(text)));
    match (row.kind, row.preset) {
        (OptionType::Place, Preset::Required(_)) => text(format!("place-{index}")),
        (OptionType::Size { min, max }, _) => {
            let size = min.max(1).saturating_mul(1 << rng.below(5)).min(max);
            text(ByteSize(size).to_string())
        }
        (OptionType::Time { min, max }, _) => {
            let time = min.max(1).saturating_mul(1 << rng.below(8)).min(max);
            text(Time(std::time::Duration::from_nanos(time)).to_string())
        }
        (OptionType::Integer { min, max }, _) => {
            let spread = max.saturating_sub(min).clamp(0, 20) as u64;
            let number = min.saturating_add(rng.below(spread + 1) as i64);
            Some(Value::plain(Data::Integer(number)))
        }
        // Any secret is there on a simulated machine.
        (OptionType::Table { rows }, _) if rows == Secret::ROWS => {
            let name = Value::plain(Data::Text(format!("SECRET_{index}")));
            Some(Value::plain(Data::Table(
                Table::default().with("env", name),
            )))
        }
        (OptionType::Table { rows }, _) => {
            let given = options(rng, rows, index);
            let table = given
                .into_iter()
                .fold(Table::default(), |table, (name, value)| {
                    table.with(name, value)
                });
            Some(Value::plain(Data::Table(table)))
        }
        (OptionType::Flag, _) => Some(Value::plain(Data::Flag(rng.chance(1, 2)))),
        (OptionType::Choice { words }, _) => text((*rng.pick(words)?).to_owned()),
        (kind, Preset::Required(example)) => Some(kind.value_of(example)),
        _ => None,
    }
}
