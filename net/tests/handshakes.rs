//! Who is not let in: every way to come without the right papers, each refused and told once, and none
//! of them of any consequence for whoever has them.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of files, which fails where it unwraps"
)]

mod house;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use house::{Ahead, House, Log, Papers, ask, calm, endpoint, soon, until, well};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use travertine_engine::contract::{Env, ErrorKind};
use travertine_net::accept::{Accept, Cause, Door};
use travertine_net::certs::{Authority, LEAF, Use};
use travertine_net::connect::Endpoint;
use travertine_net::rights::Rights;

/// Says this to a server, and hears until it closes.
async fn say(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may have closed before all was said.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut heard = Vec::new();
    let _ = soon("the end of the connection", stream.read_to_end(&mut heard)).await;
    heard
}

/// A handshake by a client of another make.
async fn shake(
    papers: &Papers,
    address: SocketAddr,
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocol: &[u8],
) -> std::io::Result<usize> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let pem = |path| std::fs::read(path).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&pem(papers.cert("ca"))).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(&pem(papers.cert("client"))).unwrap()],
            PrivateKeyDer::from_pem_slice(&pem(papers.key("client"))).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = soon("a handshake", connector.connect(name, stream)).await?;
    let mut word = [0; 9];
    soon("a first word", stream.read(&mut word)).await
}

#[tokio::test]
async fn who_has_no_right_papers_is_refused_and_told_once() {
    let papers = Papers::new();
    let env = Env::system();
    let stranger = Authority::new("a stranger", &env).unwrap();
    papers.sign(
        &stranger,
        "stranger",
        &["client.example"],
        Use::Client,
        LEAF,
    );
    papers.put("strangers-ca", &stranger.pair());
    let other = Authority::new("a test's authority", &env).unwrap();
    papers.sign(&other, "namesake", &["client.example"], Use::Client, LEAF);

    let (log, _guard) = Log::begin();
    let house = House::open(papers.door(), &calm(), Rights::everyone(), &env).await;
    let address = house.address;
    let good = papers.way(address, "client").connect(&env).await.unwrap();
    let way = |name: &str| papers.way(address, name);
    let bare = endpoint(address).ca(papers.cert("ca"));
    let wrong_name = way("client").server_name("elsewhere.example");
    let distrusts = way("client").ca(papers.cert("strangers-ca"));
    let plain = endpoint(address);

    for round in 1..=3 {
        for (cause, way) in [
            (Cause::NoCertificate, &bare),
            (Cause::OtherAuthority, &way("stranger")),
            (Cause::OtherAuthority, &way("namesake")),
            (Cause::RefusedUs, &wrong_name),
            (Cause::RefusedUs, &distrusts),
            (Cause::NotTls, &plain),
        ] {
            let before = house.counts.refused(cause);
            let error = ask(way).await.unwrap_err();
            // Who says something that is no TLS may hear why, or only that nobody is there any more.
            if cause != Cause::NotTls {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{cause}: {error}");
            }
            until("it is counted", || {
                house.counts.refused(cause) == before + 1
            })
            .await;
        }
        for (cause, bytes) in [
            (
                Cause::NotTls,
                &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
            ),
            (Cause::NotTls, &[0xff; 4096]),
            (Cause::NotTls, b"\x16\x03\x01\xff\xffgarbage"),
            (Cause::WentAway, b"\x16\x03\x01\x00\x05"),
            (Cause::WentAway, b""),
        ] {
            let before = house.counts.refused(cause);
            let heard = say(address, bytes).await;
            assert!(heard.len() < 64, "{heard:?}");
            until("it is counted", || {
                house.counts.refused(cause) == before + 1
            })
            .await;
        }
        for (cause, versions, protocol) in [
            (Cause::OldTls, &[&rustls::version::TLS12][..], &b"h2"[..]),
            (Cause::NotHttp2, &[&rustls::version::TLS13], b"http/1.1"),
        ] {
            shake(&papers, address, versions, protocol)
                .await
                .unwrap_err();
            until("it is counted", || house.counts.refused(cause) == round).await;
        }
        well(&good).await.unwrap();
    }

    for cause in [
        Cause::NoCertificate,
        Cause::OtherAuthority,
        Cause::RefusedUs,
        Cause::NotTls,
        Cause::OldTls,
        Cause::NotHttp2,
        Cause::WentAway,
    ] {
        assert_eq!(log.lines(&format!("cause={cause}")).len(), 1, "{cause}");
    }
    let refused: u64 = Cause::ALL
        .iter()
        .map(|cause| house.counts.refused(*cause))
        .sum();
    assert_eq!(refused, 3 * 13);
    assert_eq!(house.counts.let_in(), 1);
    until("they are gone", || house.counts.open() == 1).await;
    assert!(log.lines("PRIVATE KEY").is_empty());
}

