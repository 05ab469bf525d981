//! What is legal, what is not, and who is blamed.

use super::*;
use crate::contract::Level;

#[test]
fn a_legal_stack_prints_its_floors_with_what_each_gives() {
    let spec = Spec::linear([
        Layer::new("pass").named("front"),
        Layer::new("roll"),
        bottom("data/a"),
    ]);
    assert_eq!(
        plan(&spec).unwrap().to_string(),
        "pass \"front\": disk; persists, fences, proves absence, one stream, notes\n\
         └─ roll: disk; persists, fences, proves absence, one stream, notes\n   \
            └─ disk: disk; persists, fences, proves absence, one stream, parts, notes\n"
    );
}

#[test]
fn all_errors_come_at_once() {
    let spec = Spec::linear([
        Layer::new("pass").with("raito", 0.5),
        Layer::new("pass").with("ratio", 1.5),
        Layer::new("rol"),
        Layer::new("disk")
            .with("segment", "lots")
            .with("grow", "adaptiv"),
    ]);
    let mut faults = faults(&spec);
    faults.sort();
    assert_eq!(
        faults,
        [
            "`grow` of the `disk` layer: `adaptiv` is none of its words",
            "`ratio` of the `pass` layer: 1.5 is out of bounds",
            "`segment` of the `disk` layer: `lots` is not a size",
            "the `disk` layer needs `path`: where the bytes lie",
            "the `pass` layer has no option `raito`",
            "there is no plug-in called `rol`",
        ]
    );
}

#[test]
fn a_missing_property_is_blamed_on_the_floor_that_drops_it() {
    let spec = Spec::linear([
        Layer::new("roll"),
        Layer::new("pass"),
        Layer::new("split").over(vec![vec![bottom("a")], vec![bottom("b")]]),
    ]);
    assert_eq!(
        faults(&spec),
        ["`roll` requires that all batches lie in one order (`one stream`), which `split` drops"]
    );
    let spec = Spec::linear([Layer::new("pass"), Layer::new("forget"), bottom("a")]);
    let errors = plan(&spec).unwrap_err();
    assert_eq!(
        errors[0].message,
        "the engine requires that a writer of an older epoch is refused (`fences`), which `forget` drops"
    );
    assert_eq!(
        errors[0].help.as_deref(),
        Some("take that floor out, or use one that gives it: `disk` or `ram`")
    );
}

#[test]
fn a_level_that_the_stack_cannot_reach_is_blamed_on_its_bottom() {
    let spec = Spec::linear([Layer::new("pass"), Layer::new("ram")]);
    let errors = plan(&spec).unwrap_err();
    assert_eq!(
        errors[0].message,
        "commits of this stack are to reach `disk`, and `ram` reaches `memory` at most"
    );
    assert_eq!(
        errors[0].help.as_deref(),
        Some(
            "write level = \"memory\" at the top of the stack file if that is enough, or end it with `disk`"
        )
    );
    let plan = plan(&spec.level("memory")).unwrap();
    assert_eq!(plan.level(), Level::Memory);
}

#[test]
fn the_tree_has_its_rules() {
    let over = |below: Vec<Vec<Layer>>| Layer::new("split").over(below);
    for (spec, wrong) in [
        (Spec::default(), "this stack has no layers"),
        (
            Spec::linear([Layer::new("")]),
            "a layer does not say what it uses",
        ),
        (
            Spec::linear([Layer::new("pass")]),
            "there is nothing below `pass`, and it keeps no bytes itself",
        ),
        (
            Spec::linear([bottom("a"), Layer::new("pass"), bottom("b")]),
            "nothing can lie below `disk`: bytes come to rest there",
        ),
        (
            Spec::linear([Layer::new("roll"), Layer::new("roll"), bottom("a")]),
            "`roll` cannot stand over `roll`: one alone does the same",
        ),
        (
            Spec::linear([Layer::new("split"), bottom("a")]),
            "`split` needs `over`: the stacks below it",
        ),
        (
            Spec::linear([over(vec![vec![bottom("a")]])]),
            "`split` stands over 2 to 4, and `over` lists 1",
        ),
        (
            Spec::linear([over(vec![vec![bottom("a")], vec![bottom("./x/../a")]])]),
            "two layers own \"./x/../a\"",
        ),
        (
            Spec::linear([over(vec![vec![bottom("a")], vec![bottom("a/b")]])]),
            "\"a/b\" and \"a\" lie one inside the other",
        ),
        (
            Spec::linear([Layer::new("hiccup"), bottom("a")]),
            "`hiccup` is there for tests only",
        ),
        (
            Spec::linear([over(vec![
                vec![bottom("a")],
                vec![
                    Layer::new("pass"),
                    over(vec![vec![bottom("b")], vec![bottom("c")]]),
                ],
            ])]),
            "`split` cannot stand over `split`: streams are split once",
        ),
        (
            Spec::linear([
                Layer::new("pass"),
                Layer::new("pass").with("flush", Table::default().with("age", "5 ms")),
                bottom("a"),
            ]),
            "`flush.age` is only for the topmost `pass`, and this one lies under `pass`",
        ),
        (
            Spec::linear([bottom("a").with("segment", "1 GiB").with("grow", "none")]),
            "`segment` of the `disk` layer: too long for a file that does not grow",
        ),
    ] {
        assert_eq!(faults(&spec), [wrong]);
    }
    let legal = Spec::linear([Layer::new("hiccup"), bottom("a")]).for_tests();
    plan(&legal).unwrap();
}

