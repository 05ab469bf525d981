//! The way in: connections for a server, each with TLS done, a place taken and a pace to keep.
//!
//! ```text
//!   listener ──▶ a place? ──▶ handshake ──▶ Connection ──▶ serve_with_incoming
//!                 │ Seats       │ tls         │ pace, idle time, who it is
//!                 ▼             ▼             ▼
//!              closed        refused, logged once a cause and peer
//! ```
//!
//! - TLS 1.3 and nothing older, by rustls; with an authority for clients, whoever has no certificate of
//!   it stays outside. No session is resumed: a certificate is looked at each time.
//! - Plain text only on loopback, or where it was [asked for by name](Door::PlainAnywhere).
//! - Certificates and keys that change on disk are used from the next connection on. New ones that do
//!   not hold change nothing, and are logged once.
//! - [`Limits`] bound how many there are, how long a handshake lasts, and how slow one may be.
//!
//! It reads no request: who may do what is [`rights`](crate::rights)'.

mod connection;
mod peer;
mod refused;
mod seats;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_stream::Stream;
use travertine_engine::contract::{Env, Error, Result};

pub use connection::Connection;
pub(crate) use peer::is_plain;
pub use peer::{NAME_MAX, NAMES_MAX, Peer};
pub use refused::{Cause, Counts};
pub use tls::TlsFiles;

use crate::limits::Limits;
use refused::Refusals;
use seats::Seats;
use tls::Certificates;

/// How one gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// Without TLS, and therefore from this machine only.
    Plain,
    /// Without TLS, from everywhere: whoever is on the way reads and changes all. Only ever asked for
    /// by name.
    PlainAnywhere,
    /// With TLS 1.3.
    Tls(TlsFiles),
}

/// Where connections come from.
pub trait Listener: Unpin {
    /// One of them.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next one, and whence it comes.
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Io, SocketAddr)>>;
    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Io = TcpStream;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Self::poll_accept(self, context).map_ok(|(stream, address)| {
            // A peer that is gone already is noticed at the first read.
            let _ = stream.set_nodelay(true);
            (stream, address)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

/// After a listener failed (out of file descriptors, mostly) it is left alone for so long.
const PAUSE: Duration = Duration::from_millis(50);

/// A stream of connections that were let in; see the module. Dropping it closes the listener and ends
/// the handshakes under way, not the connections.
#[derive(Debug)]
pub struct Accept<L: Listener = TcpListener> {
    listener: L,
    address: SocketAddr,
    handshakes: JoinSet<Option<Connection<L::Io>>>,
    pause: Option<Pin<Box<Sleep>>>,
    entry: Entry,
}

/// What a connection needs on its way in.
#[derive(Debug, Clone)]
struct Entry {
    certificates: Option<Arc<Certificates>>,
    seats: Arc<Seats>,
    refusals: Arc<Refusals>,
    limits: Arc<Limits>,
    env: Env,
}

impl Accept {
    /// Listens at an address.
    ///
    /// Errors: `Invalid` (plain text off loopback, files that do not hold, a limit that serves nobody),
    /// `Unavailable` (the address is not to be had).
    pub async fn bind(address: SocketAddr, door: Door, limits: &Limits, env: &Env) -> Result<Self> {
        let failed = |source| Error::io(format!("listening at {address}"), source);
        check(&door, address)?;
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Self::over(listener, door, limits, env)
    }
}

impl<L: Listener> Accept<L> {
    /// Takes connections from a listener.
    ///
    /// Errors: as with [`bind`](Accept::bind).
    pub fn over(listener: L, door: Door, limits: &Limits, env: &Env) -> Result<Self> {
        let address = listener.local_addr();
        let address = address.map_err(|source| Error::io("asking where a listener is", source))?;
        limits.check()?;
        check(&door, address)?;
        let certificates = match door {
            Door::Plain | Door::PlainAnywhere => None,
            Door::Tls(files) => Some(Arc::new(Certificates::load(files, env)?)),
        };
        let refusals = Arc::new(Refusals::new(env));
        let entry = Entry {
            certificates,
            seats: Arc::new(Seats::new(limits, refusals.counts())),
            refusals,
            limits: Arc::new(limits.clone()),
            env: env.clone(),
        };
        Ok(Self {
            listener,
            address,
            handshakes: JoinSet::new(),
            pause: None,
            entry,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many came, are here, and were refused and why; it goes on counting.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        self.entry.refusals.counts()
    }

    /// A connection came: it is closed at once, or begins its handshake.
    fn came(&mut self, io: L::Io, address: SocketAddr) {
        let entry = self.entry.clone();
        let seat = match entry.seats.take(address.ip()) {
            Ok(seat) => seat,
            Err(cause) => return entry.refusals.refuse(cause, address, ""),
        };
        self.handshakes.spawn(entry.let_in(io, address, seat));
    }
}

impl Entry {
    async fn let_in<Io>(
        self,
        io: Io,
        address: SocketAddr,
        mut seat: seats::Seat,
    ) -> Option<Connection<Io>>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(certificates) = &self.certificates else {
            seat.sit();
            let peer = Peer::plain(address);
            return Some(Connection::plain(io, peer, seat, self.limits));
        };
        certificates.refresh(&self.env);
        let handshake = tls::handshake(certificates, io);
        match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Ok((stream, names))) => {
                seat.sit();
                let peer = Peer::named(address, names);
                Some(Connection::tls(stream, peer, seat, self.limits))
            }
            Ok(Err(refused)) => {
                self.refusals
                    .refuse(refused.cause, address, &refused.detail);
                None
            }
            Err(_) => {
                self.refusals.refuse(Cause::TooSlow, address, "");
                None
            }
        }
    }
}

impl<L: Listener> Stream for Accept<L> {
    type Item = io::Result<Connection<L::Io>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok(Some(connection)))) => {
                    return Poll::Ready(Some(Ok(connection)));
                }
                // Refused; or it panicked, which took nothing with it but this one peer.
                Poll::Ready(Some(_)) => continue,
                Poll::Ready(None) | Poll::Pending => {}
            }
            if let Some(pause) = &mut this.pause {
                std::task::ready!(pause.as_mut().poll(context));
                this.pause = None;
            }
            match std::task::ready!(this.listener.poll_accept(context)) {
                Ok((io, address)) => this.came(io, address),
                Err(error) => {
                    let detail = error.to_string();
                    this.entry
                        .refusals
                        .refuse(Cause::Listener, this.address, &detail);
                    this.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}

/// Plain text stays on this machine unless somebody said otherwise.
fn check(door: &Door, address: SocketAddr) -> Result<()> {
    if *door == Door::Plain && !address.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "plain text at {address} could be read and changed by others: give a certificate and a key, \
             listen on loopback, or ask for plain text by name"
        )));
    }
    Ok(())
}

/// The files that a door needs, for whoever watches them.
impl Door {
    /// Whether who comes in has shown a certificate.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        matches!(
            self,
            Self::Tls(TlsFiles {
                clients: Some(_),
                ..
            })
        )
    }

    /// With TLS, by these files.
    #[must_use]
    pub fn tls(
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        clients: Option<PathBuf>,
    ) -> Self {
        Self::Tls(TlsFiles {
            cert: cert.into(),
            key: key.into(),
            clients,
        })
    }
}
