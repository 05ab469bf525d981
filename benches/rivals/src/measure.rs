//! Rows of figures for two sides, and their ratios.

use std::time::Instant;

use travertine::workload::{Process, Spread};

/// Whatever went wrong on either side.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Which side a figure is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

/// The sides in the order of a round.
pub fn sides(round: usize) -> [Side; 2] {
    if round.is_multiple_of(2) {
        [Side::Ours, Side::Theirs]
    } else {
        [Side::Theirs, Side::Ours]
    }
}

/// What is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// All rows, in the order in which they first came.
pub struct Report {
    only: Option<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    better: Better,
    figures: [Vec<f64>; 2],
    cpu: [Vec<f64>; 2],
}

impl Report {
    pub fn new(only: Option<String>) -> Self {
        let rows = Vec::new();
        Self { only, rows }
    }

    /// Whether a row is asked for. Rows that others need are done all the same.
    pub fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    /// Times `work`, which does `count` things, as one figure of a row: so many a second.
    pub fn rate<T>(
        &mut self,
        name: &str,
        side: Side,
        count: u64,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let (began, cpu) = (Instant::now(), Process::now().cpu_ns);
        let answer = work()?;
        let took = began.elapsed().as_secs_f64();
        let cpu = (Process::now().cpu_ns - cpu) as f64 / count as f64;
        self.add(
            name,
            "/s",
            Better::More,
            side,
            count as f64 / took,
            Some(cpu),
        );
        Ok(answer)
    }

    /// Times `work` as one figure of a row: so many milliseconds.
    pub fn time<T>(
        &mut self,
        name: &str,
        side: Side,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let began = Instant::now();
        let answer = work()?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        self.add(name, "ms", Better::Less, side, took, None);
        Ok(answer)
    }

    /// One figure of a row.
    pub fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        better: Better,
        side: Side,
        figure: f64,
        cpu: Option<f64>,
    ) {
        if !self.wants(name) {
            return;
        }
        let at = self.rows.iter().position(|row| row.name == name);
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                unit,
                better,
                figures: Default::default(),
                cpu: Default::default(),
            });
            self.rows.len() - 1
        });
        self.rows[at].figures[side as usize].push(figure);
        self.rows[at].cpu[side as usize].extend(cpu);
    }

    /// Prints every row.
    pub fn print(&self, json: bool) {
        if !json {
            println!(
                "{:<34} {:>13} {:>13} {:>7} {:>13} {:>9} {:>9} {:>7}",
                "row", "ours", "theirs", "ratio", "spread", "cpu ours", "theirs", "cpu"
            );
        }
        for row in &self.rows {
            row.print(json);
        }
    }
}

impl Row {
    fn print(&self, json: bool) {
        let median = |figures: &[f64]| Spread::of(figures.iter().copied()).median;
        let (ours, theirs) = (median(&self.figures[0]), median(&self.figures[1]));
        // Round by round, so that both sides of a ratio met the same machine.
        let pairs = self.figures[0].iter().zip(&self.figures[1]);
        let ratio = Spread::of(pairs.map(|(ours, theirs)| match self.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        }));
        let cpu = self.cpu.each_ref().map(|cpu| median(cpu) / 1e3);
        let cpu_ratio = cpu[1] / cpu[0];
        let known = !self.cpu[0].is_empty() && !self.cpu[1].is_empty();
        if json {
            println!(
                "{}",
                serde_json::json!({
                    "row": self.name, "unit": self.unit, "ours": ours, "theirs": theirs,
                    "ratio": ratio.median, "ratio_least": ratio.least, "ratio_most": ratio.most,
                    "rounds": self.figures[0].len(),
                    "cpu_us_ours": known.then_some(cpu[0]),
                    "cpu_us_theirs": known.then_some(cpu[1]),
                    "cpu_ratio": known.then_some(cpu_ratio),
                })
            );
            return;
        }
        let name = format!("{}, {}", self.name, self.unit);
        let spread = format!("{:.2}..{:.2}", ratio.least, ratio.most);
        print!(
            "{name:<34} {:>13} {:>13} {:>7.2} {spread:>13}",
            figure(ours),
            figure(theirs),
            ratio.median
        );
        if known {
            print!(" {:>9.2} {:>9.2} {cpu_ratio:>7.2}", cpu[0], cpu[1]);
        }
        println!();
    }
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}
