//! What each call asks of whoever makes it.

use tonic::{Request, Status};

use crate::proto::engine_server::SERVICE_NAME;
use crate::proto::{self, ask};
use crate::rights::{Asks, Caller, Verb};

/// What the paths of this service ask, for a [`Guard`](crate::rights::Guard).
#[must_use]
pub fn paths(path: &str) -> Option<Asks> {
    let method = path
        .strip_prefix('/')?
        .strip_prefix(SERVICE_NAME)?
        .strip_prefix('/')?;
    Some(Asks::Verb(match method {
        "Session" => Verb::Session,
        "Store" => Verb::Store,
        "Read" => Verb::Read,
        "Commit" => Verb::Commit,
        "Root" => Verb::Names,
        "History" => Verb::Root,
        "Follow" => Verb::Follow,
        "Status" => Verb::Status,
        _ => return None,
    }))
}

/// Whoever makes this request.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    let nobody = || Status::permission_denied("nobody said who calls, so nothing is allowed");
    caller.cloned().ok_or_else(nobody)
}

/// Whether what is asked in a session may be asked now.
pub(super) fn may(caller: &Caller, what: &ask::What) -> Result<(), Status> {
    match what {
        ask::What::Store(_) => caller.may(Verb::Store),
        ask::What::Commit(commit) => may_commit(caller, commit),
        ask::What::Read(_) => caller.may(Verb::Read),
        ask::What::Root(_) => caller.may(Verb::Names),
        ask::What::Begin(_) => caller.may(Verb::Session),
    }
}

/// Whether a commit may be asked for, with what comes along.
pub(super) fn may_commit(caller: &Caller, commit: &proto::CommitRequest) -> Result<(), Status> {
    if !commit.store.is_empty() {
        caller.may(Verb::Store)?;
    }
    caller.may(Verb::Commit)
}
