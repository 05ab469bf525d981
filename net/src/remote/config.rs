//! The config of a `remote` layer.

use serde::Deserialize;
use travertine_engine::contract::{Error, Level};
use travertine_engine::stack::{
    Arity, ByteSize, Declared, Fault, LevelRule, OptionRow, OptionType, PluginKind, Properties,
    Property, Time, level_from_text,
};

use crate::connect::Endpoint;

const SECOND: u64 = 1_000_000_000;

/// The config of a `remote` layer.
#[derive(Debug, Clone, Deserialize)]
pub struct Remote {
    pub(super) address: String,
    pub(super) plain: bool,
    pub(super) token: Option<String>,
    pub(super) tls: Tls,
    pub(super) level: String,
    pub(super) expects: String,
    pub(super) deadline: Time,
    pub(super) connect: Time,
    pub(super) retry: Time,
    pub(super) calls: u32,
    pub(super) bytes: ByteSize,
    pub(super) keep: ByteSize,
}

/// What TLS goes by.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Tls {
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) name: Option<String>,
}

const TLS: &[OptionRow] = &[
    OptionRow::optional(
        "ca",
        OptionType::Path,
        "no TLS",
        "the certificate of the authority that vouches for the server",
    ),
    OptionRow::optional(
        "cert",
        OptionType::Path,
        "this side shows none",
        "the certificate that this side shows",
    ),
    OptionRow::optional(
        "key",
        OptionType::Path,
        "this side shows none",
        "the key of that certificate",
    ),
    OptionRow::optional(
        "name",
        OptionType::Text,
        "the host of the address",
        "the name that the server's certificate must have",
    ),
];

pub(super) const KIND: PluginKind = PluginKind {
    summary: "goes on in another process",
    cost: "a round trip for each call that has to wait; calls share messages",
    doc: "The other side is a `travertine serve` that offers a stack as a store. What this stack \
          needs of it is written here and judged with the rest; whoever answers must give it. What \
          was stored is kept until it is durable there, and sent again after the connection or the \
          server was lost. One stack writes at a time: another one is refused meanwhile, unless it \
          takes over.",
    options: &[
        OptionRow::required(
            "address",
            OptionType::Text,
            "127.0.0.1:7411",
            "host and port of the server",
        ),
        OptionRow::preset(
            "tls",
            OptionType::Table { rows: TLS },
            "{}",
            "how both sides prove who they are",
        ),
        OptionRow::optional(
            "token",
            OptionType::Path,
            "none is said",
            "the file that holds a token, said with each request",
        ),
        OptionRow::preset(
            "plain",
            OptionType::Flag,
            "false",
            "plain text also to another machine; to this one it is always allowed",
        ),
        OptionRow::preset(
            "level",
            OptionType::Text,
            "disk",
            "the level that commits must be able to reach there",
        ),
        OptionRow::preset(
            "expects",
            OptionType::Text,
            "persists, fences, proves absence, one stream, notes",
            "what the other side must guarantee, by the words that `travertine check` prints",
        ),
        OptionRow::preset(
            "deadline",
            OptionType::Time {
                min: SECOND / 100,
                max: 3_600 * SECOND,
            },
            "30 s",
            "a call without an answer by then is unknown: `unavailable`",
        ),
        OptionRow::preset(
            "connect",
            OptionType::Time {
                min: SECOND / 100,
                max: 600 * SECOND,
            },
            "5 s",
            "an attempt to connect ends by then, and so does opening the stack",
        ),
        OptionRow::preset(
            "retry",
            OptionType::Time {
                min: SECOND / 1000,
                max: 600 * SECOND,
            },
            "2 s",
            "the longest pause before the next attempt to connect",
        ),
        OptionRow::preset(
            "calls",
            OptionType::Integer {
                min: 1,
                max: 65_536,
            },
            "1024",
            "at most so many calls are sent and not answered yet; the server may allow fewer",
        ),
        OptionRow::preset(
            "bytes",
            OptionType::Size {
                min: 64 << 10,
                max: 1 << 30,
            },
            "16 MiB",
            "at most so many bytes of calls are sent and not answered yet",
        ),
        OptionRow::preset(
            "keep",
            OptionType::Size {
                min: 0,
                max: 64 << 30,
            },
            "64 MiB",
            "what was stored and is not durable there yet is kept up to here, to be sent again if the \
             server was lost; beyond it the oldest is let go",
        ),
    ],
    declared: Declared::bottom(Level::Disk, Properties::all_but(&[Property::Parts])),
    structural: true,
    elsewhere: true,
    ..PluginKind::new("remote", Arity::Bottom)
};

/// What no server of today can give: a part is a stack of its own, and one server serves one.
const NEVER: Properties = Properties::of(&[Property::Parts]);

impl Remote {
    /// What the other side must give.
    pub(super) fn needs(&self) -> Result<(Level, Properties), Fault> {
        let level =
            level_from_text(&self.level).map_err(|fault| Fault::of("level", fault.to_string()))?;
        let mut properties = Properties::NONE;
        let words = self.expects.split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            let known = Property::ALL.into_iter().find(|it| it.name() == word);
            let Some(property) = known.filter(|it| !NEVER.has(*it)) else {
                let may = Properties::ALL.without(NEVER);
                let message = format!("`{word}` is nothing that a served stack can guarantee");
                return Err(Fault::of("expects", message).help(format!("list some of: {may}")));
            };
            properties = properties.or(Properties::of(&[property]));
        }
        Ok((level, properties))
    }

    pub(super) fn declare(&self, declared: &mut Declared) -> Result<Vec<String>, Fault> {
        let wrong = |error: Error| Fault::of("address", error.message());
        let mut endpoint = Endpoint::parse(&self.address)
            .map_err(|error| wrong(error).help("for example \"db.example.net:7411\""))?
            .plain_text(self.plain);
        // Where the files lie is not known here, only which there are.
        let files = [&self.tls.ca, &self.tls.cert, &self.tls.key].map(Option::is_some);
        endpoint = if files[0] { endpoint.ca("") } else { endpoint };
        endpoint = if files[1] {
            endpoint.cert("")
        } else {
            endpoint
        };
        endpoint = if files[2] { endpoint.key("") } else { endpoint };
        endpoint = if self.token.is_some() {
            endpoint.token_file("")
        } else {
            endpoint
        };
        endpoint.check().map_err(wrong)?;
        let (level, properties) = self.needs()?;
        declared.level = LevelRule::At(level);
        declared.adds = properties;
        Ok(vec![format!(
            "what {} guarantees is proven when it is opened, and at each reconnect",
            self.address
        )])
    }
}
