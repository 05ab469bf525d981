//! Stacks made in code, over kinds that exist for these tests only.

mod changes;
mod kinds;
mod legal;
mod opening;
mod values;

use std::path::Path;

use super::*;
use kinds::registry;

fn plan(spec: &Spec) -> Result<Plan, Vec<SpecError>> {
    Plan::new(spec, &registry(), Path::new("/base"))
}

/// Every error as its message, in order.
fn faults(spec: &Spec) -> Vec<String> {
    match plan(spec) {
        Ok(plan) => panic!("this stack is legal:\n{plan}"),
        Err(errors) => errors.into_iter().map(|error| error.message).collect(),
    }
}

fn bottom(path: &str) -> Layer {
    Layer::new("disk").with("path", path)
}
