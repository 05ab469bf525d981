//! Many clients share one engine, over loopback.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{
    Env, Epoch, Error, ErrorKind, Kind, Level, Name, Oid, Op, Record, Reference, Result, RootAt,
    RootMarker, Store,
};
use travertine_engine::forward;
use travertine_engine::front::{Engine, Options, Reclaiming};
use travertine_net::accept::{Accept, Door};
use travertine_net::client::{Change, Client, Followed, NewRecord, Session, Target};
use travertine_net::connect::Endpoint;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::proto::engine_client::EngineClient;
use travertine_net::proto::{self, target};
use travertine_net::rights::{Live, Rights};
use travertine_net::server::{Ended, Server};

/// Far longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server of one engine.
struct Served {
    store: ModelStore,
    engine: Engine,
    address: String,
    rights: Arc<Live>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<Ended>>,
}

impl Served {
    async fn new(bounds: Bounds) -> Self {
        let store = ModelStore::default();
        let (below, env) = (Arc::new(store.clone()), Env::system());
        let engine = Engine::open(below, &env, Options::default()).unwrap();
        Self::of(store, engine, bounds).await
    }

    async fn of(store: ModelStore, engine: Engine, bounds: Bounds) -> Self {
        let env = Env::system();
        let rights = Live::fixed(Rights::everyone());
        let service = EngineService::new(engine.clone(), &env, Level::Disk, "model", bounds);
        let limits = Limits::default();
        let server = Server::new(limits.clone(), rights.clone(), &env).unwrap();
        let server = server.engine(&service);
        let any = "127.0.0.1:0".parse().unwrap();
        let incoming = Accept::bind(any, Door::Plain, &limits, &env).await.unwrap();
        let address = incoming.address().to_string();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        Self {
            store,
            engine,
            address,
            rights,
            stop,
            running: tokio::spawn(server.serve(incoming, stopped, PATIENCE)),
        }
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::parse(&self.address).unwrap();
        Client::connect(&endpoint, &Env::system()).await.unwrap()
    }

