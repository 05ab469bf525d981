//! The kit on what the engine itself brings: the model, and the log on every medium.

use super::*;
use crate::conformance::model::ModelOptions;
use crate::conformance::sim::{Class, Plan};
use crate::log::LogOptions;

fn small() -> LogOptions {
    LogOptions {
        segment: 64 << 10,
        window: 80 << 20,
        ..LogOptions::default()
    }
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn simulated(seed: u64, options: LogOptions) -> LogFixture {
    LogFixture::simulated(seed, Plan::draw(seed, Class::Crash), options)
}

crate::conformance_suite!(model, ModelFixture::default());
crate::conformance_suite!(
    model_of_small_units,
    ModelFixture::new(ModelOptions {
        unit: 8,
        ..ModelOptions::default()
    })
);
crate::conformance_suite!(jittered_model, Jittered::new(ModelFixture::default(), 1));
crate::conformance_suite!(memory, LogFixture::memory(LogOptions::default()));
crate::conformance_suite!(memory_in_small_segments, LogFixture::memory(small()));
crate::conformance_suite!(
    file,
    LogFixture::directory(temporary(), LogOptions::default())
);
crate::conformance_suite!(
    file_in_small_segments,
    LogFixture::directory(temporary(), small())
);
crate::conformance_suite!(
    calm_sim,
    LogFixture::simulated(1, Plan::calm(), LogOptions::default())
);
crate::conformance_suite!(sim, simulated(2, LogOptions::default()));
crate::conformance_suite!(sim_in_small_segments, simulated(3, small()));
crate::conformance_suite!(jittered_sim, Jittered::new(simulated(4, small()), 5));
