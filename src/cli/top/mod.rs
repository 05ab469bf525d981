//! `top`: what a monitor sees, live in a terminal.

mod event;
mod listen;

use std::io::IsTerminal;
use std::path::Path;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use self::event::{Event, Floor, Rates};
use self::listen::Listener;
use super::{Failure, Outcome, Run, SetArg, Terminal};
use crate::config::StackFile;
use crate::stack::Registry;

/// To the upper left corner, and nothing below it.
const HOME: &str = "\x1b[H\x1b[J";
const HEADER: [&str; 8] = [
    "floor", "verb", "/s", "p50", "p99", "bytes/s", "all", "failed",
];
/// No rate is told of a shorter time.
const LEAST_NS: u64 = 300_000_000;

/// Watch the floors of an open stack: calls, times and health, once a second
///
/// The process that has the stack open tells them: the stack's topmost `monitor` needs `serve`. STACK is
/// the stack file, which says where that is, or an address like 127.0.0.1:9464 or
/// http://127.0.0.1:9464/. The same figures are there as a page for a browser. It goes on until it is
/// stopped, or the stack is closed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine top stack.toml
  travertine top 127.0.0.1:9464
  travertine top stack.toml --once              one second, and no more
  travertine top stack.toml --json              everything, one line of JSON each second")]
pub(super) struct Top {
    /// The stack file, or the address that its monitor serves
    #[arg(value_name = "STACK|URL")]
    of: String,
    #[command(flatten)]
    set: SetArg,
    /// Look for one second, and end
    #[arg(long)]
    once: bool,
    /// Print one line of JSON each second: counts since the stack was opened
    #[arg(long)]
    json: bool,
}

impl Run for Top {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let clear = !self.once && std::io::stdout().is_terminal();
        let address = match listen::address(&self.of)? {
            Some(address) => address,
            None => self.served(registry)?,
        };
        let mut listener = Listener::connect(&address)?;
        let mut before: Option<Event> = None;
        while let Some(text) = listener.next()? {
            let event = Event::parse(&text, &address)?;
            let Some(was) = before.as_ref().filter(|was| was.since_ns == event.since_ns) else {
                before = Some(event);
                continue;
            };
            if event.at_ns.saturating_sub(was.at_ns) < LEAST_NS {
                continue;
            }
            if self.json {
                terminal.say(&text)?;
            } else {
                if clear {
                    terminal.bytes(HOME.as_bytes())?;
                }
                tell(&address, &event, was, terminal)?;
            }
            // Whoever reads it has it now.
            terminal.flush()?;
            if self.once {
                return Ok(Outcome::Fine);
            }
            before = Some(event);
        }
        terminal.note(format_args!(
            "{address} tells no more: the stack was closed"
        ))?;
        Ok(Outcome::Fine)
    }
}

impl Top {
    /// The address in the stack file.
    fn served(&self, registry: &Registry) -> Result<String, Failure> {
        let path = &self.of;
        let file = StackFile::load(Path::new(path), registry, &self.set.overrides())?;
        let floors = file.plan().top().walk().map(|(_, floor)| floor);
        let settings = floors.flat_map(|floor| {
            let monitor = floor.kind().name == "monitor";
            floor.settings().iter().filter(move |_| monitor)
        });
        let mut serve = settings.filter(|setting| setting.name == "serve");
        let address = serve.find_map(|setting| setting.value.as_ref()?.as_text());
        match address {
            Some(free) if free.ends_with(":0") => Err(Failure::wrong(format!(
                "{path} serves on a free port: `top` needs the address, which `port` among the figures of \
                 its status tells"
            ))),
            Some(address) => Ok(address.to_owned()),
            None => Err(Failure::wrong(format!(
                "{path} serves no figures: a `monitor` on top of it would, with serve = \"127.0.0.1:9464\""
            ))),
        }
    }
}

fn tell(
    address: &str,
    event: &Event,
    was: &Event,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let writes = match event.health.writes {
        true => "writes accepted",
        false => "no writes",
    };
    let says = shown(&event.health.says);
    terminal.say(format_args!("{address}: {writes}; {says}"))?;
    if let Some(line) = event.moderated() {
        terminal.say(line)?;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(HEADER);
    let mut notes = Vec::new();
    for (index, floor) in event.floors.iter().enumerate() {
        let title = title(floor);
        let seconds = event.at_ns.saturating_sub(was.at_ns) as f64 / 1e9;
        let rates = floor.rates(was.floors.get(index), seconds);
        if rates.is_empty() {
            table.add_row([title.as_str(), "-"]);
        }
        for (at, rates) in rates.iter().enumerate() {
            let title = if at == 0 { title.as_str() } else { "" };
            table.add_row(row(title, rates));
        }
        if let Some(why) = &floor.refusing {
            notes.push(format!("{}: down: {}", title.trim_start(), shown(why)));
        }
        let facts = floor.facts(was.floors.get(index));
        if !facts.is_empty() {
            notes.push(format!("{}: {}", title.trim_start(), facts.join(", ")));
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        terminal.say(line.trim_end())?;
    }
    for note in notes {
        terminal.say(note)?;
    }
    Ok(())
}

/// Its kind and its name, moved to the right by how deep it lies.
fn title(floor: &Floor) -> String {
    let depth = "  ".repeat(floor.depth.min(32));
    let kind = shown(&floor.kind);
    match &floor.name {
        Some(name) => format!("{depth}{kind} {name:?}"),
        None => format!("{depth}{kind}"),
    }
}

fn row(title: &str, rates: &Rates) -> [String; 8] {
    [
        title.to_owned(),
        shown(&rates.verb),
        number(rates.calls),
        time(rates.p50),
        time(rates.p99),
        size(rates.bytes),
        number(rates.all as f64),
        number(rates.failed as f64),
    ]
}

/// Text from elsewhere, as it may go to a terminal.
fn shown(text: &str) -> String {
    let safe = |c: char| match c.is_control() {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(safe).collect()
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 && value.fract() == 0.0 => 0,
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", units[unit])
}

fn number(value: f64) -> String {
    scaled(value, 1e3, &["", " k", " M", " G", " T"])
}

fn size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn time(ns: Option<u64>) -> String {
    ns.map_or("-".to_owned(), |ns| {
        scaled(ns as f64, 1e3, &[" ns", " us", " ms", " s"])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_units() {
        assert_eq!(number(0.0), "0");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(1_234_567.0), "1.23 M");
        assert_eq!(size(1536.0), "1.50 KiB");
        assert_eq!(time(Some(999)), "999 ns");
        assert_eq!(time(Some(12_345_678)), "12.3 ms");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn what_comes_from_elsewhere_does_not_drive_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
    }
}