    async fn drain(self) -> Ended {
        let _ = self.stop.send(());
        self.running.await.unwrap().unwrap()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

async fn value(client: &Client, of: &str) -> (Option<Oid>, u64) {
    match client.root(&name(of)).await.unwrap() {
        None => (None, 0),
        Some(at) => {
            let found = client.read(at).await.unwrap().unwrap();
            let value = u64::from_le_bytes(found.body[..].try_into().unwrap());
            (Some(at.oid), value)
        }
    }
}

fn number(value: u64) -> NewRecord {
    NewRecord::blob(value.to_le_bytes().to_vec())
}

async fn runs<F: Future<Output = ()>>(test: F) {
    tokio::time::timeout(PATIENCE, test).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_commits_another_reads() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let (one, other) = (served.client().await, served.client().await);
        let session = one.session().await.unwrap();
        let leaf = session.store(NewRecord::blob("leaf")).await.unwrap();
        let parent = NewRecord {
            kind: Kind(1024),
            references: vec![leaf.target(), leaf.target()],
            body: "parent".into(),
            tag: 7,
        };
        let parent = session.store(parent).await.unwrap();
        let change = Change::swap(name("n"), None, parent.target());
        let committed = session.commit(vec![change], None).await.unwrap();
        let before = session.read(parent.target()).await.unwrap().await.unwrap();
        let committed = committed.await.unwrap();
        assert_eq!(committed.level, Level::Disk);
        let (leaf, parent) = (leaf.await.unwrap(), parent.await.unwrap());
        assert_eq!(other.root(&name("n")).await.unwrap(), Some(parent));
        let found = other.read(parent.oid).await.unwrap();
        assert_eq!(found, before);
        let found = found.unwrap();
        assert_eq!((found.kind, found.reference), (Kind(1024), parent));
        assert_eq!(found.references, [leaf, leaf]);
        assert_eq!(&found.body[..], b"parent");
        let names = other.names(RootAt::Newest, None).await.unwrap();
        assert_eq!((names.sequence, names.more), (committed.sequence, false));
        // The session began before there was any name.
        assert_eq!(session.root(&name("n")).await.unwrap(), None);
        let nowhere = Oid::from_raw(committed.marker.raw() + (1 << 20)).unwrap();
        assert_eq!(other.read(nowhere).await.unwrap(), None);
        let status = other.status().await.unwrap();
        assert_eq!((status.sessions, status.refusing), (1, None));
        assert_eq!(served.drain().await, Ended::Drained);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_count_together_and_no_step_is_lost() {
    const STEPS: u64 = 60;
    async fn count(client: Client) -> u64 {
        let mut conflicts = 0;
        let mut done = 0;
        while done < STEPS {
            let (at, before) = value(&client, "count").await;
            let session = client.session().await.unwrap();
            let stored = session.store(number(before + 1)).await.unwrap();
            let change = Change::swap(name("count"), at, stored.target());
            match session.commit(vec![change], None).await.unwrap().await {
                Ok(_) => done += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                    assert!(error.message().contains("count"), "{error}");
                    conflicts += 1;
                }
            }
        }
        conflicts
    }
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let (one, other) = (served.client().await, served.client().await);
        let other = tokio::spawn(count(other));
        let conflicts = count(one.clone()).await + other.await.unwrap();
        assert_eq!(value(&one, "count").await.1, 2 * STEPS);
        println!("{conflicts} conflicts");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_on_their_way_are_each_answered_and_in_order() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        let mut commits = Vec::new();
        for value in 0..1_500 {
            let stored = session.store(number(value)).await.unwrap();
            let change = Change::set(name(&format!("n{}", value % 7)), stored.target());
            commits.push(session.commit(vec![change], None).await.unwrap());
        }
        for (sequence, commit) in (1..).zip(commits) {
            assert_eq!(commit.await.unwrap().sequence, sequence);
        }
        assert_eq!(value(&client, &format!("n{}", 1_499 % 7)).await.1, 1_499);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_is_answered_also_after_the_session_was_dropped() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        for value in 1..=50 {
            let session = client.session().await.unwrap();
            let stored = session.store(number(value)).await.unwrap();
            let change = Change::set(name("n"), stored.target());
            let commit = session.commit(vec![change], None).await.unwrap();
            drop(session);
            assert_eq!(commit.await.unwrap().sequence, value);
        }
        while client.status().await.unwrap().sessions > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(served.engine.pins().is_empty());
    })
    .await;
}

