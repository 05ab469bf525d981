//! By which rules writes are held back, and the judge of which stage that makes.
//!
//! ```text
//!   measure   ──────────────────────── mark ───────>     the stage is entered here, at once
//!             ──────── mark × leave ────────────────     and left below here, after `dwell`
//! ```
//!
//! Each measure calls for a stage of its own, the worst of them holds. What was not called for during
//! `dwell` is left, one stage after the other or several at once; read-only is left only when nothing
//! is called for at all. So a measure that trembles around a mark makes one change, and whatever the
//! measures do the stage falls at most once in a `dwell`.

use std::time::Duration;

/// How writes are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Stage {
    /// As if there were no monitor.
    #[default]
    Ok,
    /// Each batch and each commit is answered a little later.
    Slow,
    /// Nothing new begins.
    Shed,
    /// Nothing new begins until all is well again.
    ReadOnly,
}

impl Stage {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Slow, Self::Shed, Self::ReadOnly];
    /// Those that a mark is for.
    pub(super) const MARKED: [Self; 3] = [Self::Slow, Self::Shed, Self::ReadOnly];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Shed => "shed",
            Self::ReadOnly => "read_only",
        }
    }

    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL[usize::from(number).min(Self::ALL.len() - 1)]
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Share of the fullest medium that is taken.
    Fill,
    /// Bytes sent and in no commit on disk yet.
    Dirty,
    /// Nanoseconds that a commit takes.
    Sync,
    /// Bytes that the last replica lacks.
    Lag,
    /// Share of calls that failed.
    Errors,
}

pub(super) const RULES: usize = 5;

impl Rule {
    pub(super) const ALL: [Self; RULES] =
        [Self::Fill, Self::Dirty, Self::Sync, Self::Lag, Self::Errors];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Dirty => "dirty",
            Self::Sync => "sync",
            Self::Lag => "lag",
            Self::Errors => "errors",
        }
    }

    /// A measure in words.
    pub(super) fn say(self, measure: f64) -> String {
        match self {
            Self::Fill => format!("the fullest medium is {:.1} % full", measure * 100.0),
            Self::Dirty => format!("{measure:.0} bytes are not on disk yet"),
            Self::Sync => {
                let time = Duration::from_nanos(measure as u64);
                format!("a commit takes {time:.1?}")
            }
            Self::Lag => format!("a replica lacks {measure:.0} bytes"),
            Self::Errors => format!("{:.1} % of the calls of a floor fail", measure * 100.0),
        }
    }
}

/// One number for each rule.
pub(super) type Measures = [f64; RULES];

/// What the config says.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) pause: Duration,
    pub(super) dwell: Duration,
    pub(super) window: Duration,
    pub(super) leave: f64,
    /// For each rule the marks of [`Stage::MARKED`].
    pub(super) marks: [[Option<f64>; 3]; RULES],
}

impl Rules {
    /// Whether a rule has a mark at all.
    pub(super) fn looks_at(&self, rule: Rule) -> bool {
        self.marks[rule as usize].iter().any(Option::is_some)
    }

    /// Each mark in a sentence.
    pub(super) fn in_words(&self) -> Vec<String> {
        let rule = |rule: Rule| {
            let marks = Stage::MARKED.into_iter().zip(self.marks[rule as usize]);
            let said = marks.filter_map(|(stage, mark)| {
                let mark = rule.say(mark?);
                Some(format!("{} when {mark}", stage.name()))
            });
            said.collect::<Vec<_>>()
        };
        Rule::ALL.into_iter().flat_map(rule).collect()
    }

    /// The stage that a measure calls for, if it called for `before` the last time.
    fn calls_for(&self, rule: Rule, before: Stage, measure: f64) -> Stage {
        let marks = Stage::MARKED.into_iter().zip(self.marks[rule as usize]);
        let reached = |(stage, mark): (Stage, Option<f64>)| {
            let share = if stage <= before { self.leave } else { 1.0 };
            mark.filter(|mark| measure >= mark * share).map(|_| stage)
        };
        marks.filter_map(reached).max().unwrap_or_default()
    }
}

/// Holds the stage.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Rules,
    /// What each measure called for the last time.
    held: [Stage; RULES],
    stage: Stage,
    /// When something last called for the stage, or for a worse one.
    called_ns: u64,
    /// The rule that made the stage what it is, and what it measured.
    cause: Option<(Rule, f64)>,
    changes: u64,
}

