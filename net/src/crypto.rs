//! What both sides of TLS share: TLS 1.3 by rustls on ring, certificates and keys from PEM files, and
//! time from the environment, so that a certificate expires when the clock of a run says so.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use travertine_engine::contract::{Clock, Env, Error, Result};

use crate::files;

/// TLS 1.3 and nothing older.
pub(crate) const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// The one protocol that is spoken inside.
pub(crate) const HTTP2: &[u8] = b"h2";

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A clock as rustls asks for it.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since = std::time::Duration::from_micros(self.0.unix_us());
        Some(UnixTime::since_unix_epoch(since))
    }
}

pub(crate) fn time(env: &Env) -> Arc<dyn TimeProvider> {
    Arc::new(Time(env.clock.clone()))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = files::read(what, path)?;
    let wrong = |why: String| Error::invalid(format!("{what} {} {why}", path.display()));
    let certificates: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| wrong(format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("holds no certificate in PEM".into()));
    }
    Ok(certificates)
}

/// A certificate, those above it, and its key.
pub(crate) fn pair(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates("the certificate", cert)?;
    let pem = files::read("the key", key)?;
    let found = PrivateKeyDer::from_pem_slice(&pem);
    // What a parser says of a key may hold a part of it: it is not told.
    let found = found
        .map_err(|_| Error::invalid(format!("the key {} holds no key in PEM", key.display())))?;
    Ok((chain, found))
}

/// The authorities in a file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority", path)? {
        roots.add(certificate).map_err(|error| {
            Error::invalid(format!(
                "the authority {} does not hold: {error}",
                path.display()
            ))
        })?;
    }
    Ok(roots)
}
