//! What one caller may take of a server, and what others have of it meanwhile.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod rig;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rig::{Served, commit, engine, memory, open, plan_of, remote};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status as Refusal, Streaming};
use travertine_engine::contract::{
    Env, Epoch, Error, Level, Oid, Op, Record, Result, RootAt, RootMarker, Status, Store,
    StreamState,
};
use travertine_engine::forward;
use travertine_engine::stack::Spec;
use travertine_net::connect::Endpoint;
use travertine_net::proto::answer::Answer;
use travertine_net::proto::call::Verb;
use travertine_net::proto::store_client::StoreClient;
use travertine_net::proto::{Answers, Call, Calls, FenceCall, Hello, Part, RootCall, StatusCall};
use travertine_net::store_service::{Limits, Offer, Share, StoreService};

/// However slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;

/// Floors that can be held up, and count what reaches them.
#[derive(Debug)]
struct Gate {
    below: Arc<dyn Store>,
    hold: Arc<Hold>,
}

#[derive(Debug, Default)]
struct Hold {
    shut: Mutex<bool>,
    opened: Condvar,
    roots: AtomicUsize,
    most_roots: AtomicUsize,
    reads: AtomicUsize,
    slow_reads: AtomicBool,
    refuses: AtomicBool,
    openings: AtomicUsize,
}

impl Hold {
    fn shut(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap();
        let waited = self.opened.wait_timeout_while(shut, PATIENCE, |shut| *shut);
        assert!(!waited.unwrap().1.timed_out());
    }
}

impl Store for Gate {
    forward!(below: store commit adopt scan reclaim close);

    fn read(&self, oid: Oid) -> Op<Option<Record>> {
        self.hold.reads.fetch_add(1, Ordering::SeqCst);
        if self.hold.slow_reads.load(Ordering::SeqCst) {
            Env::system().clock.sleep(Duration::from_millis(20));
            self.hold.pass();
        }
        self.below.read(oid)
    }

    fn root(&self, at: RootAt) -> Op<Option<(Oid, RootMarker)>> {
        let roots = self.hold.roots.fetch_add(1, Ordering::SeqCst) + 1;
        self.hold.most_roots.fetch_max(roots, Ordering::SeqCst);
        self.hold.pass();
        self.hold.roots.fetch_sub(1, Ordering::SeqCst);
        self.below.root(at)
    }

    fn fence(&self, epoch: Epoch) -> Op<Vec<StreamState>> {
        if self.hold.refuses.load(Ordering::SeqCst) {
            return Op::err(Error::unavailable("not now"));
        }
        self.below.fence(epoch)
    }

    fn status(&self) -> Status {
        let refuses = self.hold.refuses.load(Ordering::SeqCst);
        Status {
            refusing: refuses.then(|| "not now".to_owned()),
            ..self.below.status()
        }
    }
}

fn served(limits: Limits) -> (Served, Arc<Hold>) {
    let hold = Arc::new(Hold::default());
    let plan = memory();
    let gives = *plan.top().gives();
    let below = open(&plan).unwrap();
    let held = hold.clone();
    let offer = Offer::new(Level::Memory, gives.properties, move || -> Result<_> {
        held.openings.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(Gate {
            below: below.clone(),
            hold: held.clone(),
        }) as _)
    });
    let service = StoreService::open(offer, limits, &Env::system()).unwrap();
    (Served::at("127.0.0.1:0".parse().unwrap(), service), hold)
}

/// A session on a connection of its own.
struct Speaker {
    say: mpsc::UnboundedSender<Calls>,
    hear: Streaming<Answers>,
}

impl Speaker {
    async fn greet(served: &Served, client: u8) -> std::result::Result<Self, Refusal> {
        let endpoint = Endpoint::parse(&served.address.to_string()).unwrap();
        let channel = endpoint.connect(&Env::system()).await.unwrap();
        let (say, said) = mpsc::unbounded_channel();
        let hello = Hello {
            oldest: 1,
            newest: 1,
            client: vec![client; 16].into(),
            ..Hello::default()
        };
        let greeting = Calls {
            hello: Some(hello),
            ..Calls::default()
        };
        say.send(greeting).unwrap();
        let said = UnboundedReceiverStream::new(said);
        let hear = StoreClient::new(channel).session(said).await?.into_inner();
        let mut speaker = Self { say, hear };
        assert!(speaker.hear().await?.welcome.is_some());
        Ok(speaker)
    }

