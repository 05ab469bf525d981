//! Who reads a stack that goes on in servers, beside its writer or after it, is shown what a reader at
//! home would be.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod rig;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rig::{Served, body, commit, engine, file, open, over, plan_of, remote};
use travertine_engine::contract::{Env, ErrorKind, RootAt};
use travertine_engine::front::{Engine, Follow, Followed, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};
use travertine_net::store_service::{Limits, Offer, StoreService};

const PATIENCE: Duration = Duration::from_secs(300);

fn reader(plan: &Plan) -> Engine {
    let opening = Opening {
        read_only: true,
        ..Opening::default()
    };
    let stack = plan.open(&Env::system(), opening).unwrap();
    Engine::open(stack.store(), &Env::system(), Options::reading()).unwrap()
}

/// So many servers, each over a directory of its own.
fn servers(count: usize) -> Vec<(Served, tempfile::TempDir)> {
    let serve = |_| {
        let directory = tempfile::tempdir().unwrap();
        let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
        (served, directory)
    };
    (0..count).map(serve).collect()
}

/// A stack of this kind over them all; of no kind: over the first.
fn over_all(kind: &str, servers: &[(Served, tempfile::TempDir)]) -> Plan {
    let children = servers.iter().map(|(it, _)| vec![remote(it.address)]);
    let layer = match kind {
        "" => return over(servers[0].0.address),
        "partition" => Layer::new(kind).with("place", "round-robin"),
        kind => Layer::new(kind),
    };
    let layer = layer.over(children.collect());
    plan_of(Spec::linear([layer]), "/".as_ref())
}

/// So many servers, and a stack that spreads its records over them.
fn spread(count: usize) -> (Vec<(Served, tempfile::TempDir)>, Plan) {
    let served = servers(count);
    let plan = over_all("partition", &served);
    (served, plan)
}

/// Kills a server, and serves what it left where it was.
fn come_back(served: Served, directory: &Path) -> Served {
    let address = served.kill();
    loop {
        let offer = Offer::of_plan(file(directory), Env::system(), Opening::default());
        // What the one before was at may not have ended yet.
        match StoreService::open(offer, Limits::default(), &Env::system()) {
            Ok(service) => return Served::at(address, service),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn told(follow: &mut Follow) -> u64 {
    match follow.wait(PATIENCE).unwrap() {
        Some(Followed::Commit(snapshot)) => snapshot.sequence(),
        other => panic!("{other:?} is told instead of a commit"),
    }
}

#[test]
fn what_was_put_and_closed_is_there_for_the_next_who_reads() {
    for servers in [2, 3] {
        let (_served, plan) = spread(servers);
        for number in 1..=5_u64 {
            let writer = engine(open(&plan).unwrap()).unwrap();
            commit(&writer, "it", &number.to_le_bytes()).unwrap();
            writer.close().unwrap();
            let reader = reader(&plan);
            assert_eq!(reader.snapshot().sequence(), number, "{servers} servers");
            assert_eq!(body(&reader, "it").unwrap(), number.to_le_bytes());
        }
    }
}

#[test]
fn a_reader_beside_the_writer_is_told_each_commit_that_was_acknowledged() {
    for servers in [2, 3] {
        let (_served, plan) = spread(servers);
        let writer = engine(open(&plan).unwrap()).unwrap();
        commit(&writer, "it", b"0").unwrap();
        writer.prove().unwrap();
        let reader = reader(&plan);
        let mut follow = reader.follow(1).every(Duration::from_millis(1));
        assert_eq!(told(&mut follow), 1);
        for number in 2..=6_u64 {
            // Nobody writes after it: that it is proven is told when commits pause.
            commit(&writer, "it", &number.to_le_bytes()).unwrap();
            assert_eq!(told(&mut follow), number);
            assert_eq!(body(&reader, "it").unwrap(), number.to_le_bytes());
        }
    }
}

#[test]
fn what_was_acknowledged_is_seen_though_nobody_came_to_say_that_it_is_proven() {
    for (kind, count) in [("", 1), ("partition", 2), ("cluster", 3)] {
        let mut served = servers(count);
        let plan = over_all(kind, &served);
        let options = || Options {
            proof_after: Duration::from_secs(1 << 20),
            ..Options::default()
        };
        let mut number = 0;
        for killed in [false, true] {
            let store = open(&plan).unwrap();
            let writer = Engine::open(store, &Env::system(), options()).unwrap();
            for _ in 0..5 {
                number += 1_u64;
                commit(&writer, "it", &number.to_le_bytes()).unwrap();
                let reader = reader(&plan);
                assert_eq!(reader.snapshot().sequence(), number, "{kind}");
                assert_eq!(body(&reader, "it").unwrap(), number.to_le_bytes());
            }
            // It goes on beside them, and then is gone without a word.
            drop(writer);
            if killed {
                let back = served
                    .drain(..)
                    .map(|(served, directory)| (come_back(served, directory.path()), directory));
                served = back.collect();
            }
            for _ in 0..2 {
                let reader = reader(&plan);
                assert_eq!(reader.snapshot().sequence(), number, "{kind}, {killed}");
                assert_eq!(body(&reader, "it").unwrap(), number.to_le_bytes());
            }
        }
    }
}

#[test]
fn a_reader_through_another_server_is_shown_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let home = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let proxy = |at: SocketAddr| Served::plan(over(at), &Env::system()).unwrap();
    let near = engine(open(&over(home.address)).unwrap()).unwrap();
    commit(&near, "it", b"1").unwrap();
    near.close().unwrap();
    let first = proxy(home.address);
    let second = proxy(first.address);
    for number in 2..=5_u64 {
        let writer = engine(open(&over(home.address)).unwrap()).unwrap();
        commit(&writer, "it", b"more").unwrap();
        writer.prove().unwrap();
        let beside = reader(&over(second.address));
        assert_eq!(beside.snapshot().sequence(), number);
        writer.close().unwrap();
    }
}

/// Where it alone has a commit, a server cannot know whether enough others have it: so it tells what the
/// file at home would tell a reader.
#[test]
fn a_server_shows_readers_what_its_file_shows() {
    let directory = tempfile::tempdir().unwrap();
    let plan = file(directory.path());
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let options = Options {
        proof_after: Duration::from_secs(1 << 20),
        ..Options::default()
    };
    let store = open(&over(served.address)).unwrap();
    let writer = Engine::open(store, &Env::system(), options).unwrap();
    let shown = |plan: &Plan, at| {
        let opening = Opening {
            read_only: true,
            ..Opening::default()
        };
        let store = plan.open(&Env::system(), opening).unwrap().store();
        let found = store.root(at).wait().unwrap();
        found.map(|(_, marker)| marker.sequence)
    };
    for number in 1..=4_u64 {
        commit(&writer, "it", &number.to_le_bytes()).unwrap();
        for proven in [false, true] {
            if proven {
                writer.prove().unwrap();
            }
            for at in [
                RootAt::Newest,
                RootAt::Proven,
                RootAt::Sequence(number),
                RootAt::Sequence(number - 1),
                RootAt::Time(u64::MAX),
            ] {
                let (far, near) = (shown(&over(served.address), at), shown(&plan, at));
                assert_eq!(far, near, "{at:?}, {number}, {proven}");
            }
        }
    }
}
