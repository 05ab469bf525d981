//! The way out: from an [`Endpoint`] to a channel that generated clients speak through.
//!
//! ```text
//!   Endpoint ──▶ dial ──▶ TLS 1.3 ──▶ the server's first word ──▶ Channel
//!                                      (or why it refuses us)       └ adds the token to each request
//! ```
//!
//! - Plain text goes to loopback only, or where it was asked for by name; a token is sent nowhere else
//!   in the clear either.
//! - A server that does not accept our certificate says so only after our half of the handshake is
//!   done. So a connection counts once the server has said its first word, and the error tells why it
//!   did not.
//! - The files are read again at each attempt to connect, and that of the token also when it was changed:
//!   what is replaced on disk is used from then on.
//!
//! A channel connects anew by itself when the connection is lost. What to do with requests that were
//! under way is for those who made them.

mod endpoint;
mod first_word;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tower::Service;
use travertine_engine::contract::{Env, Error, ErrorKind, Result, trace};

pub use endpoint::Endpoint;

use crate::crypto::{self, HTTP2};
use crate::files::Watched;
use crate::rights::Token;
use first_word::FirstWord;

/// A channel that says the token of its endpoint with each request. Give it to a generated client.
pub type Channel = InterceptedService<tonic::transport::Channel, Credentials>;

/// A connection is made within this time, TLS and all.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that is silent is asked so often whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// It has so long to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A file of a token is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// How much comes unasked, on one stream and on all.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);
/// Longest headers of an answer, in bytes.
const HEADERS: u32 = 16 << 10;

/// A pending answer of a [`Dial`].
pub type Dialing<Io> = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

/// How a stream of bytes to a host is had.
pub trait Dial: Clone + Send + Sync + 'static {
    /// The stream.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Opens one.
    fn dial(&self, host: &str, port: u16) -> Dialing<Self::Io>;
}

/// TCP, as the operating system has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Dial for Tcp {
    type Io = TcpStream;

    fn dial(&self, host: &str, port: u16) -> Dialing<TcpStream> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

impl Endpoint {
    /// Connects over TCP.
    ///
    /// Errors: `Invalid` (a file does not hold, the server refuses us or is not the one we want),
    /// `Unavailable` (it cannot be reached).
    pub async fn connect(&self, env: &Env) -> Result<Channel> {
        self.connect_over(Tcp, env).await
    }

    /// Connects over streams of another kind.
    ///
    /// Errors: as with [`connect`](Endpoint::connect).
    pub async fn connect_over<D: Dial>(&self, dial: D, env: &Env) -> Result<Channel> {
        self.check()?;
        let credentials = Credentials::of(self, env)?;
        let address = self.address();
        let wrong = |error: tonic::transport::Error| {
            Error::invalid(format!("{address} is no address: {error}"))
        };
        // TLS is ours, so for the library this is plain; what the server reads as scheme is the truth.
        let origin = format!(
            "{}://{address}",
            if self.is_encrypted() { "https" } else { "http" }
        );
        let origin = origin
            .parse::<Uri>()
            .map_err(|error| Error::invalid(format!("{address} is no address: {error}")))?;
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(wrong)?
            .origin(origin)
            .connect_timeout(CONNECT)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .http2_max_header_list_size(HEADERS)
            .http2_keep_alive_interval(self.keepalive.0)
            .keep_alive_timeout(self.keepalive.1)
            .keep_alive_while_idle(true);
        let connector = Connector {
            endpoint: Arc::new(self.clone()),
            dial,
            env: env.clone(),
        };
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| told(&address, &error))?;
        Ok(InterceptedService::new(channel, credentials))
    }

    fn tls(&self, env: &Env) -> Result<Option<TlsConnector>> {
        if !self.is_encrypted() {
            return Ok(None);
        }
        let Some(ca) = &self.ca else {
            return Err(Error::invalid(format!(
                "{}: TLS needs the authority that the server's certificate is of (`ca`)",
                self.address()
            )));
        };
        let builder = ClientConfig::builder_with_details(crypto::provider(), crypto::time(env))
            .with_protocol_versions(crypto::VERSIONS)
            .map_err(|error| Error::invalid(format!("TLS 1.3 is not to be had: {error}")))?
            .with_root_certificates(crypto::roots(ca)?);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let (chain, secret) = crypto::pair(cert, key)?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| {
                        Error::invalid(format!(
                            "the certificate {} and the key {} do not go together: {error}",
                            cert.display(),
                            key.display()
                        ))
                    })?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }

    /// One connection, up to the server's first word.
    async fn reach<D: Dial>(&self, dial: &D, env: &Env) -> Result<FirstWord<Wire>> {
        let address = self.address();
        // What files hold is looked at before anybody is called.
        let tls = self.tls(env)?;
        let io = dial.dial(self.host(), self.port()).await;
        let io = io.map_err(|source| Error::io(format!("connecting to {address}"), source))?;
        match tls {
            None => Ok(FirstWord::later(Box::new(io))),
            Some(tls) => {
                let name = self.tls_name().to_owned();
                let name = ServerName::try_from(name)
                    .map_err(|error| Error::invalid(format!("{address}: {error}")))?;
                let heard = async {
                    let stream = tls.connect(name, io).await?;
                    FirstWord::hear(Box::new(stream) as Wire).await
                };
                heard.await.map_err(|source| refused(&address, source))
            }
        }
    }
}

