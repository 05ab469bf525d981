//! Values: reading a config, and pointing at what is wrong in it.

use super::*;
use serde::Deserialize;

fn at(start: usize, value: Value) -> Value {
    let source = SourceId(0);
    Value {
        span: Span {
            source,
            start,
            end: start + 1,
        },
        ..value
    }
}

fn table(entries: Vec<(&str, usize, Value)>) -> Value {
    let mut table = Table::default();
    for (key, start, value) in entries {
        let span = at(start, true.into()).span;
        table.set(Spanned::new(key.to_owned(), span), value);
    }
    at(0, table.into())
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Config {
    size: ByteSize,
    wait: Option<Time>,
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Inner {
    word: Word,
    count: u8,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Word {
    Yes,
    Maybe(u32),
}

#[test]
fn a_config_reads_back_through_every_kind_of_value() {
    let inner = |word: Value| table(vec![("word", 1, word), ("count", 2, 7.into())]);
    let value = table(vec![
        ("size", 1, "2 KiB".into()),
        (
            "inner",
            2,
            vec![
                inner("yes".into()),
                inner(table(vec![("maybe", 3, 4.into())])),
            ]
            .into(),
        ),
    ]);
    let config = Config::deserialize(&value).unwrap();
    assert_eq!(config.size, ByteSize(2048));
    assert_eq!(config.wait, None);
    let words: Vec<_> = config.inner.into_iter().map(|inner| inner.word).collect();
    assert_eq!(words, [Word::Yes, Word::Maybe(4)]);
}

#[test]
fn an_error_points_at_the_innermost_value_that_is_wrong() {
    let inner = |count: Value| {
        table(vec![
            ("word", 20, at(21, "yes".into())),
            ("count", 22, count),
        ])
    };
    for (value, place) in [
        (table(vec![("size", 1, at(5, "lots".into()))]), 5),
        (table(vec![("size", 1, at(5, 64.into()))]), 5),
        (table(vec![("sise", 4, at(5, "2 KiB".into()))]), 4),
        (
            table(vec![
                ("size", 1, at(5, "2 KiB".into())),
                ("inner", 6, at(7, vec![inner(at(33, 300.into()))].into())),
            ]),
            33,
        ),
        (
            table(vec![
                ("size", 1, at(5, "2 KiB".into())),
                ("wait", 6, at(9, Value::plain(Data::Other("a date")))),
            ]),
            9,
        ),
    ] {
        let fault = Config::deserialize(&value).unwrap_err();
        assert_eq!(fault.span.map(|span| span.start), Some(place), "{fault}");
    }
}

#[test]
fn a_spec_of_the_wrong_shape_is_told_apart_in_every_way() {
    let layer = |entries| table(entries);
    for (root, wrong) in [
        (at(0, 5.into()), "a stack is a table, not a whole number"),
        (table(vec![]), "this stack has no layers"),
        (
            table(vec![("layer", 1, at(2, "file".into()))]),
            "the stack: layers are tables, not text",
        ),
        (
            table(vec![("layer", 1, at(2, Vec::new().into()))]),
            "the stack has no layers",
        ),
        (
            table(vec![("layer", 1, at(2, vec![at(3, 1.into())].into()))]),
            "the stack: a layer is a table, not a whole number",
        ),
        (
            table(vec![("layer", 1, layer(vec![("usee", 4, "file".into())]))]),
            "this layer does not say what it uses",
        ),
        (
            table(vec![("layer", 1, layer(vec![("use", 4, 5.into())]))]),
            "`use` takes text in quotes, not a whole number",
        ),
        (
            table(vec![(
                "layer",
                1,
                layer(vec![("use", 4, "disk".into()), ("name", 5, "a b".into())]),
            )]),
            "\"a b\" is no name",
        ),
        (
            table(vec![(
                "layer",
                1,
                layer(vec![("use", 4, "disk".into()), ("over", 5, "x".into())]),
            )]),
            "`over` is a list of stacks",
        ),
        (
            table(vec![
                ("layer", 1, layer(vec![("use", 4, "disk".into())])),
                ("stack", 5, at(6, 7.into())),
            ]),
            "`stack` holds sub-stacks by name",
        ),
        (
            table(vec![
                ("layer", 1, layer(vec![("use", 4, "disk".into())])),
                ("stak", 5, at(6, 7.into())),
            ]),
            "a stack file has no `stak`",
        ),
    ] {
        let (_, errors) = Spec::read(&root);
        let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(messages, [wrong]);
    }
}
