//! What a bench found, as one HTML file: plots, figures and the stacks, with nothing to load.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::Results;
use super::ablation;
use super::plot::{Axes, Bar, COLOURS, Series, bars, escape, lines};
use super::tables::{Table, number, size, time};
use crate::cli::Failure;
use crate::contract::Error;
use crate::workload::Summary;

/// Makes the file, before hours are spent on what it is to hold.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a report is no store's file")]
    let file = File::create(path);
    file.map_err(|source| {
        Failure::wrong(format!(
            "--report {} cannot be written: {source}",
            path.display()
        ))
    })
}

/// Writes it.
pub(super) fn write(mut file: File, path: &Path, table: &Table<'_>) -> Result<(), Failure> {
    let page = page(table);
    let written = file.write_all(page.as_bytes()).and_then(|()| file.flush());
    written.map_err(|source| Error::io(format!("writing {}", path.display()), source).into())
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fcfcfa;--fg:#1c2227;--dim:#5c6770;--line:#d9dcd8;--card:#fff;\
--c0:#2f6db5;--c1:#c4572a;--c2:#3a8f5c;--c3:#8a55a8;--c4:#b08a1e;--c5:#2a8f99;--c6:#b8497c;--c7:#6b7680}\
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--fg:#e3e7e9;--dim:#96a1a9;--line:#31393e;\
--card:#1b2024;--c0:#74aaf0;--c1:#f0956a;--c2:#76cf98;--c3:#c79be2;--c4:#e2bf5c;--c5:#6bcdd6;\
--c6:#ee8fb8;--c7:#a7b2ba}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:1560px;padding:24px;background:var(--bg);\
color:var(--fg);font:15px/1.5 system-ui,sans-serif}h1{font-size:26px;margin:0 0 4px}\
h2{font-size:20px;margin:36px 0 4px;border-top:1px solid var(--line);padding-top:20px}\
h3{font-size:15px;margin:0 0 8px}p{margin:4px 0;color:var(--dim)}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,560px),1fr));gap:16px;margin:16px 0}\
figure{margin:0;align-self:start;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px;overflow-x:auto}\
svg{width:100%;height:auto;display:block}text{fill:var(--fg);font:12px system-ui,sans-serif}\
.t{fill:var(--dim)}.l{fill:var(--dim)}.g{stroke:var(--line);fill:none}.w{stroke:var(--fg);fill:none;opacity:.6}\
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin-top:8px;font-size:13px}\
.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}\
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}th{color:var(--dim);font-weight:500}\
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-x:auto;font-size:13px}\
@media print{:root{color-scheme:light}figure{break-inside:avoid}}";

fn page(table: &Table<'_>) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Travertine bench</title><style>",
    );
    page.push_str(STYLE);
    for colour in 0..COLOURS {
        let _ = write!(
            page,
            ".s{colour}{{stroke:var(--c{colour});fill:none;stroke-width:2;stroke-linejoin:round}}\
             .f{colour}{{fill:var(--c{colour});background:var(--c{colour})}}"
        );
    }
    page.push_str("</style></head><body><h1>Travertine bench</h1>");
    for line in table.head() {
        let _ = write!(page, "<p>{}</p>", escape(&line));
    }
    for (index, results) in table.results.iter().enumerate() {
        // All numbers of threads of a workload stand together.
        if index % table.threads.len() == 0 {
            workload(
                &mut page,
                table,
                &table.results[index..index + table.threads.len()],
            );
        }
        figures(&mut page, table, results);
    }
    page.push_str("<h2>The stacks</h2>");
    for contestant in table.contestants {
        let plan = contestant.file.plan();
        let _ = write!(
            page,
            "<h3>{}</h3><pre>{}</pre>",
            escape(&contestant.label),
            escape(&plan.to_string())
        );
    }
    page.push_str("</body></html>\n");
    page
}

/// The plots of one workload, over all numbers of threads.
fn workload(page: &mut String, table: &Table<'_>, all: &[Results]) {
    let Some(results) = all.last() else { return };
    let step = results.workload.step();
    let _ = write!(
        page,
        "<h2>{}</h2><p>{}; latency per {step}; medians of {} rounds</p><div class=\"plots\">",
        results.workload,
        escape(results.workload.does()),
        results.stacks.first().map_or(0, |summary| summary.rounds),
    );
    let told = table.in_threads(results);
    let bar = |(index, (contestant, summary)): (usize, (&super::Contestant, &Summary))| Bar {
        name: contestant.label.clone(),
        colour: index,
        value: summary.rate.median,
        least: summary.rate.least,
        most: summary.rate.most,
        says: format!("{}/s", number(summary.rate.median)),
    };
    let rows = table.contestants.iter().zip(&results.stacks).enumerate();
    let rows: Vec<Bar> = rows.map(bar).collect();
    let title = format!("Operations a second{told}");
    figure(page, &title, &bars(&title, &rows), None);

    let shares = [
        (0.5, "p50"),
        (0.9, "p90"),
        (0.99, "p99"),
        (0.999, "p99.9"),
        (1.0, "most"),
    ];
    let places: Vec<(f64, String)> = (0..shares.len())
        .map(|at| (at as f64, shares[at].1.to_owned()))
        .collect();
    let title = format!("Latency of a {step}{told}");
    let axes = Axes {
        x: "share of all",
        y: "latency",
        places: &places,
        log: true,
        shown: |value| time(value as u64),
    };
    let latency = |summary: &Summary| {
        let points = shares.iter().enumerate();
        let points =
            points.map(|(at, (share, _))| (at as f64, summary.steps.quantile(*share) as f64));
        points.collect()
    };
    let series = series(table, results, latency);
    figure(page, &title, &lines(&title, &axes, &series), Some(table));

    if all.len() > 1 {
        by_threads(page, table, all);
    }
    over_time(page, table, results, &told);
    page.push_str("</div>");
}