#[tokio::test]
async fn what_is_out_of_its_time_is_refused_on_both_sides() {
    let papers = Papers::new();
    let now = Env::system();
    let mut later = Env::system();
    later.clock = Arc::new(Ahead(later.clock.clone(), LEAF + Duration::from_secs(3600)));

    // The server's clock says that the client's certificate has expired.
    let (log, _guard) = Log::begin();
    let house = House::open(papers.door(), &calm(), Rights::everyone(), &later).await;
    let error = ask(&papers.way(house.address, "client")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("CertificateExpired"), "{error}");
    until("it is counted", || {
        house.counts.refused(Cause::Expired) == 1
    })
    .await;
    assert_eq!(log.lines("out of its time").len(), 1);

    // The client's clock says the same of the server's.
    let house = House::open(papers.door(), &calm(), Rights::everyone(), &now).await;
    let error = papers
        .way(house.address, "client")
        .connect(&later)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_use_or_without_a_name_is_refused() {
    let papers = Papers::new();
    let env = Env::system();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let both = house::read(&papers.cert("ca")) + &ca.pem();
    std::fs::write(papers.cert("both"), both).unwrap();
    for (name, uses, names) in [
        (
            "server-use",
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            vec!["client.example"],
        ),
        (
            "nameless",
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            vec![],
        ),
        (
            "wild",
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
            vec!["a\nb\u{1b}[31m"],
        ),
    ] {
        let mut params = rcgen::CertificateParams::default();
        for name in names {
            params
                .subject_alt_names
                .push(rcgen::SanType::DnsName(name.try_into().unwrap()));
        }
        params.extended_key_usages = vec![uses];
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &ca).unwrap();
        std::fs::write(papers.cert(name), cert.pem()).unwrap();
        std::fs::write(papers.key(name), key.serialize_pem()).unwrap();
    }
    let door = Door::tls(
        papers.cert("server"),
        papers.key("server"),
        Some(papers.cert("both")),
    );
    let (log, _guard) = Log::begin();
    let house = House::open(door, &calm(), Rights::everyone(), &env).await;
    for (n, name) in ["server-use", "nameless", "wild"].into_iter().enumerate() {
        ask(&papers.way(house.address, name)).await.unwrap_err();
        let refused = n as u64 + 1;
        until("it is counted", || {
            house.counts.refused(Cause::BadCertificate) == refused
        })
        .await;
    }
    assert_eq!(house.counts.let_in(), 0);
    assert!(log.lines("\u{1b}").is_empty());
}