async fn stored(session: &Session, text: &'static str) -> Reference {
    let asked = session.store(NewRecord::blob(text)).await.unwrap();
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_of_a_record_is_held_against_it() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        let leaf = stored(&session, "leaf").await;
        let holder = NewRecord {
            references: vec![leaf.into()],
            ..NewRecord::blob("holder")
        };
        let holder = session.store(holder).await.unwrap().await.unwrap();
        let lies = [
            Reference {
                check: leaf.check ^ 1,
                ..leaf
            },
            Reference {
                length: leaf.length + 8,
                ..leaf
            },
            // A reclaim would take it for a leaf, and free what it holds.
            Reference {
                leaf: true,
                ..holder
            },
            Reference {
                oid: Oid::from_raw(leaf.oid.raw() + 1).unwrap(),
                ..leaf
            },
        ];
        for lie in lies {
            let named = client.commit(Vec::new(), vec![Change::set(name("n"), lie)], None);
            let error = named.await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt),
                "{error}"
            );
            let record = NewRecord {
                references: vec![lie.into()],
                ..NewRecord::blob("x")
            };
            let error = session.store(record).await.unwrap().await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Corrupt),
                "{error}"
            );
        }
        for target in [Target::Asked(77), Target::Own(0)] {
            let change = Change::set(name("n"), target);
            let error = session.commit(vec![change], None).await.unwrap().await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
        }
        // What rests on what failed fails alike.
        let wrong = NewRecord {
            kind: Kind::MARKER,
            ..NewRecord::blob("x")
        };
        let wrong = session.store(wrong).await.unwrap();
        let change = Change::set(name("n"), wrong.target());
        let commit = session.commit(vec![change], None).await.unwrap();
        assert_eq!(wrong.await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(commit.await.unwrap_err().kind(), ErrorKind::Invalid);
        for reserved in ["travertine/x"] {
            let change = Change::set(name(reserved), leaf);
            let error = session.commit(vec![change], None).await.unwrap().await;
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
        }
        let level = Some(Level::Replicated(3));
        let error = session.commit(Vec::new(), level).await.unwrap().await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(served.engine.snapshot().sequence(), 0);
        // And the truth passes.
        let change = Change::set(name("n"), holder);
        client.commit(Vec::new(), vec![change], None).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_names_go_in_one_call() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let records = vec![
            NewRecord::blob("child"),
            NewRecord {
                references: vec![Target::Own(0)],
                ..NewRecord::blob("parent")
            },
        ];
        let changes = vec![Change::swap(name("tree"), None, Target::Own(1))];
        let (committed, stored) = client.commit(records, changes, None).await.unwrap();
        assert_eq!((committed.sequence, stored.len()), (1, 2));
        let parent = client.read(stored[1]).await.unwrap().unwrap();
        assert_eq!(parent.references, [stored[0]]);
        // Stored by itself, then named by its address alone.
        let alone = client.store(NewRecord::blob("alone")).await.unwrap();
        let changes = vec![
            Change::set(name("alone"), alone.oid),
            Change::drop(name("tree"), stored[1].oid),
        ];
        client.commit(Vec::new(), changes, None).await.unwrap();
        let names = client.names(RootAt::Newest, None).await.unwrap();
        assert_eq!(names.names, [(name("alone"), alone)]);
        let before = client.names(RootAt::Sequence(1), None).await.unwrap();
        assert_eq!(before.names, [(name("tree"), stored[1])]);
        let error = client.names(RootAt::Sequence(9), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_along_with_a_commit_of_a_session() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        let mut commits = Vec::new();
        for of in 0..200 {
            let changes = vec![Change::set(name("n"), Target::Own(0))];
            let commit = session.store_and_commit(vec![number(of)], changes, None);
            commits.push(commit.await.unwrap());
        }
        for (sequence, commit) in (1..).zip(commits) {
            let (committed, stored) = commit.await.unwrap();
            assert_eq!((committed.sequence, stored.len()), (sequence, 1));
            let names = client
                .names(RootAt::Sequence(sequence), None)
                .await
                .unwrap();
            assert_eq!(names.names, [(name("n"), stored[0])]);
        }
        assert_eq!(value(&client, "n").await.1, 199);
    })
    .await;
}

async fn sequence(told: Followed) -> u64 {
    match told {
        Followed::Commit { sequence, .. } => sequence,
        Followed::Freed(_) => panic!("{told:?}"),
    }
}

async fn put(client: &Client, of: &str, value: u64) -> Reference {
    let changes = vec![Change::set(name(of), Target::Own(0))];
    let done = client.commit(vec![number(value)], changes, None).await;
    done.unwrap().1[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_each_commit_once_and_goes_on_where_it_ended() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let mut live = client.follow(0).await.unwrap();
        let mut wrote = Vec::new();
        for value in 1..=150 {
            wrote.push(put(&client, "n", value).await);
        }
        for number in 1..=150 {
            let told = live.next().await.unwrap();
            let Followed::Commit {
                sequence,
                changed,
                more,
                ..
            } = told
            else {
                panic!("{told:?}");
            };
            assert_eq!((sequence, more), (number, false));
            assert_eq!(changed, [(name("n"), Some(wrote[number as usize - 1]))]);
        }
        let mut first = client.follow(1).await.unwrap();
        for number in 1..=70 {
            assert_eq!(sequence(first.next().await.unwrap()).await, number);
        }
        let mut again = client.follow(first.position()).await.unwrap();
        drop(first);
        for number in 71..=150 {
            assert_eq!(sequence(again.next().await.unwrap()).await, number);
        }
        // Nothing comes until something is committed, and then at once.
        let other = tokio::spawn(async move { again.next().await.map(|told| (told, again)) });
        put(&client, "m", 9).await;
        let (told, mut again) = other.await.unwrap().unwrap();
        let Followed::Commit {
            sequence, changed, ..
        } = told
        else {
            panic!("{told:?}");
        };
        assert_eq!((sequence, changed[0].0.as_str()), (151, "m"));
        let end = tokio::spawn(async move { again.next().await.unwrap_err() });
        drop(live);
        assert_eq!(served.drain().await, Ended::Drained);
        assert_eq!(end.await.unwrap().kind(), ErrorKind::Unavailable);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_what_was_freed() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        for value in 1..=40 {
            put(&client, "n", value).await;
        }
        let engine = served.engine.clone();
        let report = tokio::task::spawn_blocking(move || {
            engine.reclaim(&"last 5".parse().unwrap(), &Reclaiming::default())
        });
        report.await.unwrap().unwrap();
        let mut follow = client.follow(3).await.unwrap();
        let newest = served.engine.snapshot().sequence();
        let (mut next, mut gone) = (3, 0);
        while next <= newest {
            match follow.next().await.unwrap() {
                Followed::Commit { sequence, .. } => {
                    assert_eq!(sequence, next);
                    next += 1;
                }
                Followed::Freed(freed) => {
                    assert_eq!(*freed.start(), next);
                    next = freed.end() + 1;
                    gone += freed.count();
                }
            }
        }
        assert!(gone > 20, "{gone}");
    })
    .await;
}

