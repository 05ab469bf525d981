//! Tokens: secrets that are said with each request.
//!
//! A server never holds one: it holds the SHA-256 of each, which is enough since a token is 256 random
//! bits and not a word that somebody thought of. Nothing here can be printed that would give one away.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use tonic::metadata::{Ascii, MetadataValue};
use travertine_engine::contract::{Error, Result};

use crate::files;

/// Shortest and longest token, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=512;
/// With what a new one begins: whoever finds it somewhere knows what it is.
const PREFIX: &str = "travertine_";

/// A token. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    bearer: MetadataValue<Ascii>,
    said: Arc<str>,
}

impl Token {
    /// A new one, of 256 random bits.
    ///
    /// Errors: `Unavailable` (the operating system has no randomness).
    pub fn generate() -> Result<Self> {
        let mut bits = [0; 32];
        let filled = SystemRandom::new().fill(&mut bits);
        filled.map_err(|_| Error::unavailable("the operating system gives no random bytes"))?;
        Self::new(&format!("{PREFIX}{}", hex(&bits)))
    }

    /// One that is known already.
    ///
    /// Errors: `Invalid` (too short, too long, or with characters that no token has).
    pub fn new(said: &str) -> Result<Self> {
        let plain = said.bytes().all(|byte| byte.is_ascii_graphic());
        if !LENGTHS.contains(&said.len()) || !plain {
            return Err(Error::invalid(format!(
                "that is no token: {} to {} printable characters without spaces; `travertine token` \
                 makes one",
                LENGTHS.start(),
                LENGTHS.end()
            )));
        }
        let bearer = MetadataValue::try_from(format!("Bearer {said}"));
        let mut bearer = bearer.map_err(|_| Error::invalid("that is no token"))?;
        bearer.set_sensitive(true);
        Ok(Self {
            bearer,
            said: said.into(),
        })
    }

    /// Reads one from a file; space around it does not belong to it.
    ///
    /// Errors: `Invalid`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = files::read("the token", path)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Self::new(text.trim()).map_err(|error| error.at(format!("{}", path.display())))
    }

    /// The secret itself, for the one who is to keep it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.said
    }

    /// What a server keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.said)
    }

    pub(crate) fn bearer(&self) -> MetadataValue<Ascii> {
        self.bearer.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

/// What a server keeps of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

const KIND: &str = "sha256:";

impl TokenHash {
    pub(crate) fn of(said: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, said.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads it as it stands in a file: `sha256:` and 64 digits.
    ///
    /// Errors: `Invalid`, without what was read: it may be a token that went to the wrong place.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "that is no hash of a token: sha256: and 64 hexadecimal digits, as `travertine token` \
                 prints it",
            )
        };
        let digits = text.strip_prefix(KIND).ok_or_else(wrong)?;
        let digits: Vec<_> = digits.chars().map(|digit| digit.to_digit(16)).collect();
        let digits: Option<Vec<_>> = digits.into_iter().collect();
        let digits = digits
            .filter(|digits| digits.len() == 64)
            .ok_or_else(wrong)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = (pair[0] << 4 | pair[1]) as u8;
        }
        Ok(Self(hash))
    }

    /// Whether it is the same, in a time that does not depend on where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let differ = pairs.fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
        differ == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KIND}{}", hex(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hash of a token")
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write;

    #[test]
    fn a_token_is_known_by_its_hash_and_does_not_print() {
        let token = Token::generate().unwrap();
        let again = Token::new(token.reveal()).unwrap();
        assert!(token.hash().is(&again.hash()));
        assert!(!token.hash().is(&Token::generate().unwrap().hash()));
        let hash = token.hash().to_string();
        assert!(TokenHash::parse(&hash).unwrap().is(&token.hash()));
        let printed = format!("{token:?} {:?} {:?}", token.hash(), token.bearer());
        assert!(!printed.contains(token.reveal()), "{printed}");
        assert!(!printed.contains(&hash["sha256:".len()..]), "{printed}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_told() {
        let long = "x".repeat(513);
        for bad in [
            "short",
            "with a space in it, and long enough",
            "nul\0nul\0nul\0nul\0nul\0nul\0nul\0nul\0",
            &long,
        ] {
            let error = Token::new(bad).unwrap_err().to_string();
            assert!(!error.contains(bad), "{error}");
        }
        let secret = Token::generate().unwrap();
        let error = TokenHash::parse(secret.reveal()).unwrap_err().to_string();
        assert!(!error.contains(secret.reveal()));
        for bad in [
            "sha256:",
            "sha256:zz",
            "md5:00",
            &format!("sha256:{}", "é".repeat(64)),
        ] {
            assert!(TokenHash::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_read_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = Token::generate().unwrap();
        write(&path, format!("{}\n", token.reveal()));
        assert!(Token::read(&path).unwrap() == token);
        write(&path, [0xff; 64]);
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(error.contains("no token"), "{error}");
    }
}
