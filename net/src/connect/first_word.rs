//! A stream whose first word was heard already.
//!
//! An HTTP/2 server speaks as soon as it has accepted somebody. Hearing that first tells a server that
//! took us in from one that is about to say why it does not. A server behind something that waits for
//! the client to speak is silent; so after a short time silence is taken for consent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Silence of so long is consent.
const CONSENT: Duration = Duration::from_secs(2);
/// Longest first word, in bytes; what follows is read in its time.
const WORD_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct FirstWord<Io> {
    io: Io,
    word: Vec<u8>,
    read: usize,
}

impl<Io: AsyncRead + Unpin> FirstWord<Io> {
    /// Waits for the first word.
    pub(super) async fn hear(mut io: Io) -> io::Result<Self> {
        let mut word = vec![0; WORD_MAX];
        let heard = tokio::time::timeout(CONSENT, io.read(&mut word)).await;
        let length = match heard {
            Ok(Ok(0)) => {
                let text = "it closed the connection without a word";
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
            }
            Ok(length) => length?,
            Err(_) => 0,
        };
        word.truncate(length);
        Ok(Self { io, word, read: 0 })
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for FirstWord<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.word[this.read..];
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_read(context, buffer);
        }
        let taken = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..taken]);
        this.read += taken;
        if this.read == this.word.len() {
            this.word = Vec::new();
            this.read = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for FirstWord<Io> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test(start_paused = true)]
    async fn silence_is_consent_and_a_word_is_not_lost() {
        let (mut server, client) = tokio::io::duplex(64);
        let silent = FirstWord::hear(client).await.unwrap();
        assert!(silent.word.is_empty());
        drop(silent);
        let (ours, client) = tokio::io::duplex(64);
        drop(std::mem::replace(&mut server, ours));
        server.write_all(b"hello, you").await.unwrap();
        let mut heard = FirstWord::hear(client).await.unwrap();
        server.write_all(b" there").await.unwrap();
        drop(server);
        let mut text = String::new();
        heard.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hello, you there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_closes_is_no_server() {
        let (server, client) = tokio::io::duplex(64);
        drop(server);
        assert!(FirstWord::hear(client).await.is_err());
    }
}
