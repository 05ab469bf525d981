//! A client of a served engine.
//!
//! ```no_run
//! use travertine_engine::contract::{Env, Name};
//! use travertine_net::client::{Change, Client, NewRecord};
//! use travertine_net::connect::Endpoint;
//!
//! # async fn run() -> travertine_engine::contract::Result<()> {
//! let endpoint = Endpoint::parse("127.0.0.1:7420")?;
//! let client = Client::connect(&endpoint, &Env::system()).await?;
//! let session = client.session().await?;
//! let page = session.store(NewRecord::blob("some bytes")).await?;
//! // No round trip in between: the server knows what is meant.
//! let change = Change::set(Name::new("page")?, page.target());
//! let committed = session.commit(vec![change], None).await?.await?;
//! println!("commit {} reached {}", committed.sequence, committed.level);
//! # Ok(())
//! # }
//! ```
//!
//! - A [`Session`] has many asks on their way at once: what is answered first does not wait for the rest.
//!   Stores and commits happen in the order in which they were asked.
//! - Calls of the [`Client`] itself are one question and one answer each.
//! - An error has the kind that the engine gave it. Where the connection broke it is `Unavailable`
//!   *without* a time to try again: whether what was asked was done is unknown. Ask anew what the names
//!   are; compare-and-set makes it safe to commit again.
//!
//! Connecting again is not done in secret: a session that ended says so, and another is one call away.
//! `examples/shared.rs` shows two clients that share one server.

mod follow;
mod session;

use travertine_engine::contract::{Env, Error, Kind, Level, Name, Oid, Reference, Result, RootAt};
use travertine_engine::front::{Committed, Expect};

pub use bytes::Bytes;

pub use self::follow::{Follow, Followed};
pub use self::session::{Asked, Session};
use crate::connect::{Channel, Endpoint};
use crate::convert;
use crate::engine_service::MESSAGE_MAX;
use crate::proto::engine_client::EngineClient;
use crate::proto::{self, root_request, target};
use crate::wire::error::from_status;

/// A served engine. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    rpc: EngineClient<Channel>,
}

/// A record to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// What it is.
    pub kind: Kind,
    /// The records it names.
    pub references: Vec<Target>,
    /// Its bytes.
    pub body: Bytes,
    /// Records of one tag lie together where the stack places by tag; zero: none.
    pub tag: u64,
}

impl NewRecord {
    /// Bytes as they are, which name no other record.
    #[must_use]
    pub fn blob(body: impl Into<Bytes>) -> Self {
        Self {
            kind: Kind::BLOB,
            references: Vec::new(),
            body: body.into(),
            tag: 0,
        }
    }
}

impl From<NewRecord> for proto::StoreRequest {
    fn from(record: NewRecord) -> Self {
        Self {
            kind: record.kind.0.into(),
            references: record.references.into_iter().map(Into::into).collect(),
            body: record.body,
            tag: record.tag,
        }
    }
}

/// A record that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The one of this reference.
    Reference(Reference),
    /// The one at this address.
    Oid(Oid),
    /// What an ask of this session stores: see [`Asked::target`].
    Asked(u64),
    /// In a commit: the record with this index among those that come along.
    Own(u32),
}

impl From<Reference> for Target {
    fn from(reference: Reference) -> Self {
        Self::Reference(reference)
    }
}

impl From<Oid> for Target {
    fn from(oid: Oid) -> Self {
        Self::Oid(oid)
    }
}

impl From<Target> for proto::Target {
    fn from(to: Target) -> Self {
        let (to, weak) = match to {
            Target::Reference(reference) => {
                (target::To::Reference(reference.into()), reference.weak)
            }
            Target::Oid(oid) => (target::To::Oid(oid.raw()), false),
            Target::Asked(ask) => (target::To::Ask(ask), false),
            Target::Own(index) => (target::To::Own(index), false),
        };
        Self { to: Some(to), weak }
    }
}

/// What a commit does to one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: Name,
    /// What it must point to for the commit to happen.
    pub expect: Expect,
    /// What it shall point to; `None` drops the name.
    pub to: Option<Target>,
}

impl Change {
    /// Points `name` at a record, whatever it pointed to.
    #[must_use]
    pub fn set(name: Name, to: impl Into<Target>) -> Self {
        Self {
            name,
            expect: Expect::Any,
            to: Some(to.into()),
        }
    }

