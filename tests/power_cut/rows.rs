//! The rows that are loaded, and a look at what became of them.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use travertine::config::{Overrides, StackFile};
use travertine::contract::{ErrorKind, Name, Result};
use travertine::front::{Engine, Options, Snapshot};
use travertine::interfaces::map::Map;
use travertine::interfaces::{Direction, Tree};
use travertine::stack::Opening;
use travertine_engine::conformance::env::SimEnv;
use travertine_engine::conformance::rng::Rng;

use crate::child::STACK;
use crate::idle::Idle;
use crate::machine::Taken;
use crate::mount::scratch;

/// The tree that they are loaded into.
pub(crate) const TREE: &str = "t";

/// Rows of a file.
pub(crate) struct Rows {
    /// The file.
    pub(crate) csv: String,
    /// Which row has a key, and its value.
    by_key: HashMap<String, (u64, String)>,
}

/// Keys in no order, each once: an odd factor permutes the numbers below a power of two.
fn key(row: u64) -> String {
    format!("{:08x}", row.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF)
}

fn value(row: u64) -> String {
    // Some are too long to lie among others.
    let length = match row % 61 {
        60 => 9000,
        _ => row * row % 97,
    };
    format!("row {row} {}", "x".repeat(length as usize))
}

impl Rows {
    pub(crate) fn new(count: u64) -> Self {
        let lines = (0..count).map(|row| format!("{},{}\n", key(row), value(row)));
        let stored = |row| format!("{{\"k\":\"{}\",\"v\":\"{}\"}}", key(row), value(row));
        Self {
            csv: std::iter::once("k,v\n".to_owned()).chain(lines).collect(),
            by_key: (0..count)
                .map(|row| (key(row), (row, stored(row))))
                .collect(),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.by_key.len() as u64
    }

    /// Says how many rows a commit has: the first so many of the file, each with its value, and the
    /// position behind them.
    fn found(&self, snapshot: &Snapshot) -> std::result::Result<u64, String> {
        let say = |error: travertine::contract::Error| error.to_string();
        let map = Map::new(Name::new(TREE).map_err(say)?, Tree::default());
        let reader = map.reader(snapshot).wait().map_err(say)?;
        let mut entries = reader.range(Bound::Unbounded, Bound::Unbounded, Direction::Forward);
        let (mut count, mut last) = (0, 0);
        while let Some(entry) = entries.next().map_err(say)? {
            let found = String::from_utf8_lossy(entry.key).into_owned();
            let stored = reader.value(entry.value).wait().map_err(say)?;
            let Some((row, wanted)) = self.by_key.get(&found) else {
                return Err(format!("nobody wrote the key {found}"));
            };
            if stored != wanted.as_bytes() {
                return Err(format!("row {row} is {}", stored.escape_ascii()));
            }
            count += 1;
            last = last.max(row + 1);
        }
        if last != count || reader.count() != count {
            return Err(format!(
                "there are {count} rows, up to {last}; the tree says {}",
                reader.count()
            ));
        }
        let position = Name::new(format!("load/{TREE}")).map_err(say)?;
        let position = snapshot.read_root(&position).map_err(say)?;
        let behind = format!("\"rows\":{count},");
        match position {
            None if count == 0 => Ok(0),
            Some(record) if String::from_utf8_lossy(record.body()).contains(&behind) => Ok(count),
            other => Err(format!(
                "{count} rows are there, and the position {:?}",
                other.map(|record| String::from_utf8_lossy(record.body()).into_owned())
            )),
        }
    }

    /// Looks at what a power cut left: reading changes nothing and shows a commit; writing shows all
    /// that was promised, and so does whoever comes next. Returns how many rows survived.
    pub(crate) fn judge(&self, taken: &Taken, rng: &mut Rng) -> std::result::Result<u64, String> {
        let directory = scratch();
        taken.image.lay_out(directory.path());
        let judged = self.look(directory.path(), taken, rng);
        judged.map_err(|wrong| {
            // Laid out anew: what was looked at has been recovered since.
            let kept = tempfile::tempdir().unwrap().keep();
            taken.image.lay_out(&kept);
            format!(
                "{}, {} rows promised: {wrong}\nthe image is kept in {}",
                taken.moment,
                taken.promised,
                kept.display()
            )
        })
    }

    fn look(&self, at: &Path, taken: &Taken, rng: &mut Rng) -> std::result::Result<u64, String> {
        let read = match open(at, true, rng.next_u64()) {
            Ok(engine) => {
                let snapshot = engine.snapshot();
                let rows = self
                    .found(&snapshot)
                    .map_err(|wrong| format!("opened for reading: {wrong}"))?;
                Some((rows, snapshot.sequence()))
            }
            // There is no log yet, or the beginning of one.
            Err(error) if error.kind() == ErrorKind::Invalid && taken.promised == 0 => None,
            Err(error) => return Err(format!("opened for reading: {error}")),
        };
        if !taken.image.is_laid_out(at) {
            return Err("reading changed something".to_owned());
        }
        let mut before = (read.map_or(0, |(_, sequence)| sequence), None);
        let closes = rng.chance(1, 2);
        for (opening, closes) in [("opened for writing", closes), ("opened again", true)] {
            let place = |wrong: String| format!("{opening}: {wrong}");
            let engine =
                open(at, false, rng.next_u64()).map_err(|error| place(error.to_string()))?;
            let snapshot = engine.snapshot();
            let rows = self.found(&snapshot).map_err(place)?;
            if rows < taken.promised {
                return Err(place(format!("{rows} rows are there")));
            }
            if snapshot.sequence() < before.0 || before.1.is_some_and(|before| before != rows) {
                return Err(place(format!(
                    "commit {} with {rows} rows; before it was {before:?}",
                    snapshot.sequence()
                )));
            }
            before = (snapshot.sequence(), Some(rows));
            if closes {
                engine
                    .close()
                    .map_err(|error| place(format!("closing: {error}")))?;
            }
        }
        if rng.chance(1, 2) {
            verify(at)?;
        }
        Ok(before.1.unwrap_or(0))
    }
}

fn open(at: &Path, read_only: bool, seed: u64) -> Result<Engine> {
    let registry = travertine::standard();
    let file = StackFile::load(at.join(STACK), &registry, &Overrides::default())?;
    // Nothing is handed to other threads: what is let go of is gone.
    let env = SimEnv::new(seed);
    let env = env.env();
    let opening = Opening {
        read_only,
        media: Some(Arc::new(Idle)),
        ..Opening::default()
    };
    let options = Options {
        level: file.plan().level(),
        read_only,
        ..Options::default()
    };
    Engine::open(file.plan().open(env, opening)?.store(), env, options)
}

/// Runs `travertine verify`, in this process.
fn verify(at: &Path) -> std::result::Result<(), String> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut terminal = travertine::cli::Terminal::plain(&mut out, &mut err);
    let stack = at.join(STACK);
    let args = ["travertine".into(), "verify".into(), stack.into_os_string()];
    let code = travertine::cli::run(travertine::standard(), args, &mut terminal);
    drop(terminal);
    match code {
        0 => Ok(()),
        code => Err(format!(
            "verify: code {code}\n{}{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&err)
        )),
    }
}
