//! Sealing and opening one body.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, Salt};
use travertine_engine::contract::{Epoch, Error, Oid, Result, Sealer, codec};

use super::keys::KEY;

/// Bytes of the tag, of the id of the key, and of the tag of the epoch.
const TAG: usize = 16;
const ROOM: usize = TAG + 8 + 8;
/// Keys of epochs that are kept; those of further epochs are derived again.
const DERIVED_MAX: usize = 64;

/// Seals with one key, opens with several.
pub struct Sealing {
    /// The newest first.
    keys: Vec<Key>,
    derived: RwLock<Vec<Derived>>,
    sealed: AtomicU64,
    opened: AtomicU64,
}

/// A secret key. Its id is derived from it and tells nothing of it.
struct Key {
    id: u64,
    bytes: [u8; KEY],
}

/// What bodies of one epoch are sealed with.
struct Derived {
    id: u64,
    epoch: u64,
    key: Arc<LessSafeKey>,
}

impl Sealing {
    /// Seals with the first of these keys.
    pub(super) fn new(keys: Vec<[u8; KEY]>) -> Result<Self> {
        let keys = keys.into_iter().map(Key::new).collect::<Result<_>>()?;
        Ok(Self {
            keys,
            derived: RwLock::new(Vec::new()),
            sealed: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        })
    }

    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("keys", self.keys.len() as u64),
            ("sealed", self.sealed.load(Ordering::Relaxed)),
            ("opened", self.opened.load(Ordering::Relaxed)),
        ]
    }

    /// The key of an epoch.
    fn derived(&self, key: &Key, epoch: u64) -> Result<Arc<LessSafeKey>> {
        let is = |derived: &&Derived| derived.epoch == epoch && derived.id == key.id;
        {
            let known = self.derived.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(derived) = known.iter().find(is) {
                return Ok(derived.key.clone());
            }
        }
        let derived = key.of_epoch(epoch)?;
        let mut known = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() == DERIVED_MAX {
            known.remove(0);
        }
        known.push(Derived {
            id: key.id,
            epoch,
            key: derived.clone(),
        });
        Ok(derived)
    }
}

impl Key {
    fn new(bytes: [u8; KEY]) -> Result<Self> {
        let mut id = [0; 8];
        Salt::new(HKDF_SHA256, &[])
            .extract(&bytes)
            .expand(&[b"travertine key id"], IdLen)
            .and_then(|okm| okm.fill(&mut id))
            .map_err(|_| underivable())?;
        Ok(Self {
            id: u64::from_le_bytes(id),
            bytes,
        })
    }

    fn of_epoch(&self, epoch: u64) -> Result<Arc<LessSafeKey>> {
        let prk = Salt::new(HKDF_SHA256, &epoch.to_le_bytes()).extract(&self.bytes);
        let okm = prk.expand(&[b"travertine bodies of an epoch"], &AES_256_GCM);
        let key: UnboundKey = okm.map_err(|_| underivable())?.into();
        Ok(Arc::new(LessSafeKey::new(key)))
    }
}

struct IdLen;

impl hkdf::KeyType for IdLen {
    fn len(&self) -> usize {
        8
    }
}

fn underivable() -> Error {
    Error::invalid("no key can be derived from this one")
}

fn nonce(oid: Oid, epoch: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&oid.raw().to_le_bytes());
    nonce[8..].copy_from_slice(&epoch.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Sealer for Sealing {
    fn bit(&self) -> u8 {
        codec::AES_256_GCM
    }

    fn room(&self) -> usize {
        ROOM
    }

    fn seal(&self, oid: Oid, epoch: Epoch, head: &[u8], body: &mut [u8]) -> Result<()> {
        let plain = body.len().checked_sub(ROOM);
        let (Some(key), Some(plain)) = (self.keys.first(), plain) else {
            return Err(Error::invalid(
                "there is no key, or no room, to seal a body",
            ));
        };
        let derived = self.derived(key, epoch.tag)?;
        let (body, own) = body.split_at_mut(plain);
        let tag = derived
            .seal_in_place_separate_tag(nonce(oid, epoch.number), Aad::from(head), body)
            .map_err(|_| Error::invalid(format!("a body of {plain} bytes cannot be sealed")))?;
        own[..TAG].copy_from_slice(tag.as_ref());
        own[TAG..TAG + 8].copy_from_slice(&key.id.to_le_bytes());
        own[TAG + 8..].copy_from_slice(&epoch.tag.to_le_bytes());
        self.sealed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn open(&self, oid: Oid, epoch: u32, head: &[u8], body: &mut [u8]) -> Result<()> {
        let Some((body, own)) = body.split_last_chunk_mut::<ROOM>() else {
            return Err(Error::corrupt(format!(
                "the body at {oid} is too short for a sealed one"
            )));
        };
        let mut tag = [0; TAG];
        tag.copy_from_slice(&own[..TAG]);
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&own[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let (id, of_epoch) = (word(TAG), word(TAG + 8));
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            return Err(Error::invalid(format!(
                "the body at {oid} is sealed with the key {id:016x}, and this stack has {self:?}"
            )));
        };
        self.derived(key, of_epoch)?
            .open_in_place_separate_tag(
                nonce(oid, epoch),
                Aad::from(head),
                Tag::from(tag),
                body,
                0..,
            )
            .map_err(|_| {
                Error::corrupt(format!(
                    "the body at {oid} is not what was sealed there with the key {id:016x}"
                ))
            })?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The ids of its keys.
impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self
            .keys
            .iter()
            .map(|key| format!("{:016x}", key.id))
            .collect();
        match ids.as_slice() {
            [only] => write!(f, "the key {only}"),
            all => write!(f, "the keys {}", all.join(", ")),
        }
    }
}
