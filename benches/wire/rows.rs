//! The rows.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use travertine::stack::{Layer, Spec, Stack, Table};
use travertine_benches::processor;
use travertine_benches::raw::{Timing, median};
use travertine_engine::contract::{
    Commit, Env, Kind, Level, Name, NewRecord, Oid, Op, Record, Store,
};
use travertine_engine::front::{Change, Engine, Hint};
use travertine_interfaces::{Cursor, CursorExt, Map, Tree};
use travertine_net::accept::Door;
use travertine_net::certs::{Authority, LEAF, Use};
use travertine_net::client::{self, Client, Target};
use travertine_net::connect::Endpoint;

use crate::Outcome;
use crate::bare::Pair;
use crate::served::{Served, Writer, engine, file, memory, open, remote, remote_of};

/// How much is run, and where.
pub(crate) struct Run<'a> {
    pub(crate) base: &'a Path,
    pub(crate) rounds: usize,
    pub(crate) scale: usize,
}

type Row = fn(&Run<'_>) -> Outcome<()>;

/// Each by the name it is asked for.
pub(crate) const ALL: [(&str, Row); 6] = [
    ("small", small),
    ("latency", latency),
    ("large", large),
    ("commits", commits),
    ("shared", shared),
    ("tree", tree),
];

const SMALL: usize = 100;
const LARGE: usize = 64 << 10;
/// One batch in so many is the last of a commit: what was stored is kept by the client until then.
const COMMIT: usize = 64;

impl Run<'_> {
    /// Runs both sides in turn.
    fn row(
        &self,
        name: &str,
        asked: &str,
        mut without: impl FnMut() -> Outcome<f64>,
        mut with: impl FnMut() -> Outcome<f64>,
    ) -> Outcome<()> {
        let (mut one, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut work = Vec::new();
        for _ in 0..self.rounds {
            let began = processor().as_secs_f64();
            let without = without()?;
            let between = processor().as_secs_f64();
            let with = with()?;
            work.push((processor().as_secs_f64() - between) / (between - began));
            one.push(without);
            other.push(with);
            ratios.push(with / without);
        }
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "{name:<44} {:>12.0} {:>12.0} {:>7.2}  {asked:<8} {low:.2}..{high:.2} {:>8.2}",
            median(one),
            median(other),
            median(ratios),
            median(work)
        );
        Ok(())
    }
}

