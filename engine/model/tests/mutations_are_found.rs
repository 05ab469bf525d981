//! Each planted mistake has a counter-example: a checker that misses one proves nothing.

use travertine_model::check::check;
use travertine_model::mutations::Mutation;

#[test]
fn every_planted_mistake_is_found_by_its_property() {
    let missed: Vec<Mutation> = Mutation::ALL
        .into_iter()
        .filter(|mutation| {
            !check(&mutation.setting())
                .violated()
                .contains(&mutation.found_by())
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn without_the_mistake_the_same_setting_is_clean() {
    // Those with three takeovers are large; the command explores them with the right rules.
    let mut seen = Vec::new();
    for mut setting in Mutation::ALL.map(Mutation::setting) {
        setting.mutation = None;
        let told = setting.to_string();
        if setting.takes == 3 || seen.contains(&told) {
            continue;
        }
        assert_eq!(check(&setting).violated(), Vec::<&str>::new(), "{told}");
        seen.push(told);
    }
}

#[test]
fn the_counter_example_of_an_early_acknowledgement_has_it_after_the_takeover() {
    let outcome = check(&Mutation::AckBeforeQuorum.setting());
    let wanted = Mutation::AckBeforeQuorum.found_by();
    let verdict = outcome
        .verdicts
        .iter()
        .find(|verdict| verdict.property == wanted)
        .unwrap();
    let at = |what: &str| verdict.run.iter().position(|step| step.starts_with(what));
    let (chosen, counted) = (at("y chooses"), at("x counts a quorum"));
    assert!(chosen.is_some() && counted > chosen, "{:?}", verdict.run);
}
