//! Peers that break the rules of a session: each is told so and loses its session; others go on.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod rig;

use prost::Message;
use rig::{Served, body, commit, engine, memory, open, plan_of, remote};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use travertine_engine::conformance::rng::Rng;
use travertine_engine::contract::Env;
use travertine_engine::stack::Spec;
use travertine_net::connect::Endpoint;
use travertine_net::proto::answer::Answer;
use travertine_net::proto::call::Verb;
use travertine_net::proto::store_client::StoreClient;
use travertine_net::proto::{
    Answers, Call, Calls, Hello, Part, ReadCall, RootCall, StatusCall, StoreCall,
};

fn hello() -> Calls {
    Calls {
        hello: Some(Hello {
            oldest: 1,
            newest: 1,
            client: vec![9; 16].into(),
            makes: true,
            ..Hello::default()
        }),
        ..Calls::default()
    }
}

fn call(id: u64, verb: Option<Verb>) -> Call {
    Call {
        id,
        verb,
        ..Call::default()
    }
}

fn calls(calls: Vec<Call>) -> Calls {
    Calls {
        calls,
        ..Calls::default()
    }
}

fn part(id: u64, whole: u32, bytes: usize) -> Calls {
    Calls {
        parts: vec![Part {
            id,
            whole,
            bytes: vec![0xff; bytes].into(),
        }],
        ..Calls::default()
    }
}

/// Says this, and hears until the session ends.
async fn say(served: &Served, said: Vec<Calls>) -> (Vec<Answers>, Option<Status>) {
    let endpoint = Endpoint::parse(&served.address.to_string()).unwrap();
    let channel = endpoint.connect(&Env::system()).await.unwrap();
    let mut client = StoreClient::new(channel);
    let mut heard = Vec::new();
    let mut inbound = match client.session(tokio_stream::iter(said)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (heard, Some(status)),
    };
    while let Some(message) = inbound.next().await {
        match message {
            Ok(answers) => heard.push(answers),
            Err(status) => return (heard, Some(status)),
        }
    }
    (heard, None)
}

#[test]
fn whoever_breaks_the_rules_loses_its_session_and_nobody_else_does() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let layer = remote(served.address)
        .with("level", "memory")
        .with("expects", "fences");
    let plan = plan_of(Spec::linear([layer]).level("memory"), "/".as_ref());
    let good = engine(open(&plan).unwrap()).unwrap();
    commit(&good, "it", b"before").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let versions = |oldest, newest| {
        let mut hello = hello();
        hello.hello = hello.hello.map(|it| Hello {
            oldest,
            newest,
            ..it
        });
        hello
    };
    let short = Calls {
        hello: Some(Hello {
            client: vec![1; 3].into(),
            ..hello().hello.unwrap()
        }),
        ..Calls::default()
    };
    let read = || call(1, Some(Verb::Read(64)));
    let bad: Vec<(&str, Vec<Calls>, Code)> = vec![
        ("nothing", vec![], Code::InvalidArgument),
        (
            "no greeting",
            vec![calls(vec![read()])],
            Code::InvalidArgument,
        ),
        (
            "a version to come",
            vec![versions(7, 9)],
            Code::Unimplemented,
        ),
        ("no version", vec![versions(0, 0)], Code::Unimplemented),
        ("a short name", vec![short], Code::InvalidArgument),
        (
            "greeting twice",
            vec![hello(), hello()],
            Code::InvalidArgument,
        ),
        (
            "the same number twice",
            vec![hello(), calls(vec![read(), read()])],
            Code::InvalidArgument,
        ),
        (
            "too many calls",
            vec![
                hello(),
                calls((1..200).map(|id| call(id, Some(Verb::Read(8)))).collect()),
            ],
            Code::InvalidArgument,
        ),
        (
            "a part of too much",
            vec![hello(), part(1, u32::MAX, 9)],
            Code::InvalidArgument,
        ),
        (
            "a part longer than the whole",
            vec![hello(), part(1, 3, 9)],
            Code::InvalidArgument,
        ),
        (
            "parts of two calls",
            vec![hello(), part(1, 90, 9), part(2, 90, 9)],
            Code::InvalidArgument,
        ),
        (
            "parts of no call",
            vec![hello(), part(1, 9, 9)],
            Code::InvalidArgument,
        ),
    ];
    for (what, said, code) in bad {
        let (_, ended) = runtime.block_on(say(&served, said));
        assert_eq!(ended.map(|status| status.code()), Some(code), "{what}");
    }
    commit(&good, "it", b"after").unwrap();
    assert_eq!(body(&good, "it").unwrap(), b"after");
}

