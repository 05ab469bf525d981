//! Who may do what: each verb against each role, by certificate and by token, over the real door.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod house;

use house::{House, Log, Papers, calm, endpoint, soon, well};
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use travertine_engine::contract::Env;
use travertine_net::accept::Door;
use travertine_net::certs::{Authority, LEAF, Use};
use travertine_net::connect::Channel;
use travertine_net::rights::{Granted, Right, Rights, Token, Verb};

/// What a call to a path comes to. Behind the guard nobody serves these paths, so a call that gets
/// through is answered `UNIMPLEMENTED`.
async fn call(channel: &Channel, path: &str) -> Code {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path: PathAndQuery = path.parse().unwrap();
    let request = tonic::Request::new(HealthCheckRequest::default());
    soon("a call", grpc.unary(request, path, codec))
        .await
        .unwrap_err()
        .code()
}

/// Every set of rights.
fn roles() -> impl Iterator<Item = (String, Granted)> {
    (0..1_u32 << Right::ALL.len()).map(|bits| {
        let rights: Vec<_> = Right::ALL
            .iter()
            .copied()
            .filter(|right| bits >> *right as u8 & 1 == 1)
            .collect();
        (format!("role-{bits}"), Granted::of(&rights))
    })
}

#[tokio::test]
async fn each_verb_is_for_those_who_were_granted_its_right() {
    let papers = Papers::new();
    let env = Env::system();
    let authority = Authority::new("of the roles", &env).unwrap();
    let both = house::read(&papers.cert("ca")) + &authority.pair().cert;
    std::fs::write(papers.cert("both"), both).unwrap();
    let mut rights = Rights::none();
    let mut tokens = Vec::new();
    for (role, granted) in roles() {
        papers.sign(&authority, &role, &[&role], Use::Client, LEAF);
        rights.certificate(&role, granted).unwrap();
        let token = Token::generate().unwrap();
        rights
            .token(&format!("token-{role}"), token.hash(), granted)
            .unwrap();
        tokens.push(token);
    }
    let door = Door::tls(
        papers.cert("server"),
        papers.key("server"),
        Some(papers.cert("both")),
    );
    let house = House::open(door, &calm(), rights, &env).await;
    let mut refused = 0;
    for ((role, granted), token) in roles().zip(tokens) {
        // The certificate of a role that may nothing, and its token that may: the token speaks.
        for way in [
            papers.way(house.address, &role),
            papers.way(house.address, "role-0").token(token),
        ] {
            let channel = way.connect(&env).await.unwrap();
            for verb in Verb::ALL {
                let expected = match granted.has(verb.right()) {
                    true => Code::Unimplemented,
                    false => Code::PermissionDenied,
                };
                refused += usize::from(expected == Code::PermissionDenied);
                let path = format!("/verbs/{verb}");
                assert_eq!(
                    call(&channel, &path).await,
                    expected,
                    "{role} {granted:?} {verb}"
                );
            }
            let some = match granted.is_none() {
                true => Code::PermissionDenied,
                false => Code::Unimplemented,
            };
            assert_eq!(call(&channel, "/verbs/some").await, some);
            assert_eq!(call(&channel, "/verbs/none").await, Code::Unimplemented);
            let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
            assert_eq!(call(&channel, reflection).await, some);
            // What declares no right is for nobody.
            for path in [
                "/verbs/",
                "/verbs/READ",
                "/travertine.v1.Store/Commit",
                "/",
                "/verbs/read/",
            ] {
                assert_eq!(call(&channel, path).await, Code::PermissionDenied, "{path}");
            }
            well(&channel).await.unwrap();
        }
    }
    assert_eq!(refused, 2 * 8 * Verb::ALL.len());
}

#[tokio::test]
async fn a_token_that_is_not_known_opens_nothing_and_stands_in_no_log() {
    let papers = Papers::new();
    let env = Env::system();
    let known = Token::generate().unwrap();
    let mut rights = Rights::none();
    rights
        .token("reports", known.hash(), Granted::of(&[Right::Read]))
        .unwrap();
    let (log, _guard) = Log::begin();
    // Without certificates of clients: whoever comes is let in, and may nothing.
    let door = Door::tls(papers.cert("server"), papers.key("server"), None);
    rights.check_door(&door).unwrap();
    let house = House::open(door, &calm(), rights, &env).await;
    let way = endpoint(house.address).ca(papers.cert("ca"));
    let nobody = way.connect(&env).await.unwrap();
    assert_eq!(call(&nobody, "/verbs/read").await, Code::PermissionDenied);
    well(&nobody).await.unwrap();

    let other = Token::generate().unwrap();
    let stranger = way
        .clone()
        .token(other.clone())
        .connect(&env)
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(call(&stranger, "/verbs/read").await, Code::Unauthenticated);
    }
    assert!(well(&stranger).await.is_err());

    let file = papers.dir.path().join("token");
    std::fs::write(&file, known.reveal()).unwrap();
    let reader = way.clone().token_file(&file).connect(&env).await.unwrap();
    assert_eq!(call(&reader, "/verbs/read").await, Code::Unimplemented);
    assert_eq!(call(&reader, "/verbs/commit").await, Code::PermissionDenied);

    // The hash is no token, nor is what is nearly one.
    for near in [known.hash().to_string(), format!("{}0", known.reveal())] {
        let near = way.clone().token(Token::new(&near).unwrap());
        let near = near.connect(&env).await.unwrap();
        assert_eq!(call(&near, "/verbs/read").await, Code::Unauthenticated);
    }
    assert_eq!(log.lines("not known").len(), 1);
    assert_eq!(log.lines("name=\"reports\" right=\"commit\"").len(), 1);
    for secret in [&known, &other] {
        let secret = &secret.reveal()["travertine_".len()..];
        assert!(log.lines(secret).is_empty());
    }
}