/// Keeps so many asked and not answered; how many a second.
fn flow<T>(
    count: usize,
    flight: usize,
    mut ask: impl FnMut(usize) -> Outcome<T>,
    mut answer: impl FnMut(usize, T) -> Outcome<()>,
) -> Outcome<f64> {
    let mut waiting = VecDeque::with_capacity(flight);
    let began = Instant::now();
    for index in 0..count {
        waiting.push_back((index, ask(index)?));
        if waiting.len() == flight
            && let Some((index, first)) = waiting.pop_front()
        {
            answer(index, first)?;
        }
    }
    for (index, rest) in waiting {
        answer(index, rest)?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn plain(address: &str) -> Outcome<Endpoint> {
    Ok(Endpoint::parse(address)?)
}

/// So many bodies, which tell their number.
fn body(index: usize, length: usize) -> Vec<u8> {
    let mut body = vec![index as u8; length];
    body[..8].copy_from_slice(&(index as u64).to_le_bytes());
    body
}

fn check(index: usize, length: usize, record: Option<Record>) -> Outcome<()> {
    let record = record.ok_or("a record is gone")?;
    let right =
        record.body().len() == length && record.body().starts_with(&(index as u64).to_le_bytes());
    if right {
        Ok(())
    } else {
        Err("another record came".into())
    }
}

/// Writes records of this length; where they lie.
fn fill(store: &dyn Store, writer: &mut Writer, count: usize, length: usize) -> Outcome<Vec<Oid>> {
    let mut oids = Vec::with_capacity(count);
    for index in 0..count {
        let (oid, batch) = writer.next(&body(index, length))?;
        store.store(writer.epoch(), batch).wait()?;
        oids.push(oid);
    }
    // What is read was committed, as it is at home.
    let commit = Commit {
        sender: writer.epoch(),
        level: store.status().level.min(Level::Disk),
        last: Vec::new(),
    };
    store.commit(commit).wait()?;
    Ok(oids)
}

/// Stores batches of one record, made on the way; now and then they are committed, as a writer does.
fn store_flow(
    store: &dyn Store,
    writer: &mut Writer,
    count: usize,
    flight: usize,
    length: usize,
) -> Outcome<f64> {
    let body = body(1, length);
    flow(
        count,
        flight,
        |index| {
            let (_, batch) = writer.next(&body)?;
            if index % COMMIT != 0 {
                return Ok(store.store(writer.epoch(), batch).map(drop));
            }
            let commit = Commit {
                sender: writer.epoch(),
                level: Level::Memory,
                last: vec![batch],
            };
            Ok(store.commit(commit).map(drop))
        },
        |_, op| op.wait().map_err(Into::into),
    )
}

/// Sends the same batches to where nothing is done with them.
fn bare_store_flow(bare: &Pair, count: usize, flight: usize, length: usize) -> Outcome<f64> {
    let (body, mut writer) = (body(1, length), Writer::of_nothing());
    flow(
        count,
        flight,
        |_| bare.ask(writer.next(&body)?.1.bytes().clone(), Some(16)),
        |_, answer| Ok(answer.blocking_recv().map(drop)?),
    )
}

fn read_flow(
    store: &dyn Store,
    oids: &[Oid],
    count: usize,
    flight: usize,
    length: usize,
) -> Outcome<f64> {
    flow(
        count,
        flight,
        |index| Ok(store.read(oids[index % oids.len()])),
        |index, op: Op<Option<Record>>| check(index % oids.len(), length, op.wait()?),
    )
}

fn bare_flow(
    bare: &Pair,
    count: usize,
    flight: usize,
    body: &Bytes,
    want: Option<u32>,
) -> Outcome<f64> {
    let wanted = want.map_or(body.len(), |want| want as usize);
    flow(
        count,
        flight,
        |_| bare.ask(body.clone(), want),
        |_, answer| match answer.blocking_recv()?.len() == wanted {
            true => Ok(()),
            false => Err("another answer came".into()),
        },
    )
}

fn small(run: &Run<'_>) -> Outcome<()> {
    let bare = Pair::open(Door::Plain, plain)?;
    // What is read comes out of the system's memory, as it does at home.
    let there = Served::store(&file("small"), run.base, Door::Plain)?;
    let read = open(&remote_of(&there.address, None), run.base)?;
    let read = read.store();
    let oids = fill(&*read, &mut Writer::of(&*read)?, 1_000, SMALL)?;
    let served = Served::store(&memory(), run.base, Door::Plain)?;
    let stack = open(&remote_of(&served.address, None), run.base)?;
    let store = stack.store();
    let mut writer = Writer::of(&*store)?;
    let (count, bytes) = (20_000 * run.scale, Bytes::from(body(1, SMALL)));
    for flight in [64, 512] {
        run.row(
            &format!("read of 100 bytes, {flight} in flight, /s"),
            ">= 0.80",
            || bare_flow(&bare, count, flight, &bytes, None),
            || read_flow(&*read, &oids, count, flight, SMALL),
        )?;
        run.row(
            &format!("store of 100 bytes, {flight} in flight, /s"),
            ">= 0.80",
            || bare_store_flow(&bare, count, flight, SMALL),
            || store_flow(&*store, &mut writer, count, flight, SMALL),
        )?;
    }
    run.row(
        "the same at home: what a log in memory takes",
        "",
        || bare_store_flow(&bare, count, 64, SMALL),
        || at_home(run, count, SMALL),
    )
}

/// Stores batches in a log of this process.
fn at_home(run: &Run<'_>, count: usize, length: usize) -> Outcome<f64> {
    let home = open(&memory(), run.base)?;
    let store = home.store();
    store_flow(&*store, &mut Writer::of(&*store)?, count, 1, length)
}

fn latency(run: &Run<'_>) -> Outcome<()> {
    let bare = Pair::open(Door::Plain, plain)?;
    let served = Served::store(&memory(), run.base, Door::Plain)?;
    let stack = open(&remote_of(&served.address, None), run.base)?;
    let (store, bytes) = (stack.store(), Bytes::from(body(1, SMALL)));
    let oids = fill(&*store, &mut Writer::of(&*store)?, 1_000, SMALL)?;
    let p50 = |step: &mut dyn FnMut(usize) -> Outcome<()>| -> Outcome<f64> {
        Ok(1000.0 * Timing::steps(2_000 * run.scale, step)?.quantile_us(0.5))
    };
    run.row(
        "one read, p50 in ns, by a bare unary call",
        "<= 2.00",
        || p50(&mut |_| bare.one(bytes.clone()).map(drop)),
        || {
            p50(&mut |index| {
                check(
                    index % 1_000,
                    SMALL,
                    store.read(oids[index % 1_000]).wait()?,
                )
            })
        },
    )
}

fn large(run: &Run<'_>) -> Outcome<()> {
    let papers = run.base.join("papers");
    std::fs::create_dir(&papers)?;
    let authority = Authority::new("the bench", &Env::system())?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    for (name, pair) in [
        ("ca", authority.pair()),
        ("server", authority.sign(&names, Use::Server, LEAF)?),
        (
            "client",
            authority.sign(&["bench".to_owned()], Use::Client, LEAF)?,
        ),
    ] {
        std::fs::write(papers.join(name), &pair.cert)?;
        std::fs::write(papers.join(format!("{name}.key")), &pair.key)?;
    }
    let paper = |name: &str| papers.join(name);
    for tls in [false, true] {
        let door = || match tls {
            true => Door::tls(paper("server"), paper("server.key"), Some(paper("ca"))),
            false => Door::Plain,
        };
        let way = |address: &str| {
            let plain = Endpoint::parse(address)?;
            Ok(match tls {
                true => plain
                    .ca(paper("ca"))
                    .cert(paper("client"))
                    .key(paper("client.key")),
                false => plain,
            })
        };
        let bare = Pair::open(door(), way)?;
        let table = tls.then(|| {
            let path = |name| paper(name).display().to_string();
            Table::default()
                .with("ca", path("ca"))
                .with("cert", path("client"))
                .with("key", path("client.key"))
        });
        let (count, flight) = (1_000 * run.scale, 16);
        let how = if tls { "TLS" } else { "plain" };
        let served = Served::store(&file(how), run.base, door())?;
        let stack = open(&remote_of(&served.address, table.as_ref()), run.base)?;
        let store = stack.store();
        let oids = fill(&*store, &mut Writer::of(&*store)?, 64, LARGE)?;
        let ask = Bytes::from_static(&[1; 8]);
        run.row(
            &format!("read of 64 KiB, 16 in flight, {how}, /s"),
            ">= 0.80",
            || bare_flow(&bare, count, flight, &ask, Some(LARGE as u32)),
            || read_flow(&*store, &oids, count, flight, LARGE),
        )?;
        let served = Served::store(&memory(), run.base, door())?;
        let stack = open(&remote_of(&served.address, table.as_ref()), run.base)?;
        let store = stack.store();
        let mut writer = Writer::of(&*store)?;
        run.row(
            &format!("store of 64 KiB, 16 in flight, {how}, /s"),
            ">= 0.80",
            || bare_store_flow(&bare, count, flight, LARGE),
            || store_flow(&*store, &mut writer, count, flight, LARGE),
        )?;
        if !tls {
            run.row(
                "the same at home: what a log in memory takes",
                "",
                || bare_store_flow(&bare, count, flight, LARGE),
                || at_home(run, count, LARGE),
            )?;
        }
    }
    Ok(())
}

/// One thread of an engine, which keeps so many commits in flight.
fn commit_flow(engine: &Engine, count: usize, flight: usize) -> Outcome<f64> {
    let (session, name) = (engine.session()?, Name::new("n")?);
    flow(
        count,
        flight,
        |index| {
            let record = NewRecord {
                kind: Kind::BLOB,
                references: &[],
                body: &[&body(index, SMALL)],
            };
            let stored = session.store(&record, Hint::default())?;
            Ok(session.commit(&[Change::set(name.clone(), stored)], None))
        },
        |_, op| op.wait().map(drop).map_err(Into::into),
    )
}

fn commits(run: &Run<'_>) -> Outcome<()> {
    let home = open(&file("home"), run.base)?;
    let local = engine(home.store())?;
    let served = Served::store(&file("away"), run.base, Door::Plain)?;
    let stack = open(&Spec::linear([remote(&served.address)]), run.base)?;
    let away = engine(stack.store())?;
    for flight in [64, 256, 1_000] {
        let count = 5_000 * run.scale;
        run.row(
            &format!("store + commit, {flight} in flight, remote, /s"),
            ">= 0.70",
            || commit_flow(&local, count, flight),
            || commit_flow(&away, count, flight),
        )?;
    }
    away.close()?;
    Ok(local.close()?)
}

fn shared(run: &Run<'_>) -> Outcome<()> {
    let home = open(&file("alone"), run.base)?;
    let local = engine(home.store())?;
    let there = open(&file("together"), run.base)?;
    let shared = engine(there.store())?;
    let served = Served::engine(&shared)?;
    let here = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let endpoint = Endpoint::parse(&served.address)?;
    let client = here.block_on(Client::connect(&endpoint, &Env::system()))?;
    for flight in [64, 256] {
        let count = 5_000 * run.scale;
        run.row(
            &format!("store + commit, {flight} in flight, shared, /s"),
            ">= 0.70",
            || commit_flow(&local, count, flight),
            || here.block_on(shared_flow(&client, count, flight)),
        )?;
    }
    drop(served);
    shared.close()?;
    Ok(local.close()?)
}

/// The same by a client of a served engine: each record comes along with its commit.
async fn shared_flow(client: &Client, count: usize, flight: usize) -> Outcome<f64> {
    let (session, name) = (client.session().await?, Name::new("n")?);
    let mut waiting = VecDeque::with_capacity(flight);
    let began = Instant::now();
    for index in 0..count {
        let record = client::NewRecord::blob(body(index, SMALL));
        let change = client::Change::set(name.clone(), Target::Own(0));
        let commit = session.store_and_commit(vec![record], vec![change], None);
        waiting.push_back(commit.await?);
        if waiting.len() == flight
            && let Some(first) = waiting.pop_front()
        {
            first.await?;
        }
    }
    for rest in waiting {
        rest.await?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Rows of a tree, and of a range in it.
const ROWS: u64 = 100_000;
const RANGE: u64 = 1_000;

/// A B-tree on a cache: whoever has been there need not go far, and whoever has not goes seldom.
fn tree(run: &Run<'_>) -> Outcome<()> {
    let map = Map::new(Name::new("rows")?, Tree::default());
    let over = |below| Spec::linear([Layer::new("cache"), below]);
    let home = open(&over(Layer::new("file").with("path", "tree")), run.base)?;
    let served = Served::store(&file("tree away"), run.base, Door::Plain)?;
    let far = || open(&over(remote(&served.address)), run.base);
    let away = far()?;
    let (local, distant) = (engine(home.store())?, engine(away.store())?);
    for engine in [&local, &distant] {
        let session = engine.session()?;
        let mut rows = map.loader(&session)?;
        for row in 0..ROWS {
            rows.push(&row.to_be_bytes(), &body(row as usize, SMALL))?;
        }
        rows.commit(None)?.wait()?;
    }
    let warm = |engine: &Engine| {
        let rows = map.reader(&engine.snapshot()).wait()?;
        let get = |row: u64| match rows.get(&row.to_be_bytes()).wait()? {
            Some(_) => Ok(()),
            None => Err(Box::<dyn std::error::Error>::from("a row is gone")),
        };
        (0..ROWS).try_for_each(get)?;
        let (count, began) = (50_000 * run.scale as u64, Instant::now());
        (0..count).try_for_each(|nth| get(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ROWS))?;
        Ok(1e9 * began.elapsed().as_secs_f64() / count as f64)
    };
    run.row(
        "a row of a B-tree, warm cache over remote, ns",
        "<= 1.20",
        || warm(&local),
        || warm(&distant),
    )?;
    distant.close()?;
    drop((distant, away));
    let trips = |first: u64, count: u64| -> Outcome<u64> {
        // Nothing of it was met before.
        let stack = far()?;
        let engine = engine(stack.store())?;
        let rows = map.reader(&engine.snapshot()).wait()?;
        let before = round_trips(&stack)?;
        let mut cursor = rows.cursor();
        cursor.seek(&first.to_be_bytes());
        for row in first..first + count {
            match cursor.next()? {
                Some(entry) if entry.key == row.to_be_bytes() => {}
                _ => return Err("another row came".into()),
            }
        }
        let trips = round_trips(&stack)? - before;
        engine.close()?;
        Ok(trips)
    };
    let (mut one, mut all) = (0..ROWS - RANGE, 0..ROWS - RANGE);
    let next = |rows: &mut Range<u64>| rows.nth(7_919).unwrap_or_default();
    run.row(
        "trips of 1,000 rows, cold, by those of one + 2",
        "<= 1.00",
        || Ok((trips(next(&mut one), 1)? + 2) as f64),
        || Ok(trips(next(&mut all), RANGE)? as f64),
    )?;
    Ok(local.close()?)
}

/// How often the `remote` below a cache waited for the way there and back.
fn round_trips(stack: &Stack) -> Outcome<u64> {
    let status = stack.store().status();
    let figures = status.below.first().map(|remote| &remote.figures);
    let mut figures = figures.into_iter().flatten();
    let trips = figures.find(|(name, _)| *name == "round_trips");
    Ok(trips.ok_or("a remote without figures")?.1)
}