    fn call(&self, first: u64, verbs: Vec<Verb>) {
        let numbered = (first..).zip(verbs).map(|(id, verb)| Call {
            id,
            verb: Some(verb),
            ..Call::default()
        });
        self.send(numbered.collect(), Vec::new());
    }

    fn part(&self, id: u64, whole: usize, bytes: usize) {
        let part = Part {
            id,
            whole: whole as u32,
            bytes: vec![0xff; bytes].into(),
        };
        self.send(Vec::new(), vec![part]);
    }

    fn send(&self, calls: Vec<Call>, parts: Vec<Part>) {
        let said = Calls {
            hello: None,
            calls,
            parts,
        };
        self.say.send(said).unwrap();
    }

    async fn hear(&mut self) -> std::result::Result<Answers, Refusal> {
        let heard = tokio::time::timeout(PATIENCE, self.hear.next()).await;
        heard.unwrap().unwrap()
    }

    async fn answer(&mut self) -> Option<Answer> {
        let mut answers = self.hear().await.unwrap().answers;
        assert_eq!(answers.len(), 1);
        answers.remove(0).answer
    }
}

fn runs(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test);
}

fn share(all: usize, each: usize) -> Share {
    Share { all, each }
}

fn fence(number: u32) -> Verb {
    let epoch = travertine_net::proto::Epoch {
        number,
        ..Default::default()
    };
    Verb::Fence(FenceCall { epoch: Some(epoch) })
}

#[test]
fn many_long_records_asked_in_one_message_are_read_as_they_are_sent() {
    let (served, hold) = served(Limits::default());
    let layer = remote(served.address)
        .with("level", "memory")
        .with("expects", "fences");
    let plan = plan_of(Spec::linear([layer]).level("memory"), "/".as_ref());
    let writer = engine(open(&plan).unwrap()).unwrap();
    let oid = commit(&writer, "long", &vec![7; MIB]).unwrap().oid.raw();
    runs(async {
        let mut speaker = Speaker::greet(&served, 1).await.unwrap();
        let before = hold.reads.load(Ordering::SeqCst);
        speaker.call(1, (0..100).map(|_| Verb::Read(oid)).collect());
        let mut bytes = 0;
        while bytes < 100 * MIB {
            let heard = speaker.hear().await.unwrap();
            bytes += heard.parts.iter().map(|it| it.bytes.len()).sum::<usize>();
            // Four lie there to be sent, one more may be begun, and some are on the way.
            let read = hold.reads.load(Ordering::SeqCst) - before;
            assert!(read <= bytes / MIB + 24, "{read} at {bytes}");
        }
    });
}

#[test]
fn a_call_in_parts_that_does_not_end_is_given_up_and_others_get_their_turn() {
    let (served, _hold) = served(Limits {
        parts: share(2 * MIB, MIB),
        patience: Duration::from_secs(3),
        ..Limits::default()
    });
    runs(async {
        let mut silent = Speaker::greet(&served, 1).await.unwrap();
        silent.part(1, MIB, MIB / 2);
        // What follows on is taken, but nothing ends what was begun.
        silent.call(1, vec![Verb::Status(StatusCall {})]);
        assert!(matches!(silent.answer().await, Some(Answer::Status(_))));
        let mut waits = Speaker::greet(&served, 2).await.unwrap();
        waits.part(1, MIB, MIB / 2);
        waits.part(1, MIB, MIB / 2);
        let gone = silent.hear().await.unwrap_err();
        assert_eq!(gone.code(), Code::Unavailable);
        // It has its turn now: the whole is taken, and is no call.
        let ended = waits.hear().await.unwrap_err();
        assert_eq!(ended.code(), Code::InvalidArgument);
    });
}

