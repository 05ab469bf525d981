//! What a changed stack may mean, and what the table of kinds says.

use super::*;

fn changes(old: &Spec, new: &Spec) -> Vec<(bool, String)> {
    let changes = plan(new).unwrap().changes_from(&plan(old).unwrap());
    let told = changes
        .iter()
        .map(|change| (change.is_safe(), change.what.clone()));
    told.collect()
}

fn splitting(paths: &[&str]) -> Layer {
    let stacks = paths.iter().map(|path| vec![bottom(path)]);
    Layer::new("split").over(stacks.collect())
}

#[test]
fn the_same_stack_has_not_changed() {
    let spec = Spec::linear([Layer::new("pass"), Layer::new("roll"), bottom("a")]);
    assert_eq!(changes(&spec, &spec), []);
    // By other words, and in the same place.
    let again = Spec::linear([
        Layer::new("pass"),
        Layer::new("roll"),
        bottom("./b/../a").with("segment", "65536 KiB"),
    ]);
    assert_eq!(changes(&spec, &again), []);
}

#[test]
fn floors_that_leave_no_trace_come_and_go() {
    let old = Spec::linear([Layer::new("pass"), Layer::new("roll"), bottom("a")]);
    let new = Spec::linear([
        Layer::new("roll"),
        Layer::new("pass"),
        bottom("a").with("grow", "none"),
    ]);
    assert_eq!(
        changes(&old, &new),
        [
            (true, "`pass` was taken away".to_owned()),
            (true, "`pass` was added".to_owned()),
            (
                true,
                "`grow` of `disk` is \"none\", and was \"adaptive\"".to_owned()
            ),
        ]
    );
}

#[test]
fn what_the_bytes_depend_on_stays() {
    let old = Spec::linear([Layer::new("roll"), bottom("a")]);
    for (new, said) in [
        (
            Spec::linear([bottom("a")]),
            "`disk` stands where `roll` stood",
        ),
        (
            Spec::linear([Layer::new("roll"), bottom("b")]),
            "`path` of `disk` is \"b\", and was \"a\"",
        ),
        (
            Spec::linear([Layer::new("roll"), bottom("a").with("segment", "1 MiB")]),
            "`segment` of `disk` is \"1 MiB\", and was \"64 MiB\"",
        ),
    ] {
        assert_eq!(changes(&old, &new), [(false, said.to_owned())]);
    }
}

#[test]
fn a_list_of_fixed_length_stays_as_it_is() {
    let old = Spec::linear([splitting(&["a", "b"])]);
    for (paths, said) in [
        (
            &["b", "a"][..],
            "the stacks under `split` stand in another order",
        ),
        (&["a", "b", "c"], "`split` has one stack more, `disk`"),
    ] {
        let new = Spec::linear([splitting(paths)]);
        assert_eq!(changes(&old, &new), [(false, said.to_owned())]);
        assert!(changes(&new, &old).iter().any(|(safe, _)| !safe));
    }
}

#[test]
fn what_is_kept_in_memory_is_never_a_change_of_what_is_on_disk() {
    let ram = Spec::linear([Layer::new("ram")]).level("memory");
    let disk = Spec::linear([bottom("a")]);
    assert_eq!(changes(&ram, &ram), []);
    assert!(changes(&ram, &disk).iter().all(|(safe, _)| *safe));
    assert!(changes(&disk, &ram).iter().any(|(safe, _)| !safe));
}

#[test]
fn the_table_says_of_every_pair_and_triple_what_building_it_says() {
    let registry = registry();
    let matrix = Matrix::of(&registry);
    let linear = |name: &&str| !["split", "both"].contains(name);
    let names = matrix.kinds().iter().map(|kind| kind.name);
    let names: Vec<_> = names.filter(linear).collect();
    let layer = |name: &str| match name {
        "disk" => bottom("a"),
        name => Layer::new(name),
    };
    for above in &names {
        for between in &names {
            for below in &names {
                let chain = match *below {
                    "disk" | "ram" => vec![*above, *between, *below],
                    below => vec![*above, *between, below, "disk"],
                };
                let layers = chain.iter().map(|name| layer(name));
                let spec = Spec::linear(layers).for_tests().level("memory");
                let legal = plan(&spec).is_ok();
                assert_eq!(matrix.allows(&chain), legal, "{chain:?}\n{matrix}");
            }
        }
    }
    assert!(matches!(matrix.cell("roll", "roll"), Some(Cell::Never(_))));
    assert!(matches!(
        matrix.cell("split", "split"),
        Some(Cell::Never(_))
    ));
    assert!(matches!(
        matrix.cell("pass", "forget"),
        Some(Cell::Never(_))
    ));
    assert_eq!(matrix.cell("pass", "roll"), Some(&Cell::Yes));
    assert_eq!(matrix.cell("disk", "pass"), None);
}

#[test]
fn a_stack_is_thinner_by_each_layer_that_another_follows() {
    let spec = Spec::linear([Layer::new("pass"), splitting(&["a", "b"])]);
    let titles = |spec: &Spec| {
        let thinner = spec.thinner();
        let titles = thinner.iter().map(|(layer, left)| {
            assert_eq!(left.all_layers().count() + 1, spec.all_layers().count());
            layer.uses.value.clone()
        });
        titles.collect::<Vec<_>>()
    };
    assert_eq!(titles(&spec), ["pass"]);
    let spec = Spec::linear([Layer::new("split").over(vec![
        vec![Layer::new("roll"), bottom("a")],
        vec![Layer::new("pass"), Layer::new("roll"), bottom("b")],
    ])]);
    assert_eq!(titles(&spec), ["roll", "pass", "roll"]);
    assert_eq!(titles(&Spec::linear([bottom("a")])), [""; 0]);
}
