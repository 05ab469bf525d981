//! What a stack file says of a monitor.

use std::net::SocketAddr;

use serde::Deserialize;
use travertine_engine::stack::{ByteSize, Fault, OptionRow, OptionType, Time};

use super::rules::{RULES, Rule, Rules, Stage};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// The config of a `monitor` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Monitor {
    pub(super) sample: u32,
    pub(super) slow: Option<Time>,
    serve: Option<String>,
    serve_public: bool,
    moderate: Option<Moderate>,
}

/// When to slow down, when to shed, when to let nothing be written.
#[derive(Debug, Clone, Deserialize)]
struct Moderate {
    pause: Time,
    dwell: Time,
    window: Time,
    leave: f64,
    fill: Option<Marks<f64>>,
    dirty: Option<Marks<ByteSize>>,
    sync: Option<Marks<Time>>,
    lag: Option<Marks<ByteSize>>,
    errors: Option<Marks<f64>>,
}

/// From where on a measure calls for what.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Marks<T> {
    slow: Option<T>,
    shed: Option<T>,
    read_only: Option<T>,
}

const fn marks(kind: OptionType) -> [OptionRow; 3] {
    [
        OptionRow::optional(
            "slow",
            kind,
            "never for this",
            "from here on each batch and each commit is answered later by `pause`",
        )
        .topmost(),
        OptionRow::optional(
            "shed",
            kind,
            "never for this",
            "from here on nothing new begins; what was begun ends",
        )
        .topmost(),
        OptionRow::optional(
            "read_only",
            kind,
            "never for this",
            "from here on nothing new begins until all is well again",
        )
        .topmost(),
    ]
}

const SHARES: &[OptionRow] = &marks(OptionType::Number {
    min: 0.001,
    max: 1.0,
});
const SIZES: &[OptionRow] = &marks(OptionType::Size {
    min: 4 << 10,
    max: 1 << 50,
});
const TIMES: &[OptionRow] = &marks(OptionType::Time {
    min: MS / 100,
    max: 600 * SECOND,
});

const MODERATE: &[OptionRow] = &[
    OptionRow::preset(
        "pause",
        OptionType::Time {
            min: MS / 100,
            max: SECOND,
        },
        "5 ms",
        "while slow, each batch and each commit is answered so much later",
    ),
    OptionRow::preset(
        "dwell",
        OptionType::Time {
            min: 10 * MS,
            max: 600 * SECOND,
        },
        "1 s",
        "a stage is left when nothing has called for it for so long; who is refused may try again then",
    ),
    OptionRow::preset(
        "window",
        OptionType::Time {
            min: 100 * MS,
            max: 600 * SECOND,
        },
        "5 s",
        "`sync` and `errors` look at the last so long",
    ),
    OptionRow::preset(
        "leave",
        OptionType::Number {
            min: 0.1,
            max: 0.99,
        },
        "0.8",
        "a stage is left only below this share of the mark that it was entered at",
    ),
    OptionRow::optional(
        "fill",
        OptionType::Table { rows: SHARES },
        "not looked at",
        "by the fullest medium, which a refusal names: the share of its room that is taken",
    ),
    OptionRow::optional(
        "dirty",
        OptionType::Table { rows: SIZES },
        "not looked at",
        "by bytes that were sent down and are in no commit on disk yet",
    ),
    OptionRow::optional(
        "sync",
        OptionType::Table { rows: TIMES },
        "not looked at",
        "by how long a commit takes below: the mean of the window, or the one that is waited for",
    ),
    OptionRow::optional(
        "lag",
        OptionType::Table { rows: SIZES },
        "not looked at",
        "by bytes that the replica furthest behind still lacks",
    ),
    OptionRow::optional(
        "errors",
        OptionType::Table { rows: SHARES },
        "not looked at",
        "by the share of calls that failed at the worst boundary, of at least eight in the window",
    ),
];

