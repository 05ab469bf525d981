//! The workloads by name.

use std::fmt;
use std::str::FromStr;

/// A workload. Its name is what a command line takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Records, one after the other, and one commit at the end.
    Append,
    /// Records, each committed by itself.
    Commit,
    /// Rows in the order of their keys, by bulk load, in one commit.
    FillSeq,
    /// Rows in no order, in transactions.
    FillRandom,
    /// Reads of rows, all equally likely.
    ReadRandom,
    /// Reads of rows, a few of them most of the time.
    ReadHot,
    /// Reads of some rows on from anywhere.
    Range,
    /// Reads of all rows in order.
    Scan,
    /// Removals in no order, in transactions.
    Delete,
    /// Half reads, half updates.
    YcsbA,
    /// Reads, and one update in twenty.
    YcsbB,
    /// Reads only.
    YcsbC,
    /// Reads of the newest rows, and one insertion in twenty.
    YcsbD,
    /// Short ranges, and one insertion in twenty.
    YcsbE,
    /// Half reads, half reads that are followed by a change.
    YcsbF,
}

/// A row of the table of workloads.
struct Told {
    workload: Workload,
    name: &'static str,
    step: &'static str,
    does: &'static str,
}

const fn told(
    workload: Workload,
    name: &'static str,
    step: &'static str,
    does: &'static str,
) -> Told {
    Told {
        workload,
        name,
        step,
        does,
    }
}

const TOLD: [Told; 15] = [
    told(
        Workload::Append,
        "append",
        "store",
        "--ops records of --value-size bytes, one commit at the end",
    ),
    told(
        Workload::Commit,
        "commit",
        "commit",
        "--ops records, each committed, and waited for, by itself",
    ),
    told(
        Workload::FillSeq,
        "fill-seq",
        "row",
        "--records rows in the order of their keys, by bulk load, in one commit",
    ),
    told(
        Workload::FillRandom,
        "fill-random",
        "transaction",
        "--records rows in no order, --batch rows a transaction",
    ),
    told(
        Workload::ReadRandom,
        "read-random",
        "read",
        "--ops reads, every row equally likely",
    ),
    told(
        Workload::ReadHot,
        "read-hot",
        "read",
        "--ops reads, a few rows most of the time (Zipf 0.99)",
    ),
    told(
        Workload::Range,
        "range",
        "range",
        "--ops ranges of 10 rows from anywhere",
    ),
    told(
        Workload::Scan,
        "scan",
        "1000 rows",
        "all rows in order, again until --ops rows are read",
    ),
    told(
        Workload::Delete,
        "delete",
        "transaction",
        "--ops removals in no order, at most --records, --batch a transaction",
    ),
    told(
        Workload::YcsbA,
        "ycsb-a",
        "operation",
        "50 % reads, 50 % updates (Zipf)",
    ),
    told(
        Workload::YcsbB,
        "ycsb-b",
        "operation",
        "95 % reads, 5 % updates (Zipf)",
    ),
    told(Workload::YcsbC, "ycsb-c", "operation", "100 % reads (Zipf)"),
    told(
        Workload::YcsbD,
        "ycsb-d",
        "operation",
        "95 % reads of the newest rows, 5 % insertions",
    ),
    told(
        Workload::YcsbE,
        "ycsb-e",
        "operation",
        "95 % ranges of 1 to 100 rows (Zipf), 5 % insertions",
    ),
    told(
        Workload::YcsbF,
        "ycsb-f",
        "operation",
        "50 % reads, 50 % read, change and write back (Zipf)",
    ),
];

impl Workload {
    /// All of them, in the order of the docs.
    pub fn all() -> impl Iterator<Item = Self> {
        TOLD.iter().map(|told| told.workload)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.told().name
    }

    /// What it does, in a line.
    #[must_use]
    pub fn does(self) -> &'static str {
        self.told().does
    }

    /// What a latency of it is the latency of.
    #[must_use]
    pub fn step(self) -> &'static str {
        self.told().step
    }

    /// Whether rows must be there before it begins.
    #[must_use]
    pub fn reads_rows(self) -> bool {
        !matches!(
            self,
            Self::Append | Self::Commit | Self::FillSeq | Self::FillRandom
        )
    }

    fn told(self) -> &'static Told {
        &TOLD[self as usize]
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = TOLD.iter().find(|told| told.name == text);
        found.map(|told| told.workload).ok_or_else(|| {
            let names: Vec<_> = TOLD.iter().map(|told| told.name).collect();
            format!(
                "there is no workload `{text}`; there are {}",
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_found_by_its_own_name() {
        for workload in Workload::all() {
            assert_eq!(workload.name().parse(), Ok(workload));
        }
        assert!("ycsb-g".parse::<Workload>().unwrap_err().contains("ycsb-f"));
    }
}
