//! Files of rights: who may do what on a server.
//!
//! ```toml
//! [[certificate]]                       # whoever shows a certificate with this alternative name
//! name = "writer.example"
//! rights = ["read", "append", "commit"]
//!
//! [[token]]                             # whoever says the token of this hash
//! name = "reports"                      # what it is called in logs
//! hash = "sha256:…"
//! rights = ["read"]
//! ```
//!
//! What is not in it is denied. Every error says where it stands, all at once, and none shows a token
//! that somebody wrote where its hash belongs.

use std::path::Path;

use travertine_engine::stack::{Data, Span, SpecError, Table, Value};
use travertine_net::rights::{Granted, Right, Rights, TokenHash};

use super::source::{self, Refusal, Source};
use super::{error_at, parse};

const HELP: &str = "a file of rights has [[certificate]] with a name and [[token]] with a name and a \
                    hash; each has rights = [\"read\", ..]";

/// Reads a file of rights.
pub fn rights(path: impl AsRef<Path>) -> Result<Rights, Box<Refusal>> {
    let path = path.as_ref();
    let text = source::read_file(path, HELP)?;
    of_text(&path.display().to_string(), text)
}

fn of_text(name: &str, text: String) -> Result<Rights, Box<Refusal>> {
    let (root, errors) = parse::parse(&text);
    let mut errors: Vec<_> = errors.into_iter().map(|error| error.help(HELP)).collect();
    let mut rights = Rights::none();
    if let Some(Data::Table(table)) = root.as_ref().map(|root| &root.data) {
        read(table, &mut rights, &mut errors);
    }
    if errors.is_empty() {
        return Ok(rights);
    }
    let source = Source::of_file(Path::new(name), text);
    Err(Box::new(Refusal::new(vec![source], errors)))
}

/// Who something is granted to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Certificate,
    Token,
}

fn read(table: &Table, rights: &mut Rights, errors: &mut Vec<SpecError>) {
    for entry in table.iter() {
        let to = match entry.key.value.as_str() {
            "certificate" => To::Certificate,
            "token" => To::Token,
            other => {
                let message = format!("rights are granted to no `{other}`");
                errors.push(error_at(message, "unknown", entry.key.span).help(HELP));
                continue;
            }
        };
        let Data::List(grants) = &entry.value.data else {
            let message = format!(
                "`{}`: {} stands here",
                entry.key.value,
                entry.value.type_name()
            );
            let help = format!("write [[{}]] above each of them", entry.key.value);
            errors.push(error_at(message, "no list", entry.value.span).help(help));
            continue;
        };
        for grant in grants {
            match &grant.data {
                Data::Table(table) => one(to, table, grant.span, rights, errors),
                _ => errors.push(error_at("no table stands here", "this", grant.span).help(HELP)),
            }
        }
    }
}

/// One grant.
fn one(to: To, table: &Table, span: Span, rights: &mut Rights, errors: &mut Vec<SpecError>) {
    let before = errors.len();
    let keys: &[&str] = match to {
        To::Certificate => &["name", "rights"],
        To::Token => &["name", "hash", "rights"],
    };
    for entry in table
        .iter()
        .filter(|entry| !keys.contains(&entry.key.value.as_str()))
    {
        let message = format!("there is no `{}` here", entry.key.value);
        errors.push(error_at(message, "unknown", entry.key.span).help(HELP));
    }
    let mut text = |key: &str| {
        let Some(value) = table.get(key) else {
            let message = format!("`{key}` lacks");
            errors.push(error_at(message, "in this one", span).help(HELP));
            return None;
        };
        if value.as_text().is_none() {
            let message = format!("`{key}`: {} stands here", value.type_name());
            errors.push(error_at(message, "no text", value.span));
        }
        value.as_text().map(|text| (text, value.span))
    };
    let name = text("name");
    let hash = if to == To::Token { text("hash") } else { None };
    let hash = hash.and_then(|(text, span)| match TokenHash::parse(text) {
        Ok(hash) => Some((hash, span)),
        Err(error) => {
            let mut error = error_at(error.message(), "not shown", span);
            error.secret = true;
            errors.push(error);
            None
        }
    });
    let granted = granted(table.get("rights"), span, errors);
    let Some(((name, span), granted)) = name.zip(granted) else {
        return;
    };
    let done = match (to, hash) {
        (To::Certificate, _) => rights.certificate(name, granted),
        (To::Token, Some((hash, _))) => rights.token(name, hash, granted),
        (To::Token, None) => Ok(()),
    };
    if let Err(error) = done
        && errors.len() == before
    {
        errors.push(error_at(error.message(), "this name", span));
    }
}