#[test]
fn sub_stacks_are_found_by_name_and_only_once_inside_each_other() {
    let named = |name: &str| Over::Named(Spanned::new(name.to_owned(), Span::default()));
    let over = |names: &[&str]| Layer {
        over: Some(Spanned::new(
            names.iter().copied().map(named).collect(),
            Span::default(),
        )),
        ..Layer::new("split")
    };
    let stack = |name: &str, layers: Vec<Layer>| SubStack {
        name: Spanned::new(name.to_owned(), Span::default()),
        layers,
    };
    let mut spec = Spec::linear([over(&["left", "right"])]);
    spec.stacks = vec![
        stack("left", vec![bottom("a")]),
        stack("right", vec![Layer::new("pass"), bottom("b")]),
    ];
    assert_eq!(plan(&spec).unwrap().top().walk().count(), 4);

    spec.stacks[1] = stack("rihgt", vec![bottom("b")]);
    assert_eq!(
        faults(&spec),
        [
            "stack `rihgt` is not used",
            "there is no stack called `right`"
        ]
    );
    spec.stacks[1] = stack("right", vec![bottom("b")]);
    spec.layers = vec![over(&["left", "right", "left"])];
    assert_eq!(faults(&spec), ["stack `left` is listed twice"]);
    spec.layers = vec![over(&["left", "right"])];
    spec.stacks[1] = stack("right", vec![over(&["left", "right"])]);
    assert!(faults(&spec).contains(&"stack `right` contains itself: right -> right".to_owned()));
}

#[test]
fn depth_and_number_of_floors_are_bounded() {
    let deep = vec![Layer::new("pass"); DEPTH_MAX];
    let spec = Spec::linear(deep.into_iter().chain([bottom("a")]));
    assert_eq!(faults(&spec), ["this stack is more than 16 floors deep"]);

    let spec = Spec::linear(vec![Layer::new("pass"); LAYERS_MAX + 1]);
    assert_eq!(faults(&spec), ["this stack has more than 64 layers"]);

    // Two below each of two, and so on: few layers, but 127 floors.
    let named = |name: String| Over::Named(Spanned::new(name, Span::default()));
    let over = |level: u32| Layer {
        over: Some(Spanned::new(
            vec![
                named(format!("s{}", level + 1)),
                named(format!("t{}", level + 1)),
            ],
            Span::default(),
        )),
        ..Layer::new("both")
    };
    let mut spec = Spec::linear([over(0)]);
    for level in 1..=6 {
        let last = level == 6;
        for side in ["s", "t"] {
            spec.stacks.push(SubStack {
                name: Spanned::new(format!("{side}{level}"), Span::default()),
                layers: vec![if last { Layer::new("ram") } else { over(level) }],
            });
        }
    }
    assert_eq!(
        faults(&spec.level("memory")),
        ["this stack has more than 64 layers"]
    );
}

#[test]
fn an_override_finds_its_layer_by_name_before_kind() {
    let key = |path: &str| Spanned::new(path.to_owned(), Span::default());
    let mut spec = Spec::linear([
        Layer::new("pass").named("front"),
        Layer::new("pass"),
        bottom("a"),
    ]);
    let ambiguous = spec.set(&key("pass.ratio"), 0.5.into()).unwrap_err();
    assert!(ambiguous.message.contains("2 layers use `pass`"));
    spec.set(&key("front.flush.bytes"), "1 MiB".into()).unwrap();
    spec.set(&key("disk.segment"), "2 MiB".into()).unwrap();
    assert_eq!(plan(&spec).unwrap().flush().bytes, Some(1 << 20));
    let missing = spec.set(&key("dsik.segment"), "2 MiB".into()).unwrap_err();
    assert_eq!(missing.help.as_deref(), Some("did you mean `disk`?"));
    spec.set(&key("disk.over"), "a".into()).unwrap_err();
    spec.set(&key("nothing"), "a".into()).unwrap_err();
    spec.set(&key("level"), "os".into()).unwrap();
    assert_eq!(plan(&spec).unwrap().level(), Level::Os);
}

#[test]
fn the_fingerprint_holds_what_the_bytes_depend_on_and_nothing_else() {
    let of = |spec: &Spec| plan(spec).unwrap().fingerprint().text().to_owned();
    let plain = of(&Spec::linear([bottom("a")]));
    assert_eq!(plain, "disk{segment=67108864}");
    let tuned = bottom("b")
        .with("grow", "none")
        .with("segment", "65536 KiB");
    assert_eq!(of(&Spec::linear([Layer::new("pass"), tuned])), plain);
    assert_eq!(
        of(&Spec::linear([Layer::new("roll"), bottom("a")])),
        "roll(disk{segment=67108864})"
    );
    assert_eq!(
        of(&Spec::linear([
            Layer::new("pass"),
            Layer::new("split").over(vec![
                vec![bottom("a")],
                vec![Layer::new("pass"), bottom("b")]
            ]),
        ])),
        "split(disk{segment=67108864}..)"
    );
    let other = bottom("b").with("segment", "1 MiB");
    assert_eq!(
        of(&Spec::linear([Layer::new("split").over(vec![
            vec![bottom("a")],
            vec![Layer::new("pass"), other],
            vec![bottom("c")],
        ])])),
        "split(disk{segment=67108864},disk{segment=1048576},disk{segment=67108864})"
    );
}
