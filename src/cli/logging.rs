//! What happens inside, told on the error output: how much, and in which form.
//!
//! Without options warnings and errors are told, the calls that a `monitor` found slow among them. Data is
//! never printed there, and no log holds keys, tokens or what records hold.

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use super::Failure;

/// A filter in place of `-v`, by target.
const VARIABLE: &str = "TRAVERTINE_LOG";

/// What to tell of the work, for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LogArgs {
    /// Tell more on the error output: -v what happens, -vv also each commit at each floor, -vvv every
    /// call. The variable TRAVERTINE_LOG says it by target instead, like
    /// travertine=info,travertine::calls=trace
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Tell of errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// The form of a log line
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Text, global = true)]
    log: Form,
    /// Export traces to a collector of OpenTelemetry, over plain HTTP, like http://127.0.0.1:4318
    #[cfg(feature = "otlp")]
    #[arg(
        long,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        global = true
    )]
    otlp: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// Ends the log when it is dropped: what is still to be exported goes out.
pub(super) struct Log {
    #[cfg(feature = "otlp")]
    _export: Option<super::otlp::Export>,
}

impl LogArgs {
    /// Begins to tell. A program around this one that listens already goes on to do so instead.
    pub(super) fn begin(&self, colour: bool) -> Result<Log, Failure> {
        let filter = self.filter()?;
        let spans = match self.verbose {
            0 | 1 => FmtSpan::NONE,
            _ => FmtSpan::CLOSE,
        };
        let told = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_span_events(spans)
            .with_ansi(colour)
            .log_internal_errors(false);
        let told = match self.log {
            Form::Text => told.boxed(),
            Form::Json => told.json().with_ansi(false).boxed(),
        };
        let log = registry().with(told.with_filter(filter));
        #[cfg(feature = "otlp")]
        let (log, export) = {
            let export = self.otlp.as_deref().map(super::otlp::Export::begin);
            let (layer, export) = export.transpose()?.unzip();
            (log.with(layer), export)
        };
        let _ = log.try_init();
        Ok(Log {
            #[cfg(feature = "otlp")]
            _export: export,
        })
    }

    fn filter(&self) -> Result<Targets, Failure> {
        let said = std::env::var(VARIABLE).unwrap_or_default();
        if self.verbose == 0 && !self.quiet && !said.is_empty() {
            return said
                .parse()
                .map_err(|error| Failure::wrong(format!("{VARIABLE} is no filter: {error}")));
        }
        let ours = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (_, 0) => LevelFilter::WARN,
            (_, 1) => LevelFilter::INFO,
            (_, 2) => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        // What others below us have to say is of use to them.
        let others = ours.min(LevelFilter::WARN);
        Ok(Targets::new()
            .with_default(others)
            .with_target("travertine", ours))
    }
}
