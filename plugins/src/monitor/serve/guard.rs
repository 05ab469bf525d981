//! Connections with bounds: how many there are at once, how long one lasts, how much it may say.
//!
//! One that listens lasts for as long as it takes what it is sent: its time begins anew with everything that
//! it takes, and its buffer is small, so who never reads is soon found out.
//!
//! Time is that of the server's own runtime: how long a stranger may hold a connection is no matter
//! that a run depends on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once; more of them wait to be accepted.
const CONNECTIONS: usize = 16;
/// A connection is for one question, and lasts no longer; one that listens: without taking anything.
const LASTS: Duration = Duration::from_secs(10);
/// All that a connection may say, headers and all.
const SAYS: usize = 16 << 10;

/// Accepts connections that are [`Guarded`].
#[derive(Debug)]
pub(super) struct Guard {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            free: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }
}

impl Listener for Guard {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        // It is never closed, so there is always a permit in the end.
        let permit = self.free.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guarded::new(stream, LASTS, permit), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Whether a connection listens: whoever answers it says so.
#[derive(Debug, Clone, Default)]
pub(super) struct Listens(Arc<AtomicBool>);

impl Listens {
    /// From now on it lasts for as long as it takes what it is sent.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Guard>> for Listens {
    fn connect_info(stream: IncomingStream<'_, Guard>) -> Self {
        stream.io().listens.clone()
    }
}

/// A connection with bounds.
#[derive(Debug)]
pub(super) struct Guarded<S = TcpStream> {
    stream: S,
    /// What it may still say.
    says: usize,
    lasts: Duration,
    end: Pin<Box<Sleep>>,
    listens: Listens,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<S> Guarded<S> {
    fn new(stream: S, lasts: Duration, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            stream,
            says: SAYS,
            lasts,
            end: Box::pin(tokio::time::sleep(lasts)),
            listens: Listens::default(),
            _permit: permit,
        }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        if self.says == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.says = self.says.saturating_sub(buffer.filled().len() - before);
        answer
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        let taken = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(taken, Poll::Ready(Ok(1..))) && self.listens.0.load(Ordering::Relaxed) {
            let end = Instant::now() + self.lasts;
            self.end.as_mut().reset(end);
        }
        taken
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// The other side: it takes all that it is sent, or nothing.
    struct Other {
        takes: bool,
    }

    impl AsyncWrite for Other {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.takes {
                true => Poll::Ready(Ok(bytes.len())),
                false => Poll::Pending,
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(test)
    }

    /// Sends a byte now and then, for three times as long as a connection lasts.
    async fn send(listens: bool, takes: bool) -> io::Result<()> {
        let mut here = Guarded::new(Other { takes }, Duration::from_millis(100), None);
        if listens {
            here.listens.begin();
        }
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            poll_fn(|context| Pin::new(&mut here).poll_write(context, &[7])).await?;
        }
        Ok(())
    }

    #[test]
    fn who_listens_and_never_reads_is_dropped() {
        let error = run(send(true, false)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn who_takes_what_it_is_sent_lasts_and_who_does_not_listen_ends() {
        let error = run(send(false, true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // A machine that stands still for a while may end one that listens, too.
        assert!((0..100).any(|_| run(send(true, true)).is_ok()));
    }
}
