//! Every workload runs on a small stack, meets what it wrote, and notices when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::contract::{Begins, Error, ErrorKind, Gate, Level, Status, Store};
use crate::front::Options;
use crate::log::{Log, LogOptions};
use crate::medium::memory::MemoryMedium;

fn engine(env: &Env) -> Engine {
    let options = Options {
        level: Level::Memory,
        ..Options::default()
    };
    let log = Log::open(
        "memory",
        Arc::new(MemoryMedium::new()),
        env,
        LogOptions::default(),
    );
    Engine::open(Arc::new(log.unwrap()), env, options).unwrap()
}

fn small(threads: u64, value_size: usize) -> Params {
    Params {
        records: 700,
        ops: 500,
        threads,
        value_size,
        batch: 64,
        ..Params::default()
    }
}

#[test]
fn every_workload_runs_and_finds_what_it_wrote() {
    let env = Env::system();
    for workload in Workload::all() {
        for (threads, value_size) in [(1, 150), (3, 150), (2, 9), (1, 5000)] {
            let engine = engine(&env);
            let params = small(threads, value_size);
            let run = run(workload, &engine, &env, &params)
                .unwrap_or_else(|error| panic!("{workload} {threads} {value_size}: {error}"));
            let rows = matches!(workload, Workload::FillSeq | Workload::FillRandom);
            assert_eq!(run.ops, if rows { 700 } else { 500 }, "{workload}");
            assert!(run.steps.count() > 0, "{workload}");
            assert!(run.ns > 0, "{workload}");
            engine.close().unwrap();
        }
    }
}

/// Lets nothing new begin now and then, several times in a row.
#[derive(Debug, Default)]
struct Moody(AtomicU64);

impl Gate for Moody {
    fn admit(&self, _what: Begins) -> Result<()> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        // At 8 to 11, at 64 to 67, at 512 and so on: in the end it lets through whatever takes long.
        if [8, 64, 512, 4096]
            .into_iter()
            .any(|from| (from..from + 4).contains(&asked))
        {
            let refused = Error::unavailable("nothing new begins for now");
            return Err(refused.with_retry(Duration::from_micros(10)));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Gated {
    log: Log,
    gate: Arc<Moody>,
}

impl Store for Gated {
    travertine_engine::forward!(log: read root fence adopt scan reclaim store commit close);

    fn status(&self) -> Status {
        Status {
            gate: Some(self.gate.clone()),
            ..self.log.status()
        }
    }
}

#[test]
fn a_stack_that_lets_nothing_begin_is_waited_for() {
    let env = Env::system();
    for workload in Workload::all() {
        let log = Log::open(
            "memory",
            Arc::new(MemoryMedium::new()),
            &env,
            LogOptions::default(),
        );
        let gate = Arc::new(Moody::default());
        let options = Options {
            level: Level::Memory,
            ..Options::default()
        };
        let gated = Gated {
            log: log.unwrap(),
            gate: gate.clone(),
        };
        let engine = Engine::open(Arc::new(gated), &env, options).unwrap();
        let run = run(workload, &engine, &env, &small(2, 150));
        assert!(run.is_ok(), "{workload}: {run:?}");
        assert!(
            gate.0.load(Ordering::Relaxed) > 11,
            "{workload} met no refusal"
        );
        engine.close().unwrap();
    }
}

#[test]
fn what_the_bottoms_write_is_counted() {
    let env = Env::system();
    let engine = engine(&env);
    let run = run(Workload::Commit, &engine, &env, &small(1, 100)).unwrap();
    assert_eq!(run.given, 500 * 100);
    assert!(run.written.bytes > run.given);
    let summary = Summary::of(&[run]).unwrap();
    assert!(summary.amplification.unwrap() > 1.0);
}

#[test]
fn a_row_that_is_not_its_own_is_an_error_and_not_a_figure() {
    let env = Env::system();
    let engine = engine(&env);
    let rows = Rows::new(700, 150, 1);
    let table = Table::new(&engine, "bench", None).unwrap();
    let params = small(1, 150);
    let bench = Bench {
        env: &env,
        engine: &engine,
        params: &params,
        rows: &rows,
        table: &table,
    };
    keyed::load(&bench, || {}).unwrap();
    let mut wrong = Vec::new();
    rows.value(8, 0, &mut wrong);
    let (_, ticket) = table
        .transact(|writer| writer.put(&rows.key(7), &wrong))
        .unwrap();
    ticket.wait().unwrap();
    for error in [
        keyed::scan(&bench).unwrap_err(),
        keyed::check_all(&table, &rows, 700).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    assert!(keyed::check_all(&table, &rows, 701).is_err());
}

#[test]
fn senseless_amounts_are_refused() {
    let env = Env::system();
    let engine = engine(&env);
    for params in [
        Params {
            records: 0,
            ..Params::default()
        },
        Params {
            ops: 0,
            ..Params::default()
        },
        Params {
            threads: 0,
            ..Params::default()
        },
        Params {
            threads: 1 << 20,
            ..Params::default()
        },
        Params {
            batch: 0,
            ..Params::default()
        },
        Params {
            value_size: 1 << 30,
            ..Params::default()
        },
    ] {
        let error = run(Workload::Append, &engine, &env, &params).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
