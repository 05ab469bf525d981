//! Who may do what.
//!
//! ```text
//!   Peer (certificate) ─┐
//!                       ├─▶ who it is ─▶ Granted ─▶ the path's, or the message's, Verb ─▶ its Right
//!   authorization ──────┘   (Rights)                 (Asks)
//! ```
//!
//! - Each [`Verb`] says which [`Right`] it takes, by a match that knows no default: a new verb does not
//!   compile until somebody has decided.
//! - [`Rights`] say what is granted to the names of certificates and to tokens. What is not granted is
//!   denied; so is a path that nobody declared.
//! - [`Guard`] stands in front of all services and denies before any of them hears of the request. A
//!   stream of messages is let through to its service with its [`Caller`], which is asked for each.
//! - A change of what is granted holds from the next request or message on, also in streams that are
//!   open ([`Live`]).
//!
//! | right | allows |
//! | --- | --- |
//! | `read` | to read records, roots, streams and figures, and to follow commits |
//! | `append` | to store records |
//! | `commit` | to move a name, which is what makes records part of the store |
//! | `admin` | to take the store over from whoever writes it, to free space, to close it |
//!
//! None contains another. A client of an engine that others share needs `read`, `append` and `commit`;
//! an engine that is the only writer of a store needs all four.

mod guard;
mod live;
mod token;
mod verb;

use std::collections::HashMap;
use std::fmt;

use travertine_engine::contract::{Error, Result};

use crate::accept::{self, Peer};

pub use guard::{Asks, Caller, Guard, Guarded, Paths};
pub use live::Live;
pub use token::{Token, TokenHash};
pub use verb::{Right, Verb};

/// Some of the rights.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Granted(u8);

impl Granted {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self::of(Right::ALL);

    /// These.
    #[must_use]
    pub const fn of(rights: &[Right]) -> Self {
        let mut bits = 0;
        let mut n = 0;
        while n < rights.len() {
            bits |= 1 << rights[n] as u8;
            n += 1;
        }
        Self(bits)
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Right::ALL.iter().filter(|right| self.has(**right)))
            .finish()
    }
}

/// Most names and tokens that something is granted to.
pub const GRANTS_MAX: usize = 4_096;

/// What is granted to whom; see the module. The default denies everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    everyone: Granted,
    certificates: HashMap<String, Granted>,
    tokens: Vec<(TokenHash, String, Granted)>,
}

impl Rights {
    /// Nobody may anything, up to what is granted from here on.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whoever is let in may do everything.
    #[must_use]
    pub fn everyone() -> Self {
        Self {
            everyone: Granted::ALL,
            ..Self::default()
        }
    }

    /// Grants to whoever shows a certificate with this alternative name.
    ///
    /// Errors: `Invalid` (the name is none, or there are too many).
    pub fn certificate(&mut self, name: &str, granted: Granted) -> Result<()> {
        self.check(name)?;
        let before = self.certificates.get(name).copied().unwrap_or_default();
        self.certificates
            .insert(name.to_owned(), before.and(granted));
        Ok(())
    }

    /// Grants to whoever says a token with this hash; `name` is what it is called in logs.
    ///
    /// Errors: `Invalid` (the name is none, the token is there already, or there are too many).
    pub fn token(&mut self, name: &str, hash: TokenHash, granted: Granted) -> Result<()> {
        self.check(name)?;
        if let Some((_, before, _)) = self.tokens.iter().find(|(known, ..)| *known == hash) {
            let text = format!("the tokens of {before} and {name} are the same");
            return Err(Error::invalid(text));
        }
        self.tokens.push((hash, name.to_owned(), granted));
        Ok(())
    }