    /// Points `name` at a record if it points to `expect` now; `None`: if there is no such name.
    #[must_use]
    pub fn swap(name: Name, expect: Option<Oid>, to: impl Into<Target>) -> Self {
        Self {
            name,
            expect: Expect::Is(expect),
            to: Some(to.into()),
        }
    }

    /// Drops `name` if it points to `expect` now.
    #[must_use]
    pub fn drop(name: Name, expect: Oid) -> Self {
        Self {
            name,
            expect: Expect::Is(Some(expect)),
            to: None,
        }
    }
}

impl From<Change> for proto::NameChange {
    fn from(change: Change) -> Self {
        Self {
            name: change.name.as_str().to_owned(),
            to: change.to.map(Into::into),
            expect: match change.expect {
                Expect::Any => None,
                Expect::Is(oid) => Some(oid.map_or(0, Oid::raw)),
            },
        }
    }
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The reference to it.
    pub reference: Reference,
    /// What it is.
    pub kind: Kind,
    /// The records it names.
    pub references: Vec<Reference>,
    /// Its bytes.
    pub body: Bytes,
}

impl Found {
    fn of(told: proto::Found) -> Result<Option<Self>> {
        let Some(reference) = told.reference else {
            return Ok(None);
        };
        let references = told.references.into_iter();
        Ok(Some(Self {
            reference: reference.try_into()?,
            kind: Kind(u16::try_from(told.kind).map_err(|_| garbled("a kind"))?),
            references: references.map(TryInto::try_into).collect::<Result<_>>()?,
            body: told.body,
        }))
    }
}

/// The names of a commit: some of them, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The number of the commit; zero before the first.
    pub sequence: u64,
    /// When it was made, in microseconds since 1970.
    pub time: u64,
    /// Each name, and what it points to.
    pub names: Vec<(Name, Reference)>,
    /// There are names after these.
    pub more: bool,
}

impl Names {
    fn of(told: proto::RootReply) -> Result<Self> {
        let names = told.names.into_iter();
        Ok(Self {
            sequence: told.sequence,
            time: told.time_us,
            names: names
                .map(|named| Ok((Name::new(named.name)?, convert::reference(named.to)?)))
                .collect::<Result<_>>()?,
            more: told.more,
        })
    }

    /// What a name points to, if it stands here.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<Reference> {
        let mut names = self.names.iter();
        names.find_map(|(mine, to)| (mine == name).then_some(*to))
    }
}

/// What a served engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The identity of the store.
    pub identity: [u8; 16],
    /// The floors, in the stack's own words.
    pub stack: String,
    /// The level of a commit that names none.
    pub level: Level,
    /// The highest level that can be asked for.
    pub level_max: Level,
    /// The number of the newest commit; zero before the first.
    pub sequence: u64,
    /// Why nothing can be written, if nothing can.
    pub refusing: Option<String>,
    /// Sessions that are open.
    pub sessions: u32,
    /// Clients that follow.
    pub followers: u32,
}

impl Client {
    /// Connects.
    ///
    /// Errors: `Invalid` (a file does not hold, or the server and this client do not trust each other),
    /// `Unavailable` (nobody answers there).
    pub async fn connect(endpoint: &Endpoint, env: &Env) -> Result<Self> {
        Ok(Self::over(endpoint.connect(env).await?))
    }

