//! Peers that mean harm, or only behave so: each is ended within its bound, what it held is given back,
//! and a good client beside it notices nothing.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod house;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use house::{House, Log, Papers, calm, endpoint, soon, until, well};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use travertine_engine::contract::Env;
use travertine_net::accept::{Cause, Door};
use travertine_net::connect::Channel;
use travertine_net::limits::Limits;
use travertine_net::rights::Rights;

/// For what happens to those who mean harm, and to nobody else.
const SHORT: Duration = Duration::from_millis(300);
/// For what a good client beside them is bound by as well: no machine is so slow.
const LONGER: Duration = Duration::from_secs(10);
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const DATA: u8 = 0;

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn greeting() -> Vec<u8> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat()
}

/// The headers of a call, without any table.
fn headers(stream: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (&b"\x04"[..], "/grpc.health.v1.Health/Check"),
        (b"\x01", "localhost"),
        (b"\x00\x0ccontent-type", "application/grpc"),
        (b"\x00\x02te", "trailers"),
    ] {
        block.extend(name);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    frame(HEADERS, 4, stream, &block)
}

async fn open(door: Door, limits: &Limits) -> House {
    House::open(door, limits, Rights::everyone(), &Env::system()).await
}

/// Somebody who behaves, and goes on doing so until told to stop.
struct Good(tokio::task::JoinHandle<u64>, Arc<tokio::sync::Notify>);

impl Good {
    async fn begin(channel: Channel) -> Self {
        let stop = Arc::new(tokio::sync::Notify::new());
        let stopped = stop.clone();
        well(&channel).await.unwrap();
        let task = tokio::spawn(async move {
            for asked in 1.. {
                well(&channel).await.unwrap();
                // Not so often that it keeps the others from being heard.
                let pause = tokio::time::sleep(Duration::from_millis(1));
                tokio::select! {
                    () = stopped.notified() => return asked,
                    () = pause => {}
                }
            }
            0
        });
        Self(task, stop)
    }

    /// Whether each of its requests was answered.
    async fn end(self) {
        self.1.notify_one();
        assert!(soon("the good client", self.0).await.unwrap() > 0);
    }
}

