//! Keys out of a secret: what they may look like, and what is refused without showing any of it.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use travertine_engine::contract::{Error, Result};

/// Bytes of a key.
pub(super) const KEY: usize = 32;
/// Most keys of one layer.
const KEYS_MAX: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys that a secret holds, the newest first.
pub(super) fn read(secret: &[u8]) -> Result<Vec<[u8; KEY]>> {
    let text = std::str::from_utf8(secret).ok();
    let text = text.filter(|text| text.chars().all(|c| !c.is_control() || c.is_whitespace()));
    let Some(text) = text else {
        let whole = <[u8; KEY]>::try_from(secret);
        return whole.map(|key| vec![key]).map_err(|_| {
            Error::invalid(format!(
                "a key of bytes is {KEY} of them and nothing else, and here are {}",
                secret.len()
            ))
        });
    };
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty());
    let mut keys = Vec::new();
    for line in lines {
        let number = keys.len() + 1;
        if number > KEYS_MAX {
            return Err(Error::invalid(format!(
                "there are more than {KEYS_MAX} keys"
            )));
        }
        let key = from_text(line).ok_or_else(|| {
            Error::invalid(format!(
                "key {number} has {} characters, and is neither {KEY} bytes in hexadecimal, which \
                 has {}, nor in base64, which has 43 or 44",
                line.chars().count(),
                2 * KEY
            ))
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(Error::invalid("there is no key"));
    }
    Ok(keys)
}

fn from_text(line: &str) -> Option<[u8; KEY]> {
    if line.len() != 2 * KEY {
        return BASE64.decode(line).ok()?.try_into().ok();
    }
    let mut key = [0; KEY];
    for (byte, digits) in key.iter_mut().zip(line.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const IN_BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn bytes_hexadecimal_and_base64_are_the_same_key() {
        let bytes: Vec<u8> = (0..32).collect();
        let key: [u8; KEY] = bytes.clone().try_into().unwrap();
        let bare = IN_BASE64.trim_end_matches('=');
        for text in [
            HEX,
            &HEX.to_uppercase(),
            IN_BASE64,
            bare,
            &format!("{HEX}\r\n"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), [key], "{text:?}");
        }
        assert_eq!(read(&bytes).unwrap(), [key]);
    }

    #[test]
    fn several_keys_are_read_in_order_past_comments() {
        let other = "ff".repeat(32);
        let text = format!("# of November\n{other}  # the newest\n\n{HEX}\n");
        let keys = read(text.as_bytes()).unwrap();
        assert_eq!((keys.len(), keys[0], keys[1][31]), (2, [0xFF; KEY], 31));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let long = vec![HEX; KEYS_MAX + 1].join("\n");
        let truncated = &HEX[..63];
        let refused: [(&[u8], &str); 8] = [
            (b"", "there is no key"),
            (b" # nothing\n", "there is no key"),
            (truncated.as_bytes(), "key 1 has 63 characters"),
            (
                b"a pass phrase of 32 characters..",
                "key 1 has 32 characters",
            ),
            (b"swordfish", "key 1 has 9 characters"),
            (&[0xFF; 31], "here are 31"),
            (&[0xFF; 33], "here are 33"),
            (long.as_bytes(), "more than 64 keys"),
        ];
        for (secret, says) in refused {
            let error = read(secret).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            for part in ["swordfish", "pass", &HEX[..8]] {
                assert!(!error.contains(part), "{error}");
            }
        }
    }
}
