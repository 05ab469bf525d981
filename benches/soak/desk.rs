//! Where a soak works: a stack in a directory of its own, what it takes there, and what is told of it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Level, Position};
use travertine::front::Engine;
use travertine::stack::Stack;
use travertine::workload::{Rows, Table};

use crate::{Common, Outcome};

/// The name of the tree.
pub(crate) const TREE: &str = "rows";

/// One log that gives space back by itself.
const USUAL: &str = r#"
reclaim = { retain = "keep last 50, tagged forever" }

[[layer]]
use = "file"
path = "data"
segment = "8 MiB"
"#;

/// A stack in its directory.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) file: StackFile,
    pub(crate) path: PathBuf,
    began: Instant,
    json: Option<fs::File>,
    _temporary: Option<TempDir>,
}

impl Desk {
    pub(crate) fn new(common: &Common) -> Outcome<Self> {
        Self::with(common, USUAL)
    }

    /// A desk with a stack of its own, unless a stack file is named.
    pub(crate) fn with(common: &Common, usual: &str) -> Outcome<Self> {
        let (path, temporary) = match &common.keep {
            Some(path) => {
                fs::create_dir_all(path)?;
                if fs::read_dir(path)?.next().is_some() {
                    return Err(format!("{} is not empty", path.display()).into());
                }
                (std::path::absolute(path)?, None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("soak").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let stack = path.join("stack.toml");
        let text = match &common.stack {
            Some(stack) => fs::read_to_string(stack)?,
            None => usual.to_owned(),
        };
        fs::write(&stack, text)?;
        let file = load(&stack)?;
        if file.reclaim().is_none() {
            eprintln!("the stack file has no `reclaim`: nothing is given back");
        }
        Ok(Self {
            file,
            path,
            began: Instant::now(),
            json: common.json.as_ref().map(fs::File::create).transpose()?,
            _temporary: temporary,
        })
    }

    /// How long it has been there.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Bytes that files take in it, as the system counts them.
    pub(crate) fn used(&self) -> u64 {
        used(&self.path)
    }

    /// One more line of figures.
    pub(crate) fn tell(&mut self, figures: &Value) -> Outcome<()> {
        if let Some(file) = &mut self.json {
            writeln!(file, "{figures}")?;
        }
        Ok(())
    }
}

/// Reads the stack file of a desk.
pub(crate) fn load(stack: &Path) -> Outcome<StackFile> {
    let none = Overrides::none();
    StackFile::load(stack, &travertine::standard(), &none)
        .map_err(|refusal| refusal.to_string().into())
}

/// An opened stack with its tree.
pub(crate) struct Opened {
    pub(crate) engine: Engine,
    pub(crate) table: Table,
    _stack: Stack,
}

impl Opened {
    /// Opens the stack. Somebody who was killed may hold it for a moment yet.
    pub(crate) fn new(file: &StackFile, level: Option<Level>) -> Outcome<Self> {
        let env = Env::system();
        let (stack, engine) = file.engine(&env, false)?;
        Ok(Self {
            table: Table::new(&engine, TREE, level)?.patient(&env),
            engine,
            _stack: stack,
        })
    }

    /// Bytes of positions that were handed out, over all streams.
    pub(crate) fn appended(&self) -> u64 {
        let streams = self.engine.status().streams;
        let ends = streams.iter().map(|stream| Position(stream.end));
        ends.map(|end| end.bytes_since(Position::START)).sum()
    }

    /// Loads so many rows in the order of their keys, and after them one of its own.
    pub(crate) fn load(&self, rows: &Rows, last: Option<(&[u8], &[u8])>) -> Outcome<()> {
        let (mut number, mut value) = (0, Vec::new());
        self.table.load(|push| {
            if number == rows.records() {
                last.map_or(Ok(()), |(key, value)| push(key, value))?;
                return Ok(false);
            }
            rows.value(number, 0, &mut value);
            push(&rows.key(number), &value)?;
            number += 1;
            Ok(true)
        })?;
        Ok(())
    }
}

/// Bytes of memory of this process that are no file's; zero where that is not told.
pub(crate) fn anonymous() -> u64 {
    let told = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        << 10
}

/// Bytes that this process gave to calls that write; zero where that is not told.
pub(crate) fn written() -> u64 {
    let told = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Bytes that the files under a path take. What goes away while it looks counts as nothing.
fn used(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let entry = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => used(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(entry).sum()
}