    fn check(&self, name: &str) -> Result<()> {
        if !accept::is_plain(name) {
            return Err(Error::invalid(format!(
                "{name:?} is no name: letters, digits and . - _ @ : / + *, at most {} of them",
                accept::NAME_MAX
            )));
        }
        if self.certificates.len() + self.tokens.len() >= GRANTS_MAX {
            let text = format!("something is granted to more than {GRANTS_MAX} names");
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    /// Whether anything is granted to tokens.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Refuses a door through which nobody could be told apart although rights are granted by name, and
    /// one that lets in everybody for everything.
    ///
    /// Errors: `Invalid`.
    pub fn check_door(&self, door: &accept::Door) -> Result<()> {
        let open = matches!(door, accept::Door::Tls(_)) && !door.asks_for_certificates();
        if open && !self.everyone.is_none() {
            return Err(Error::invalid(
                "without an authority for clients' certificates anybody could connect and do everything: \
                 name the authority, or grant rights to tokens",
            ));
        }
        Ok(())
    }

    /// What whoever shows certificates with these names may do.
    fn of_names(&self, names: &[String]) -> Granted {
        let granted = names.iter().filter_map(|name| self.certificates.get(name));
        granted.fold(self.everyone, |all, granted| all.and(*granted))
    }

    /// What whoever says this token may do, and what it is called. How long it takes says nothing of
    /// which tokens there are.
    fn of_token(&self, said: &TokenHash) -> Option<(&str, Granted)> {
        let mut found = None;
        for (hash, name, granted) in &self.tokens {
            if hash.is(said) {
                found = Some((name.as_str(), self.everyone.and(*granted)));
            }
        }
        found
    }
}

/// By what somebody is known.
#[derive(Debug, Clone)]
enum Known {
    Names(Peer),
    Token(TokenHash),
    Nobody,
}

impl Known {
    /// What it may do now; `None` for a token that is not known (any more).
    fn granted(&self, rights: &Rights) -> Option<Granted> {
        match self {
            Self::Names(peer) => Some(rights.of_names(peer.names())),
            Self::Token(hash) => rights.of_token(hash).map(|(_, granted)| granted),
            Self::Nobody => Some(rights.everyone),
        }
    }

    fn name(&self, rights: &Rights) -> String {
        match self {
            Self::Names(peer) => match peer.names().first() {
                Some(name) => name.clone(),
                None => peer.address().ip().to_string(),
            },
            Self::Token(hash) => rights
                .of_token(hash)
                .map_or("?", |(name, _)| name)
                .to_owned(),
            Self::Nobody => "?".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_default() {
        assert!(Rights::none().of_names(&["writer".into()]).is_none());
        assert_eq!(Rights::none().of_token(&TokenHash::of("x")), None);
    }

    #[test]
    fn a_name_has_what_was_granted_to_it_and_no_more() {
        let mut rights = Rights::none();
        rights
            .certificate("a", Granted::of(&[Right::Read]))
            .unwrap();
        rights
            .certificate("b", Granted::of(&[Right::Append]))
            .unwrap();
        let granted = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            rights.of_names(&names)
        };
        assert_eq!(granted(&["a"]), Granted::of(&[Right::Read]));
        assert_eq!(
            granted(&["a", "b", "c"]),
            Granted::of(&[Right::Read, Right::Append])
        );
        assert_eq!(granted(&["A"]), Granted::NONE);
    }

    #[test]
    fn a_name_that_is_none_and_a_token_said_twice_are_refused() {
        let mut rights = Rights::none();
        let bad = rights
            .certificate("a\n", Granted::ALL)
            .unwrap_err()
            .to_string();
        assert!(bad.contains("is no name") && !bad.contains('\n'));
        rights
            .token("one", TokenHash::of("x"), Granted::ALL)
            .unwrap();
        let twice = rights
            .token("two", TokenHash::of("x"), Granted::NONE)
            .unwrap_err();
        assert!(twice.to_string().contains("one and two"));
    }

    #[test]
    fn a_door_for_everybody_is_not_for_everything() {
        let door = accept::Door::tls("c", "k", None);
        assert!(Rights::everyone().check_door(&door).is_err());
        Rights::none().check_door(&door).unwrap();
        let mutual = accept::Door::tls("c", "k", Some("ca".into()));
        Rights::everyone().check_door(&mutual).unwrap();
        Rights::everyone().check_door(&accept::Door::Plain).unwrap();
    }
}
