//! The figures over a real socket, as a scraper and a stranger ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use travertine_engine::conformance::env::SimEnv;
use travertine_engine::contract::{Env, ErrorKind, Kind, Name, NewRecord, Result};
use travertine_engine::front::{Change, Engine, Hint, Options};
use travertine_engine::stack::{Layer, Opening, Plan, Spec, Stack, Table};

use crate::standard;

/// Nobody who asks waits for ever, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(env: &Env, serve: &str) -> Result<Stack> {
    let marks = Table::default().with("shed", "10 min");
    let moderate = Table::default().with("sync", marks);
    let layers = vec![
        Layer::new("monitor")
            .with("serve", serve)
            .with("slow", "1 h")
            .with("moderate", moderate),
        Layer::new("cache").named("front").with("memory", "1 MiB"),
        Layer::new("memory"),
    ];
    let plan = Plan::new(
        &Spec::linear(layers).level("memory"),
        &standard(),
        Path::new("/"),
    )
    .unwrap();
    plan.open(env, Opening::default())
}

fn port(stack: &Stack) -> u16 {
    let figures = stack.status().figures;
    let port = figures.iter().find(|(name, _)| *name == "port");
    port.unwrap().1 as u16
}

/// Status line and headers, and the body. Who serves ends a connection that takes long, and on a slow
/// machine that is no fault.
fn ask(port: u16, path: &str) -> (String, String) {
    let once = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    for _ in 0..10 {
        if let Ok(answer) = once()
            && let Some((head, body)) = answer.split_once("\r\n\r\n")
        {
            return (head.to_owned(), body.to_owned());
        }
    }
    panic!("{path} is never answered");
}

/// As [`ask`], until the answer holds these words: what the floors below tell comes by a driver, whose
/// turn it may not be for a while.
fn ask_for(port: u16, path: &str, words: &str) -> (String, String) {
    for _ in 0..30 {
        let (head, body) = ask(port, path);
        if body.contains(words) {
            return (head, body);
        }
    }
    panic!("{path} never says {words}");
}

fn write(engine: &Engine) {
    for n in 0..20 {
        let session = engine.session().unwrap();
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[&[n; 500]],
        };
        let reference = session.store(&record, Hint::default()).unwrap();
        let change = Change::set(Name::new("it").unwrap(), reference);
        session.commit(&[change], None).wait().unwrap();
    }
}

fn engine(stack: &Stack, env: &Env) -> Engine {
    let options = Options {
        level: stack.status().level,
        ..Options::default()
    };
    Engine::open(stack.store(), env, options).unwrap()
}

/// A name, its labels, a value.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap();
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new(), value);
    };
    let labels = labels.strip_suffix('}').unwrap();
    let label = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        (key.to_owned(), value.to_owned())
    };
    (
        name.to_owned(),
        labels.split(',').map(label).collect(),
        value,
    )
}

#[test]
fn a_scrape_is_text_that_parses_with_names_as_they_are_wont() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let engine = engine(&stack, &env);
    write(&engine);
    let (head, body) = ask_for(port(&stack), "/metrics", "travertine_writes_accepted 1");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert!(body.ends_with("# EOF\n"));
    let mut kinds = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut values = BTreeMap::new();
    for line in body.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none());
            continue;
        }
        if line.starts_with('#') {
            let known = ["# HELP ", "# UNIT ", "# EOF"];
            assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
            continue;
        }
        assert!(
            seen.insert(line.rsplit_once(' ').unwrap().0),
            "twice: {line}"
        );
        let (name, labels, value) = sample(line);
        assert!(name.starts_with("travertine_") && value >= 0.0, "{line}");
        let family = ["_total", "_bucket", "_sum", "_count"].iter();
        let family = family
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| kinds.contains_key(*family))
            .unwrap_or(&name);
        match kinds[family].as_str() {
            "counter" => assert!(name.ends_with("_total"), "{line}"),
            "gauge" => assert_eq!(name, family, "{line}"),
            "histogram" => assert!(!name.ends_with("_total"), "{line}"),
            kind => panic!("{kind}"),
        }
        values.insert((name, labels), value);
    }
    let of = |name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let key = (format!("travertine_{name}"), labels.collect());
        *values
            .get(&key)
            .unwrap_or_else(|| panic!("no {key:?} in\n{body}"))
    };
    let commits = [
        ("floor", "0"),
        ("kind", "cache"),
        ("name", "front"),
        ("verb", "commit"),
    ];
    assert_eq!(of("calls_total", &commits), 20.0);
    assert!(of("call_bytes_total", &commits) > 20.0 * 500.0);
    let all = [&commits[..], &[("le", "+Inf")]].concat();
    assert_eq!(of("call_seconds_bucket", &all), 20.0);
    assert_eq!(of("call_seconds_count", &commits), 20.0);
    assert!(of("call_seconds_sum", &commits) > 0.0);
    assert!(of("written_bytes_total", &[("at", "records")]) > 20.0 * 500.0);
    assert!(of("media_bytes", &[]) > 20.0 * 500.0);
    assert_eq!((of("stage", &[]), of("writes_accepted", &[])), (0.0, 1.0));
    assert_eq!(of("slow_calls_total", &[]), 0.0);
    engine.close().unwrap();
}

