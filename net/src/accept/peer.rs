//! Who is at the other end: an address, and the names that its certificate was given.
//!
//! Names are the subject's alternative names (DNS names, URIs, addresses of mail) and nothing else: what
//! an authority wrote into a subject as common name was never meant to be checked. A name is taken only
//! if it is plain: letters, digits and `. - _ @ : / + *`, at most [`NAME_MAX`] of them. A certificate
//! without any such name says nothing of who shows it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::limits::Activity;

/// Longest name of a certificate, in bytes.
pub const NAME_MAX: usize = 255;
/// Most names that are taken from one certificate.
pub const NAMES_MAX: usize = 16;

/// Who is at the other end of a connection. In a request: `request.extensions().get::<Peer>()`.
#[derive(Debug, Clone)]
pub struct Peer {
    address: SocketAddr,
    encrypted: bool,
    names: Arc<[String]>,
    activity: Arc<Activity>,
}

impl Peer {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            encrypted: false,
            names: Arc::default(),
            activity: Arc::default(),
        }
    }

    pub(super) fn named(address: SocketAddr, names: Vec<String>) -> Self {
        Self {
            encrypted: true,
            names: names.into(),
            ..Self::plain(address)
        }
    }

    /// Whence it comes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether nobody on the way can read along.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The names of the certificate that it showed; none if it showed none.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

/// The names in a certificate that was already found to hold.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
            is_plain(name).then(|| (*name).to_owned())
        }
        _ => None,
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(text)
        .take(NAMES_MAX)
        .collect()
}

/// Whether a name may stand in a file of rights and in a line of a log as it is.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@:/+*".contains(&byte);
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.contains("//") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn names_are_what_the_authority_wrote_as_alternative_names() {
        let names = names(&certificate(&["writer.example", "spiffe://example/writer"]));
        assert_eq!(names, ["writer.example", "spiffe://example/writer"]);
        assert!(super::names(&certificate(&[])).is_empty());
        assert!(super::names(&CertificateDer::from(vec![0x30, 0x84, 0xff])).is_empty());
    }

    #[test]
    fn a_name_with_control_bytes_or_spaces_is_no_name() {
        let wild = ["writer\n", "a b", "\x1b[31m", "nul\0", "", "\"x\""];
        assert!(wild.iter().all(|name| !is_plain(name)));
        assert!(!is_plain(&"a".repeat(NAME_MAX + 1)));
        let wild = certificate(&["good.example", "bad\r\nname", "a\0.example"]);
        assert_eq!(names(&wild), ["good.example"]);
    }

    #[test]
    fn no_more_names_are_taken_than_there_may_be() {
        let many: Vec<_> = (0..40).map(|n| format!("n{n}.example")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(names(&certificate(&many)).len(), NAMES_MAX);
    }
}
