//! TLS on the server's side: certificates from files, read again when they change, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use travertine_engine::contract::{Env, Error, Result};

use super::connection::Raw;
use super::peer;
use super::refused::{Cause, tame};
use crate::crypto::{self, HTTP2};
use crate::files::Watched;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a server shows, and of whom it wants to be shown something. All PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of clients. Without it anybody gets in, and has to say a token for everything.
    pub clients: Option<PathBuf>,
}

/// What is shown now.
#[derive(Debug)]
pub(super) struct Certificates {
    files: TlsFiles,
    watched: Watched,
    config: Mutex<Arc<ServerConfig>>,
}

impl Certificates {
    pub(super) fn load(files: TlsFiles, env: &Env) -> Result<Self> {
        let paths = [Some(&files.cert), Some(&files.key), files.clients.as_ref()];
        let paths = paths.into_iter().flatten().cloned().collect();
        // First how they look, then what they hold: a change in between is seen at the next look.
        let watched = Watched::new(paths, LOOK);
        let config = Mutex::new(config(&files, env)?);
        Ok(Self {
            files,
            watched,
            config,
        })
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the files again if they were changed. A change that does not hold is told, once, and what
    /// held before goes on.
    pub(super) fn refresh(&self, env: &Env) {
        if !self.watched.changed(env) {
            return;
        }
        match config(&self.files, env) {
            Ok(config) => {
                *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(cert = %self.files.cert.display(), "certificates were read again");
            }
            Err(error) => tracing::error!(
                %error,
                "certificates were changed and do not hold: those from before are still shown"
            ),
        }
    }
}

fn config(files: &TlsFiles, env: &Env) -> Result<Arc<ServerConfig>> {
    let wrong = |error| {
        let text = format!(
            "the certificate {} and the key {} do not go together: {error}",
            files.cert.display(),
            files.key.display()
        );
        Error::invalid(text)
    };
    let (chain, key) = crypto::pair(&files.cert, &files.key)?;
    let builder = ServerConfig::builder_with_details(crypto::provider(), crypto::time(env))
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(|error| Error::invalid(format!("TLS 1.3 is not to be had: {error}")))?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(crypto::roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto::provider());
            let verifier = verifier.build().map_err(|error| {
                let text = format!("the authority {} does not hold: {error}", path.display());
                Error::invalid(text)
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    // A session that is resumed is one whose certificate nobody looks at again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) cause: Cause,
    pub(super) detail: String,
}

/// Shakes hands: the encrypted stream, and the names of the peer's certificate.
pub(super) async fn handshake<Io: AsyncRead + AsyncWrite + Unpin>(
    certificates: &Certificates,
    io: Io,
) -> std::result::Result<(TlsStream<Raw<Io>>, Vec<String>), Refused> {
    let config = certificates.config();
    let refused = |error: io::Error| Refused {
        cause: Cause::of(&error),
        detail: tame(&error.to_string()),
    };
    let stream = TlsAcceptor::from(config)
        .accept(Raw::new(io))
        .await
        .map_err(refused)?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let names = shown.map(peer::names).unwrap_or_default();
    if certificates.files.clients.is_some() && names.is_empty() {
        return Err(Refused {
            cause: Cause::BadCertificate,
            detail: "it has no alternative name to know it by".into(),
        });
    }
    Ok((stream, names))
}
