//! A client in Python, from the published files of the protocol alone: in plain text over loopback, and by
//! TLS with certificates on both sides.
//!
//! It needs `python3` with `venv`, and takes gRPC from the package index, once, into the directory where
//! cargo builds. Where there is none it says so and is skipped, unless `TRAVERTINE_TOOLS=required`.
#![expect(
    clippy::unwrap_used,
    reason = "a test of processes and files, which fails where it unwraps"
)]

mod desk;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use desk::Desk;
use travertine::contract::Env;
use travertine::net::certs::{Authority, LEAF, Pair, Use};

/// The interpreter with what the client needs, or why there is none.
fn python() -> Result<PathBuf, String> {
    // Where cargo builds: `…/debug/deps/python-…`.
    let built = std::env::current_exe().unwrap();
    let place = built.ancestors().nth(3).unwrap().join("python");
    let python = place.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    let wanted = "import grpc, grpc_status, grpc_health, grpc_reflection, grpc_tools.protoc";
    if run(&python, &["-c", wanted]).is_err() {
        let place = place.to_str().unwrap();
        run(Path::new("python3"), &["-m", "venv", "--clear", place])?;
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/requirements.txt");
        let install = ["-m", "pip", "install", "--quiet", "--requirement", list];
        run(&python, &install)?;
        run(&python, &["-c", wanted])?;
    }
    Ok(python)
}

/// Skips, or fails where nothing may be skipped.
fn skipped(why: &str) {
    let required = std::env::var("TRAVERTINE_TOOLS").is_ok_and(|tools| tools == "required");
    assert!(!required, "needs python3 with venv: {why}");
    println!("skipped: needs python3 with venv: {why}");
}

/// Ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the client against a server with these options; `files` of the client.
fn shares(python: &Path, desk: &Desk, options: &str, files: &[&str]) {
    let line = format!("serve s.toml --listen 127.0.0.1:0 {options}");
    let mut child = desk.command(&line).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let _serving = Serving(child);
    let address = said
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix("ready")?.trim().to_owned()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(python);
    client
        .arg(root.join("tests/python/shared.py"))
        .arg(root.join("net/proto"))
        .arg(address.unwrap())
        .args(files)
        .current_dir(desk.path());
    let output = client.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"ok\n", "{words}");
}

fn write(desk: &Desk, name: &str, pair: &Pair) {
    desk.file(&format!("{name}.pem"), &pair.cert);
    desk.file(&format!("{name}.key"), &pair.key);
}

#[test]
fn a_client_in_python_stores_reads_commits_and_follows() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&why),
    };
    shares(&python, &Desk::new(), "", &[]);

    let desk = Desk::new();
    let env = Env::system();
    let authority = Authority::new("the test", &env).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    write(&desk, "ca", &authority.pair());
    let server = authority.sign(&names, Use::Server, LEAF).unwrap();
    write(&desk, "server", &server);
    let client = authority.sign(&["python".to_owned()], Use::Client, LEAF);
    write(&desk, "client", &client.unwrap());
    let door = "--cert server.pem --key server.key --client-ca ca.pem";
    let files = ["ca.pem", "client.pem", "client.key"];
    shares(&python, &desk, door, &files);
}
