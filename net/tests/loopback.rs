//! An engine on a stack that goes on in a server on loopback.

mod rig;

use rig::{Served, body, commit, engine, file, memory, open, over, plan_of, remote};
use travertine_engine::contract::{Env, Epoch, ErrorKind, Position, Reclaim, RootAt, Stream};
use travertine_engine::stack::{Layer, Opening, Spec};
use travertine_net::store_service::{Limits, Offer, StoreService};

#[test]
fn an_engine_opens_commits_and_reads_back_over_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    {
        let engine = engine(open(&over(served.address)).unwrap()).unwrap();
        for number in 0..50_u32 {
            commit(&engine, &format!("name-{number}"), &number.to_le_bytes()).unwrap();
        }
        commit(&engine, "large", &vec![7; 3 << 20]).unwrap();
        assert_eq!(body(&engine, "name-7").unwrap(), 7_u32.to_le_bytes());
        engine.close().unwrap();
    }
    // Another engine finds it, and so does one at home once the server is gone.
    {
        let engine = engine(open(&over(served.address)).unwrap()).unwrap();
        assert_eq!(body(&engine, "large").unwrap(), vec![7; 3 << 20]);
        commit(&engine, "more", b"of the second").unwrap();
        engine.close().unwrap();
    }
    served.service.close().unwrap();
    drop(served);
    let home = engine(open(&file(directory.path())).unwrap()).unwrap();
    assert_eq!(body(&home, "name-49").unwrap(), 49_u32.to_le_bytes());
    assert_eq!(body(&home, "more").unwrap(), b"of the second");
}

#[test]
fn calls_and_round_trips_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let store = open(&over(served.address)).unwrap();
    let figures = || {
        let figures = store.status().figures;
        ["calls", "round_trips"].map(|name| figures.iter().find(|(it, _)| *it == name).unwrap().1)
    };
    let [calls, trips] = figures();
    for _ in 0..20 {
        store.root(RootAt::Newest).wait().unwrap();
    }
    let [calls, trips] = [figures()[0] - calls, figures()[1] - trips];
    assert!(calls >= 20, "{calls}");
    assert!((1..=calls).contains(&trips), "{trips} of {calls}");
}

#[test]
fn a_server_that_gives_less_than_is_expected_is_refused_with_blame() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let error = open(&over(served.address)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("`persists`") && text.contains("`memory`"),
        "{text}"
    );

    let less = remote(served.address)
        .with("level", "memory")
        .with("expects", "fences, proves absence, one stream");
    let plan = plan_of(Spec::linear([less]).level("memory"), "/".as_ref());
    let engine = engine(open(&plan).unwrap()).unwrap();
    commit(&engine, "it", b"is there").unwrap();
    assert_eq!(body(&engine, "it").unwrap(), b"is there");
}

#[test]
fn a_proxy_of_a_proxy_works() {
    let directory = tempfile::tempdir().unwrap();
    let home = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let first = Served::plan(over(home.address), &Env::system()).unwrap();
    let second = Served::plan(over(first.address), &Env::system()).unwrap();
    {
        let engine = engine(open(&over(second.address)).unwrap()).unwrap();
        for number in 0..20_u32 {
            commit(&engine, "it", &number.to_le_bytes()).unwrap();
        }
        assert_eq!(body(&engine, "it").unwrap(), 19_u32.to_le_bytes());
        engine.close().unwrap();
    }
    let again = engine(open(&over(home.address)).unwrap()).unwrap();
    assert_eq!(body(&again, "it").unwrap(), 19_u32.to_le_bytes());
}

#[test]
fn a_loop_of_servers_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let home = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let proxy = Served::plan(over(home.address), &Env::system()).unwrap();
    // The server at home is replaced by one that goes on in the proxy, which goes on in it.
    let address = home.kill();
    let env = Env::system();
    let offer = Offer::of_plan(over(proxy.address), env.clone(), Opening::default());
    let opened = StoreService::open(offer, Limits::default(), &env);
    let ring = opened.map(|service| Served::at(address, service));
    // Whoever closes the ring is refused, at once or once it is closed; nobody is answered.
    let asked = ring.and_then(|ring| {
        let store = open(&over(ring.address))?;
        let answer = store.root(RootAt::Newest).wait();
        answer.map(|_| ())
    });
    let error = asked.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unavailable),
        "{error}"
    );
}

#[test]
fn a_call_that_is_too_long_to_be_sent_is_refused_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let store = open(&over(served.address)).unwrap();
    let engine = engine(store.clone()).unwrap();
    commit(&engine, "it", b"before").unwrap();
    // Seven bytes each, more than 64 MiB together.
    let to = Position(1 << 47);
    let decision = Reclaim {
        sender: Epoch::default(),
        stream: Stream::default(),
        from: Position::START,
        to,
        alive: (to.0 - 10_000_000..to.0).map(Position).collect(),
        left: None,
    };
    let error = store.reclaim(decision).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    commit(&engine, "it", b"after").unwrap();
    assert_eq!(body(&engine, "it").unwrap(), b"after");
    engine.close().unwrap();
}

#[test]
fn a_second_writer_fences_the_first_which_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let first = engine(open(&over(served.address)).unwrap()).unwrap();
    commit(&first, "it", b"of the first").unwrap();
    let second = engine(open(&over(served.address)).unwrap()).unwrap();
    commit(&second, "it", b"of the second").unwrap();
    let error = commit(&first, "it", b"too late").unwrap_err();
    assert!(error.to_string().contains("took over"), "{error}");
    assert_eq!(body(&second, "it").unwrap(), b"of the second");
    commit(&second, "it", b"goes on").unwrap();
}

