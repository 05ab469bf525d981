//! The right rules, in settings small enough for every run of the tests.

use travertine_model::check::check;
use travertine_model::setting::Setting;

fn holds(setting: &Setting) {
    let outcome = check(setting);
    println!(
        "{setting}: {} states, depth {}",
        outcome.states, outcome.depth
    );
    for verdict in &outcome.verdicts {
        assert!(
            verdict.holds,
            "{}\n{}",
            verdict.property,
            verdict.run.join("\n")
        );
    }
}

#[test]
fn every_property_holds_in_every_small_setting() {
    for setting in Setting::small() {
        holds(&setting);
    }
}
