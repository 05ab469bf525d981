//! A page with facts and lines over time, which opens without a network.

use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5d9de; --c0: #b5651d; --c1: #2f6f9f; --c2: #7a7f87 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --line: #343a41; --c0: #e0964f; --c1: #6fb1e0; --c2: #9aa3ad } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
td { padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
.wrong { color: #c22 } h2 { font-size: 16px; margin: 1.6rem 0 .2rem } svg { width: 100%; height: auto }
svg text { fill: var(--ink); font-size: 11px } .g { stroke: var(--line) } .k { stroke: var(--line); stroke-width: .5 }
.l { fill: none; stroke-width: 1.3 } .key { font-size: 13px; margin-right: 1.2rem } .key b { font-weight: 600 }
";

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 8.0;
/// Points of a line, at most: of more, each stands for several, by the greatest of them.
const POINTS_MAX: usize = 1_800;

/// A line.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// Seconds, and a value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over time.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) unit: &'a str,
    /// Each step up is a power of ten.
    pub(crate) log: bool,
    pub(crate) series: Vec<Series>,
    /// Moments to mark.
    pub(crate) marks: &'a [f64],
}

/// A page that is being written.
#[derive(Debug)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn new(title: &str, facts: &[(&str, String)], wrong: &[String]) -> Self {
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style><h1>{title}</h1><table>"
        );
        for (name, fact) in facts {
            let _ = write!(page, "<tr><td>{name}<td>{}", escape(fact));
        }
        page.push_str("</table>");
        for wrong in wrong {
            let _ = write!(page, "<p class=\"wrong\">{}</p>", escape(wrong));
        }
        Self(page)
    }

    pub(crate) fn plot(&mut self, plot: &Plot<'_>) {
        let values = || plot.series.iter().flat_map(|series| &series.points);
        let end = values().map(|point| point.0).fold(1.0, f64::max);
        let most = values().map(|point| point.1).fold(0.0, f64::max);
        let ticks = match plot.log {
            true => decades(values().map(|point| point.1)),
            false => steps(most),
        };
        let place = |value: f64| {
            if plot.log {
                value.max(1e-3).log10()
            } else {
                value
            }
        };
        let (low, high) = (place(ticks[0]), place(ticks[ticks.len() - 1]));
        let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - 8.0);
        let y = |value: f64| {
            let share = (place(value).max(low) - low) / (high - low);
            HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        };
        let out = &mut self.0;
        let _ = write!(out, "<h2>{}, {}</h2>", plot.title, plot.unit);
        for (colour, series) in plot.series.iter().enumerate() {
            let _ = write!(
                out,
                "<span class=\"key\"><b style=\"color:var(--c{colour})\">—</b> {}</span>",
                escape(series.name)
            );
        }
        let _ = write!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        for mark in plot.marks {
            let _ = write!(
                out,
                "<path class=\"k\" d=\"M{:.1} {TOP}V{:.1}\"/>",
                x(*mark),
                HEIGHT - BOTTOM
            );
        }
        for tick in &ticks {
            let _ = write!(
                out,
                "<path class=\"g\" d=\"M{LEFT} {:.1}H{WIDTH}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                y(*tick),
                LEFT - 6.0,
                y(*tick) + 4.0,
            );
        }
        for tick in steps(end).into_iter().filter(|tick| *tick <= end) {
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick} s</text>",
                x(tick),
                HEIGHT - 6.0
            );
        }
        for (colour, series) in plot.series.iter().enumerate() {
            let mut way = String::new();
            for (index, (at, value)) in thinned(&series.points).iter().enumerate() {
                let letter = if index == 0 { 'M' } else { 'L' };
                let _ = write!(way, "{letter}{:.1} {:.1}", x(*at), y(*value));
            }
            let _ = write!(
                out,
                "<path class=\"l\" style=\"stroke:var(--c{colour})\" d=\"{way}\"/>"
            );
        }
        out.push_str("</svg>");
    }

    pub(crate) fn end(self) -> String {
        self.0 + "</html>\n"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let some = points.len().div_ceil(POINTS_MAX).max(1);
    let greatest = |points: &[(f64, f64)]| {
        let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
        (points[0].0, most)
    };
    points.chunks(some).map(greatest).collect()
}

/// Round numbers from zero to at least the most.
fn steps(most: f64) -> Vec<f64> {
    let rough = most.max(1e-3) / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = nice
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let count = (most / step).ceil().max(1.0) as u32;
    let tidy = |value: f64| (value * 1e6).round() / 1e6;
    (0..=count)
        .map(|index| tidy(f64::from(index) * step))
        .collect()
}

/// Powers of ten round all values.
fn decades(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, 1.0), |(low, high), value| {
            (value.min(low), value.max(high))
        });
    let from = low.min(high).log10().floor() as i32;
    let to = (high.log10().ceil() as i32).max(from + 1);
    (from..=to).map(|power| 10_f64.powi(power)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_of_anything_has_numbers_only() {
        let series = |points: &[(f64, f64)]| Series {
            name: "a < b",
            points: points.to_vec(),
        };
        let many: Vec<_> = (0..5_000).map(|at| (f64::from(at), 3.0)).collect();
        for log in [false, true] {
            for points in [&[][..], &[(0.0, 0.0)], &[(1.0, 5e9)], &many] {
                let mut page = Page::new("t", &[("fact", "1 < 2".into())], &["no".into()]);
                page.plot(&Plot {
                    title: "t",
                    unit: "u",
                    log,
                    series: vec![series(points)],
                    marks: &[0.5],
                });
                let page = page.end();
                assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
                assert!(!page.contains("a < b") && !page.contains("1 < 2"), "{page}");
            }
        }
    }
}
