//! A bar for long work, where somebody watches.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Terminal;

/// How far long work has got. Hidden until it is shown, and always if nobody watches.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work measured in bytes, of which some were done before.
    pub(super) fn bytes(what: &'static str, total: u64, done: u64) -> Self {
        Self::new(
            what,
            total,
            done,
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
    }

    /// Work measured in things of some kind.
    pub(super) fn things(what: &'static str, total: u64) -> Self {
        Self::new(
            what,
            total,
            0,
            "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}",
        )
    }

    fn new(what: &'static str, total: u64, done: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.set_position(done);
        bar.reset_eta();
        Self(bar)
    }

    /// Shows it, if somebody watches.
    pub(super) fn show(&self, terminal: &Terminal<'_>) {
        if terminal.watched {
            self.0
                .set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
    }

    /// Says how far the work has got.
    pub(super) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Says how much work there is.
    pub(super) fn of(&self, total: u64) {
        self.0.set_length(total);
    }

    /// Says that the work goes on, though nobody knows how far it is.
    pub(super) fn tick(&self) {
        self.0.tick();
    }

    /// Does something that prints, with the bar out of the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
