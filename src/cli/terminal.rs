//! Where commands print: data to one side, words about it to the other.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use super::{Failure, Outcome};

/// Columns for text that is wrapped where no terminal says how wide it is.
const WIDTH: usize = 100;

/// Output and error output of one command.
pub struct Terminal<'a> {
    out: BufWriter<&'a mut dyn Write>,
    err: &'a mut dyn Write,
    /// Whether error output may have colours.
    pub(super) colour: bool,
    /// Whether somebody watches: progress is for them only.
    pub watched: bool,
}

impl<'a> Terminal<'a> {
    /// Standard output and error output of this process.
    pub fn of_process(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        let watched = io::stderr().is_terminal();
        let colour = watched && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: BufWriter::new(out),
            err,
            colour,
            watched,
        }
    }

    /// Plain output that nobody watches.
    pub fn plain(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            out: BufWriter::new(out),
            err,
            colour: false,
            watched: false,
        }
    }

    /// Prints a line of data.
    pub fn say(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    /// Prints data as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(())
    }

    /// Prints one value as a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        self.say("")
    }

    /// Sends on what was printed so far.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        Ok(())
    }

    /// Says something about the work, on the error output.
    pub fn note(&mut self, line: impl Display) -> Result<(), Failure> {
        // What cannot be printed stays to be printed, and fails again at the end.
        let _ = self.out.flush();
        writeln!(self.err, "{line}")?;
        Ok(())
    }

    /// Says how far the work is, over what was said of it before; nothing if nobody watches. An
    /// empty line ends it.
    pub fn progress(&mut self, line: impl Display) -> Result<(), Failure> {
        if self.watched {
            write!(self.err, "\r\x1b[2K{line}")?;
            self.err.flush()?;
        }
        Ok(())
    }

    /// Says what went wrong.
    pub(super) fn complain(&mut self, message: &str) -> Result<(), Failure> {
        self.note(format_args!("error: {message}"))
    }

    /// Prints what clap has to say: help on the output, a wrong call on the error output.
    pub(super) fn usage(&mut self, error: &clap::Error) -> Result<Outcome, Failure> {
        let text = error.render();
        let text = if self.colour {
            text.ansi().to_string()
        } else {
            text.to_string()
        };
        if error.use_stderr() {
            // If nobody reads it, the code still tells.
            let _ = self.err.write_all(text.as_bytes());
            return Ok(Outcome::Wrong);
        }
        self.bytes(text.as_bytes())?;
        Ok(Outcome::Fine)
    }

    /// How wide text may be.
    pub(super) fn width(&self) -> usize {
        WIDTH
    }
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}