/// The options of the kind.
pub(super) const OPTIONS: &[OptionRow] = &[
    OptionRow::preset(
        "sample",
        OptionType::Integer {
            min: 1,
            max: 1_000_000,
        },
        "64",
        "of stores and reads one in so many is timed, rounded up to a power of two; other calls all are",
    ),
    OptionRow::optional(
        "slow",
        OptionType::Time {
            min: MS / 1000,
            max: 3_600 * SECOND,
        },
        "no log of slow calls, and `sample` holds",
        "a call that takes so long is told of as a `tracing` event, ten a second at most; \
         every call is timed then, which costs some 50 ns each",
    ),
    OptionRow::optional(
        "serve",
        OptionType::Text,
        "nothing is served",
        "an address and a port for a live page at /, /metrics (Prometheus), /health, /figures.json and \
         /events, while the stack is open for writing; port 0 is a free one",
    )
    .topmost(),
    OptionRow::preset(
        "serve_public",
        OptionType::Flag,
        "false",
        "serve also where other machines can ask: there is neither encryption nor a password",
    ),
    OptionRow::optional(
        "moderate",
        OptionType::Table { rows: MODERATE },
        "writes are never held back",
        "hold writes back when what lies below is in trouble; only in the topmost monitor",
    )
    .refuses(),
];

impl Monitor {
    /// Where it serves.
    pub(super) fn serve(&self) -> Result<Option<SocketAddr>, Fault> {
        let Some(text) = &self.serve else {
            return Ok(None);
        };
        let address: SocketAddr = text.parse().map_err(|_| {
            Fault::of("serve", format!("{text:?} is no address with a port"))
                .help("write numbers, like \"127.0.0.1:9464\" or \"[::1]:9464\"")
        })?;
        if !address.ip().is_loopback() && !self.serve_public {
            let message = format!("{text} can be asked from other machines");
            return Err(Fault::of("serve", message)
                .help("serve on 127.0.0.1, or say `serve_public = true` if that is meant"));
        }
        Ok(Some(address))
    }

    /// By which rules it moderates.
    pub(super) fn rules(&self) -> Result<Option<Rules>, Fault> {
        let Some(moderate) = &self.moderate else {
            return Ok(None);
        };
        let bytes = |size: ByteSize| size.0 as f64;
        let mut marks = [[None; 3]; RULES];
        marks[Rule::Fill as usize] = levels(moderate.fill, |share| share);
        marks[Rule::Dirty as usize] = levels(moderate.dirty, bytes);
        marks[Rule::Sync as usize] = levels(moderate.sync, |time| time.0.as_nanos() as f64);
        marks[Rule::Lag as usize] = levels(moderate.lag, bytes);
        marks[Rule::Errors as usize] = levels(moderate.errors, |share| share);
        if marks.as_flattened().iter().all(Option::is_none) {
            let message = "`moderate` says no mark, so it would never do anything";
            return Err(Fault::of("moderate", message)
                .help("for example sync = { slow = \"50 ms\", shed = \"500 ms\" }"));
        }
        for (rule, marks) in Rule::ALL.into_iter().zip(&marks) {
            let said: Vec<_> = Stage::MARKED.into_iter().zip(marks).collect();
            let said = said
                .iter()
                .filter_map(|(stage, mark)| mark.map(|mark| (stage, mark)));
            let said: Vec<_> = said.collect();
            if let Some(pair) = said.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
                let message = format!(
                    "`moderate.{}`: `{}` must be more than `{}`",
                    rule.name(),
                    pair[1].0.name(),
                    pair[0].0.name()
                );
                return Err(Fault::of("moderate", message).help("what is worse comes later"));
            }
        }
        Ok(Some(Rules {
            pause: moderate.pause.0,
            dwell: moderate.dwell.0,
            window: moderate.window.0,
            leave: moderate.leave,
            marks,
        }))
    }
}

fn levels<T>(marks: Option<Marks<T>>, number: impl Fn(T) -> f64) -> [Option<f64>; 3] {
    let Some(marks) = marks else {
        return [None; 3];
    };
    [marks.slow, marks.shed, marks.read_only].map(|mark| mark.map(&number))
}
