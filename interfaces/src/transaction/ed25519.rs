//! Signatures by Ed25519 (RFC 8032).

use std::collections::BTreeMap;
use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use travertine_engine::contract::{Error, Result};

use super::stamp::Sign;
use super::validate::Verify;

/// The key of somebody who signs. It is never shown.
pub struct Key(Ed25519KeyPair);

impl Key {
    /// A new one, as PKCS #8, to be kept where nobody else reads it.
    pub fn generate() -> Result<Vec<u8>> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let key = key.map_err(|_| Error::unavailable("the system gives no randomness"))?;
        Ok(key.as_ref().to_vec())
    }

    /// The key in these bytes. `Invalid`: there is none.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self> {
        let key = Ed25519KeyPair::from_pkcs8(bytes);
        key.map(Self)
            .map_err(|error| Error::invalid(format!("this is no key for Ed25519: {error}")))
    }

    /// What others verify by: 32 bytes.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").finish_non_exhaustive()
    }
}

impl Sign for Key {
    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

/// The public keys of peers, by name: nobody else is believed.
#[derive(Debug, Clone, Default)]
pub struct Peers(BTreeMap<String, Vec<u8>>);

impl Peers {
    /// With one more; of two with one name the later one.
    #[must_use]
    pub fn with(mut self, peer: &str, public: &[u8]) -> Self {
        self.0.insert(peer.to_owned(), public.to_vec());
        self
    }
}

impl Verify for Peers {
    fn verify(&self, peer: &str, bytes: &[u8], signature: &[u8]) -> bool {
        let key = self.0.get(peer);
        key.is_some_and(|key| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(bytes, signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_these_bytes_by_this_peer() {
        let key = Key::from_pkcs8(&Key::generate().unwrap()).unwrap();
        let other = Key::from_pkcs8(&Key::generate().unwrap()).unwrap();
        let peers = Peers::default()
            .with("ada", &key.public())
            .with("alan", &other.public())
            .with("short", &[1]);
        let signature = key.sign(b"tx:1");
        assert!(peers.verify("ada", b"tx:1", &signature));
        assert!(!peers.verify("ada", b"tx:2", &signature));
        assert!(!peers.verify("ada", b"tx:1", &signature[1..]));
        for peer in ["alan", "short", "nobody"] {
            assert!(!peers.verify(peer, b"tx:1", &signature), "{peer}");
        }
        assert!(!format!("{key:?}").contains(&format!("{:?}", key.public())));
        Key::from_pkcs8(b"none").unwrap_err();
    }
}