    /// A client over a connection that is there.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self {
            rpc: EngineClient::new(channel)
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
        }
    }

    /// Begins a session, on the newest commit.
    pub async fn session(&self) -> Result<Session> {
        Session::begin(self.rpc.clone()).await
    }

    /// The record that is meant; `None`: there is none, for certain.
    pub async fn read(&self, target: impl Into<Target>) -> Result<Option<Found>> {
        let asked = proto::ReadRequest {
            target: Some(target.into().into()),
        };
        let found = self.rpc.clone().read(asked).await;
        Found::of(answer(found)?)
    }

    /// Stores one record, which the server holds for as long as a session may be idle.
    pub async fn store(&self, record: NewRecord) -> Result<Reference> {
        let asked: proto::StoreRequest = record.into();
        let stored = self.rpc.clone().store(asked).await;
        convert::reference(answer(stored)?.reference)
    }

    /// Stores these records and changes names, all or none. Answers the references too.
    pub async fn commit(
        &self,
        records: Vec<NewRecord>,
        changes: Vec<Change>,
        level: Option<Level>,
    ) -> Result<(Committed, Vec<Reference>)> {
        let asked = commit_request(records, changes, level);
        let committed = self.rpc.clone().commit(asked).await;
        committed_of(answer(committed)?)
    }

    /// What a name points to in the newest commit.
    pub async fn root(&self, name: &Name) -> Result<Option<Reference>> {
        let asked = proto::RootRequest {
            name: name.as_str().to_owned(),
            ..proto::RootRequest::default()
        };
        let reply = self.rpc.clone().root(asked).await;
        Ok(Names::of(answer(reply)?)?.get(name))
    }

    /// Names of a commit, those that come after `after`: as many as one answer holds.
    pub async fn names(&self, at: RootAt, after: Option<&Name>) -> Result<Names> {
        let reply = self.rpc.clone().root(names_request(Some(at), after)).await;
        Names::of(answer(reply)?)
    }

    /// Follows the store from the commit of this number on; zero: what comes after the newest.
    pub async fn follow(&self, from: u64) -> Result<Follow> {
        let asked = proto::FollowRequest { from, names: true };
        let stream = self.rpc.clone().follow(asked).await;
        Ok(Follow::new(answer(stream)?, from))
    }

    /// How the served engine is.
    pub async fn status(&self) -> Result<Status> {
        let told = self.rpc.clone().status(proto::StatusRequest {}).await;
        let told = answer(told)?;
        let level = |told: Option<proto::Level>| convert::level(told.unwrap_or_default());
        Ok(Status {
            identity: identity(&told.identity)?,
            stack: told.stack,
            level: level(told.level)?,
            level_max: level(told.level_max)?,
            sequence: told.sequence,
            refusing: (!told.refusing.is_empty()).then_some(told.refusing),
            sessions: told.sessions,
            followers: told.followers,
        })
    }
}

fn commit_request(
    records: Vec<NewRecord>,
    changes: Vec<Change>,
    level: Option<Level>,
) -> proto::CommitRequest {
    proto::CommitRequest {
        store: records.into_iter().map(Into::into).collect(),
        changes: changes.into_iter().map(Into::into).collect(),
        level: level.map(Into::into),
    }
}

fn names_request(at: Option<RootAt>, after: Option<&Name>) -> proto::RootRequest {
    proto::RootRequest {
        at: match at {
            None | Some(RootAt::Newest) => None,
            Some(RootAt::Proven) => Some(root_request::At::Proven(true)),
            Some(RootAt::Sequence(sequence)) => Some(root_request::At::Sequence(sequence)),
            Some(RootAt::Time(time)) => Some(root_request::At::TimeUs(time)),
        },
        after: after.map_or_else(String::new, |name| name.as_str().to_owned()),
        ..proto::RootRequest::default()
    }
}

fn committed_of(told: proto::Committed) -> Result<(Committed, Vec<Reference>)> {
    let stored = told.stored.into_iter().map(TryInto::try_into);
    let committed = Committed {
        sequence: told.sequence,
        epoch: convert::epoch(told.epoch),
        marker: convert::oid(told.marker)?,
        level: convert::level(told.level.ok_or_else(|| garbled("a level"))?)?,
    };
    Ok((committed, stored.collect::<Result<_>>()?))
}

/// Reads an answer as whoever asked for it would.
#[cfg(any(test, feature = "conformance"))]
pub(crate) fn understood(told: proto::reply::What) -> Result<()> {
    use proto::reply::What;
    match told {
        What::Stored(told) => convert::reference(told.reference).map(drop),
        What::Committed(told) => committed_of(told).map(drop),
        What::Found(told) => Found::of(told).map(drop),
        What::Root(told) => Names::of(told).map(drop),
        What::Error(_) | What::Greeting(_) | What::Begun(_) => Ok(()),
    }
}

fn identity(told: &[u8]) -> Result<[u8; 16]> {
    told.try_into().map_err(|_| garbled("an identity"))
}

fn answer<T>(answer: std::result::Result<tonic::Response<T>, tonic::Status>) -> Result<T> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(from_status(&status)),
    }
}

/// The other side speaks another language.
fn garbled(what: &str) -> Error {
    Error::unavailable(format!("the server answered something that is not {what}"))
}
