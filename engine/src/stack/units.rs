//! Sizes and times as people write them: `"64 KiB"`, `"50 ms"`.
//!
//! A number alone is refused: a config without units is read wrongly sooner or later. The number may
//! have a fraction as long as the whole comes out exact.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};

use crate::contract::Level;

use super::fault::Fault;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

const SIZES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const TIMES: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

impl FromStr for ByteSize {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        parse(text, SIZES)
            .map(Self)
            .map_err(|why| why.fault(text, "size", "\"64 KiB\" or \"2 GiB\"", SIZES))
    }
}

impl FromStr for Time {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        parse(text, TIMES)
            .map(|ns| Self(Duration::from_nanos(ns)))
            .map_err(|why| why.fault(text, "time", "\"50 ms\" or \"2 s\"", TIMES))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZES[..4], "B")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0.as_nanos() as u64, &TIMES[..6], "ns")
    }
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], least: &str) -> fmt::Result {
    let fit = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    match fit {
        Some((unit, factor)) => write!(f, "{} {unit}", value / factor),
        None => write!(f, "{value} {least}"),
    }
}

enum Why {
    NoNumber,
    NoUnit,
    UnknownUnit(String),
    TooLarge,
    NotWhole,
}

impl Why {
    fn fault(self, text: &str, what: &str, like: &str, units: &[(&str, u64)]) -> Fault {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).rev().collect();
        let message = match self {
            Self::NoNumber => format!("`{text}` is not a {what}"),
            Self::NoUnit => format!("`{text}` is a {what} without a unit"),
            Self::UnknownUnit(unit) => format!("`{text}` is not a {what}: no unit is `{unit}`"),
            Self::TooLarge => format!("`{text}` is more than a {what} can be"),
            Self::NotWhole => format!("`{text}` does not come out whole"),
        };
        Fault::new(message).help(format!(
            "write a number and a unit, like {like}; the units are {}",
            names.join(", ")
        ))
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Why> {
    let text = text.trim();
    let number_end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.chars().filter(|c| *c != '_').collect::<String>();
    let (whole, fraction) = (digits(whole), digits(fraction));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err(Why::NoNumber);
    }
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(Why::NoUnit);
    }
    let exact = units.iter().find(|(name, _)| *name == unit);
    let loose = || {
        units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
    };
    let (_, factor) = exact
        .or_else(loose)
        .ok_or_else(|| Why::UnknownUnit(unit.to_owned()))?;
    let whole: u64 = whole.parse().map_err(|_| Why::TooLarge)?;
    let whole = whole.checked_mul(*factor).ok_or(Why::TooLarge)?;
    if fraction.is_empty() {
        return Ok(whole);
    }
    // At most eighteen digits: the scale stays below 2^60 and the product below 2^128.
    if fraction.len() > 18 {
        return Err(Why::NotWhole);
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let part: u128 = fraction.parse().map_err(|_| Why::NoNumber)?;
    let part = part * u128::from(*factor);
    if !part.is_multiple_of(scale) {
        return Err(Why::NotWhole);
    }
    whole
        .checked_add((part / scale) as u64)
        .ok_or(Why::TooLarge)
}

/// Reads `memory`, `os`, `disk` or `replicated(2)`.
pub fn level_from_text(text: &str) -> Result<Level, Fault> {
    let replicas = || {
        let inner = text.strip_prefix("replicated(")?.strip_suffix(')')?;
        inner.trim().parse::<u8>().ok().filter(|n| *n > 0)
    };
    match text {
        "memory" => Ok(Level::Memory),
        "os" => Ok(Level::Os),
        "disk" => Ok(Level::Disk),
        _ => replicas().map(Level::Replicated).ok_or_else(|| {
            Fault::new(format!("`{text}` is no level"))
                .help("the levels are \"memory\", \"os\", \"disk\" and \"replicated(2)\"")
        }),
    }
}

struct FromText<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = Fault>> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText(
            "a size, like \"64 KiB\"",
            std::marker::PhantomData,
        ))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText("a time, like \"50 ms\"", std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        for (text, bytes) in [
            ("64 KiB", 65_536),
            ("1GiB", 1 << 30),
            ("1.5 MiB", 1_572_864),
            ("0 B", 0),
            ("10_000 B", 10_000),
            (" 2 gib ", 2 << 30),
            ("5 MB", 5_000_000),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for (text, ns) in [
            ("50 ms", 50_000_000),
            ("1.5s", 1_500_000_000),
            ("2 min", 120_000_000_000),
        ] {
            assert_eq!(text.parse::<Time>().unwrap().0.as_nanos(), ns, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_a_reason() {
        for (text, why) in [
            ("lots", "is not a size"),
            ("", "is not a size"),
            ("64", "without a unit"),
            ("64 KiBB", "no unit is `KiBB`"),
            ("1.0001 KiB", "does not come out whole"),
            ("99999999999 TiB", "more than"),
            ("99999999999999999999999 B", "more than"),
            ("1..5 KiB", "is not a size"),
            ("-1 KiB", "is not a size"),
        ] {
            let fault = text.parse::<ByteSize>().unwrap_err();
            assert!(fault.message.contains(why), "{text}: {fault}");
            assert!(fault.help.unwrap().contains("64 KiB"));
        }
    }

    #[test]
    fn sizes_and_times_print_so_that_they_read_back() {
        for bytes in [0, 1, 1_000, 1 << 20, 3 << 30, (1 << 40) + 1] {
            let size = ByteSize(bytes);
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        for ns in [0, 1, 1_000, 50_000_000, 86_400_000_000_000] {
            let time = Time(Duration::from_nanos(ns));
            assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64 MiB");
        assert_eq!(Time(Duration::from_millis(1500)).to_string(), "1500 ms");
    }
}
