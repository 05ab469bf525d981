//! How clients get in, as it stands on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use travertine_net::accept::Door;
use travertine_net::rights::{Live, Rights};

use super::Failure;
use crate::config;
use crate::contract::{Env, Result};

/// How clients get in.
#[derive(Debug, Args)]
pub(super) struct DoorArg {
    /// The server's certificate, PEM: with it there is TLS 1.3. A file that changes is read again
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The authority that the certificates of clients must be of, PEM; without --rights whoever has one
    /// may do everything
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// Who may do what, by names of certificates and by tokens; what is not in the file is denied. A file
    /// that changes is read again
    #[arg(long, value_name = "FILE")]
    rights: Option<PathBuf>,
    /// Go without TLS also where other machines can connect: whoever is on the way reads and changes all
    #[arg(long, conflicts_with = "cert")]
    plain_text: bool,
}

impl DoorArg {
    pub(super) fn door(&self) -> Door {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Door::tls(cert, key, self.client_ca.clone()),
            _ if self.plain_text => Door::PlainAnywhere,
            _ => Door::Plain,
        }
    }

    /// What whoever gets in may do.
    pub(super) fn rights(&self, env: &Env) -> Result<Arc<Live>> {
        let Some(path) = self.rights.clone() else {
            return Ok(Live::fixed(Rights::everyone()));
        };
        Live::watching(vec![path.clone()], move || Ok(config::rights(&path)?), env)
    }

    /// Refuses what would let strangers in.
    pub(super) fn check(&self, listen: SocketAddr) -> Result<(), Failure> {
        if self.door() == Door::Plain && !listen.ip().is_loopback() {
            return Err(Failure::wrong(format!(
                "{listen} can be reached from other machines: name a certificate, its key and the \
                 authority of the clients (--cert, --key, --client-ca), or ask for --plain-text"
            )));
        }
        let rights = match &self.rights {
            Some(path) => config::rights(path)?,
            None => Rights::everyone(),
        };
        Ok(rights.check_door(&self.door())?)
    }
}

impl fmt::Display for DoorArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.door(), &self.client_ca) {
            (Door::Plain, _) => f.write_str("in plain text, from this machine alone"),
            (Door::PlainAnywhere, _) => f.write_str("in plain text, from everywhere"),
            (Door::Tls(_), Some(clients)) => {
                write!(f, "by TLS 1.3, with a certificate of {}", clients.display())
            }
            (Door::Tls(_), None) => f.write_str("by TLS 1.3"),
        }?;
        match &self.rights {
            Some(rights) => write!(f, ", for what {} grants", rights.display()),
            None => Ok(()),
        }
    }
}
