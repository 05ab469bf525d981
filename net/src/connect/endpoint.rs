//! Whom to connect to, and what to show and to expect there.
//!
//! | option | means |
//! | --- | --- |
//! | address | `host:port`, `https://host:port` or `http://host:port`; `[::1]:7420` for IPv6 |
//! | `ca` | the authority of the server's certificate, PEM; there is TLS as soon as it is given |
//! | `cert`, `key` | the certificate that is shown, and its key, PEM; both or neither |
//! | `server_name` | the name that the server's certificate must have; the host if not given |
//! | `token_file`, `token` | what is said with each request |
//! | `plain_text` | go without TLS to another machine: whoever is on the way reads and changes all |

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use travertine_engine::contract::{Error, Result};

use super::{KEEPALIVE, KEEPALIVE_TIMEOUT};
use crate::rights::Token;

/// Whom to connect to; the module's table says what can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    https: bool,
    plain_text: bool,
    server_name: Option<String>,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    token: Option<Token>,
    token_file: Option<PathBuf>,
    /// How often a silent server is asked whether it is there, and how long it has to answer.
    pub(super) keepalive: (Duration, Duration),
}

impl Endpoint {
    /// Reads an address.
    ///
    /// Errors: `Invalid`, saying what lacks.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong =
            |why: &str| Error::invalid(format!("{text:?} is no address of a server: {why}"));
        let (https, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => {
                return Err(wrong(
                    "it begins with https:// or http://, or with the host",
                ));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest
            .rsplit_once(':')
            .ok_or_else(|| wrong("write host:port"))?;
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| wrong("the port is a number from 1 to 65535"))?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_name = |host: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(known)
        };
        let host = match bare {
            Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => host,
            None if is_name(host) => host,
            _ if host.contains(':') => {
                return Err(wrong("an address of IPv6 stands in brackets: [::1]:7420"));
            }
            _ => return Err(wrong("the host is a name or an IP address")),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            https,
            plain_text: false,
            server_name: None,
            ca: None,
            cert: None,
            key: None,
            token: None,
            token_file: None,
            keepalive: (KEEPALIVE, KEEPALIVE_TIMEOUT),
        })
    }

    /// The authority of the server's certificate.
    #[must_use]
    pub fn ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// The certificate that is shown to the server.
    #[must_use]
    pub fn cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.cert = Some(path.into());
        self
    }

    /// Its key.
    #[must_use]
    pub fn key(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// The name that the server's certificate must have, if it is not the host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The token that is said with each request.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// The file that holds it.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Whether to go without TLS to another machine.
    #[must_use]
    pub fn plain_text(mut self, plain: bool) -> Self {
        self.plain_text = plain;
        self
    }

    /// How often a silent server is asked whether it is there, and how long it has to answer that.
    #[must_use]
    pub fn keepalive(mut self, every: Duration, within: Duration) -> Self {
        self.keepalive = (every, within);
        self
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether there will be TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.https || self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Refuses what does not go together.
    ///
    /// Errors: `Invalid`.
    pub fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::invalid(format!("{}: {why}", self.address())));
        if self.cert.is_some() != self.key.is_some() {
            return wrong("a certificate and its key (`cert`, `key`) go together");
        }
        if self.is_encrypted() && self.ca.is_none() {
            return wrong("TLS needs the authority that the server's certificate is of (`ca`)");
        }
        if self.token.is_some() && self.token_file.is_some() {
            return wrong("a token is given twice: `token` and `token_file`");
        }
        if !self.is_encrypted() && !self.plain_text && !self.is_here() {
            return wrong(
                "plain text to another machine could be read and changed by others: give `ca` (and \
                 `cert` and `key`), or ask for plain text by name",
            );
        }
        Ok(())
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The name that the server must prove to have.
    pub(super) fn tls_name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }

    pub(super) fn token_files(&self) -> Vec<PathBuf> {
        self.token_file.iter().cloned().collect()
    }

    pub(super) fn read_token(&self) -> Result<Option<Token>> {
        match &self.token_file {
            Some(path) => Token::read(path).map(Some),
            None => Ok(self.token.clone()),
        }
    }

    /// Whether it is on this machine, for certain.
    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, address, encrypted) in [
            ("store.example:7420", "store.example:7420", false),
            ("https://store.example:7420/", "store.example:7420", true),
            ("http://127.0.0.1:7420", "127.0.0.1:7420", false),
            ("[::1]:7420", "[::1]:7420", false),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.address(), address);
            assert_eq!(endpoint.is_encrypted(), encrypted);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_lacks() {
        for (text, lacks) in [
            ("store.example", "host:port"),
            ("store.example:0", "number from 1"),
            ("store.example:port", "number from 1"),
            ("ftp://store.example:1", "https://"),
            ("::1:7420", "brackets"),
            ("a b:1", "a name or an IP"),
            ("bad\u{1b}[31m:1", "a name or an IP"),
            (":1", "a name or an IP"),
            ("user@host:1", "a name or an IP"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(lacks), "{text:?}: {error}");
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn plain_text_to_another_machine_is_asked_for_by_name() {
        let far = Endpoint::parse("http://store.example:7420").unwrap();
        assert!(far.check().unwrap_err().to_string().contains("by name"));
        far.plain_text(true).check().unwrap();
        for here in ["localhost:1", "127.0.0.9:1", "[::1]:1"] {
            Endpoint::parse(here).unwrap().check().unwrap();
        }
    }

    #[test]
    fn what_goes_together_is_given_together() {
        let endpoint = || Endpoint::parse("https://store.example:7420").unwrap();
        let refused = |endpoint: Endpoint| endpoint.check().unwrap_err().to_string();
        assert!(refused(endpoint()).contains("`ca`"));
        assert!(refused(endpoint().ca("ca.pem").cert("c.pem")).contains("`key`"));
        endpoint()
            .ca("ca.pem")
            .cert("c.pem")
            .key("k.pem")
            .check()
            .unwrap();
    }
}
