//! `reclaim` of a stack file: whether the engine gives space back by itself, and what it keeps.
//!
//! ```text
//!   reclaim = { retain = "keep all 1h, daily 30d", every = "1 s", garbage = 0.4, rate = "32 MiB" }
//! ```
//!
//! Only `retain` must be written. It is said of the whole stack: no floor knows commits.

use travertine_engine::front::{Automatic, Retention};
use travertine_engine::stack::{
    ByteSize, Data, OptionRow, OptionType, Spec, SpecError, Table, Time, Value,
};

const SECOND_NS: u64 = 1_000_000_000;

const RETAIN: &str = "keep all 1h, hourly 2d, daily 30d, tagged forever";

/// What may be written in it.
pub(crate) const ROWS: &[OptionRow] = &[
    OptionRow::required(
        "retain",
        OptionType::Text,
        RETAIN,
        "which commits stay, besides the newest and those that are tagged",
    ),
    OptionRow::preset(
        "every",
        OptionType::Time {
            min: SECOND_NS,
            max: 366 * 86_400 * SECOND_NS,
        },
        "1 s",
        "how often to look whether there is enough to do",
    ),
    OptionRow::preset(
        "garbage",
        OptionType::Number { min: 0.0, max: 1.0 },
        "0.4",
        "how much garbage may lie there, as a share of what stays: less takes less room, more writes less",
    ),
    OptionRow::preset(
        "rate",
        OptionType::Size {
            min: 1 << 10,
            max: 1 << 40,
        },
        "32 MiB",
        "most that is read in a second while looking for what stays",
    ),
];

/// What the file says, or why that makes no sense.
pub(super) fn read(spec: &Spec, errors: &mut Vec<SpecError>) -> Option<Automatic> {
    let value = spec.reclaim.as_ref()?;
    let before = errors.len();
    let Data::Table(table) = &value.data else {
        let message = format!("`reclaim`: {} stands here", value.type_name());
        let help = format!("it takes a table, like {{ retain = \"{RETAIN}\" }}");
        errors.push(SpecError::new(message, value.span, "this value").help(help));
        return None;
    };
    for entry in table.iter() {
        let key = entry.key.value.as_str();
        let Some(row) = ROWS.iter().find(|row| row.name == key) else {
            let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            let message = format!("`reclaim` has no option `{key}`");
            errors.push(
                SpecError::new(message, entry.key.span, "unknown option")
                    .help(format!("it has {}", names.join(", "))),
            );
            continue;
        };
        if let Err(fault) = row.kind.check(&entry.value) {
            errors.push(fault.of_value(&format!("reclaim.{key}"), entry.value.span));
        }
    }
    let Some(written) = table.get("retain") else {
        let message = "`reclaim` needs `retain`: which commits stay";
        errors.push(
            SpecError::new(message, value.span, "has no `retain`")
                .help(format!("for example retain = \"{RETAIN}\"")),
        );
        return None;
    };
    let retention = match written.as_text().unwrap_or_default().parse::<Retention>() {
        Ok(retention) => retention,
        Err(_) if errors.len() > before => return None,
        Err(error) => {
            let message = format!("`reclaim.retain`: {}", error.message());
            errors.push(SpecError::new(message, written.span, "this policy"));
            return None;
        }
    };
    if errors.len() > before {
        return None;
    }
    let usual = Automatic::new(retention);
    let text = |key| table.get(key).and_then(Value::as_text);
    let every = text("every").and_then(|text| text.parse::<Time>().ok());
    let rate = text("rate").and_then(|text| text.parse::<ByteSize>().ok());
    Some(Automatic {
        every: every.map_or(usual.every, |every| every.0),
        garbage: number(table, "garbage").unwrap_or(usual.garbage),
        rate: rate.map_or(usual.rate, |rate| rate.0),
        ..usual
    })
}

fn number(table: &Table, key: &str) -> Option<f64> {
    match table.get(key)?.data {
        Data::Number(number) => Some(number),
        Data::Integer(number) => Some(number as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use crate::config::{Overrides, StackFile};

    const STACK: &str = "[[layer]]\nuse = \"file\"\npath = \"data\"\n";

    fn load(reclaim: &str, set: &[String]) -> Result<StackFile, String> {
        let text = format!("reclaim = {reclaim}\n{STACK}");
        let registry = crate::standard();
        let overrides = Overrides::of("", set);
        let base = Path::new(".");
        StackFile::parse("s.toml", &text, base, &registry, &overrides)
            .map_err(|refusal| format!("{refusal}"))
    }

    #[test]
    fn only_the_policy_must_be_written() {
        let file = load("{ retain = \"last 9\" }", &[]).unwrap();
        let automatic = file.reclaim().unwrap();
        assert_eq!(automatic.retention.to_string(), "keep last 9");
        assert_eq!(automatic.every, Duration::from_secs(1));
        assert_eq!((automatic.garbage, automatic.rate), (0.4, 32 << 20));
        let all = "{ retain = \"newest\", every = \"1 h\", garbage = 1, rate = \"1 MiB\" }";
        let file = load(all, &[]).unwrap();
        let automatic = file.reclaim().unwrap();
        assert_eq!(automatic.every, Duration::from_secs(3_600));
        assert_eq!((automatic.garbage, automatic.rate), (1.0, 1 << 20));
    }

    #[test]
    fn it_can_be_set_from_outside() {
        let set = ["reclaim.every=5 min".to_owned()];
        let file = load("{ retain = \"newest\" }", &set).unwrap();
        assert_eq!(file.reclaim().unwrap().every, Duration::from_secs(300));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        for (reclaim, words) in [
            ("true", "`reclaim`"),
            ("{}", "needs `retain`"),
            ("{ every = \"1 h\" }", "needs `retain`"),
            ("{ retain = 7 }", "`reclaim.retain`"),
            ("{ retain = \"hurly 2d\" }", "column 1"),
            ("{ retain = \"newest\", garbage = 2 }", "`reclaim.garbage`"),
            (
                "{ retain = \"newest\", every = \"1 ms\" }",
                "`reclaim.every`",
            ),
            ("{ retain = \"newest\", keep = 1 }", "no option `keep`"),
        ] {
            let said = load(reclaim, &[]).unwrap_err();
            assert!(said.contains(words), "{reclaim}: {said}");
            assert!(said.contains("s.toml:1"), "{reclaim}: {said}");
        }
    }
}
