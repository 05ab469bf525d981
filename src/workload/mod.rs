//! Workloads: what stacks are compared by, as a library that the command line and the benches share.
//!
//! ```text
//!   Params, Rows ──> run(workload, engine) ──> Run ──> Summary of several rounds
//!    how much         prepares, measures,      figures    medians and spread
//!    of what          checks what it read
//! ```
//!
//! A run begins on an empty engine and checks what it does while it does it: every value that is
//! read must belong to its row, every row must be there, and what was written is read back afterwards.
//! A run that meets anything else is an error, not a figure. Preparing and reading back are not
//! measured; the checks in between are, on every stack alike.
//!
//! A stack that lets nothing new begin for a while is waited for as long as it asks, and that is part of
//! the figures; for a minute at most.
//!
//! It refuses nothing of a stack: what a stack cannot do is an error of the stack's own. It makes no
//! files and knows no directories.
//!
//! ```
//! use std::sync::Arc;
//! use travertine::contract::{Env, Level};
//! use travertine::front::{Engine, Options};
//! use travertine::log::{Log, LogOptions};
//! use travertine::medium::memory::MemoryMedium;
//! use travertine::workload::{Params, Workload, run};
//!
//! # fn main() -> travertine::contract::Result<()> {
//! let env = Env::system();
//! let log = Log::open("memory", Arc::new(MemoryMedium::new()), &env, LogOptions::default())?;
//! let options = Options { level: Level::Memory, ..Options::default() };
//! let engine = Engine::open(Arc::new(log), &env, options)?;
//! let params = Params { records: 1000, ops: 1000, ..Params::default() };
//! let run = run(Workload::ReadRandom, &engine, &env, &params)?;
//! assert_eq!(run.ops, 1000);
//! # engine.close()
//! # }
//! ```

mod figures;
mod keyed;
mod kind;
mod lanes;
mod params;
mod patience;
pub mod random;
mod records;
mod rows;
mod summary;
mod table;
mod timeline;
mod ycsb;

#[cfg(test)]
mod tests;

use crate::contract::{Env, Name, Result};
use crate::front::{Change, Engine, RESERVED, Snapshot};

pub use self::figures::{Process, Steps, Written};
pub use self::kind::Workload;
pub use self::params::Params;
pub use self::rows::{KEY, Rows};
pub use self::summary::{Spread, Summary};
pub use self::table::{Table, TreeRange, TreeReader, from_key, walk};
pub use self::timeline::{Moment, Timeline};

/// The figures of one run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Operations that were done: records, rows, or what [`Workload::step`] says.
    pub ops: u64,
    /// How long that took, in nanoseconds, preparation not counted.
    pub ns: u64,
    /// Latencies of its steps.
    pub steps: Steps,
    /// How they went over the time of the run.
    pub timeline: Timeline,
    /// Bytes of keys and values that were handed in.
    pub given: u64,
    /// What the bottoms wrote meanwhile.
    pub written: Written,
    /// Processor time meanwhile, in nanoseconds, of all threads of the process.
    pub cpu_ns: u64,
    /// Most memory that was resident meanwhile, in bytes; maps of files count.
    pub peak: u64,
}

/// The name of the tree that keyed workloads work on; others take names that begin with it.
const NAME: &str = "bench";

/// A name that no workload gave: whatever it leads to is somebody's.
#[must_use]
pub fn foreign(snapshot: &Snapshot) -> Option<&Name> {
    let is_ours = |name: &str| {
        let rest = name.strip_prefix(NAME);
        name.starts_with(RESERVED)
            || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    snapshot.names().keys().find(|name| !is_ours(name.as_str()))
}

/// Takes away the names that workloads gave, so that what they led to can be freed.
pub fn clear(engine: &Engine) -> Result<()> {
    let session = engine.session()?;
    let names = session.base().names().iter();
    let changes: Vec<_> = names
        .filter(|(name, _)| !name.as_str().starts_with(RESERVED))
        .map(|(name, reference)| Change::drop(name.clone(), reference.oid))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    session.commit(&changes, None).wait().map(drop)
}

/// Prepares, runs, checks. The engine should be empty.
pub fn run(workload: Workload, engine: &Engine, env: &Env, params: &Params) -> Result<Run> {
    params.check()?;
    let bench = Bench {
        env,
        engine,
        params,
        rows: &Rows::new(params.records, params.value_size, params.seed),
        table: &Table::new(engine, NAME, params.level)?.patient(env),
    };
    if workload.reads_rows() {
        keyed::load(&bench, || {})?;
    }
    match workload {
        Workload::Append => records::append(&bench),
        Workload::Commit => records::commit(&bench),
        Workload::FillSeq => keyed::fill_seq(&bench),
        Workload::FillRandom => keyed::fill_random(&bench),
        Workload::ReadRandom => keyed::read(&bench, false),
        Workload::ReadHot => keyed::read(&bench, true),
        Workload::Range => keyed::range(&bench),
        Workload::Scan => keyed::scan(&bench),
        Workload::Delete => keyed::delete(&bench),
        Workload::YcsbA
        | Workload::YcsbB
        | Workload::YcsbC
        | Workload::YcsbD
        | Workload::YcsbE
        | Workload::YcsbF => ycsb::run(&bench, workload),
    }
}

/// What a run has to do with.
#[derive(Debug, Clone, Copy)]
struct Bench<'a> {
    env: &'a Env,
    engine: &'a Engine,
    params: &'a Params,
    rows: &'a Rows,
    table: &'a Table,
}
