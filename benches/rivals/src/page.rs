//! The report as one page: a table, and bars for each row. Opens without a network.

use std::fmt::Write as _;

use crate::measure::{Better, Report, Row, figure};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5d9de; --bar: #9aa7b4; --ours: #b5651d; --range: #3a4550 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --line: #343a41; --bar: #55616d; --ours: #e0964f; --range: #c3cbd3 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1320px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; display: block; overflow-x: auto }
td, th { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
td:first-child, th:first-child { text-align: left }
.ours { font-weight: 600; color: var(--ours) }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 1.2rem 2rem }
svg { width: 100%; height: auto } svg text { fill: var(--ink); font-size: 12px }
h3 { margin: .4rem 0 0; font-size: 14px }
";

/// The whole page.
pub fn page(report: &Report, title: &str) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style><h1>{title}</h1><p>Medians over rounds in which all sides take turns; \
         a ratio is ours to the best of the others, round by round, and above 1 is better for us. \
         A side marked * does not flush the device in that row, and leads nothing there.</p><table><tr><th>row"
    );
    for side in &report.sides {
        let _ = write!(out, "<th>{side}");
    }
    out.push_str("<th>ratio<th>spread<th>place<th>best of the others");
    for row in &report.rows {
        let _ = write!(out, "<tr><td>{}, {}", row.name, row.unit);
        for side in 0..report.sides.len() {
            let class = if side == 0 { " class=\"ours\"" } else { "" };
            let mark = if row.apart.contains(&side) { "*" } else { "" };
            let text = row.median(side).map_or("–".to_owned(), figure);
            let _ = write!(out, "<td{class}>{text}{mark}");
        }
        if let Some(standing) = row.standing() {
            let _ = write!(
                out,
                "<td>{:.2}<td>{:.2}..{:.2}<td>{}<td>{}",
                standing.ratio.median,
                standing.ratio.least,
                standing.ratio.most,
                standing.place,
                report.sides[standing.leader]
            );
        }
    }
    out.push_str("</table><h2>Row by row</h2><div class=\"plots\">");
    for row in &report.rows {
        plot(&mut out, report, row);
    }
    out.push_str("</div></html>");
    out
}

/// A bar for each side, from the median; a line from the least figure to the most.
fn plot(out: &mut String, report: &Report, row: &Row) {
    let sides: Vec<_> = (0..report.sides.len())
        .filter_map(|side| Some((side, row.median(side)?)))
        .collect();
    let all = row.figures.iter().flatten().copied();
    let most = all.fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| 110.0 + 230.0 * value / most;
    let better = match row.better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    let _ = write!(
        out,
        "<div><h3>{}, {} ({better})</h3><svg viewBox=\"0 0 440 {}\">",
        row.name,
        row.unit,
        sides.len() * 20 + 6
    );
    for (line, (side, median)) in sides.iter().enumerate() {
        let y = line * 20 + 4;
        let fill = if *side == 0 { "--ours" } else { "--bar" };
        let figures = row.figures[*side].iter().copied();
        let (low, high) = figures.fold((f64::MAX, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        let _ = write!(
            out,
            "<text x=\"104\" y=\"{base}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"110\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" style=\"fill:var({fill})\"/>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\" style=\"stroke:var(--range)\"/>\
             <text x=\"{after:.1}\" y=\"{base}\">{text}</text>",
            base = y + 11,
            middle = y + 7,
            name = report.sides[*side],
            width = x(*median) - 110.0,
            from = x(low),
            to = x(high),
            after = x(high) + 6.0,
            text = figure(*median),
        );
    }
    out.push_str("</svg></div>");
}