/// Says one byte after the other, slowly and for ever.
async fn dribble(mut stream: impl AsyncWrite + Unpin, bytes: Vec<u8>) {
    for byte in bytes.into_iter().chain(std::iter::repeat(0)) {
        if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        // That is how it behaves; nothing waits for it.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn tls(papers: &Papers, address: SocketAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let pem = |path| std::fs::read(path).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&pem(papers.cert("ca"))).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&pem(papers.cert("client"))).unwrap()],
            PrivateKeyDer::from_pem_slice(&pem(papers.key("client"))).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap()
}

#[tokio::test]
async fn who_dribbles_is_ended_at_every_height_and_who_is_silent_in_a_handshake_too() {
    let papers = Papers::new();
    let limits = Limits {
        handshake: LONGER,
        item: LONGER,
        ..calm()
    };
    let house = open(papers.door(), &limits).await;
    let address = house.address;
    let good = Good::begin(
        papers
            .way(address, "client")
            .connect(&Env::system())
            .await
            .unwrap(),
    )
    .await;
    let mut bad = tokio::task::JoinSet::new();
    for _ in 0..8 {
        // Silent.
        let silent = TcpStream::connect(address).await.unwrap();
        bad.spawn(async move {
            let mut silent = silent;
            let _ = silent.read_to_end(&mut Vec::new()).await;
        });
        // A handshake, byte by byte.
        let stream = TcpStream::connect(address).await.unwrap();
        bad.spawn(dribble(
            stream,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ));
        // A frame, a byte in each record of TLS.
        let mut stream = tls(&papers, address).await;
        stream.write_all(&greeting()).await.unwrap();
        bad.spawn(dribble(stream, frame(DATA, 0, 1, &[0; 9_000])));
        // A record of TLS, byte by byte: it is never whole.
        let (stream, mut session) = tls(&papers, address).await.into_inner();
        std::io::Write::write_all(&mut session.writer(), &greeting().repeat(100)).unwrap();
        let mut record = Vec::new();
        session.write_tls(&mut record).unwrap();
        bad.spawn(dribble(stream, record));
    }
    until("all of them are ended", || house.counts.open() == 1).await;
    while let Some(ended) = soon("their ends", bad.join_next()).await {
        ended.unwrap();
    }
    assert_eq!(house.counts.refused(Cause::TooSlow), 16);
    good.end().await;
}

#[tokio::test]
async fn who_dribbles_in_plain_text_is_ended() {
    let limits = Limits {
        item: LONGER,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let good = Good::begin(
        endpoint(house.address)
            .connect(&Env::system())
            .await
            .unwrap(),
    )
    .await;
    let mut bad = tokio::task::JoinSet::new();
    for bytes in [Vec::new(), greeting(), greeting()] {
        for _ in 0..8 {
            let stream = TcpStream::connect(house.address).await.unwrap();
            bad.spawn(dribble(stream, bytes.clone()));
        }
    }
    let silent = TcpStream::connect(house.address).await.unwrap();
    until("all of them are ended", || house.counts.open() == 1).await;
    drop(silent);
    while let Some(ended) = soon("their ends", bad.join_next()).await {
        ended.unwrap();
    }
    good.end().await;
}

#[tokio::test]
async fn who_reads_nothing_is_ended() {
    let limits = Limits {
        write: SHORT,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let good = Good::begin(
        endpoint(house.address)
            .connect(&Env::system())
            .await
            .unwrap(),
    )
    .await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(&greeting()).await.unwrap();
    let pings = frame(PING, 0, 0, b"answer!!").repeat(1_000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    soon("the end of the flood", flood).await;
    until("it is ended", || house.counts.open() == 1).await;
    good.end().await;
}

#[tokio::test]
async fn who_is_there_no_more_is_noticed() {
    let limits = Limits {
        keepalive: SHORT,
        keepalive_timeout: SHORT,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    // It says that it is there, and then no more: no answer to any question.
    stream.write_all(&greeting()).await.unwrap();
    until("it came", || house.counts.let_in() == 1).await;
    until("it is ended", || house.counts.open() == 0).await;
    drop(stream);
}

#[tokio::test]
async fn who_asks_for_nothing_is_ended_and_who_waits_for_an_answer_is_not() {
    let limits = Limits {
        idle: LONGER,
        keepalive: SHORT,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let env = Env::system();
    let waits = endpoint(house.address).connect(&env).await.unwrap();
    let watch = HealthClient::new(waits)
        .watch(HealthCheckRequest::default())
        .await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(
        soon("a status", watch.message())
            .await
            .unwrap()
            .unwrap()
            .status,
        1
    );
    let mut idle = TcpStream::connect(house.address).await.unwrap();
    idle.write_all(&greeting()).await.unwrap();
    let answers = async {
        // It is alive and answers each question, but asks for nothing.
        let (mut read, mut write) = idle.split();
        let mut bytes = [0; 1024];
        while let Ok(1..) = read.read(&mut bytes).await {
            let _ = write.write_all(&frame(PING, 1, 0, &bytes[9..17])).await;
        }
    };
    soon("the end of who asks for nothing", answers).await;
    until("one is left", || house.counts.open() == 1).await;
    house
        .reporter
        .set_service_status("", ServingStatus::NotServing)
        .await;
    assert_eq!(
        soon("a status", watch.message())
            .await
            .unwrap()
            .unwrap()
            .status,
        2
    );
}

#[tokio::test]
async fn who_asks_and_gives_the_answer_no_window_is_ended() {
    let limits = Limits {
        idle: LONGER,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let mut stuck = TcpStream::connect(house.address).await.unwrap();
    stuck.write_all(&greeting()).await.unwrap();
    // A window of no bytes for each stream.
    let none = [0, 4, 0, 0, 0, 0];
    stuck
        .write_all(&frame(SETTINGS, 0, 0, &none))
        .await
        .unwrap();
    stuck.write_all(&headers(1)).await.unwrap();
    stuck.write_all(&frame(DATA, 1, 1, &[0; 5])).await.unwrap();
    let mut answered = false;
    let answers = async {
        // The connection is well: each question whether it is there is answered.
        let (mut read, mut write) = stuck.split();
        let mut head = [0; 9];
        while read.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut body = vec![0; length];
            if read.read_exact(&mut body).await.is_err() {
                break;
            }
            answered |= head[3] == HEADERS;
            if head[3] == PING && head[4] == 0 {
                let _ = write.write_all(&frame(PING, 1, 0, &body)).await;
            }
        }
    };
    soon("the end of who takes no answer", answers).await;
    assert!(answered, "it was ended before there was an answer to take");
    until("nobody is left", || house.counts.open() == 0).await;
}

#[tokio::test]
async fn a_flood_of_connections_is_closed_at_the_door() {
    let limits = Limits {
        connections: 30,
        connections_per_address: 20,
        handshakes: 400,
        ..calm()
    };
    let (log, _guard) = Log::begin();
    let house = open(Door::Plain, &limits).await;
    let env = Env::system();
    let good = Good::begin(endpoint(house.address).connect(&env).await.unwrap()).await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let _ = stream.write_all(&greeting()).await;
        flood.push(stream);
    }
    until("most are refused", || {
        house.counts.refused(Cause::FullForAddress) == 181
    })
    .await;
    assert_eq!(house.counts.open(), 20);
    assert_eq!(log.lines("from this address").len(), 1);
    drop(flood);
    until("they are gone", || house.counts.open() == 1).await;
    house::ask(&endpoint(house.address)).await.unwrap();
    good.end().await;
}

#[tokio::test]
async fn a_flood_of_requests_that_are_called_back_ends_its_connection_only() {
    let house = open(Door::Plain, &calm()).await;
    let good = Good::begin(
        endpoint(house.address)
            .connect(&Env::system())
            .await
            .unwrap(),
    )
    .await;
    for _ in 0..4 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let (mut read, mut write) = stream.split();
        let flood = async {
            let _ = write.write_all(&greeting()).await;
            for call in 0..20_000_u32 {
                let call = 2 * call + 1;
                let bytes = [headers(call), frame(RESET, 0, call, &8_u32.to_be_bytes())].concat();
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        let mut heard = Vec::new();
        let hear = async {
            let _ = read.read_to_end(&mut heard).await;
        };
        soon("the end of the flood", async { tokio::join!(flood, hear) }).await;
        assert!(
            heard
                .windows(11)
                .any(|bytes| bytes.starts_with(b"too_many_re")),
            "{heard:?}"
        );
    }
    until("they are gone", || house.counts.open() == 1).await;
    good.end().await;
}

#[tokio::test]
async fn frames_that_are_too_long_or_cut_short_end_their_connection_only() {
    let house = open(Door::Plain, &calm()).await;
    let good = Good::begin(
        endpoint(house.address)
            .connect(&Env::system())
            .await
            .unwrap(),
    )
    .await;
    let long = |length: u32| [&length.to_be_bytes()[1..], &[DATA, 0, 0, 0, 0, 1]].concat();
    for bytes in [
        long((16 << 10) + 1),
        long(0xff_ffff),
        frame(SETTINGS, 0, 0, &[1]),
        frame(PING, 0, 0, b"short"),
        frame(HEADERS, 4, 1, &[0xff; 64]),
        frame(HEADERS, 0, 1, &[0x83]),
        frame(DATA, 0, 1, b"of no request"),
        b"\0\0".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let _ = stream.write_all(&[greeting(), bytes].concat()).await;
        let _ = stream.shutdown().await;
        let _ = soon("its end", stream.read_to_end(&mut Vec::new())).await;
        until("it is gone", || house.counts.open() == 1).await;
    }
    good.end().await;
}

#[tokio::test]
async fn headers_without_end_are_refused_and_the_connection_goes_on() {
    let house = open(Door::Plain, &calm()).await;
    let channel = endpoint(house.address)
        .connect(&Env::system())
        .await
        .unwrap();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let long = "x".repeat(15 << 10);
    request.metadata_mut().insert("one", long.parse().unwrap());
    request.metadata_mut().insert("two", long.parse().unwrap());
    let refused = HealthClient::new(channel.clone()).check(request).await;
    refused.unwrap_err();
    well(&channel).await.unwrap();
}

/// What a call comes to that asks for no right, and which nobody serves.
async fn unserved(channel: &Channel) -> Code {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/verbs/none");
    let request = tonic::Request::new(HealthCheckRequest::default());
    let answer = soon("a call", grpc.unary(request, path, codec)).await;
    answer.unwrap_err().code()
}

#[tokio::test]
async fn more_who_ask_for_health_than_may_are_refused_and_nobody_else_is() {
    let limits = Limits {
        requests: 1,
        health: 32,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let env = Env::system();
    let connect = async || endpoint(house.address).connect(&env).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..8 {
        let mut client = HealthClient::new(connect().await);
        watches.push(client.watch(HealthCheckRequest::default()).await.unwrap());
    }
    let channel = connect().await;
    let mut client = HealthClient::new(channel.clone());
    let refused = client
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(unserved(&channel).await, Code::Unimplemented);
    watches.clear();
    let again = async {
        while client.check(HealthCheckRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a place", again).await;
}

#[tokio::test]
async fn who_asks_and_does_not_say_what_is_given_up_and_its_place_comes_back() {
    let limits = Limits {
        message: SHORT,
        health: 4,
        ..calm()
    };
    let house = open(Door::Plain, &limits).await;
    let mut silent = TcpStream::connect(house.address).await.unwrap();
    let bytes = [greeting(), headers(1)].concat();
    silent.write_all(&bytes).await.unwrap();
    // An answer comes although no message does.
    assert!(soon("an answer", hear(&mut silent, HEADERS)).await);
    let channel = endpoint(house.address)
        .connect(&Env::system())
        .await
        .unwrap();
    let again = async {
        while well(&channel).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a place", again).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_silent_keep_no_balancer_from_asking_whether_the_server_takes_work() {
    use travertine_net::server::{Health, Phase};
    let health = Health::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = health.address();
    let (_phase, phase) = tokio::sync::watch::channel(Phase::Serving);
    let probe = Arc::new(|| Some("the disk /secret/path is full".to_owned()));
    let telling = tokio::spawn(health.tell(phase, probe));
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let ask = async {
        loop {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut balancer = socket.connect(address).await.unwrap();
            let ask = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let _ = balancer.write_all(ask).await;
            let mut answer = String::new();
            let _ = balancer.read_to_string(&mut answer).await;
            if !answer.is_empty() {
                return answer;
            }
        }
    };
    let answer = soon("an answer", ask).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // Why is not for strangers.
    assert!(!answer.contains("secret"), "{answer}");
    telling.abort();
}

#[tokio::test]
async fn messages_that_lie_about_their_length_are_refused_from_their_header() {
    let house = open(Door::Plain, &calm()).await;
    for length in [u32::MAX, 64 << 20] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let message = [&[0][..], &length.to_be_bytes()].concat();
        let bytes = [greeting(), headers(1), frame(DATA, 0, 1, &message)].concat();
        stream.write_all(&bytes).await.unwrap();
        // An answer comes although the message never ends.
        let answered = soon("an answer", hear(&mut stream, HEADERS)).await;
        assert!(answered, "{length}");
    }
}

/// Whether a frame of this kind is heard before the end.
async fn hear(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> bool {
    let mut header = [0; 9];
    while stream.read_exact(&mut header).await.is_ok() {
        if header[3] == kind {
            return true;
        }
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut body = vec![0; length as usize];
        if stream.read_exact(&mut body).await.is_err() {
            return false;
        }
    }
    false
}

/// What this process has resident, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A measurement: `cargo test -p travertine-net --test harm -- --ignored --nocapture thousand`.
/// The peers live in this process too, as bare sockets without TLS of their own where plain text is
/// measured; where TLS is, their half is in the figure.
#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "a measurement, not a claim"]
async fn a_thousand_idle_connections_cost_little() {
    let papers = Papers::new();
    for encrypted in [false, true] {
        let door = if encrypted {
            papers.door()
        } else {
            Door::Plain
        };
        let limits = Limits {
            connections_per_address: 4_096,
            ..calm()
        };
        let house = open(door, &limits).await;
        let connect = async || {
            let mut bytes = [0; 256];
            if encrypted {
                let mut stream = tls(&papers, house.address).await;
                stream.write_all(&greeting()).await.unwrap();
                assert!(stream.read(&mut bytes).await.unwrap() > 0);
                // Only the socket is kept: what is measured is the server.
                (Some(stream.into_inner().0), None)
            } else {
                let mut stream = TcpStream::connect(house.address).await.unwrap();
                stream.write_all(&greeting()).await.unwrap();
                assert!(stream.read(&mut bytes).await.unwrap() > 0);
                (None, Some(stream))
            }
        };
        let mut idle = Vec::new();
        for _ in 0..50 {
            idle.push(connect().await);
        }
        let before = resident();
        for _ in 0..1_000 {
            idle.push(connect().await);
        }
        let after = resident();
        let cpu = || {
            let status = std::fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<_> = status.rsplit(')').next().unwrap().split(' ').collect();
            fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
        };
        let ticks = cpu();
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!(
            "1,000 idle connections, TLS {encrypted}: {:.1} MiB, {} ticks of 10 ms of processor in 10 s",
            (after - before) as f64 / f64::from(1 << 20),
            cpu() - ticks
        );
        assert_eq!(house.counts.open(), 1_050);
    }
}