/// A floor that cannot be asked for its roots, for a while.
#[derive(Debug)]
struct Deaf {
    below: Arc<dyn Store>,
    deaf: Arc<AtomicBool>,
}

impl Store for Deaf {
    forward!(below: store read commit fence adopt scan reclaim status close);

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        match self.deaf.load(Ordering::Relaxed) {
            true => Op::err(Error::unavailable("nothing is heard")),
            false => self.below.root(at),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_look_that_fails_ends_the_following_and_not_that_of_those_who_come_later() {
    runs(async {
        let (store, env) = (ModelStore::default(), Env::system());
        let writer = Engine::open(Arc::new(store.clone()), &env, Options::default()).unwrap();
        let commit = async || {
            let writer = writer.clone();
            let committed = tokio::task::spawn_blocking(move || {
                writer.session()?.commit(&[], None).wait()?;
                writer.prove()
            });
            committed.await.unwrap().unwrap();
        };
        commit().await;
        let deaf = Arc::new(AtomicBool::new(false));
        let below = Arc::new(Deaf {
            below: Arc::new(store.reader()),
            deaf: deaf.clone(),
        });
        let reader = Engine::open(below, &env, Options::reading()).unwrap();
        let served = Served::of(store, reader, Bounds::default()).await;
        let client = served.client().await;
        let mut follow = client.follow(1).await.unwrap();
        assert_eq!(sequence(follow.next().await.unwrap()).await, 1);
        deaf.store(true, Ordering::Relaxed);
        let error = follow.next().await.unwrap_err();
        assert!(error.message().contains("nothing is heard"), "{error}");
        deaf.store(false, Ordering::Relaxed);
        let mut follow = client.follow(follow.position()).await.unwrap();
        commit().await;
        assert_eq!(sequence(follow.next().await.unwrap()).await, 2);
    })
    .await;
}

/// A floor in which each read waits for leave, once that is asked for.
#[derive(Debug)]
struct Slow {
    below: Arc<dyn Store>,
    leave: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    read: AtomicU64,
}

impl Store for Slow {
    forward!(below: store commit root fence adopt scan reclaim status close);

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        if let Some(leave) = &*self.leave.lock().unwrap() {
            // Once nobody gives leave any more none is needed.
            let _ = leave.recv();
        }
        self.read.fetch_add(1, Ordering::Relaxed);
        self.below.read(oid)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_not_read_to_its_end_for_somebody_who_has_left() {
    const COMMITS: u64 = 3_000;
    runs(async {
        let (store, env) = (ModelStore::default(), Env::system());
        let slow = Arc::new(Slow {
            below: Arc::new(store.clone()),
            leave: Mutex::default(),
            read: AtomicU64::default(),
        });
        let engine = Engine::open(slow.clone(), &env, Options::default()).unwrap();
        let served = Served::of(store, engine.clone(), Bounds::default()).await;
        let commits = tokio::task::spawn_blocking(move || {
            for _ in 0..COMMITS {
                engine.session()?.commit(&[], None).wait()?;
            }
            Ok::<_, Error>(())
        });
        commits.await.unwrap().unwrap();
        let endpoint = Endpoint::parse(&served.address).unwrap();
        let channel = endpoint.connect(&Env::system()).await.unwrap();
        let mut client = EngineClient::new(channel);
        let (give, leave) = std::sync::mpsc::channel();
        *slow.leave.lock().unwrap() = Some(leave);
        let before = slow.read.load(Ordering::Relaxed);
        // Nothing is told before all of it was read.
        let request = proto::HistoryRequest {
            before: 1,
            ..proto::HistoryRequest::default()
        };
        drop(client.history(request).await.unwrap());
        loop {
            let status = client.status(proto::StatusRequest {}).await.unwrap();
            if status.into_inner().followers == 0 {
                break;
            }
            give.send(()).unwrap();
        }
        let read = slow.read.load(Ordering::Relaxed) - before;
        assert!(read < COMMITS / 2, "{read}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_ends_and_lets_go_of_what_it_held() {
    runs(async {
        let idle = Duration::from_millis(50);
        let served = Served::new(Bounds {
            idle,
            ..Bounds::default()
        })
        .await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        assert_eq!(session.idle(), idle);
        client
            .store(NewRecord::blob("held for a while"))
            .await
            .unwrap();
        while !served.engine.pins().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let late = async {
            let asked = session.store(NewRecord::blob("too late")).await?;
            asked.await
        };
        let error = late.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        // Its place is given back once it was told.
        while client.status().await.unwrap().sessions > 0 {
            tokio::task::yield_now().await;
        }
        client.session().await.unwrap();
    })
    .await;
}

/// So many asks for one record.
fn reads_of(record: Reference, times: u64) -> Vec<proto::Ask> {
    let read = |id| proto::Ask {
        id,
        trace: String::new(),
        what: Some(proto::ask::What::Read(proto::ReadRequest {
            target: Some(proto::Target {
                to: Some(target::To::Oid(record.oid.raw())),
                weak: false,
            }),
        })),
    };
    (1..=times).map(read).collect()
}

/// A session as any client may have one: these messages, and answers that come when they are fetched.
async fn bare_session(
    served: &Served,
    messages: Vec<Vec<proto::Ask>>,
) -> tonic::Streaming<proto::Replies> {
    let endpoint = Endpoint::parse(&served.address).unwrap();
    let channel = endpoint.connect(&Env::system()).await.unwrap();
    let messages = messages.into_iter().map(|asks| proto::Asks { asks });
    let asks = tokio_stream::iter(messages).chain(tokio_stream::pending());
    let session = EngineClient::new(channel).session(asks).await;
    session.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_large_records_than_are_answered_at_once_are_all_answered() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let large = client.store(NewRecord::blob(vec![7; 3 << 20])).await;
        let reads = reads_of(large.unwrap(), 20);
        let mut answers = bare_session(&served, vec![reads]).await;
        let mut found = 0;
        while found < 20 {
            let message = answers.message().await.unwrap().unwrap();
            let records = message.replies.iter().filter(|reply| reply.id > 0);
            found += records.count();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_answers_nobody_fetches_ends_and_lets_go_of_what_it_held() {
    runs(async {
        let served = Served::new(Bounds {
            idle: Duration::from_secs(2),
            ..Bounds::default()
        })
        .await;
        let client = served.client().await;
        let large = client.store(NewRecord::blob(vec![7; 3 << 20])).await;
        let reads = reads_of(large.unwrap(), 20);
        let unfetched = bare_session(&served, vec![reads]).await;
        while !served.engine.pins().is_empty() || client.status().await.unwrap().sessions > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(unfetched);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_before_a_message_that_is_refused_is_done() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let commit = |id| proto::Ask {
            id,
            trace: String::new(),
            what: Some(proto::ask::What::Commit(proto::CommitRequest::default())),
        };
        let most = Bounds::default().asks as u64;
        let too_many = (100..=100 + most).map(commit).collect();
        let messages = vec![vec![commit(1)], vec![commit(2)], too_many];
        let mut answers = bare_session(&served, messages).await;
        let refused = loop {
            match answers.message().await {
                Ok(message) => assert!(message.is_some()),
                Err(status) => break status,
            }
        };
        assert!(
            refused.message().contains("asks in one message"),
            "{refused}"
        );
        while served.engine.snapshot().sequence() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(served.engine.snapshot().sequence(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_more_than_there_may_be_is_told_to_come_later() {
    runs(async {
        let bounds = Bounds {
            sessions: 2,
            ..Bounds::default()
        };
        let served = Served::new(bounds).await;
        let client = served.client().await;
        let kept = (
            client.session().await.unwrap(),
            client.session().await.unwrap(),
        );
        let error = client.session().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        drop(kept);
        while client.session().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_under_load_loses_nothing_that_was_acknowledged() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let mut writers = Vec::new();
        for writer in 0..4_u64 {
            let client = served.client().await;
            writers.push(tokio::spawn(async move {
                let session = client.session().await.unwrap();
                let (mut acknowledged, mut flight) = (0, std::collections::VecDeque::new());
                for value in 1.. {
                    let Ok(stored) = session.store(number(value)).await else {
                        break;
                    };
                    let change = Change::set(name(&format!("w{writer}")), stored.target());
                    let Ok(commit) = session.commit(vec![change], None).await else {
                        break;
                    };
                    flight.push_back((value, commit));
                    if flight.len() > 50 {
                        let (value, commit) = flight.pop_front().unwrap();
                        if commit.await.is_err() {
                            break;
                        }
                        acknowledged = value;
                    }
                }
                for (value, commit) in flight {
                    if commit.await.is_ok() {
                        acknowledged = value;
                    }
                }
                acknowledged
            }));
        }
        while served.engine.snapshot().sequence() < 500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (store, engine) = (served.store.clone(), served.engine.clone());
        assert_eq!(served.drain().await, Ended::Drained);
        tokio::task::spawn_blocking(move || engine.close())
            .await
            .unwrap()
            .unwrap();
        let store = store.reopen();
        let streams = store.fence(Epoch::default()).wait();
        assert!(streams.is_ok_and(|streams| streams.iter().all(|stream| stream.clean)));
        let again = Engine::open(Arc::new(store), &Env::system(), Options::reading()).unwrap();
        let snapshot = again.snapshot();
        for (writer, task) in writers.into_iter().enumerate() {
            let acknowledged = task.await.unwrap();
            assert!(acknowledged > 0);
            let record = snapshot
                .read_root(&name(&format!("w{writer}")))
                .unwrap()
                .unwrap();
            let there = u64::from_le_bytes(record.body().try_into().unwrap());
            assert!(
                there >= acknowledged,
                "writer {writer}: {there} of {acknowledged}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_nobody_who_asks_nothing() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let endpoint = Endpoint::parse(&served.address).unwrap();
        let channel = endpoint.connect(&Env::system()).await.unwrap();
        // A request that never says what it wants.
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let unsaid = tokio::spawn(async move {
            grpc.ready().await.unwrap();
            let path = PathAndQuery::from_static("/travertine.v1.Engine/Read");
            let codec = tonic_prost::ProstCodec::<proto::ReadRequest, proto::Found>::default();
            let says = tonic::Request::new(tokio_stream::pending());
            grpc.client_streaming(says, path, codec).await
        });
        // Who asks what there is to call, and might ask more.
        let mut reflection = ServerReflectionClient::new(channel.clone());
        let asks = tokio_stream::once(ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        });
        let asks = asks.chain(tokio_stream::pending());
        let told = reflection.server_reflection_info(asks).await;
        let mut told = told.unwrap().into_inner();
        told.message().await.unwrap().unwrap();
        // Who watches the health.
        let mut health = HealthClient::new(channel);
        let watch = health.watch(HealthCheckRequest::default()).await;
        let mut watch = watch.unwrap().into_inner();
        let mut health = async || {
            let told = watch.message().await.unwrap();
            told.map(|told| told.status())
        };
        assert_eq!(health().await, Some(ServingStatus::Serving));
        assert_eq!(served.drain().await, Ended::Drained);
        assert_eq!(health().await, Some(ServingStatus::NotServing));
        assert_eq!(health().await, None);
        unsaid.await.unwrap().unwrap_err();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_record_passes_and_one_byte_more_is_refused() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        let longest = vec![7_u8; 16 << 20];
        let stored = session
            .store(NewRecord::blob(longest.clone()))
            .await
            .unwrap();
        let found = session.read(stored.target()).await.unwrap().await.unwrap();
        assert_eq!(found.unwrap().body, longest);
        let longer = vec![7_u8; (16 << 20) + 1];
        let error = session
            .store(NewRecord::blob(longer))
            .await
            .unwrap()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        stored.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_away_is_gone_in_open_sessions_too() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let session = client.session().await.unwrap();
        let there = stored(&session, "there").await;
        served.rights.set(Rights::none());
        let read = session.read(there).await.unwrap().await;
        assert!(
            read.unwrap_err()
                .message()
                .contains("lacks the right: read")
        );
        let store = session.store(NewRecord::blob("x")).await.unwrap().await;
        assert!(store.unwrap_err().message().contains("append"));
        let change = Change::set(name("n"), there);
        let commit = session
            .commit(vec![change.clone()], None)
            .await
            .unwrap()
            .await;
        assert!(commit.unwrap_err().message().contains("commit"));
        let errors = [
            client.read(there).await.unwrap_err(),
            client.store(NewRecord::blob("x")).await.unwrap_err(),
            client
                .commit(Vec::new(), vec![change], None)
                .await
                .unwrap_err(),
            client.root(&name("n")).await.unwrap_err(),
            client.status().await.unwrap_err(),
            client.follow(1).await.unwrap_err(),
            client.session().await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
        assert_eq!(served.engine.snapshot().sequence(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_away_is_gone_for_those_who_follow_too() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let client = served.client().await;
        let mut follow = client.follow(1).await.unwrap();
        put(&client, "n", 1).await;
        assert_eq!(sequence(follow.next().await.unwrap()).await, 1);
        served.rights.set(Rights::none());
        let engine = served.engine.clone();
        let committed = tokio::task::spawn_blocking(move || {
            let op = engine.session()?.commit(&[], None);
            op.wait()
        });
        assert_eq!(committed.await.unwrap().unwrap().sequence, 2);
        let error = follow.next().await.unwrap_err();
        assert!(error.message().contains("lacks the right: read"), "{error}");
    })
    .await;
}

/// A way to a server that can be made silent: then it stays open, and carries nothing more.
async fn way(server: &str) -> (String, Arc<AtomicBool>) {
    async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silent: Arc<AtomicBool>) {
        let mut bytes = vec![0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            if !silent.load(Ordering::Relaxed) && to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = Arc::new(AtomicBool::new(false));
    let (server, hushed) = (server.to_owned(), silent.clone());
    tokio::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            let there = TcpStream::connect(&server).await.unwrap();
            let ((from, back), (answers, to)) = (here.into_split(), there.into_split());
            tokio::spawn(carry(from, to, hushed.clone()));
            tokio::spawn(carry(answers, back, hushed.clone()));
        }
    });
    (address, silent)
}

#[tokio::test]
async fn who_lets_go_of_a_session_keeps_nothing_of_it_though_the_server_says_no_end() {
    runs(async {
        let served = Served::new(Bounds::default()).await;
        let (address, silent) = way(&served.address).await;
        let endpoint = Endpoint::parse(&address).unwrap();
        let client = Client::connect(&endpoint, &Env::system()).await.unwrap();
        let session = client.session().await.unwrap();
        session.store(number(1)).await.unwrap().await.unwrap();
        silent.store(true, Ordering::Relaxed);
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        let before = tasks();
        drop(session);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(tasks() < before, "{} of {before} tasks", tasks());
    })
    .await;
}
