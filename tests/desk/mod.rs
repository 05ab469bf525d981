//! A directory with a stack file in it, and the program to run there: what the tests of commands share.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A stack of one log in one directory, unless told otherwise.
pub(crate) const SOLO: &str = "[[layer]]\nuse = \"file\"\npath = \"data\"\n";

/// Where a test works: gone when it is dropped.
pub(crate) struct Desk {
    directory: TempDir,
}

impl Desk {
    /// A desk with `s.toml`, a stack of one directory that is not there yet.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("s.toml"), SOLO).unwrap();
        Self { directory }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file on it.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The program, to be run here with `line` split at blanks.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_travertine"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_remove("TRAVERTINE_SET")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, line: &str) -> Said {
        Said::of(self.command(line).output().unwrap())
    }

    /// Runs the program with these bytes on its standard input.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Said {
        let mut command = self.command(line);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // A program may go away before it has read everything.
            scope.spawn(move || drop(pipe.write_all(input)));
            Said::of(child.wait_with_output().unwrap())
        })
    }

    /// Runs the program, which must do well, and returns what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, 0, "`{line}` said {said:?}");
        said.text()
    }

    /// Runs the program, which must end with this code and say these words.
    pub(crate) fn fails(&self, line: &str, code: i32, words: &[&str]) -> Said {
        let said = self.run(line);
        said.expect(line, code, words);
        said
    }

    /// All files below a directory here, with their bytes.
    pub(crate) fn bytes_of(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.path().join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
            .into_iter()
            .map(|path| {
                let bytes = fs::read(&path).unwrap();
                (path, bytes)
            })
            .collect()
    }
}

// Each test program uses a part of this file; naming all of it here keeps the others quiet.
const _: () = {
    let _ = |desk: &Desk| desk.file("", "");
    let _ = (Desk::run_with, Desk::fails, Desk::bytes_of, Desk::ok);
    let _ = (Said::json, Said::text, Said::expect);
};

/// What the program said.
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its output.
    pub(crate) out: Vec<u8>,
    /// Its error output.
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// Its output as lines of JSON.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Checks the code, and the words on the error output.
    pub(crate) fn expect(&self, line: &str, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "`{line}` said {self:?}");
        for word in words {
            assert!(
                self.err.contains(word),
                "`{line}` said {self:?}, not {word:?}"
            );
        }
        assert!(!self.err.contains("panicked"), "`{line}` said {self:?}");
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out = &self.out[..self.out.len().min(2000)];
        write!(
            f,
            "code {}\n{}\n{}",
            self.code,
            out.escape_ascii(),
            self.err
        )
    }
}