fn granted(value: Option<&Value>, span: Span, errors: &mut Vec<SpecError>) -> Option<Granted> {
    let all: Vec<_> = Right::ALL.iter().map(|right| right.name()).collect();
    let help = format!("rights are {}", all.join(", "));
    let Some(value) = value else {
        errors.push(error_at("`rights` lacks", "in this one", span).help(help));
        return None;
    };
    let Data::List(list) = &value.data else {
        let message = format!("`rights`: {} stands here", value.type_name());
        errors.push(error_at(message, "no list", value.span).help(help));
        return None;
    };
    let mut rights = Vec::new();
    for value in list {
        match value.as_text().and_then(Right::by_name) {
            Some(right) => rights.push(right),
            None => {
                let what = value.as_text().unwrap_or_else(|| value.type_name());
                let message = format!("{what:?} is no right");
                errors.push(error_at(message, "unknown", value.span).help(help.clone()));
            }
        }
    }
    Some(Granted::of(&rights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use travertine_net::rights::Token;

    fn refused(text: &str) -> String {
        of_text("rights.toml", text.to_owned())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_granted_is_read() {
        let token = Token::generate().unwrap();
        let text = format!(
            "[[certificate]]\nname = \"writer.example\"\nrights = [\"read\", \"commit\"]\n\
             [[token]]\nname = \"reports\"\nhash = \"{}\"\nrights = [\"read\"]\n",
            token.hash()
        );
        let rights = of_text("rights.toml", text).unwrap();
        let mut expected = Rights::none();
        expected
            .certificate("writer.example", Granted::of(&[Right::Read, Right::Commit]))
            .unwrap();
        expected
            .token("reports", token.hash(), Granted::of(&[Right::Read]))
            .unwrap();
        assert_eq!(rights, expected);
        assert_eq!(
            of_text("rights.toml", String::new()).unwrap(),
            Rights::none()
        );
    }

    #[test]
    fn every_error_says_where_it_stands() {
        for (text, says) in [
            ("[[certificate]]\nrights = []", "`name` lacks"),
            ("[[certificate]]\nname = \"a\"", "`rights` lacks"),
            (
                "[[certificate]]\nname = \"a b\"\nrights = []",
                "2:8: \"a b\" is no name",
            ),
            (
                "[[certificate]]\nname = 7\nrights = []",
                "2:8: `name`: a whole number",
            ),
            (
                "[[certificate]]\nname = \"a\"\nrights = \"read\"",
                "3:10: `rights`: text",
            ),
            (
                "[[certificate]]\nname = \"a\"\nrights = [\"Read\"]",
                "3:11: \"Read\" is no right",
            ),
            (
                "[[certificate]]\nname = \"a\"\nhash = \"x\"\nrights = []",
                "3:1: there is no `hash`",
            ),
            ("[[token]]\nname = \"a\"\nrights = []", "`hash` lacks"),
            ("[[user]]\nname = \"a\"", "granted to no `user`"),
            ("token = 3", "write [[token]]"),
            ("token = [3]", "no table"),
            ("[[token", "this is not TOML"),
        ] {
            let said = refused(text);
            assert!(said.contains(says), "{text}: {said}");
        }
        assert_eq!(refused("[[user]]\n[[certificate]]").lines().count(), 3);
    }

    #[test]
    fn a_token_where_its_hash_belongs_is_not_shown() {
        let token = Token::generate().unwrap();
        let text = format!(
            "[[token]]\nname = \"a\"\nhash = \"{}\"\nrights = []",
            token.reveal()
        );
        let refusal = of_text("rights.toml", text).unwrap_err();
        assert!(!refusal.to_string().contains(token.reveal()));
        let source = refusal.source(refusal.errors()[0].span);
        assert!(!source.text.contains(token.reveal()));
    }
}
