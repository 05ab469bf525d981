//! Servers of bare floors, each over a directory that need not be there.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::desk::Desk;

/// The processes, and where they are.
pub(crate) struct Servers(pub(crate) Vec<Child>, pub(crate) Vec<String>);

/// Begins to serve a directory: the process, and where it is. What was there before it may still be about
/// to end: then it is tried again.
pub(crate) fn begin(desk: &Desk, place: &str, listen: &str) -> (Child, String) {
    const TIMES: usize = 200;
    let line = format!("serve at-{place}.toml --store --listen {listen} --json");
    for _ in 0..TIMES {
        let mut child = desk.command(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        if let Ok(facts) = serde_json::from_str::<serde_json::Value>(&said) {
            return (child, facts["address"].as_str().unwrap().to_owned());
        }
        child.wait().unwrap();
    }
    panic!("`{line}` does not come up");
}

impl Servers {
    pub(crate) fn start(desk: &Desk, places: &[&str]) -> Self {
        let mut servers = Self(Vec::new(), Vec::new());
        for place in places {
            let stack = format!("[[layer]]\nuse = \"file\"\npath = \"{place}\"\n");
            desk.file(&format!("at-{place}.toml"), stack);
            let (child, address) = begin(desk, place, "127.0.0.1:0");
            servers.0.push(child);
            servers.1.push(address);
        }
        servers
    }

    /// A stack that ends in the first of them, or one of this kind over them all.
    pub(crate) fn over(&self, kind: &str) -> String {
        if kind.is_empty() {
            return format!("[[layer]]\nuse = \"remote\"\naddress = \"{}\"\n", self.1[0]);
        }
        let names: Vec<_> = (0..self.1.len()).map(|it| format!("\"s{it}\"")).collect();
        let mut text = format!(
            "[[layer]]\nuse = \"{kind}\"\nover = [{}]\n",
            names.join(", ")
        );
        for (number, address) in self.1.iter().enumerate() {
            text += &format!("[[stack.s{number}]]\nuse = \"remote\"\naddress = \"{address}\"\n");
        }
        text
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