#[test]
fn an_engine_goes_on_when_its_server_was_killed_and_came_back() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::system();
    let mut served = Served::plan(file(directory.path()), &env).unwrap();
    let engine = engine(open(&over(served.address)).unwrap()).unwrap();
    for round in 0..6_u32 {
        for number in 0..20_u32 {
            commit(&engine, "it", &(round * 100 + number).to_le_bytes()).unwrap();
        }
        // What it had open is let go, as the end of a process does.
        let service = served.service.clone();
        let address = served.kill();
        service.close().unwrap();
        drop(service);
        let offer = Offer::of_plan(file(directory.path()), env.clone(), Opening::default());
        let service = StoreService::open(offer, Limits::default(), &env).unwrap();
        served = Served::at(address, service);
    }
    commit(&engine, "it", b"at last").unwrap();
    assert_eq!(body(&engine, "it").unwrap(), b"at last");
    engine.close().unwrap();
}

fn opening(read_only: bool, identity: [u8; 16]) -> Opening {
    Opening {
        read_only,
        identity: Some(identity),
        ..Opening::default()
    }
}

#[test]
fn a_store_is_made_by_the_first_who_writes_and_gets_the_identity_that_it_wants() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::plan(file(directory.path()), &Env::system()).unwrap();
    let (plan, env) = (over(served.address), Env::system());
    assert!(served.service.store().is_none());
    let nothing = |wanted| plan.open(&env, wanted).unwrap_err();
    let reads = nothing(opening(true, [7; 16]));
    assert_eq!(reads.kind(), ErrorKind::Invalid, "{reads}");
    assert!(!directory.path().join("log").exists());
    let made = plan.open(&env, opening(false, [7; 16])).unwrap();
    assert_eq!(made.status().identity_bytes().unwrap(), [7; 16]);
    made.close().unwrap();
    let other = nothing(opening(false, [8; 16]));
    assert_eq!(other.kind(), ErrorKind::Invalid, "{other}");
    assert!(other.to_string().contains("another store"), "{other}");
    plan.open(&env, opening(true, [7; 16])).unwrap();
}

#[test]
fn a_server_that_was_emptied_is_not_taken_for_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::system();
    let served = Served::plan(file(directory.path()), &env).unwrap();
    let engine = engine(open(&over(served.address)).unwrap()).unwrap();
    commit(&engine, "it", b"is there").unwrap();
    let service = served.service.clone();
    let address = served.kill();
    service.close().unwrap();
    drop(service);
    let empty = tempfile::tempdir().unwrap();
    let offer = Offer::of_plan(file(empty.path()), env.clone(), Opening::default());
    let service = StoreService::open(offer, Limits::default(), &env).unwrap();
    let served = Served::at(address, service);
    let error = commit(&engine, "it", b"is lost").unwrap_err();
    assert!(error.to_string().contains("nothing lies here"), "{error}");
    assert!(served.service.store().is_none());
}

#[test]
fn notes_lie_beside_the_served_store_and_are_replaced_by_who_knows_them() {
    let directory = tempfile::tempdir().unwrap();
    let env = Env::system();
    let home = Served::plan(file(directory.path()), &env).unwrap();
    let proxy = Served::plan(over(home.address), &env).unwrap();
    let shelf = |server: &Served| over(server.address).shelves(&env, &Opening::default());
    let (near, far) = (&shelf(&home)[0], &shelf(&proxy)[0]);
    assert!(near.is_shared() && near.is_bare().unwrap() && far.is_bare().unwrap());
    assert_eq!(near.read("it").unwrap(), None);
    // Beside nothing there is no note.
    let error = near.replace("it", None, b"text").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    engine(open(&over(proxy.address)).unwrap())
        .unwrap()
        .close()
        .unwrap();
    assert!(!near.is_bare().unwrap() && !far.is_bare().unwrap());
    near.replace("it", None, b"near").unwrap();
    far.replace("it", None, b"far").unwrap();
    let error = near.replace("it", None, b"late").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    near.replace("it", Some(b"near"), b"nearer").unwrap();
    // They are there again, each its own.
    home.service.close().unwrap();
    drop((proxy, home));
    let home = Served::plan(file(directory.path()), &env).unwrap();
    let proxy = Served::plan(over(home.address), &env).unwrap();
    assert_eq!(shelf(&home)[0].read("it").unwrap().unwrap(), "nearer");
    assert_eq!(shelf(&proxy)[0].read("it").unwrap().unwrap(), "far");
}

#[test]
fn each_server_of_a_partition_holds_its_stream_and_knows_it_when_it_comes_back() {
    let (env, place) = (Env::system(), tempfile::tempdir().unwrap());
    let homes = [place.path().join("a"), place.path().join("b")];
    let serve = || {
        homes
            .each_ref()
            .map(|home| Served::plan(file(home), &env).unwrap())
    };
    let stack = |servers: &[Served; 2]| {
        let children = servers
            .each_ref()
            .map(|server| vec![remote(server.address)]);
        let layer = Layer::new("partition").over(children.into());
        plan_of(Spec::linear([layer]), place.path())
    };
    for round in 0..3_u8 {
        let servers = serve();
        let engine = engine(open(&stack(&servers)).unwrap()).unwrap();
        for number in 0..20_u8 {
            commit(&engine, &format!("{round}-{number}"), &[number]).unwrap();
        }
        assert_eq!(body(&engine, "0-7").unwrap(), [7]);
        let store = servers[1].service.store().unwrap();
        assert_eq!(store.status().root_stream, 1);
        engine.close().unwrap();
        for server in servers {
            server.service.close().unwrap();
        }
    }
    // What a part of another stack wrote is not taken for a stack's own.
    let servers = serve();
    let error = open(&over(servers[1].address)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("stack partition"), "{error}");
}
