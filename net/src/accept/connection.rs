//! A connection that was let in, and the pace that it has to keep.
//!
//! ```text
//!   reading    a record, a frame or the greeting has begun ──▶ it ends within `item`, or all ends
//!              nothing has begun, no request is under way  ──▶ something does within `idle`
//!   writing    the peer takes nothing                      ──▶ 16 KiB are taken within `write`
//!              it gives an answer no window                ──▶ it does within `idle`
//! ```
//!
//! Where items begin and end is told by their lengths, so a peer that is silent between two of them is
//! never mistaken for a slow one. One timer serves all three; it is set when a read or a write has to
//! wait, and pushed back only when it goes off: a busy connection does not touch it.
//!
//! Time is that of the runtime: how long a stranger may hold a connection is no matter that a run
//! depends on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::peer::Peer;
use super::seats::Seat;
use crate::limits::Limits;
use crate::pace::{Form, Items};

/// As much is taken within the time for writing, or the peer does not read.
const TAKEN_LEAST: usize = 16 << 10;

/// What came in from outside, with the records of TLS told apart.
#[derive(Debug)]
pub(super) struct Raw<Io> {
    io: Io,
    records: Items,
}

impl<Io> Raw<Io> {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            records: Items::new(Form::TlsRecord),
        }
    }
}

/// Since when something is as it is.
#[derive(Debug)]
struct Since {
    at: Instant,
    /// How many of its kind were before, and whether one is now.
    as_it_is: (u64, bool),
}

impl Since {
    fn new() -> Self {
        Self {
            at: Instant::now(),
            as_it_is: (0, false),
        }
    }

    fn seen(&mut self, as_it_is: (u64, bool), now: Instant) -> Instant {
        if self.as_it_is != as_it_is {
            self.as_it_is = as_it_is;
            self.at = now;
        }
        self.at
    }
}

#[derive(Debug)]
enum Wire<Io> {
    Plain(Io),
    Tls(Box<TlsStream<Raw<Io>>>),
}

/// A connection; see the module.
#[derive(Debug)]
pub struct Connection<Io> {
    wire: Wire<Io>,
    peer: Peer,
    limits: Arc<Limits>,
    frames: Items,
    frame: Since,
    record: Since,
    request: Since,
    /// Since when a write waits, and how much was taken since.
    waits: Option<(Instant, usize)>,
    timer: Option<Pin<Box<Sleep>>>,
    _seat: Seat,
}

impl<Io> Connection<Io> {
    pub(super) fn plain(io: Io, peer: Peer, seat: Seat, limits: Arc<Limits>) -> Self {
        Self::new(Wire::Plain(io), peer, seat, limits)
    }

    pub(super) fn tls(
        stream: TlsStream<Raw<Io>>,
        peer: Peer,
        seat: Seat,
        limits: Arc<Limits>,
    ) -> Self {
        Self::new(Wire::Tls(Box::new(stream)), peer, seat, limits)
    }

    fn new(wire: Wire<Io>, peer: Peer, seat: Seat, limits: Arc<Limits>) -> Self {
        Self {
            wire,
            peer,
            limits,
            frames: Items::new(Form::Http2Frame),
            frame: Since::new(),
            record: Since::new(),
            request: Since::new(),
            waits: None,
            timer: None,
            _seat: seat,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// By when something has to happen, and what it is if it does not.
    fn end(&mut self, now: Instant) -> Option<(Instant, &'static str)> {
        let limits = &self.limits;
        let item = |since: &mut Since, items: &Items| {
            let at = since.seen((items.ended(), items.is_open()), now);
            let why = "what it began to say did not end in time";
            items.is_open().then_some((at + limits.item, why))
        };
        let frame = item(&mut self.frame, &self.frames);
        let record = match &self.wire {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => item(&mut self.record, &stream.get_ref().0.records),
        };
        let activity = self.peer.activity();
        let busy = activity.requests() > 0;
        let quiet = self.request.seen((activity.begun(), busy), now) + limits.idle;
        let quiet = (!busy).then_some((quiet, "it has asked for nothing for long"));
        let fetch = activity.unfetched().map(|since| since + limits.idle);
        let fetch = fetch.map(|end| (end, "it does not fetch what it asked for"));
        let write = self.waits.map(|(since, _)| since + limits.write);
        let write = write.map(|end| (end, "it does not read what it is told"));
        [frame, record, quiet, fetch, write]
            .into_iter()
            .flatten()
            .min()
    }

    /// Goes on waiting, or says that it was long enough.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let now = Instant::now();
            let Some((end, why)) = self.end(now) else {
                return Poll::Pending;
            };
            if now >= end {
                tracing::info!(peer = %self.peer.address(), why, "a connection is ended");
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if timer.deadline() > end || timer.is_elapsed() {
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(context));
        }
    }

    fn wrote(&mut self, wrote: usize) {
        if let Some((_, taken)) = &mut self.waits {
            *taken += wrote;
            if *taken >= TAKEN_LEAST {
                self.waits = None;
            }
        }
    }

    fn cannot_write(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.waits.get_or_insert_with(|| (Instant::now(), 0));
        self.wait(context)
    }
}

impl<Io: Send + Sync + 'static> Connected for Connection<Io> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Calls the same of whatever is below.
macro_rules! below {
    ($wire:expr, $call:ident, $($argument:expr),*) => {
        match &mut $wire {
            Wire::Plain(io) => Pin::new(io).$call($($argument),*),
            Wire::Tls(stream) => Pin::new(stream).$call($($argument),*),
        }
    };
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match below!(this.wire, poll_read, context, buffer) {
            Poll::Ready(read) => {
                this.frames.came(&buffer.filled()[before..]);
                Poll::Ready(read)
            }
            Poll::Pending => this.wait(context).map(Err),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match below!(this.wire, poll_write, context, bytes) {
            Poll::Ready(Ok(wrote)) => {
                this.wrote(wrote);
                Poll::Ready(Ok(wrote))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => this.cannot_write(context).map(Err),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match below!(this.wire, poll_write_vectored, context, bytes) {
            Poll::Ready(Ok(wrote)) => {
                this.wrote(wrote);
                Poll::Ready(Ok(wrote))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => this.cannot_write(context).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(io) => io.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match below!(this.wire, poll_flush, context) {
            Poll::Ready(flushed) => {
                // All that there was to say was taken.
                this.waits = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => this.cannot_write(context).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match below!(this.wire, poll_shutdown, context) {
            Poll::Ready(shut) => Poll::Ready(shut),
            Poll::Pending => this.cannot_write(context).map(Err),
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Raw<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.io).poll_read(context, buffer));
        this.records.came(&buffer.filled()[before..]);
        Poll::Ready(read)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Raw<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