fn by_threads(page: &mut String, table: &Table<'_>, all: &[Results]) {
    let places: Vec<(f64, String)> = (0..all.len())
        .map(|at| (at as f64, all[at].threads.to_string()))
        .collect();
    let over = |of: &dyn Fn(&Summary) -> f64| {
        let contestants = table.contestants.iter().enumerate();
        let series = contestants.map(|(index, contestant)| Series {
            name: contestant.label.clone(),
            colour: index,
            points: all
                .iter()
                .enumerate()
                .map(|(at, results)| (at as f64, of(&results.stacks[index])))
                .collect(),
        });
        series.collect::<Vec<_>>()
    };
    let axes = |y: &'static str, log: bool, shown: fn(f64) -> String| Axes {
        x: "threads",
        y,
        places: &places,
        log,
        shown,
    };
    let title = "Operations a second by threads";
    let rate = lines(
        title,
        &axes("operations/s", false, number),
        &over(&|s| s.rate.median),
    );
    figure(page, title, &rate, Some(table));
    let title = "99th percentile by threads";
    let p99 = axes("p99", true, |value| time(value as u64));
    let p99 = lines(title, &p99, &over(&|s| s.steps.quantile(0.99) as f64));
    figure(page, title, &p99, Some(table));
}

fn over_time(page: &mut String, table: &Table<'_>, results: &Results, told: &str) {
    let step = results.workload.step();
    let mut axes = Axes {
        x: "seconds",
        y: "steps/s",
        places: &[],
        log: false,
        shown: number,
    };
    let rate = |summary: &Summary| {
        let moments = summary.timeline.moments();
        moments.map(|moment| (moment.at, moment.rate)).collect()
    };
    let title = format!("Steps a second over time, a step being a {step}{told}");
    let svg = lines(&title, &axes, &series(table, results, rate));
    figure(page, &title, &svg, Some(table));
    (axes.y, axes.log, axes.shown) = ("mean", true, |value| time(value as u64));
    let mean = |summary: &Summary| {
        let moments = summary
            .timeline
            .moments()
            .filter(|moment| moment.mean > 0.0);
        moments.map(|moment| (moment.at, moment.mean)).collect()
    };
    let title = format!("Mean latency over time{told}");
    let svg = lines(&title, &axes, &series(table, results, mean));
    figure(page, &title, &svg, Some(table));
}

fn series(
    table: &Table<'_>,
    results: &Results,
    points: impl Fn(&Summary) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let all = table.contestants.iter().zip(&results.stacks).enumerate();
    let all = all.map(|(index, (contestant, summary))| Series {
        name: contestant.label.clone(),
        colour: index,
        points: points(summary),
    });
    all.collect()
}

/// A plot with its title, and a legend if its series need one.
fn figure(page: &mut String, title: &str, svg: &str, legend: Option<&Table<'_>>) {
    let _ = write!(page, "<figure><h3>{}</h3>{svg}", escape(title));
    if let Some(table) = legend {
        page.push_str("<div class=\"legend\">");
        for (index, contestant) in table.contestants.iter().enumerate() {
            let _ = write!(
                page,
                "<span><i class=\"f{}\"></i>{}</span>",
                index % COLOURS,
                escape(&contestant.label)
            );
        }
        page.push_str("</div>");
    }
    page.push_str("</figure>");
}

/// The figures of one workload as tables.
fn figures(page: &mut String, table: &Table<'_>, results: &Results) {
    let _ = write!(
        page,
        "<figure><h3>Figures of {}{}</h3><table><tr><th>stack<th>ops/s<th>spread<th>x first<th>p50<th>p99\
         <th>p99.9<th>written/given<th>syncs<th>cpu/op<th>peak</tr>",
        results.workload,
        table.in_threads(results)
    );
    let first = results
        .stacks
        .first()
        .map_or(0.0, |summary| summary.rate.median);
    for (contestant, summary) in table.contestants.iter().zip(&results.stacks) {
        let latency = |share| time(summary.steps.quantile(share));
        let written = summary.amplification;
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{:.0} %<td>{:.2}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escape(&contestant.label),
            number(summary.rate.median),
            summary.rate.width() * 100.0,
            summary.rate.median / first,
            latency(0.5),
            latency(0.99),
            latency(0.999),
            written.map_or("-".to_owned(), |times| format!("{times:.2}")),
            number(summary.syncs.median),
            time((summary.cpu_us.median * 1e3) as u64),
            size(summary.peak.median),
        );
    }
    page.push_str("</table></figure>");
    let floors = ablation::floors(table, results);
    if floors.is_empty() {
        return;
    }
    page.push_str(
        "<figure><h3>What each floor costs</h3><table><tr><th>stack<th>floor<th>with it<th>without it\
         <th>ratio<th>p50<th>p99<th></tr>",
    );
    for floor in &floors {
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{:.2}<td>{}<td>{}<td>{}</tr>",
            escape(floor.stack),
            escape(floor.floor),
            number(floor.with.rate.median),
            number(floor.without.rate.median),
            floor.ratio(),
            ablation::more(floor.adds(0.5)),
            ablation::more(floor.adds(0.99)),
            ablation::verdict(floor),
        );
    }
    page.push_str("</table></figure>");
}