#[test]
fn buckets_are_cumulative_and_end_with_all() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let engine = engine(&stack, &env);
    write(&engine);
    let (_, body) = ask_for(port(&stack), "/metrics", "travertine_writes_accepted 1");
    let mut before: Option<(String, f64)> = None;
    let mut ends = 0;
    for line in body.lines().filter(|line| line.contains("_bucket{")) {
        let (_, mut labels, value) = sample(line);
        let end = labels.remove("le").unwrap();
        let series = format!("{labels:?}");
        if let Some((same, less)) = &before
            && *same == series
        {
            assert!(value >= *less, "{line}");
        }
        ends += usize::from(end == "+Inf");
        before = Some((series, value));
    }
    assert!(ends >= 2, "a histogram for each floor and verb");
    engine.close().unwrap();
}

#[test]
fn everything_is_one_object_and_health_is_a_word() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let engine = engine(&stack, &env);
    write(&engine);
    let port = port(&stack);
    let (head, body) = ask_for(port, "/health", "ok");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(body, "ok\n");
    let (head, body) = ask_for(port, "/figures.json", "\"says\":\"ok\"");
    assert!(head.contains("application/json"), "{head}");
    let all: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(all["health"]["writes"], true);
    assert_eq!(all["floors"].as_array().unwrap().len(), 2);
    assert_eq!(all["floors"][1]["verbs"]["commit"]["calls"], 20);
    assert_eq!(all["status"]["kind"], "cache");
    let written = &all["written"];
    assert_eq!(written["commits"], 20);
    assert!(written["amplification"]["sent"].as_f64().unwrap() > 1.0);
    assert!(written["per_commit"]["records_bytes"].as_u64().unwrap() > 500);
    assert_eq!(all["moderation"]["stage"], 0);
    let (head, _) = ask(port, "/elsewhere");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    engine.close().unwrap();
}

/// Begins to listen; who is told to come again is answered with the head of that.
fn listen(port: u16) -> std::io::Result<(String, BufReader<TcpStream>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // By the older version the answer comes without frames.
    write!(stream, "GET /events HTTP/1.0\r\n\r\n")?;
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, lines))
}

fn event(lines: &mut BufReader<TcpStream>) -> serde_json::Value {
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no event");
        if let Some(event) = line.strip_prefix("data: ") {
            return serde_json::from_str(event).unwrap();
        }
    }
}

#[test]
fn who_listens_is_told_again_and_again() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let engine = engine(&stack, &env);
    let (head, mut lines) = listen(port(&stack)).unwrap();
    assert!(
        head.contains("200 OK") && head.contains("text/event-stream"),
        "{head}"
    );
    let first = event(&mut lines);
    assert_eq!(first["commits"], serde_json::json!([]));
    write(&engine);
    let mut told = first.clone();
    // How the floors are comes by a driver, whose turn it may not be for a while.
    for _ in 0..120 {
        told = event(&mut lines);
        if told["floors"][1]["own"].is_object() && told["commits"][19].is_object() {
            break;
        }
    }
    assert!(told["at_ns"].as_u64() > first["at_ns"].as_u64());
    assert_eq!(told["commits"][19]["sequence"], 20);
    assert!(told["commits"][19]["bytes"].as_u64().unwrap() > 500);
    assert_eq!(told["commits"][19]["failed"], serde_json::Value::Null);
    let floors = &told["floors"];
    assert_eq!(
        (&floors[0]["depth"], &floors[1]["depth"]),
        (&0.into(), &1.into())
    );
    assert_eq!(floors[0]["name"], "front");
    assert_eq!(floors[0]["own"]["hits"], 0);
    assert!(
        floors[0]["own"]["commit_calls"].is_null(),
        "a probe's figure is none of its own"
    );
    assert_eq!(floors[1]["segments"]["count"], 1);
    let commits = &floors[1]["verbs"]["commit"];
    let counted = commits["buckets"].as_array().unwrap().iter();
    let counted: u64 = counted.map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!((counted, &commits["timed"]), (20, &20.into()));
    engine.close().unwrap();
    // The address is given back: who listened is told no more.
    let mut rest = String::new();
    let _ = lines.read_to_string(&mut rest);
}