#[tokio::test]
async fn headers_that_say_two_things_or_none_are_refused() {
    let env = Env::system();
    let token = Token::generate().unwrap();
    let mut rights = Rights::none();
    rights.token("reader", token.hash(), Granted::ALL).unwrap();
    let house = House::open(Door::Plain, &calm(), rights, &env).await;
    let bare = endpoint(house.address).connect(&env).await.unwrap();
    let says = async |values: &[&[u8]]| {
        let mut grpc = Grpc::new(bare.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        for value in values {
            let value = tonic::metadata::AsciiMetadataValue::try_from(*value).unwrap();
            request.metadata_mut().append("authorization", value);
        }
        let path = PathAndQuery::from_static("/verbs/read");
        soon("a call", grpc.unary(request, path, codec))
            .await
            .unwrap_err()
            .code()
    };
    let good = format!("Bearer {}", token.reveal());
    let good = good.as_bytes();
    assert_eq!(says(&[good]).await, Code::Unimplemented);
    assert_eq!(says(&[good, good]).await, Code::Unauthenticated);
    assert_eq!(says(&[b"Bearer "]).await, Code::Unauthenticated);
    assert_eq!(says(&[b"Bearer"]).await, Code::Unauthenticated);
    assert_eq!(says(&[b"Basic YTpi"]).await, Code::Unauthenticated);
    assert_eq!(says(&[b"Bearer \xff\xfe\xfd"]).await, Code::Unauthenticated);
    assert_eq!(says(&[]).await, Code::PermissionDenied);
}

#[tokio::test]
async fn what_is_granted_may_change_while_the_server_runs() {
    let papers = Papers::new();
    let env = Env::system();
    let with = |rights: &[Right]| {
        let mut all = Rights::none();
        all.certificate("client.example", Granted::of(rights))
            .unwrap();
        all
    };
    let house = House::open(papers.door(), &calm(), with(&[Right::Read]), &env).await;
    let channel = papers
        .way(house.address, "client")
        .connect(&env)
        .await
        .unwrap();
    assert_eq!(call(&channel, "/verbs/read").await, Code::Unimplemented);
    assert_eq!(
        call(&channel, "/verbs/commit").await,
        Code::PermissionDenied
    );
    house.live.set(with(&[Right::Commit]));
    assert_eq!(call(&channel, "/verbs/read").await, Code::PermissionDenied);
    assert_eq!(call(&channel, "/verbs/commit").await, Code::Unimplemented);
}

#[tokio::test]
async fn a_token_that_is_replaced_in_its_file_is_said_from_then_on() {
    // Lines that are of no interest to anybody here would be of none to the tests beside it.
    let (_log, _guard) = Log::begin();
    let env = Env::system();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let one = Token::generate().unwrap();
    let only = |token: &Token| {
        let mut rights = Rights::none();
        let reads = Granted::of(&[Right::Read]);
        rights.token("reader", token.hash(), reads).unwrap();
        rights
    };
    std::fs::write(&file, one.reveal()).unwrap();
    let house = House::open(Door::Plain, &calm(), only(&one), &env).await;
    let way = endpoint(house.address).token_file(&file);
    let channel = way.connect(&env).await.unwrap();
    assert_eq!(call(&channel, "/verbs/read").await, Code::Unimplemented);
    let other = Token::generate().unwrap();
    house.live.set(only(&other));
    // What is no token is not said.
    std::fs::write(&file, "x").unwrap();
    assert_eq!(call(&channel, "/verbs/read").await, Code::Unauthenticated);
    let new = directory.path().join("new");
    std::fs::write(&new, other.reveal()).unwrap();
    std::fs::rename(&new, &file).unwrap();
    let said = async {
        while call(&channel, "/verbs/read").await != Code::Unimplemented {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("the new token", said).await;
}
