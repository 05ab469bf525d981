//! The log on the simulated disk, seed by seed.

use super::bottoms::SmallLogs;
use super::*;
use crate::conformance::sim::Fault;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds of this run of the tests: one that is asked for, or so many.
fn seeds(default: u64) -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("TRAVERTINE_FIRST_SEED").unwrap_or(0);
            first..first + number("TRAVERTINE_SEEDS").unwrap_or(default)
        }
    }
}

fn wanted(class: Class) -> bool {
    std::env::var("CLASS").map_or(true, |name| name == format!("{class:?}"))
}

struct Sum {
    marks: Marks,
    fired: [u64; Fault::COUNT],
    commits: u64,
    runs: u64,
}

fn run_all(class: Class, default: u64) {
    let mut sum = Sum {
        marks: Marks::default(),
        fired: [0; Fault::COUNT],
        commits: 0,
        runs: 0,
    };
    if !wanted(class) {
        return;
    }
    let mut failures = Vec::new();
    let writers = [Writer::Scribe, Writer::Front];
    for (seed, writer) in seeds(default).flat_map(|seed| writers.map(|writer| (seed, writer))) {
        if std::env::var("WRITER").is_ok_and(|name| name != format!("{writer:?}")) {
            continue;
        }
        let trial = Trial {
            seed,
            class,
            writer,
        };
        match trial.run(&SmallLogs) {
            Ok(outcome) => {
                sum.marks.add(&outcome.marks);
                for (all, one) in sum.fired.iter_mut().zip(outcome.tally.fired) {
                    *all += one;
                }
                sum.commits += outcome.commits;
                sum.runs += 1;
            }
            Err(failure) => {
                if number("SEED").is_some() {
                    let story = trial.story(&SmallLogs);
                    let last = story
                        .len()
                        .saturating_sub(number("STORY").unwrap_or(100) as usize);
                    println!("{}\n", story[last..].join("\n"));
                }
                failures.push(failure.to_string());
            }
        }
    }
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>();
    assert!(
        failures.is_empty(),
        "{} of {} runs failed:\n{}",
        failures.len(),
        failures.len() as u64 + sum.runs,
        shown.join("\n")
    );
    for branch in Branch::ALL {
        println!("{class:?} {branch:?} {}", sum.marks.count(branch));
    }
    for fault in Fault::ALL {
        println!("{class:?} {fault:?} {}", sum.fired[fault as usize]);
    }
    println!("{class:?}: {} runs, {} commits", sum.runs, sum.commits);
    if sum.runs >= default * writers.len() as u64 {
        sum.went_everywhere(class);
    }
}

impl Sum {
    /// What no run came by was not tested.
    fn went_everywhere(&self, class: Class) {
        let branches = Branch::ALL
            .into_iter()
            .filter(|&branch| branch.comes_with(class) && self.marks.count(branch) == 0);
        let branches: Vec<_> = branches.collect();
        assert!(branches.is_empty(), "{class:?}: no run took {branches:?}");
        let special: Vec<_> = Class::ALL.iter().flat_map(|class| class.faults()).collect();
        let faults = Fault::ALL.into_iter().filter(|fault| {
            let expected = class.faults().contains(fault) || !special.contains(&fault);
            expected && self.fired[*fault as usize] == 0
        });
        let faults: Vec<_> = faults.collect();
        assert!(faults.is_empty(), "{class:?}: in no run fired {faults:?}");
    }
}

#[test]
fn crash_loses_nothing_acknowledged() {
    run_all(Class::Crash, 300);
}

#[test]
fn crash_errors_poison_and_lose_nothing() {
    run_all(Class::Errors, 300);
}

#[test]
fn crash_full_goes_on_when_there_is_room() {
    run_all(Class::Full, 300);
}

#[test]
fn crash_corruption_is_never_read_as_right() {
    run_all(Class::Corruption, 300);
}

#[test]
fn crash_lying_shows_an_older_state_or_an_error() {
    run_all(Class::Lying, 300);
}

/// What a number of runs came to, in one line each.
fn courses() -> Vec<String> {
    let trials = (0..50).flat_map(|seed| {
        let class = Class::ALL[seed as usize % Class::ALL.len()];
        [Writer::Scribe, Writer::Front].map(|writer| Trial {
            seed,
            class,
            writer,
        })
    });
    trials
        .map(|trial| {
            let outcome = trial.run(&SmallLogs).unwrap();
            let calls = outcome.tally.calls;
            format!(
                "{trial:?}: {:016x} {calls} {}",
                outcome.trace, outcome.commits
            )
        })
        .collect()
}

#[test]
fn two_processes_take_the_same_course() {
    const CHILD: &str = "TRAVERTINE_COURSES";
    let mine = courses();
    if std::env::var_os(CHILD).is_some() {
        println!("\n{}", mine.join("\n"));
        return;
    }
    let name = concat!(module_path!(), "::two_processes_take_the_same_course");
    let (_, name) = name.split_once("::").unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    let theirs: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("Trial"))
        .collect();
    assert_eq!(mine, theirs);
}
