//! What may lie on what: the table in the docs is the one that the kinds give, and building stacks says
//! the same.
//!
//! `TRAVERTINE_BLESS=1 cargo test --test legality` writes the table anew; read the difference before it
//! is kept.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::path::Path;

use travertine::stack::{
    Arity, Data, Layer, Matrix, OptionRow, OptionType, Plan, Preset, Spec, Table, Value,
};

const HEAD: &str = "\
# What may lie on what

A row is a floor, a column what lies below it. `yes`: right below it, and further down. `not right above`:
with another floor between the two, yes. `never`: not at any depth. The numbers are the reasons. A stack is
legal as far as its kinds go when the table has nothing against any floor of it and any other further down;
`travertine check` says so before anything is opened, and names the floor that is to blame.

This page is read off the same data that stacks are judged by; `travertine plugins --table` prints the table
of any program, its own plug-ins included.

";

const TAIL: &str = "
Beside the table: every directory has one owner and lies inside no other; a stack is at most 16 floors deep and
has at most 64 layers; kinds for tests are refused unless the stack file says `test = true`. *Drops* are
properties that a floor does not pass on. *The bytes depend on it*: the floor can neither be put in nor taken out
without copying the store (`travertine migrate`); every other floor comes and goes between two openings.
";

#[test]
fn the_table_in_the_docs_is_the_one_of_the_kinds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/docs/legality.md");
    let table = Matrix::of(&travertine::standard());
    let text = format!("{HEAD}{table}{TAIL}");
    if std::env::var_os("TRAVERTINE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "the page is old: TRAVERTINE_BLESS=1 cargo test --test legality"
    );
}

/// A value for every option that must be there.
fn required(rows: &[OptionRow], nth: usize) -> Vec<(&'static str, Value)> {
    let given = rows.iter().filter_map(|row| {
        let Preset::Required(example) = row.preset else {
            return None;
        };
        let value = match row.kind {
            OptionType::Place => Value::plain(Data::Text(format!("place-{nth}"))),
            // A secret says where it is found.
            OptionType::Table { rows } if rows.iter().any(|row| row.name == "env") => {
                Value::plain(Data::Table(Table::default().with("env", "A_KEY")))
            }
            kind => kind.value_of(example),
        };
        Some((row.name, value))
    });
    given.collect()
}

/// The layers of a chain of kinds, top first; where one is not enough, the rest stands below it twice.
fn layers(chain: &[&str], matrix: &Matrix, places: &mut usize) -> Vec<Layer> {
    let Some((first, rest)) = chain.split_first() else {
        return Vec::new();
    };
    let kind = matrix
        .kinds()
        .iter()
        .find(|kind| kind.name == *first)
        .unwrap();
    let mut layer = Layer::new(first);
    *places += 1;
    for (name, value) in required(kind.options, *places) {
        layer = layer.with(name, value);
    }
    if let Arity::Many { min, .. } = kind.arity
        && min > 1
    {
        let below = (0..min).map(|_| layers(rest, matrix, places)).collect();
        return vec![layer.over(below)];
    }
    let mut all = vec![layer];
    all.extend(layers(rest, matrix, places));
    all
}

fn built(chain: &[&str], matrix: &Matrix) -> Result<(), String> {
    let spec = Spec::linear(layers(chain, matrix, &mut 0));
    let spec = spec.for_tests().level("memory");
    match Plan::new(&spec, &travertine::standard(), Path::new("/nowhere")) {
        Ok(_) => Ok(()),
        Err(errors) => Err(errors.iter().map(|error| format!("{error}\n")).collect()),
    }
}

#[test]
fn building_every_pair_and_triple_of_floors_says_what_the_table_says() {
    let matrix = Matrix::of(&travertine::standard());
    let of = |bottom: bool| {
        let kinds = matrix.kinds().iter();
        let kinds = kinds.filter(move |kind| (kind.arity == Arity::Bottom) == bottom);
        kinds.map(|kind| kind.name).collect::<Vec<_>>()
    };
    let (floors, bottoms) = (of(false), of(true));
    let mut tried = [0, 0];
    let mut wrong = Vec::new();
    let mut compare = |chain: &[&str]| {
        let (told, built) = (matrix.allows(chain), built(chain, &matrix));
        tried[usize::from(told)] += 1;
        if told != built.is_ok() {
            wrong.push(format!(
                "{chain:?}: the table says {told}, building {built:?}"
            ));
        }
    };
    for bottom in &bottoms {
        for top in &floors {
            compare(&[top, bottom]);
            for middle in &floors {
                compare(&[top, middle, bottom]);
                for low in &floors {
                    compare(&[top, middle, low, bottom]);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{matrix}", wrong.join("\n"));
    println!(
        "{} legal and {} illegal chains, all as the table says",
        tried[1], tried[0]
    );
    assert!(tried.iter().all(|count| *count > 0), "{tried:?}");
}
