//! Three servers and a client, each in a network of its own, with lines between them that are slow, lose
//! packets, and are cut one way and both ways while rows are written. Nothing acknowledged is lost, and in
//! the end the servers hold the same bytes.
//!
//! It takes namespaces of users, networks and mounts, `ip`, `python3` and `/dev/net/tun`. Where they are not
//! to be had, the test says so and passes over.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod desk;
mod three;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use desk::Desk;
use three::{PLACES, all_there, are_alike, begin, figure, open, stack_over, write_until};

/// Everything in networks of its own: the user who asks becomes root of them, and of nothing else.
const APART: [&str; 4] = ["--user", "--map-root-user", "--net", "--mount"];

/// What has to work there.
const PROBE: &str = "mount -t tmpfs none /run && mkdir /run/netns && ip netns add s1 && \
    ip tuntap add dev t1 mode tun && ip link set t1 netns s1 && ip netns exec s1 true && \
    python3 -c 'import select; select.epoll()'";

#[test]
fn nothing_is_lost_over_lines_that_are_slow_lose_packets_and_are_cut() {
    let tried = Command::new("unshare")
        .args(APART)
        .args(["sh", "-c", PROBE])
        .output();
    let why = match tried {
        Ok(said) if said.status.success() => None,
        Ok(said) => Some(String::from_utf8_lossy(&said.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(why) = why {
        println!("skipped: no networks of one's own here: {why}");
        return;
    }
    let inside = Command::new("unshare")
        .args(APART)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--ignored", "--nocapture"])
        .status();
    assert!(inside.unwrap().success());
}

/// The lines, as somebody else copies packets over them.
struct Lines {
    copies: Child,
    tell: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Lines {
    fn new(seed: u64) -> Self {
        let mut copies = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/three/wires.py"))
            .args([PLACES.len().to_string(), seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Self {
            tell: copies.stdin.take().unwrap(),
            says: BufReader::new(copies.stdout.take().unwrap()),
            copies,
        };
        lines.hears("ready");
        lines
    }

    fn hears(&mut self, word: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    fn set(&mut self, server: usize, way: &str, manner: &str) {
        writeln!(self.tell, "{} {way} {manner}", server + 1).unwrap();
        self.hears("done");
    }

    /// All lines are as lines are.
    fn usual(&mut self, server: usize) {
        self.set(server, "to", "2 0.5");
        self.set(server, "fro", "2 0.5");
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.copies.kill();
        let _ = self.copies.wait();
    }
}

/// A process that ends with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sh(line: &str) {
    let done = Command::new("sh").args(["-c", line]).status();
    assert!(done.unwrap().success(), "{line}");
}

/// A server in its own network.
fn serve(desk: &Desk, index: usize) -> (Ends, SocketAddr) {
    let place = PLACES[index];
    let stack = format!("[[layer]]\nuse = \"file\"\npath = \"{place}\"\nsegment = \"4 MiB\"\n");
    desk.file(&format!("{place}.toml"), stack);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("s{}", index + 1)]);
    command.arg(env!("CARGO_BIN_EXE_travertine"));
    let listen = format!("10.77.{}.2:7411", index + 1);
    let stack = format!("{place}.toml");
    command.args(["serve", &stack, "--store", "--listen", &listen]);
    command.args(["--plain-text", "--json"]);
    command.current_dir(desk.path());
    let (child, address) = begin(command).unwrap();
    (Ends(child), address)
}

#[test]
#[ignore = "the other test runs it in networks of its own"]
fn inside() {
    sh("mount -t tmpfs none /run && mkdir /run/netns && ip link set lo up");
    (1..=PLACES.len()).for_each(|number| sh(&format!("ip netns add s{number}")));
    let mut lines = Lines::new(7);
    let desk = Desk::new();
    let served: Vec<_> = (0..PLACES.len()).map(|index| serve(&desk, index)).collect();
    let addresses: Vec<_> = served.iter().map(|(_, address)| *address).collect();
    let text =
        stack_over(&addresses).replace("deadline", "plain = true\nconnect = \"2 s\"\ndeadline");
    (0..PLACES.len()).for_each(|server| lines.usual(server));
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    let mut rows = 0;
    write_until(&engine, &mut rows, 5, || true);
    let cuts: [&[&str]; 3] = [&["to"], &["fro"], &["to", "fro"]];
    for (server, ways) in cuts.iter().enumerate() {
        let before = rows;
        ways.iter().for_each(|way| lines.set(server, way, "cut"));
        write_until(&engine, &mut rows, 5, || {
            figure(&engine, "children_in_line") == 2
        });
        lines.usual(server);
        write_until(&engine, &mut rows, 5, || {
            figure(&engine, "children_in_line") == 3
        });
        println!(
            "{} was cut {ways:?} for {} rows",
            PLACES[server],
            rows - before
        );
    }
    all_there(&engine, rows);
    assert!(figure(&engine, "batches_caught_up") > 0);
    engine.close().unwrap();
    drop(engine);
    drop(served);
    println!(
        "{rows} rows in {} batches, the same in all three",
        are_alike(&desk)
    );
}
