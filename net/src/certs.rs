//! Certificates for a first try: an authority of one's own, a server's certificate and a client's.
//!
//! ```text
//!   ca.pem ─┬─▶ server.pem, server.key    for the names and addresses of the server
//!           └─▶ client.pem, client.key    for the name of the client
//!   ca.key      signs more of them; keep it elsewhere
//! ```
//!
//! Authority and leaves have subjects of different names: some libraries take a certificate whose issuer
//! is called as itself for one that signed itself. Whoever has an authority already wants none of this.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use travertine_engine::contract::{Env, Error, Result};
use x509_parser::pem::parse_x509_pem;

use crate::accept::is_plain;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority lasts.
const AUTHORITY: Duration = Duration::from_secs(3650 * DAY.as_secs());
/// How long a leaf lasts.
pub const LEAF: Duration = Duration::from_secs(825 * DAY.as_secs());

/// A certificate and its key, in PEM. It does not print.
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// The key: a secret.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a certificate and its key")
    }
}

/// Signs certificates.
pub struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
    env: Env,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an authority")
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// To be shown by a server.
    Server,
    /// To be shown by a client.
    Client,
}

impl Authority {
    /// A new one, valid from an hour ago on for ten years.
    ///
    /// Errors: `Unavailable` (the operating system gives no random bytes).
    pub fn new(name: &str, env: &Env) -> Result<Self> {
        let mut params = params(name, AUTHORITY, env);
        // It signs leaves and no further authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key()?;
        let cert = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self {
            cert,
            issuer: Issuer::new(params, key),
            env: env.clone(),
        })
    }

    /// One that was made before, to sign more with it.
    ///
    /// Errors: `Invalid` (it is no authority, or the key is not its own).
    pub fn again(pair: Pair, env: &Env) -> Result<Self> {
        // What a parser says of a key may hold a part of it: it is not told.
        let wrong = |_| Error::invalid("the authority or its key cannot be read");
        let key = KeyPair::from_pem(&pair.key).map_err(wrong)?;
        let is_its_own = parse_x509_pem(pair.cert.as_bytes()).is_ok_and(|(_, pem)| {
            pem.parse_x509().is_ok_and(|cert| {
                cert.is_ca() && cert.public_key().subject_public_key.data == key.public_key_raw()
            })
        });
        if !is_its_own {
            return Err(Error::invalid("that is no authority, or not its key"));
        }
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&pair.cert, key).map_err(wrong)?,
            cert: pair.cert,
            env: env.clone(),
        })
    }

    /// Its own certificate and key.
    #[must_use]
    pub fn pair(&self) -> Pair {
        Pair {
            cert: self.cert.clone(),
            key: self.issuer.key().serialize_pem(),
        }
    }

    /// A certificate for these names and addresses, valid for so long.
    ///
    /// Errors: `Invalid` (no name, or one that is none).
    pub fn sign(&self, names: &[String], what_for: Use, lasts: Duration) -> Result<Pair> {
        let first = names
            .first()
            .ok_or_else(|| Error::invalid("a certificate is for some name"))?;
        let mut params = params(first, lasts, &self.env);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if is_plain(name) => {
                    let wrong = |error| Error::invalid(format!("{name:?}: {error}"));
                    SanType::DnsName(name.as_str().try_into().map_err(wrong)?)
                }
                Err(_) => {
                    let text = format!("{name:?} is neither a name of a host nor an address");
                    return Err(Error::invalid(text));
                }
            });
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match what_for {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let key = key()?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Some clocks are behind ours.
const EARLIER: Duration = Duration::from_secs(60 * 60);

fn params(name: &str, lasts: Duration, env: &Env) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Travertine");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let now = date_time_ymd(1970, 1, 1) + Duration::from_micros(env.clock.unix_us());
    params.not_before = now - EARLIER;
    params.not_after = now + lasts;
    params
}

fn key() -> Result<KeyPair> {
    KeyPair::generate().map_err(failed)
}

fn failed(error: rcgen::Error) -> Error {
    Error::unavailable(format!("making a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_of_the_authority_and_called_otherwise() {
        let env = Env::system();
        let authority = Authority::new("an authority", &env).unwrap();
        let names = ["store.example".to_owned(), "127.0.0.1".to_owned()];
        let pair = authority.sign(&names, Use::Server, LEAF).unwrap();
        let (_, leaf) = parse_x509_pem(pair.cert.as_bytes()).unwrap();
        let above = authority.pair().cert;
        let (_, above) = parse_x509_pem(above.as_bytes()).unwrap();
        let (leaf, above) = (leaf.parse_x509().unwrap(), above.parse_x509().unwrap());
        assert_eq!(leaf.issuer(), above.subject());
        assert_ne!(leaf.subject(), above.subject());
        assert!(above.is_ca() && !leaf.is_ca());
        assert!(leaf.validity().is_valid());
    }

    #[test]
    fn an_authority_signs_again_with_its_own_key_only() {
        let env = Env::system();
        let authority = Authority::new("an authority", &env).unwrap();
        let again = Authority::again(authority.pair(), &env).unwrap();
        let leaf = again.sign(&["late".to_owned()], Use::Client, LEAF).unwrap();
        let (_, cert) = parse_x509_pem(leaf.cert.as_bytes()).unwrap();
        let above = again.pair().cert;
        let (_, above) = parse_x509_pem(above.as_bytes()).unwrap();
        assert_eq!(
            cert.parse_x509().unwrap().issuer(),
            above.parse_x509().unwrap().subject()
        );

        let other = Authority::new("another", &env).unwrap().pair();
        let cert = authority.pair().cert;
        let theirs = Pair {
            cert,
            key: other.key,
        };
        assert!(Authority::again(theirs, &env).is_err());
        assert!(Authority::again(leaf, &env).is_err());
        let nothing = Pair {
            cert: String::new(),
            key: String::new(),
        };
        assert!(Authority::again(nothing, &env).is_err());
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let authority = Authority::new("an authority", &Env::system()).unwrap();
        let sign = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            authority.sign(&names, Use::Client, LEAF)
        };
        assert!(sign(&[]).is_err());
        assert!(sign(&["a\nb"]).is_err());
        sign(&["writer"]).unwrap();
    }
}
