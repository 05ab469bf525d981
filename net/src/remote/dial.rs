//! How a connection is made: the seam at which TLS, and simulated networks, come in.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use travertine_engine::contract::{Error, Result};

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that is being made.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn Io>>> + Send>>;

/// Makes connections to one server.
pub trait Dial: Send + Sync + Debug {
    /// Begins to make one.
    fn dial(&self) -> Dialling;
}

/// Plain TCP.
#[derive(Debug)]
pub(super) struct Tcp(pub(super) String);

impl Dial for Tcp {
    fn dial(&self) -> Dialling {
        let address = self.0.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(&address)
                .await
                .map_err(|source| Error::io(format!("connecting to {address}"), source))?;
            stream
                .set_nodelay(true)
                .map_err(|source| Error::io(format!("connecting to {address}"), source))?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}
