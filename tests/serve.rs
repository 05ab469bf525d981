//! `travertine serve`, as a process: shared by clients, told to stop, and killed.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of processes and files, which fails where it unwraps"
)]

mod desk;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use desk::Desk;
use travertine::contract::{Env, ErrorKind, Name, Oid};
use travertine::net::client::{Change, Client, NewRecord};
use travertine::net::connect::Endpoint;

/// Far longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that serves, and where.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(desk: &Desk, more: &str) -> Self {
        Self::of(desk, "s.toml", more)
    }

    /// Serves the floors of the desk's stack, for `r.toml` to go on in.
    fn elsewhere(desk: &Desk) -> Self {
        let floors = Self::start(desk, "--store");
        let stack = format!(
            "[[layer]]\nuse = \"remote\"\naddress = \"{}\"\n",
            floors.address
        );
        desk.file("r.toml", stack);
        floors
    }

    fn of(desk: &Desk, stack: &str, more: &str) -> Self {
        let line = format!("serve {stack} --listen 127.0.0.1:0 --json {more}");
        let mut command = desk.command(&line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut words = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut words);
            panic!("it said {line:?} and {words}");
        });
        let address = facts["address"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::parse(&self.address).unwrap();
        Client::connect(&endpoint, &Env::system()).await.unwrap()
    }

    /// Tells it to stop, and returns its exit code and what it said.
    fn stop(mut self) -> (Option<i32>, String) {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        let mut words = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut words);
        let status = self.child.wait().unwrap();
        (status.code(), words)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn runs<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.unwrap() });
}

#[test]
fn what_is_served_is_told_and_a_stop_closes_the_stack() {
    let desk = Desk::new();
    let serving = Serving::start(&desk, "--health 127.0.0.1:0 --ready-file ready");
    let ready = || std::fs::read_to_string(desk.path().join("ready"));
    // The file comes after the line.
    while ready().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ready().unwrap(), format!("{}\n", serving.address));
    runs(async {
        let client = serving.client().await;
        let records = vec![NewRecord::blob("hello")];
        let changes = vec![Change::set(
            name("n"),
            travertine::net::client::Target::Own(0),
        )];
        client.commit(records, changes, None).await.unwrap();
        let status = client.status().await.unwrap();
        assert_eq!((status.stack.as_str(), status.sequence), ("file", 1));
    });
    // Somebody else wants to write.
    let wanted = desk.run("takeover s.toml");
    wanted.expect("takeover", 1, &["unavailable"]);
    // Who reads beside it sees what is proven.
    let (code, words) = serving.stop();
    assert_eq!(
        (code, words.contains("is being closed")),
        (Some(0), true),
        "{words}"
    );
    assert!(ready().is_err());
    assert!(desk.ok("inspect data --json").contains("\"clean\":true"));
    let root = desk.ok("root s.toml n");
    assert_eq!(desk.ok(&format!("read s.toml {root}")), "hello");
    let taken = &desk.run("takeover s.toml --json").json()[0];
    assert_eq!(taken["sequence"], 2);
    assert_ne!(taken["before"], taken["epoch"]);
}

#[test]
fn strangers_are_not_let_in_by_mistake() {
    let desk = Desk::new();
    let open = "serve s.toml --listen 0.0.0.0:0";
    desk.fails(open, 2, &["other machines", "--plain-text"]);
    let half = format!("{open} --cert c.pem");
    assert_eq!(desk.run(&half).code, 2);
    let anybody = format!("{open} --cert c.pem --key k.pem");
    desk.fails(&anybody, 2, &["anybody could connect"]);
    assert!(!desk.path().join("data").exists());
}

