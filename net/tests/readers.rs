//! Who reads a stack that goes on in servers, beside its writer or after it, is shown what a reader at
//! home would be.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use rig::{Served, body, commit, engine, file, open, over, plan_of, remote};
use travertine_engine::contract::{Env, RootAt};
use travertine_engine::front::{Engine, Follow, Followed, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec};

const PATIENCE: Duration = Duration::from_secs(300);

fn reader(plan: &Plan) -> Engine {
    let opening = Opening {
        read_only: true,
        ..Opening::default()
    };
    let stack = plan.open(&Env::system(), opening).unwrap();
    Engine::open(stack.store(), &Env::system(), Options::reading()).unwrap()
}

/// So many servers, and a stack that spreads its records over them.
fn spread(servers: usize) -> (Vec<(Served, tempfile::TempDir)>, Plan) {
    let served: Vec<_> = (0..servers)
        .map(|_| {
            let directory = tempfile::tempdir().unwrap();
            let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
            (served, directory)
        })
        .collect();
    let children = served.iter().map(|(it, _)| vec![remote(it.address)]);
    let partition = Layer::new("partition")
        .with("place", "round-robin")
        .over(children.collect());
    (served, plan_of(Spec::linear([partition]), "/".as_ref()))
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