#[tokio::test]
async fn a_client_that_wants_tls_is_not_served_in_plain_text() {
    let papers = Papers::new();
    let env = Env::system();
    let house = House::open(Door::Plain, &calm(), Rights::everyone(), &env).await;
    let error = ask(&papers.way(house.address, "client")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    ask(&endpoint(house.address)).await.unwrap();
}

#[tokio::test]
async fn plain_text_stays_on_this_machine() {
    let env = Env::system();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let limits = calm();
    let error = Accept::bind(everywhere, Door::Plain, &limits, &env)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("by name"), "{error}");
    Accept::bind(everywhere, Door::PlainAnywhere, &limits, &env)
        .await
        .unwrap();

    let far = Endpoint::parse("store.example:7420").unwrap();
    let error = far.connect(&env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn files_that_do_not_hold_are_refused_at_the_start_by_name() {
    let papers = Papers::new();
    let env = Env::system();
    std::fs::write(papers.cert("empty"), "").unwrap();
    std::fs::write(papers.cert("garbage"), [0xfe; 300]).unwrap();
    let here = "127.0.0.1:0".parse().unwrap();
    let refused = async |cert, key, ca| {
        let door = Door::tls(cert, key, Some(ca));
        let error = Accept::bind(here, door, &calm(), &env).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    let (cert, key, ca) = (
        papers.cert("server"),
        papers.key("server"),
        papers.cert("ca"),
    );
    let none = papers.cert("none");
    assert!(
        refused(none.clone(), key.clone(), ca.clone())
            .await
            .contains("none.pem")
    );
    assert!(
        refused(cert.clone(), none.clone(), ca.clone())
            .await
            .contains("none.pem")
    );
    assert!(
        refused(cert.clone(), key.clone(), none)
            .await
            .contains("none.pem")
    );
    for bad in ["empty", "garbage"] {
        let bad_name = format!("{bad}.pem");
        let bad = papers.cert(bad);
        assert!(
            refused(bad.clone(), key.clone(), ca.clone())
                .await
                .contains(&bad_name)
        );
        assert!(
            refused(cert.clone(), bad.clone(), ca.clone())
                .await
                .contains(&bad_name)
        );
        assert!(
            refused(cert.clone(), key.clone(), bad)
                .await
                .contains(&bad_name)
        );
    }
    let theirs = refused(cert, papers.key("client"), ca).await;
    assert!(theirs.contains("do not go together"), "{theirs}");
}

#[tokio::test]
async fn new_certificates_are_shown_without_a_restart_and_bad_ones_are_not() {
    let papers = Papers::new();
    let mut env = Env::system();
    // Time for the looks at files goes as fast as it is asked for.
    env.clock = Arc::new(Fast(env.clock.clone(), 0.into()));
    let (log, _guard) = Log::begin();
    let house = House::open(papers.door(), &calm(), Rights::everyone(), &env).await;
    let before = papers
        .way(house.address, "client")
        .connect(&env)
        .await
        .unwrap();

    // A bad file, and a key that is not of the certificate: what was shown before is shown on.
    let (cert, key) = (
        house::read(&papers.cert("server")),
        house::read(&papers.key("server")),
    );
    for (path, text) in [
        (papers.cert("server"), "no certificate"),
        (papers.key("server"), ""),
    ] {
        let held = house::read(&path);
        std::fs::write(&path, text).unwrap();
        for _ in 0..3 {
            ask(&papers.way(house.address, "client")).await.unwrap();
        }
        std::fs::write(&path, held).unwrap();
        ask(&papers.way(house.address, "client")).await.unwrap();
    }
    assert_eq!(log.lines("do not hold").len(), 2);
    assert_eq!(
        (
            house::read(&papers.cert("server")),
            house::read(&papers.key("server"))
        ),
        (cert, key)
    );

    // Another authority for all: old clients stay as long as they are connected, and no longer get in.
    let old = Papers::new();
    for name in ["ca", "client"] {
        std::fs::copy(papers.cert(name), old.cert(name)).unwrap();
        std::fs::copy(papers.key(name), old.key(name)).unwrap();
    }
    let new = Papers::new();
    for name in ["ca", "server", "client"] {
        std::fs::copy(new.key(name), papers.key(name)).unwrap();
        std::fs::copy(new.cert(name), papers.cert(name)).unwrap();
    }
    ask(&papers.way(house.address, "client")).await.unwrap();
    ask(&old.way(house.address, "client")).await.unwrap_err();
    well(&before).await.unwrap();
    assert!(!log.lines("were read again").is_empty());
}

/// A clock on which a minute passes each time it is asked.
#[derive(Debug)]
struct Fast(
    Arc<dyn travertine_engine::contract::Clock>,
    std::sync::atomic::AtomicU64,
);

impl travertine_engine::contract::Clock for Fast {
    fn monotonic_ns(&self) -> u64 {
        self.1
            .fetch_add(60_000_000_000, std::sync::atomic::Ordering::Relaxed)
    }

    fn unix_us(&self) -> u64 {
        self.0.unix_us()
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }
}
