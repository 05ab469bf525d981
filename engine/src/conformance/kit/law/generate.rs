//! A random legal stack of the kinds that a registry knows.

use std::path::Path;

use crate::conformance::rng::Rng;
use crate::contract::Level;
use crate::stack::{
    Arity, ByteSize, Data, Layer, LevelRule, OptionRow, OptionType, Plan, PluginKind, Preset,
    Registry, Spec, Time, Value,
};

/// Most floors above the bottom.
const FLOORS_MAX: u64 = 4;
const TRIES: usize = 200;

/// A linear stack that [`Plan::new`] finds legal; `None` if chance found none, as with a registry that
/// has no bottom.
#[must_use]
pub fn random_stack(rng: &mut Rng, registry: &Registry) -> Option<Spec> {
    let of = |wanted: fn(Arity) -> bool| -> Vec<&PluginKind> {
        registry.kinds().filter(|kind| wanted(kind.arity)).collect()
    };
    let bottoms = of(|arity| arity == Arity::Bottom);
    let floors = of(|arity| arity == Arity::One);
    for _ in 0..TRIES {
        let bottom = *rng.pick(&bottoms)?;
        let mut layers = Vec::new();
        for _ in 0..rng.below(FLOORS_MAX + 1) {
            if let Some(kind) = rng.pick(&floors) {
                layers.push(layer(rng, kind, layers.len()));
            }
        }
        layers.push(layer(rng, bottom, layers.len()));
        let mut spec = Spec::linear(layers).for_tests();
        if let LevelRule::At(level) = bottom.declared.level
            && level < Level::Disk
        {
            spec = spec.level(&level.to_string());
        }
        if Plan::new(&spec, registry, Path::new("/simulated")).is_ok() {
            return Some(spec);
        }
    }
    None
}

fn layer(rng: &mut Rng, kind: &PluginKind, index: usize) -> Layer {
    let mut layer = Layer::new(kind.name);
    for row in kind.options {
        let must = matches!(row.preset, Preset::Required(_));
        if (must || rng.chance(1, 2))
            && let Some(value) = value(rng, row, index)
        {
            layer = layer.with(row.name, value);
        }
    }
    layer
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
        (OptionType::Flag, _) => Some(Value::plain(Data::Flag(rng.chance(1, 2)))),
        (OptionType::Choice { words }, _) => text((*rng.pick(words)?).to_owned()),
        (kind, Preset::Required(example)) => Some(kind.value_of(example)),
        _ => None,
    }
}
