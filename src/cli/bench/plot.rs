//! Plots as SVG, for a page that brings the colours.
//!
//! A plot names its series by class (`s0`, `s1`, …) and its words by class too, so one page looks right
//! on light and on dark, and nothing is loaded from anywhere.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Room for the words at the left, right, top and bottom.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Colours that the page has.
pub(super) const COLOURS: usize = 8;

/// A line through points.
pub(super) struct Series {
    pub(super) name: String,
    /// Which colour.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// What the two ways of a plot mean.
pub(super) struct Axes<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// Words at places of the x axis; empty: numbers.
    pub(super) places: &'a [(f64, String)],
    /// Each step up is a power of ten.
    pub(super) log: bool,
    /// How a value reads.
    pub(super) shown: fn(f64) -> String,
}

/// A value with its ends, as a bar.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) says: String,
}

/// What a text says, safe within HTML.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Bars from the left, with a whisker from the least to the most.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 30.0;
    const NAMES: f64 = 190.0;
    const WORDS: f64 = 150.0;
    let most = bars.iter().map(|bar| bar.most).fold(0.0, f64::max);
    let scale = (WIDTH - NAMES - WORDS) / most.max(f64::MIN_POSITIVE);
    let height = ROW * bars.len() as f64 + 8.0;
    let mut svg = open(title, height);
    for (index, bar) in bars.iter().enumerate() {
        let y = 4.0 + ROW * index as f64;
        let (width, from, to) = (bar.value * scale, bar.least * scale, bar.most * scale);
        let middle = y + ROW / 2.0;
        let name = escape(&shortened(&bar.name));
        let _ = write!(
            svg,
            "<text class=\"t\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"f{}\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"2\"/>\
             <path class=\"w\" d=\"M{:.1} {middle:.1}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8\"/>\
             <text class=\"t\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAMES - 8.0,
            middle + 4.0,
            bar.colour % COLOURS,
            y + 6.0,
            NAMES + from,
            NAMES + to,
            NAMES + from,
            middle - 4.0,
            NAMES + to,
            middle - 4.0,
            NAMES + to + 8.0,
            middle + 4.0,
            escape(&bar.says),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Lines, each with its name in the legend that the page puts beside it.
pub(super) fn lines(title: &str, axes: &Axes<'_>, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let (x_low, x_high) = ends(points().map(|point| point.0));
    let numbers: Vec<(f64, String)> = match axes.places {
        [] => steps(x_high).into_iter().map(plain).collect(),
        _ => Vec::new(),
    };
    // Numbers begin at zero and end at a round one; places are where they are.
    let (x_low, x_high) = match numbers.last() {
        Some((last, _)) => (0.0, *last),
        None if x_low == x_high => (x_low - 0.5, x_high + 0.5),
        None => (x_low, x_high),
    };
    let ticks = if axes.log {
        decades(points().map(|point| point.1))
    } else {
        steps(points().map(|point| point.1).fold(0.0, f64::max))
    };
    let place = |value: f64| {
        if axes.log {
            value.max(1e-12).log10()
        } else {
            value
        }
    };
    let (low, high) = (place(ticks[0]), place(ticks[ticks.len() - 1]));
    let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        HEIGHT - BOTTOM - (place(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = open(title, HEIGHT);
    for tick in &ticks {
        let at = y(*tick);
        let _ = write!(
            svg,
            "<path class=\"g\" d=\"M{LEFT} {at:.1}H{:.1}\"/>\
             <text class=\"t\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            escape(&(axes.shown)(*tick)),
        );
    }
    let places = if axes.places.is_empty() {
        &numbers
    } else {
        axes.places
    };
    for (at, word) in places {
        let _ = write!(
            svg,
            "<text class=\"t\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(*at),
            HEIGHT - BOTTOM + 18.0,
            escape(word),
        );
    }
    let _ = write!(
        svg,
        "<text class=\"l\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"l\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0,
        escape(axes.x),
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escape(axes.y),
    );
    for one in series {
        let colour = one.colour % COLOURS;
        let mut way = String::new();
        for (index, (at, value)) in one.points.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(way, "{letter}{:.1} {:.1}", x(*at), y(*value));
        }
        let name = escape(&one.name);
        let _ = write!(
            svg,
            "<path class=\"s{colour}\" d=\"{way}\"><title>{name}</title></path>"
        );
        if one.points.len() <= 12 {
            for (at, value) in &one.points {
                let _ = write!(
                    svg,
                    "<circle class=\"f{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\">\
                     <title>{name}: {}</title></circle>",
                    x(*at),
                    y(*value),
                    escape(&(axes.shown)(*value)),
                );
            }
        }
    }
    svg.push_str("</svg>");
    svg
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>"
    )
}

/// A name that fits beside a bar.
fn shortened(name: &str) -> String {
    const MOST: usize = 28;
    let length = name.chars().count();
    if length <= MOST {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - MOST + 1).collect();
    format!("…{end}")
}

/// A number with as many digits as it needs.
fn plain(value: f64) -> (f64, String) {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    (value, text.to_owned())
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if ends.0 > ends.1 { (0.0, 1.0) } else { ends }
}

/// Round numbers from zero to at least the most.
fn steps(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let rough = most / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
    let step = nice
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let count = (most / step).ceil().max(1.0) as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// Powers of ten round all values, two at least.
fn decades(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) = ends(values.filter(|value| *value > 0.0));
    // Without any value, there is an axis all the same.
    let (low, high) = if low > 0.0 { (low, high) } else { (1.0, 1.0) };
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let to = to.max(from + 1);
    (from..=to).map(|power| 10_f64.powi(power)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_that_hold_every_value() {
        assert_eq!(steps(0.0).first(), Some(&0.0));
        for most in [0.3, 1.0, 7.0, 99.0, 100_001.0, 3e9] {
            let steps = steps(most);
            assert!((2..=6).contains(&steps.len()), "{most}: {steps:?}");
            assert!(steps[steps.len() - 1] >= most, "{most}: {steps:?}");
        }
        assert_eq!(
            decades([5.0, 300.0].into_iter()),
            [1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!(decades([10.0].into_iter()).len(), 2);
        assert_eq!(decades([].into_iter()).len(), 2);
    }

    #[test]
    fn numbers_have_the_digits_they_need() {
        let told = [0.0, 0.25, 2.0, 150.0].map(|value| plain(value).1);
        assert_eq!(told, ["0", "0.25", "2", "150"]);
    }

    #[test]
    fn what_a_name_says_cannot_become_markup() {
        let axes = Axes {
            x: "<x>",
            y: "y",
            places: &[],
            log: false,
            shown: |value| value.to_string(),
        };
        let series = [Series {
            name: "<script>\"&".to_owned(),
            colour: 9,
            points: vec![(0.0, 1.0), (1.0, f64::from(2))],
        }];
        let svg = lines("<t>", &axes, &series);
        assert!(
            !svg.contains("<script") && !svg.contains("<x>") && !svg.contains("<t>"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