/// An error of a handshake: what TLS says is about a certificate of ours or theirs and stays true until
/// somebody changes one.
fn refused(address: &str, source: io::Error) -> Error {
    let tls = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) => {
            let text = format!("{address} refuses this client: its TLS says {alert:?}");
            Error::invalid(text).caused_by(source)
        }
        Some(error) => {
            let text = format!("{address} is not a server to trust: {error}");
            Error::invalid(text).caused_by(source)
        }
        None if source.kind() == io::ErrorKind::InvalidData => {
            Error::invalid(format!("{address}: {source}")).caused_by(source)
        }
        None => Error::io(format!("connecting to {address}"), source),
    }
}

/// The error of ours that lies somewhere below one of the library's.
fn told(address: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut next = Some(error);
    let mut deepest = String::new();
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return ours.clone();
        }
        deepest = error.to_string();
        next = error.source();
    }
    Error::new(
        ErrorKind::Unavailable,
        format!("connecting to {address}: {deepest}"),
    )
}

/// Connects as the library asks for it, at first and whenever a connection was lost.
#[derive(Debug, Clone)]
struct Connector<D> {
    endpoint: Arc<Endpoint>,
    dial: D,
    env: Env,
}

impl<D: Dial> Service<Uri> for Connector<D> {
    type Response = TokioIo<FirstWord<Wire>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let reached = this.endpoint.reach(&this.dial, &this.env).await;
            reached.map(TokioIo::new)
        })
    }
}

/// Says the token with each request, and the caller's trace. A token from a file is read again when the
/// file was changed; if it does not hold, the one from before is said on.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<Said>);

#[derive(Debug)]
struct Said {
    token: RwLock<Option<Token>>,
    file: Watched,
    endpoint: Endpoint,
    env: Env,
}

impl Credentials {
    fn of(endpoint: &Endpoint, env: &Env) -> Result<Self> {
        let file = Watched::new(endpoint.token_files(), LOOK);
        Ok(Self(Arc::new(Said {
            token: RwLock::new(endpoint.read_token()?),
            file,
            endpoint: endpoint.clone(),
            env: env.clone(),
        })))
    }

    fn refresh(&self) {
        let said = &self.0;
        if !said.file.changed(&said.env) {
            return;
        }
        match said.endpoint.read_token() {
            Ok(token) => *said.token.write().unwrap_or_else(PoisonError::into_inner) = token,
            Err(error) => tracing::error!(
                %error,
                "the token was changed and does not hold: the one from before is said on"
            ),
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        self.refresh();
        let token = self.0.token.read();
        if let Some(token) = &*token.unwrap_or_else(PoisonError::into_inner) {
            request
                .metadata_mut()
                .insert("authorization", token.bearer());
        }
        // On whose behalf it is made, if anybody traces that.
        trace::inject(|key, value| {
            if let Ok(value) = value.parse() {
                request.metadata_mut().insert(key, value);
            }
        });
        Ok(request)
    }
}

/// The stream, with or without TLS.
type Wire = Box<dyn ReadWrite>;

trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<Io: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for Io {}