#[test]
fn walks_of_those_who_read_run_few_at_a_time_however_short_they_are_waited_for() {
    let (served, hold) = served(Limits {
        jobs: share(3, 2),
        ..Limits::default()
    });
    hold.shut(true);
    runs(async {
        let hasty = || {
            let call = |id| Call {
                id,
                deadline: 1,
                verb: Some(Verb::Root(RootCall::default())),
                ..Call::default()
            };
            (1..9).map(call).collect()
        };
        let mut first = Speaker::greet(&served, 1).await.unwrap();
        first.send(hasty(), Vec::new());
        // Two are begun, and given up by those who wait.
        let mut given_up = 0;
        while given_up < 2 {
            given_up += first.hear().await.unwrap().answers.len();
        }
        let mut speakers = vec![first];
        for client in 2..5 {
            let speaker = Speaker::greet(&served, client).await.unwrap();
            speaker.send(hasty(), Vec::new());
            speakers.push(speaker);
        }
        // Another's calls that take no time go on.
        let mut other = Speaker::greet(&served, 9).await.unwrap();
        other.call(1, vec![Verb::Read(64), Verb::Status(StatusCall {})]);
        let mut answered = 0;
        while answered < 2 {
            answered += other.hear().await.unwrap().answers.len();
        }
        hold.shut(false);
        for speaker in &mut speakers {
            let mut last = 0;
            while last < 8 {
                let heard = speaker.hear().await.unwrap().answers;
                last = heard.iter().map(|it| it.id).fold(last, u64::max);
            }
        }
    });
    assert_eq!(hold.most_roots.load(Ordering::SeqCst), 2);
}

#[test]
fn a_caller_gets_its_share_of_sessions_and_whoever_writes_always_comes_back() {
    let (served, _hold) = served(Limits {
        sessions: share(8, 3),
        ..Limits::default()
    });
    runs(async {
        let mut writer = Speaker::greet(&served, 1).await.unwrap();
        writer.call(1, vec![fence(5)]);
        assert!(matches!(writer.answer().await, Some(Answer::Fenced(_))));
        let _others = [
            Speaker::greet(&served, 2).await.unwrap(),
            Speaker::greet(&served, 3).await.unwrap(),
        ];
        let refused = Speaker::greet(&served, 4).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unavailable);
        drop(Speaker::greet(&served, 1).await.unwrap());
    });
}

#[test]
fn a_fence_that_is_refused_leaves_the_floors_as_they_are() {
    let (served, hold) = served(Limits::default());
    runs(async {
        let mut writer = Speaker::greet(&served, 1).await.unwrap();
        writer.call(1, vec![fence(5)]);
        assert!(matches!(writer.answer().await, Some(Answer::Fenced(_))));
        hold.refuses.store(true, Ordering::SeqCst);
        let mut other = Speaker::greet(&served, 2).await.unwrap();
        other.call(1, vec![fence(6)]);
        assert!(matches!(other.answer().await, Some(Answer::Error(_))));
        assert_eq!(hold.openings.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn floors_that_wait_for_a_slow_device_hold_up_nobody_else() {
    // One worker serves all.
    let (served, hold) = served(Limits::default());
    runs(async {
        let mut reader = Speaker::greet(&served, 1).await.unwrap();
        hold.slow_reads.store(true, Ordering::SeqCst);
        reader.call(1, vec![Verb::Read(64)]);
        assert!(reader.answer().await.is_some());
        hold.shut(true);
        let before = hold.reads.load(Ordering::SeqCst);
        reader.call(2, vec![Verb::Read(64)]);
        let begun = async {
            while hold.reads.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.unwrap();
        let mut other = Speaker::greet(&served, 2).await.unwrap();
        other.call(1, vec![Verb::Status(StatusCall {})]);
        assert!(matches!(other.answer().await, Some(Answer::Status(_))));
        hold.shut(false);
        assert!(reader.answer().await.is_some());
    });
}
