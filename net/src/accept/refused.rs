//! Who was not let in, and why: told once for each cause and peer, counted always.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::CertificateError as Bad;
use rustls::Error as Tls;
use travertine_engine::contract::Env;

use crate::once::{AGAIN, Once, Say, TOLD_MAX};

/// Longest detail in a line.
const DETAIL_MAX: usize = 200;

macro_rules! causes {
    ($($name:ident $text:literal,)*) => {
        /// Why somebody was not let in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $(#[doc = concat!("\"", $text, "\"")] $name,)*
        }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Cause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

causes! {
    Full "there are as many connections as may be",
    FullForAddress "there are as many connections from this address as may be",
    TooSlow "the handshake took too long",
    NoCertificate "it showed no certificate",
    OtherAuthority "its certificate is of another authority",
    Expired "its certificate is out of its time",
    BadCertificate "its certificate does not hold",
    OldTls "it does not speak TLS 1.3",
    NotTls "what it says is not TLS",
    NotHttp2 "it does not speak HTTP/2",
    RefusedUs "it does not accept this server's certificate",
    WentAway "it went away during the handshake",
    Other "the handshake failed",
    Listener "the listener failed",
}

impl Cause {
    /// What a failed handshake failed of.
    pub(super) fn of(error: &std::io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|source| source.downcast_ref::<Tls>());
        match tls {
            None => Self::WentAway,
            Some(Tls::NoCertificatesPresented) => Self::NoCertificate,
            Some(Tls::InvalidCertificate(bad)) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => Self::OtherAuthority,
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => Self::Expired,
                _ => Self::BadCertificate,
            },
            Some(Tls::PeerIncompatible(_)) => Self::OldTls,
            Some(Tls::NoApplicationProtocol) => Self::NotHttp2,
            Some(Tls::AlertReceived(_)) => Self::RefusedUs,
            Some(
                Tls::InvalidMessage(_)
                | Tls::InappropriateMessage { .. }
                | Tls::InappropriateHandshakeMessage { .. }
                | Tls::PeerSentOversizedRecord,
            ) => Self::NotTls,
            Some(_) => Self::Other,
        }
    }
}

/// How many came, are here, and were refused.
#[derive(Debug, Default)]
pub struct Counts {
    open: AtomicU64,
    accepted: AtomicU64,
    refused: [AtomicU64; Cause::ALL.len()],
}

impl Counts {
    /// How many connections are here, those that still shake hands included.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were let in since the beginning.
    #[must_use]
    pub fn let_in(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were refused for this.
    #[must_use]
    pub fn refused(&self, cause: Cause) -> u64 {
        self.refused[cause as usize].load(Ordering::Relaxed)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells and counts refusals.
#[derive(Debug)]
pub(super) struct Refusals {
    counts: Arc<Counts>,
    told: Once<(Cause, IpAddr)>,
}

impl Refusals {
    pub(super) fn new(env: &Env) -> Self {
        Self {
            counts: Arc::default(),
            told: Once::new(env),
        }
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Somebody is not let in.
    pub(super) fn refuse(&self, cause: Cause, peer: SocketAddr, detail: &str) {
        self.counts.refused[cause as usize].fetch_add(1, Ordering::Relaxed);
        match self.told.say((cause, peer.ip())) {
            Say::Nothing => {}
            Say::This => {
                let detail = tame(detail);
                tracing::warn!(%peer, %cause, detail, "a connection was refused");
            }
            Say::TooMany => tracing::warn!(
                "connections are refused from more than {TOLD_MAX} places: no more of them are told \
                 for {AGAIN:?}"
            ),
        }
    }
}

/// What others say, as it may stand in a line: short, and without control characters.
pub(super) fn tame(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(DETAIL_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_is_short_and_tame_in_a_line() {
        assert_eq!(tame("a\nb\x1b[31m"), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(tame(&"x".repeat(10_000)).len(), DETAIL_MAX);
    }
}
