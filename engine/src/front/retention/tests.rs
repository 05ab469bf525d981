//! Claims about policies, on lists of commits drawn by chance.

use std::collections::BTreeSet;

use super::*;
use crate::conformance::rng::Rng;
use crate::contract::ErrorKind;

fn policy(text: &str) -> Retention {
    text.parse().unwrap()
}

/// Commits in the months before `now`, some of them at the same moment, numbers with gaps.
fn commits(rng: &mut Rng, now: u64) -> Vec<Moment> {
    let (mut time, mut sequence) = (now - 100 * DAY, 0);
    let mut commits = Vec::new();
    while time < now && commits.len() < 600 {
        sequence += 1 + rng.below(2) * rng.below(50);
        commits.push(Moment { sequence, time });
        let step = [0, SECOND, HOUR / 7, HOUR, DAY / 2, 3 * DAY];
        time += rng.pick(&step).map_or(0, |step| rng.below(step + 1));
    }
    commits
}

fn drawn_policy(rng: &mut Rng) -> Retention {
    let mut clauses = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let span = match rng.below(6) {
            0 => "forever".to_owned(),
            1 => format!("{}min", rng.below(300)),
            2 => format!("{} h", rng.below(100)),
            3 => format!("{}w", rng.below(9)),
            _ => format!("{}d", rng.below(100)),
        };
        clauses.push(match rng.below(7) {
            0 => format!("all {span}"),
            1 => format!("hourly {span}"),
            2 => format!("daily {span}"),
            3 => format!("weekly {span}"),
            4 => format!("monthly {span}"),
            5 => format!("last {}", 1 + rng.below(200)),
            _ => "tagged forever".to_owned(),
        });
    }
    policy(&clauses.join(", "))
}

/// The rule, commit by commit, as the words say it.
fn by_definition(policy: &Retention, commits: &[Moment], now: u64) -> BTreeSet<u64> {
    let newest = commits.last().map_or(0, |newest| newest.time);
    let now = now.max(newest);
    let keeps = |index: usize, clause: &Clause| {
        let moment = commits[index];
        match *clause {
            Clause::All(span) => moment.time >= span.start(now),
            Clause::Last(count) => (commits.len() - index) as u64 <= count,
            Clause::Tagged => false,
            Clause::Each(every, span) => {
                let next = commits.get(index + 1);
                let last =
                    next.is_none_or(|next| every.begin(next.time) != every.begin(moment.time));
                last && moment.time >= span.start(now)
            }
        }
    };
    let stays = |index: usize| {
        index + 1 == commits.len() || policy.clauses.iter().any(|clause| keeps(index, clause))
    };
    let indices = (0..commits.len()).filter(|index| stays(*index));
    indices.map(|index| commits[index].sequence).collect()
}

fn numbers(policy: &Retention, commits: &[Moment], now: u64) -> BTreeSet<u64> {
    let ranges = policy.retained(commits, now).unwrap();
    let touch = |pair: &[RangeInclusive<u64>]| pair[0].end() + 1 >= *pair[1].start();
    assert!(!ranges.windows(2).any(touch), "{ranges:?}");
    let stays = |moment: &&Moment| ranges.iter().any(|range| range.contains(&moment.sequence));
    commits
        .iter()
        .filter(stays)
        .map(|moment| moment.sequence)
        .collect()
}

#[test]
fn ranges_say_what_the_words_say() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let now = 1_700_000_000 * SECOND + rng.below(400 * DAY);
        let (commits, policy) = (commits(&mut rng, now), drawn_policy(&mut rng));
        let expected = by_definition(&policy, &commits, now);
        assert_eq!(
            numbers(&policy, &commits, now),
            expected,
            "seed {seed}: {policy}"
        );
    }
}

#[test]
fn applied_often_or_once_it_keeps_the_same() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let now = 1_700_000_000 * SECOND + rng.below(400 * DAY);
        let (commits, policy) = (commits(&mut rng, now), drawn_policy(&mut rng));
        let mut left: Vec<Moment> = Vec::new();
        for moment in &commits {
            left.push(*moment);
            if rng.chance(1, 9) {
                let stay = numbers(&policy, &left, moment.time + rng.below(HOUR));
                left.retain(|moment| stay.contains(&moment.sequence));
            }
        }
        let often = numbers(&policy, &left, now + DAY);
        let once = numbers(&policy, &commits, now + DAY);
        assert_eq!(often, once, "seed {seed}: {policy}");
    }
}

#[test]
fn a_policy_prints_so_that_it_reads_back() {
    for seed in 0..400 {
        let policy = drawn_policy(&mut Rng::new(seed));
        assert_eq!(policy.to_string().parse::<Retention>().unwrap(), policy);
    }
    let text = "keep all 1h, hourly 2d, daily 30d, last 100, newest, tagged forever";
    assert_eq!(policy(text).to_string(), text);
    assert_eq!(policy("ALL 60 min").to_string(), "keep all 1h");
}

#[test]
fn what_is_no_policy_is_refused_with_its_column_and_what_to_write() {
    for (text, column, why) in [
        ("", 1, "a clause is missing"),
        ("keep", 5, "a clause is missing"),
        ("keep all 1h,, newest", 13, "a clause is missing"),
        ("keep all 1h, hurly 2d", 14, "no clause begins with `hurly`"),
        ("all", 4, "how far back"),
        ("all 12", 5, "`12` has no unit"),
        ("all 12m", 5, "no unit is `m`"),
        ("all soon", 5, "`soon` is no span"),
        ("daily 99999999999999y", 7, "longer than time"),
        ("last", 5, "of how many"),
        ("last 0", 6, "is no number of commits"),
        ("last many", 6, "is no number of commits"),
        ("newest all 1h", 8, "one word too many"),
        ("all 1h daily 2d", 8, "one word too many"),
        ("tagged 30d", 8, "until the tag goes"),
        ("tagged", 7, "until the tag goes"),
        ("ünd all 1h", 1, "no clause begins"),
        ("all 1h, ünd", 9, "no clause begins"),
    ] {
        let error = text.parse::<Retention>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let said = error.to_string();
        assert!(
            said.contains(&format!("column {column}: ")),
            "{text}: {said}"
        );
        assert!(said.contains(why), "{text}: {said}");
    }
    let many = "newest,".repeat(100) + "newest";
    assert!(many.parse::<Retention>().is_err());
}

#[test]
fn hours_days_weeks_and_months_begin_when_calendars_say() {
    // Friday, 2024-03-01 13:20:00.
    let friday = 1_709_299_200 * SECOND;
    assert_eq!(Every::Hour.begin(friday), friday - 20 * 60 * SECOND);
    let midnight = friday - 13 * HOUR - 20 * 60 * SECOND;
    assert_eq!(Every::Day.begin(friday), midnight);
    assert_eq!(Every::Month.begin(friday), midnight);
    assert_eq!(Every::Week.begin(friday), midnight - 4 * DAY);
    assert_eq!(Every::Month.begin(midnight - 1), midnight - 29 * DAY);
    assert_eq!(Every::Week.begin(0), 0);
    assert_eq!(Every::Month.begin(30 * DAY), 0);
    assert_eq!(Every::Month.begin(31 * DAY), 31 * DAY);
}
