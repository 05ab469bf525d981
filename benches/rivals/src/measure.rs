//! Rows of figures, one column for each side; and what they say: who leads, and where we stand.

use std::time::Instant;

use travertine::workload::{Process, Spread};

/// Whatever went wrong on any side.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Which side a figure is of, by its place in the report's names. The first is ours.
pub type Side = usize;

const OURS: Side = 0;

/// `sides` in the order of a round: each begins in its turn.
pub fn turns(round: usize, sides: usize) -> impl Iterator<Item = Side> {
    (0..sides).map(move |side| (side + round) % sides)
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
    pub sides: Vec<&'static str>,
    pub rows: Vec<Row>,
}

/// What was measured in one row, round by round; a side that does not do it has no figures.
pub struct Row {
    pub name: String,
    pub unit: &'static str,
    pub better: Better,
    pub figures: Vec<Vec<f64>>,
    cpu: Vec<Vec<f64>>,
    /// Sides that do not do what the row says, and so do not lead it.
    pub apart: Vec<Side>,
}

/// Ours beside the best of the others.
pub struct Standing {
    pub leader: Side,
    /// More than 1 is better for us, round by round.
    pub ratio: Spread,
    /// 1 is the first.
    pub place: usize,
}

impl Report {
    pub fn new(only: Option<String>) -> Self {
        Self {
            only,
            sides: Vec::new(),
            rows: Vec::new(),
        }
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
        let rate = count as f64 / took;
        self.add(name, "/s", Better::More, side, rate, Some(cpu));
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
                figures: vec![Vec::new(); self.sides.len()],
                cpu: vec![Vec::new(); self.sides.len()],
                apart: Vec::new(),
            });
            self.rows.len() - 1
        });
        self.rows[at].figures[side].push(figure);
        self.rows[at].cpu[side].extend(cpu);
    }

    /// Notes that a side does not do what a row says.
    pub fn set_apart(&mut self, name: &str, side: Side) {
        let row = self.rows.iter_mut().find(|row| row.name == name);
        if let Some(row) = row.filter(|row| !row.apart.contains(&side)) {
            row.apart.push(side);
        }
    }

    /// Prints every row.
    pub fn print(&self, json: bool) {
        if json {
            self.rows.iter().for_each(|row| self.print_json(row));
            return;
        }
        print!("{:<34}", "row");
        self.sides.iter().for_each(|side| print!(" {side:>14}"));
        println!(
            " {:>7} {:>13} {:>6}  best of the others",
            "ratio", "spread", "place"
        );
        for row in &self.rows {
            print!("{:<34}", format!("{}, {}", row.name, row.unit));
            for side in 0..self.sides.len() {
                let mark = if row.apart.contains(&side) { "*" } else { "" };
                let text = row.median(side).map_or("-".to_owned(), figure);
                print!(" {:>14}", format!("{text}{mark}"));
            }
            match row.standing() {
                Some(Standing {
                    leader,
                    ratio,
                    place,
                }) => println!(
                    " {:>7.2} {:>13} {place:>6}  {}",
                    ratio.median,
                    format!("{:.2}..{:.2}", ratio.least, ratio.most),
                    self.sides[leader]
                ),
                None => println!(),
            }
        }
        if self.rows.iter().any(|row| !row.apart.is_empty()) {
            println!("* does not flush the device: leads no durable row");
        }
    }

    fn print_json(&self, row: &Row) {
        let figures: serde_json::Map<_, _> = (0..self.sides.len())
            .filter(|&side| !row.figures[side].is_empty())
            .map(|side| {
                let about = serde_json::json!({
                    "median": row.median(side), "rounds": row.figures[side],
                    "cpu_us": row.cpu_us(side), "apart": row.apart.contains(&side),
                });
                (self.sides[side].to_owned(), about)
            })
            .collect();
        let standing = row.standing();
        let standing = standing.as_ref();
        println!(
            "{}",
            serde_json::json!({
                "row": row.name, "unit": row.unit, "figures": figures,
                "best_of_others": standing.map(|standing| self.sides[standing.leader]),
                "ratio": standing.map(|standing| standing.ratio.median),
                "ratio_least": standing.map(|standing| standing.ratio.least),
                "ratio_most": standing.map(|standing| standing.ratio.most),
                "place": standing.map(|standing| standing.place),
            })
        );
    }
}

impl Row {
    /// The middle figure of a side.
    pub fn median(&self, side: Side) -> Option<f64> {
        let figures = &self.figures[side];
        (!figures.is_empty()).then(|| Spread::of(figures.iter().copied()).median)
    }

    /// Microseconds of processor time a thing.
    pub fn cpu_us(&self, side: Side) -> Option<f64> {
        let cpu = &self.cpu[side];
        (!cpu.is_empty()).then(|| Spread::of(cpu.iter().copied()).median / 1e3)
    }

    /// How ours stands, if anybody else does the same.
    pub fn standing(&self) -> Option<Standing> {
        let better = |one: f64, other: f64| match self.better {
            Better::More => one / other,
            Better::Less => other / one,
        };
        let ours = self.median(OURS)?;
        let rivals = (1..self.figures.len()).filter(|side| !self.apart.contains(side));
        let mut rivals: Vec<_> = rivals
            .filter_map(|side| Some((side, self.median(side)?)))
            .collect();
        rivals.sort_by(|one, other| better(other.1, one.1).total_cmp(&1.0));
        let (leader, _) = *rivals.first()?;
        // Round by round, so that both of a ratio met the same machine.
        let pairs = self.figures[OURS].iter().zip(&self.figures[leader]);
        Some(Standing {
            leader,
            ratio: Spread::of(pairs.map(|(ours, theirs)| better(*ours, *theirs))),
            place: 1 + rivals
                .iter()
                .filter(|rival| better(rival.1, ours) > 1.0)
                .count(),
        })
    }
}

/// A figure as people read it.
pub fn figure(value: f64) -> String {
    match value {
        value if value >= 1e7 => format!("{:.1}M", value / 1e6),
        value if value >= 1e6 => format!("{:.2}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}