#[test]
fn a_call_that_makes_no_sense_is_answered_with_an_error() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let senseless = vec![
        call(1, None),
        call(2, Some(Verb::Read(0))),
        call(3, Some(Verb::Store(StoreCall::default()))),
        call(4, Some(Verb::Read(u64::MAX))),
        Call {
            hops: 8,
            ..call(5, Some(Verb::Root(RootCall::default())))
        },
    ];
    let good = call(6, Some(Verb::Status(StatusCall {})));
    let said = vec![hello(), calls(senseless), calls(vec![good])];
    let (heard, ended) = runtime.block_on(say(&served, said));
    assert!(ended.is_none(), "{ended:?}");
    assert!(heard[0].welcome.is_some());
    let mut answers: Vec<_> = heard.iter().flat_map(|it| &it.answers).collect();
    answers.sort_by_key(|answer| answer.id);
    assert_eq!(answers.len(), 6);
    let failed = |answer: &&&travertine_net::proto::Answer| {
        matches!(answer.answer, Some(Answer::Error(_) | Answer::Absent(_)))
    };
    assert_eq!(answers.iter().filter(failed).count(), 5, "{answers:?}");
    assert!(matches!(answers[5].answer, Some(Answer::Status(_))));
}

#[test]
fn bytes_that_were_changed_on_their_way_are_never_taken_for_calls_that_harm() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rng = Rng::new(11);
    let sound = calls(vec![
        call(1, Some(Verb::Read(64))),
        call(2, Some(Verb::Root(RootCall::default()))),
        call(
            3,
            Some(Verb::Store(StoreCall {
                sender: None,
                batch: vec![7; 300].into(),
            })),
        ),
    ]);
    for _ in 0..60 {
        let mut bytes = sound.encode_to_vec();
        for _ in 0..rng.below_usize(6) + 1 {
            let at = rng.below_usize(bytes.len());
            bytes[at] = rng.next_u64() as u8;
        }
        bytes.truncate(rng.below_usize(bytes.len()) + 1);
        if let Ok(changed) = Calls::decode(&*bytes) {
            let _ = runtime.block_on(say(&served, vec![hello(), changed]));
        }
    }
    let (heard, ended) = runtime.block_on(say(&served, vec![hello()]));
    assert!(ended.is_none() && heard[0].welcome.is_some());
}

#[test]
fn every_verb_can_be_reached_by_itself() {
    let served = Served::plan(memory(), &Env::system()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::parse(&served.address.to_string()).unwrap();
        let channel = endpoint.connect(&Env::system()).await.unwrap();
        let mut client = StoreClient::new(channel);
        // Nothing is there before somebody asks for it.
        let error = client.status(StatusCall {}).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        client.greet(hello().hello.unwrap()).await.unwrap();
        let status = client.status(StatusCall {}).await.unwrap().into_inner();
        assert_eq!(status.kind, "memory");
        let none = client.root(RootCall::default()).await.unwrap().into_inner();
        assert!(none.marker.is_none());
        let absent = client.read(ReadCall { oid: 1 << 20 }).await.unwrap();
        assert!(absent.into_inner().record.is_none());
        let error = client.store(StoreCall::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    });
}
