//! A stream whose first word is looked at before anything else is.
//!
//! An HTTP/2 server speaks as soon as it has accepted somebody. With TLS, hearing that before a connection
//! counts tells a server that took us in from one that is about to say why it does not. A server behind
//! something that waits for the client to speak is silent; so after a short time silence is taken for
//! consent. Without TLS there is nothing to be refused for, and nobody waits; but a first word of another
//! language says that there may be a misunderstanding about TLS, and is an error that says so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Silence of so long is consent.
const CONSENT: Duration = Duration::from_secs(2);
/// Longest first word, in bytes; what follows is read in its time.
const WORD_MAX: usize = 512;
/// Where the type of an HTTP/2 frame stands, and the one that a server's first word is of.
const TYPE: usize = 3;
const SETTINGS: u8 = 4;

#[derive(Debug)]
pub(super) struct FirstWord<Io> {
    io: Io,
    /// What was heard and not yet read.
    word: Vec<u8>,
    read: usize,
    heard: bool,
}

impl<Io: AsyncRead + Unpin> FirstWord<Io> {
    /// Waits for the first word.
    pub(super) async fn hear(mut io: Io) -> io::Result<Self> {
        let mut word = vec![0; WORD_MAX];
        let heard = match tokio::time::timeout(CONSENT, io.read(&mut word)).await {
            Ok(length) => Some(length?),
            Err(_) => None,
        };
        if heard == Some(0) {
            let text = "it closed the connection without a word";
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
        }
        word.truncate(heard.unwrap_or(0));
        check(&word)?;
        Ok(Self {
            io,
            word,
            read: 0,
            heard: heard.is_some(),
        })
    }

    /// Waits for nothing: the first word is looked at when it is read.
    pub(super) fn later(io: Io) -> Self {
        Self {
            io,
            word: Vec::new(),
            read: 0,
            heard: false,
        }
    }
}

fn check(word: &[u8]) -> io::Result<()> {
    if word.len() > TYPE && word[TYPE] != SETTINGS {
        let text = "it does not speak HTTP/2 to us; it may want TLS, or none";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
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
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
            if !std::mem::replace(&mut this.heard, true) {
                check(&buffer.filled()[before..])?;
            }
            return Poll::Ready(Ok(()));
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
        server.write_all(b"\0\0\0\x04you").await.unwrap();
        let mut heard = FirstWord::hear(client).await.unwrap();
        server.write_all(b" there").await.unwrap();
        drop(server);
        let mut text = String::new();
        heard.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "\0\0\0\x04you there");
    }

    #[tokio::test(start_paused = true)]
    async fn what_closes_or_speaks_otherwise_is_no_server() {
        for word in ["HTTP/1.1 400 Bad Request", "\x15\x03\x03\0\x02\x02\x28"] {
            let (mut server, client) = tokio::io::duplex(64);
            server.write_all(word.as_bytes()).await.unwrap();
            let error = FirstWord::hear(client).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let (mut server, client) = tokio::io::duplex(64);
            server.write_all(word.as_bytes()).await.unwrap();
            let error = FirstWord::later(client)
                .read(&mut [0; 32])
                .await
                .unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let (server, client) = tokio::io::duplex(64);
        drop(server);
        assert!(FirstWord::hear(client).await.is_err());
    }
}