#[test]
fn so_many_listen_and_others_are_told_to_come_again() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let port = port(&stack);
    let mut all: Vec<_> = (0..8).map(|_| listen(port).unwrap()).collect();
    let (head, _) = listen(port).unwrap();
    assert!(
        head.contains("503") && head.contains("retry-after"),
        "{head}"
    );
    assert!(
        ask_for(port, "/health", "ok").0.contains("200 OK"),
        "others are served"
    );
    all.pop();
    // That it went is noticed when it is told the next time.
    let again = (0..600).any(|_| {
        env.clock.sleep(Duration::from_millis(100));
        listen(port).is_ok_and(|(head, _)| head.contains("200 OK"))
    });
    assert!(again);
    stack.close().unwrap();
}

#[test]
fn the_page_comes_with_a_policy_and_a_table() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let engine = engine(&stack, &env);
    write(&engine);
    let (head, body) = ask(port(&stack), "/");
    assert!(head.contains("text/html; charset=utf-8"), "{head}");
    assert!(
        head.contains("default-src 'none'; connect-src 'self'"),
        "{head}"
    );
    assert!(head.contains("script-src 'sha256-"), "{head}");
    assert!(
        body.starts_with("<!doctype html>") && body.ends_with("</html>\n"),
        "{body}"
    );
    assert!(body.contains("<td>commit<td>20<td>"), "{body}");
    engine.close().unwrap();
}

#[test]
fn the_address_is_taken_at_open_and_given_back_at_close() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let port = port(&stack);
    let address = format!("127.0.0.1:{port}");
    let error = open(&env, &address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains(&address), "{error}");
    let engine = engine(&stack, &env);
    engine.close().unwrap();
    // Another test may have drawn the port by then, for as long as it takes.
    let again = (0..600).any(|_| {
        let taken = open(&env, &address).is_ok_and(|stack| stack.close().is_ok());
        if !taken {
            env.clock.sleep(Duration::from_millis(100));
        }
        taken
    });
    assert!(again);
}

#[test]
fn who_only_reads_does_not_serve() {
    let env = Env::system();
    let layers = vec![
        Layer::new("monitor").with("serve", "127.0.0.1:0"),
        Layer::new("memory"),
    ];
    let plan = Plan::new(
        &Spec::linear(layers).level("memory"),
        &standard(),
        Path::new("/"),
    )
    .unwrap();
    let opening = Opening {
        read_only: true,
        ..Opening::default()
    };
    let stack = plan.open(&env, opening).unwrap();
    let figures = stack.status().figures;
    assert!(!figures.iter().any(|(name, _)| *name == "port"));
}

#[test]
fn a_stranger_who_says_too_much_is_cut_off_and_others_are_served() {
    let env = Env::system();
    let stack = open(&env, "127.0.0.1:0").unwrap();
    let port = port(&stack);
    // Some say nothing, and keep their places for a while.
    let silent: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let header = [b"X: ".as_slice(), &[b'a'; 4000], b"\r\n"].concat();
    // The write fails once the other side has hung up; else so does the read.
    let hung_up = (0..1_000).any(|_| stream.write_all(&header).is_err());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        hung_up || read.is_err() || !answer.contains("200 OK"),
        "{answer}"
    );
    assert!(ask_for(port, "/health", "ok").0.contains("200 OK"));
    drop(silent);
    stack.close().unwrap();
}

#[test]
fn a_simulated_environment_serves_nothing_and_says_so() {
    let env = SimEnv::new(1);
    let error = open(env.env(), "127.0.0.1:0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