#[test]
fn a_takeover_fences_the_writer_who_says_so() {
    let desk = Desk::new();
    let floors = Serving::elsewhere(&desk);
    let first = Serving::of(&desk, "r.toml", "--engine");
    let put = |value: &'static str| {
        let records = vec![NewRecord::blob(value)];
        let own = travertine::net::client::Target::Own(0);
        (records, vec![Change::set(name("n"), own)])
    };
    runs(async {
        let client = first.client().await;
        let (records, changes) = put("before");
        client.commit(records, changes, None).await.unwrap();
    });
    desk.ok("takeover r.toml");
    runs(async {
        let client = first.client().await;
        let (records, changes) = put("after");
        let refused = client.commit(records, changes, None).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fenced);
        // It goes on reading.
        assert!(client.root(&name("n")).await.unwrap().is_some());
        assert!(client.status().await.unwrap().refusing.is_some());
    });
    drop(first);
    let root = desk.ok("root r.toml n");
    assert_eq!(desk.ok(&format!("read r.toml {root}")), "before");
    let (code, words) = floors.stop();
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn who_reads_beside_a_writer_over_a_server_takes_nothing_over() {
    let desk = Desk::new();
    let _floors = Serving::elsewhere(&desk);
    let writer = Serving::of(&desk, "r.toml", "--engine");
    for round in 1..=3 {
        runs(async {
            let client = writer.client().await;
            let own = travertine::net::client::Target::Own(0);
            let changes = vec![Change::set(name("n"), own)];
            let records = vec![NewRecord::blob("it")];
            let done = client.commit(records, changes, None).await;
            assert_eq!(done.unwrap().0.sequence, round, "it goes on");
        });
        for line in [
            "roots r.toml --json",
            "count r.toml --tree none",
            "verify r.toml",
        ] {
            let said = desk.run(line);
            assert_ne!(said.code, 2, "{line}: {said:?}");
        }
    }
}

/// Commits numbers under one name, many on their way, until the server is gone. Returns the last that was
/// acknowledged.
async fn write(client: Client, who: u64, told: tokio::sync::mpsc::Sender<()>) -> u64 {
    let session = client.session().await.unwrap();
    let (mut flight, mut acknowledged) = (VecDeque::new(), 0);
    for value in 1..u64::MAX {
        let Ok(stored) = session.store(NewRecord::blob(value.to_string())).await else {
            break;
        };
        let change = Change::set(name(&format!("w{who}")), stored.target());
        let Ok(commit) = session.commit(vec![change], None).await else {
            break;
        };
        flight.push_back((value, commit));
        if flight.len() > 30 {
            let (value, commit) = flight.pop_front().unwrap();
            match commit.await {
                Ok(_) => acknowledged = value,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                    assert_eq!(error.retry_after(), None, "it is not known: {error}");
                    break;
                }
            }
            let _ = told.try_send(());
        }
    }
    for (value, commit) in flight {
        if commit.await.is_ok() {
            acknowledged = value;
        }
    }
    acknowledged
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let desk = Desk::new();
    let mut wanted = [0; 3];
    for round in 0..4 {
        let mut serving = Serving::start(&desk, "");
        runs(async {
            let (say, mut heard) = tokio::sync::mpsc::channel(1024);
            let mut writers = Vec::new();
            for who in 0..3 {
                let client = serving.client().await;
                writers.push(tokio::spawn(write(client, who, say.clone())));
            }
            drop(say);
            for _ in 0..50 + 30 * round {
                heard.recv().await.unwrap();
            }
            serving.child.kill().unwrap();
            for (wanted, writer) in wanted.iter_mut().zip(writers) {
                *wanted = writer.await.unwrap();
            }
        });
        drop(serving);
        let serving = Serving::start(&desk, "");
        runs(async {
            let client = serving.client().await;
            for (who, wanted) in wanted.iter().enumerate() {
                let there = client.root(&name(&format!("w{who}"))).await.unwrap();
                let there = there.map(|there| Oid::from_raw(there.oid.raw()).unwrap());
                let found = match there {
                    Some(there) => client.read(there).await.unwrap().unwrap().body,
                    None => "0".into(),
                };
                let found: u64 = std::str::from_utf8(&found).unwrap().parse().unwrap();
                assert!(
                    found >= *wanted,
                    "writer {who}: {found}, acknowledged {wanted}"
                );
            }
        });
        let (code, words) = serving.stop();
        assert_eq!(code, Some(0), "{words}");
        desk.ok("verify s.toml");
    }
}