impl Judge {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: [Stage::Ok; RULES],
            stage: Stage::Ok,
            called_ns: 0,
            cause: None,
            changes: 0,
        }
    }

    /// Takes in what is measured now.
    pub(super) fn judge(&mut self, now: u64, measures: &Measures) -> Stage {
        let mut worst = (Stage::Ok, None);
        for rule in Rule::ALL {
            let held = &mut self.held[rule as usize];
            let measure = measures[rule as usize];
            *held = self.rules.calls_for(rule, *held, measure);
            if *held > worst.0 {
                worst = (*held, Some((rule, measure)));
            }
        }
        let (mut wanted, cause) = worst;
        if self.stage == Stage::ReadOnly && wanted > Stage::Ok {
            wanted = Stage::ReadOnly;
        }
        if wanted >= self.stage {
            self.called_ns = now;
            self.cause = cause.or(self.cause);
        }
        let dwelt = now.saturating_sub(self.called_ns) >= self.rules.dwell.as_nanos() as u64;
        if wanted > self.stage || wanted < self.stage && dwelt {
            self.stage = wanted;
            self.called_ns = now;
            self.cause = cause;
            self.changes += 1;
        }
        self.stage
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The rule that made the stage what it is.
    pub(super) fn cause(&self) -> Option<Rule> {
        self.cause.map(|(rule, _)| rule)
    }

    /// Why the stage is what it is.
    pub(super) fn why(&self) -> String {
        match self.cause {
            Some((rule, measure)) => rule.say(measure),
            None => "all is well".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn rules() -> Rules {
        let mut marks = [[None; 3]; RULES];
        marks[Rule::Sync as usize] = [Some(50.0), Some(500.0), Some(5_000.0)];
        marks[Rule::Fill as usize] = [None, Some(0.9), None];
        Rules {
            pause: Duration::from_millis(5),
            dwell: Duration::from_secs(1),
            window: Duration::from_secs(5),
            leave: 0.8,
            marks,
        }
    }

    fn sync(measure: f64) -> Measures {
        let mut measures = [0.0; RULES];
        measures[Rule::Sync as usize] = measure;
        measures
    }

    #[test]
    fn a_stage_is_entered_at_its_mark_and_left_below_a_share_of_it_after_a_dwell() {
        let mut judge = Judge::new(rules());
        assert_eq!(judge.judge(0, &sync(49.9)), Stage::Ok);
        assert_eq!(judge.judge(1, &sync(50.0)), Stage::Slow);
        assert_eq!(judge.judge(2, &sync(500.0)), Stage::Shed);
        assert_eq!(judge.cause(), Some(Rule::Sync));
        // Above the lower threshold it is still called for, however long that lasts.
        assert_eq!(judge.judge(10_000 * MS, &sync(400.0)), Stage::Shed);
        assert_eq!(judge.judge(10_500 * MS, &sync(399.0)), Stage::Shed);
        assert_eq!(judge.judge(11_000 * MS, &sync(399.0)), Stage::Slow);
        assert_eq!(judge.judge(11_500 * MS, &sync(39.0)), Stage::Slow);
        assert_eq!(judge.judge(12_000 * MS, &sync(39.0)), Stage::Ok);
        assert_eq!((judge.changes(), judge.why().as_str()), (4, "all is well"));
    }

    #[test]
    fn the_worst_of_all_measures_holds() {
        let mut judge = Judge::new(rules());
        let mut measures = sync(60.0);
        measures[Rule::Fill as usize] = 0.95;
        assert_eq!(judge.judge(0, &measures), Stage::Shed);
        assert_eq!(judge.cause(), Some(Rule::Fill));
        measures[Rule::Fill as usize] = 0.5;
        assert_eq!(judge.judge(1_000 * MS, &measures), Stage::Slow);
        assert_eq!(judge.cause(), Some(Rule::Sync));
    }

    #[test]
    fn read_only_is_left_when_nothing_is_called_for() {
        let mut judge = Judge::new(rules());
        assert_eq!(judge.judge(0, &sync(5_000.0)), Stage::ReadOnly);
        assert_eq!(judge.judge(9_000 * MS, &sync(60.0)), Stage::ReadOnly);
        assert_eq!(judge.judge(9_500 * MS, &sync(0.0)), Stage::ReadOnly);
        assert_eq!(judge.judge(10_000 * MS, &sync(0.0)), Stage::Ok);
    }

    #[test]
    fn a_measure_that_trembles_around_a_mark_makes_one_change() {
        let mut judge = Judge::new(rules());
        for step in 0..10_000 {
            let measure = if step % 2 == 0 { 501.0 } else { 410.0 };
            judge.judge(step * 7 * MS, &sync(measure));
        }
        assert_eq!((judge.stage(), judge.changes()), (Stage::Shed, 1));
    }

    #[test]
    fn whatever_is_measured_the_stage_falls_at_most_once_in_a_dwell() {
        for seed in 1..=100u64 {
            let mut judge = Judge::new(rules());
            let mut chance = seed;
            let mut falls: Vec<u64> = Vec::new();
            let mut now = 0;
            for _ in 0..2_000 {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                now += (chance >> 40) % (300 * MS);
                let before = judge.stage();
                let measure = ((chance >> 33) % 6_000) as f64;
                if judge.judge(now, &sync(measure)) < before {
                    falls.push(now);
                }
            }
            let closest = falls.windows(2).map(|pair| pair[1] - pair[0]).min();
            assert!(closest.is_none_or(|gap| gap >= 1_000 * MS), "seed {seed}");
        }
    }
}
