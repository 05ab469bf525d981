//! `certs`: certificates for a first try.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use travertine_net::certs::{Authority, LEAF, Pair, Use};

use super::{Failure, Outcome, Run, Terminal};
use crate::contract::{Env, Error};
use crate::stack::Registry;

/// Make an authority, and certificates of it for servers and clients
///
/// In a directory without an authority: ca.pem and ca.key, server.pem and server.key, client.pem and
/// client.key. In a directory with one: only what is asked for, signed by it. Keys are for their owner
/// alone to read. Nothing that is there is ever overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine certs pki --name store.example --name 10.0.0.7
  travertine certs pki --client reports
  travertine certs pki --name store2.example --as server2")]
pub(super) struct Certs {
    /// Where to put them
    dir: PathBuf,
    /// A name or address of the server, as its clients will call it; may be said several times
    /// [default: localhost, 127.0.0.1, ::1]
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
    /// What the server's files are called, without their ending
    #[arg(long = "as", value_name = "FILE", default_value = "server")]
    server: String,
    /// The name of a client, which is what rights are granted to; may be said several times
    /// [default: client]
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,
}

/// What the files of an authority are called.
const CA: &str = "ca";

impl Run for Certs {
    fn run(self, _registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let env = Env::system();
        let has = path(&self.dir, CA, "pem").exists();
        let mut names = self.names;
        let mut clients = self.clients;
        if !has && names.is_empty() {
            names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        }
        if !has && clients.is_empty() {
            clients.push("client".to_owned());
        }
        if names.is_empty() && clients.is_empty() {
            return Err(Failure::wrong(format!(
                "{} has an authority already: say with --name or --client what it is to sign",
                self.dir.display()
            )));
        }
        let authority = match has {
            true => Authority::again(read(&self.dir, CA)?, &env)?,
            false => Authority::new("Travertine authority", &env)?,
        };
        let mut made = Vec::new();
        if !has {
            made.push((CA.to_owned(), authority.pair()));
        }
        if !names.is_empty() {
            made.push((
                self.server.clone(),
                authority.sign(&names, Use::Server, LEAF)?,
            ));
        }
        for client in &clients {
            let pair = authority.sign(std::slice::from_ref(client), Use::Client, LEAF)?;
            made.push((client.clone(), pair));
        }
        for (index, (name, _)) in made.iter().enumerate() {
            if made[..index].iter().any(|(other, _)| other == name) || (has && name == CA) {
                return Err(Failure::wrong(format!(
                    "two of them would be called {name:?}"
                )));
            }
            free(&self.dir, name)?;
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .create(&self.dir)
            .map_err(|source| Error::io(format!("making {}", self.dir.display()), source))?;
        for (name, pair) in &made {
            write(&path(&self.dir, name, "key"), &pair.key, true)?;
            write(&path(&self.dir, name, "pem"), &pair.cert, false)?;
        }
        tell(
            &self.dir,
            &self.server,
            names.first(),
            clients.first(),
            terminal,
        )?;
        Ok(Outcome::Fine)
    }
}

/// What to do with them.
fn tell(
    dir: &Path,
    server: &str,
    host: Option<&String>,
    client: Option<&String>,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let dir = dir.display();
    terminal.say(format_args!(
        "wrote to {dir}: keep ca.key elsewhere, it is needed only to sign more"
    ))?;
    if let Some(host) = host {
        terminal.say(format_args!(
            "\nThe server, which {host} is:\n  travertine serve stack.toml --listen 0.0.0.0:7420 \
             --cert {dir}/{server}.pem --key {dir}/{server}.key --client-ca {dir}/ca.pem"
        ))?;
    }
    if let Some(client) = client {
        let host = host.map_or("localhost", String::as_str);
        terminal.say(format_args!(
            "\nA client, by any tool that speaks gRPC:\n  grpcurl -cacert {dir}/ca.pem \
             -cert {dir}/{client}.pem -key {dir}/{client}.key {host}:7420 list"
        ))?;
    }
    Ok(())
}

fn path(dir: &Path, name: &str, ending: &str) -> PathBuf {
    dir.join(format!("{name}.{ending}"))
}

/// Refuses a name that is none for a file, or is taken.
fn free(dir: &Path, name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
    if name.starts_with('.') || !name.chars().all(plain) {
        let text = format!("{name:?} cannot be the name of a file here");
        return Err(Failure::wrong(text));
    }
    for ending in ["pem", "key"] {
        let path = path(dir, name, ending);
        if path.symlink_metadata().is_ok() {
            let text = format!("{} is there already, and stays as it is", path.display());
            return Err(Failure::wrong(text));
        }
    }
    Ok(())
}

fn read(dir: &Path, name: &str) -> Result<Pair, Failure> {
    let text = |ending| {
        let path = path(dir, name, ending);
        std::fs::read_to_string(&path).map_err(|source| {
            let text = format!("{} cannot be read: {source}", path.display());
            Failure::wrong(text)
        })
    };
    Ok(Pair {
        cert: text("pem")?,
        key: text("key")?,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates and keys lie outside every medium"
)]
fn write(path: &Path, text: &str, secret: bool) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = secret;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let failed = |source| Error::io(format!("writing {}", path.display()), source);
    Ok(written.map_err(failed)?)
}
