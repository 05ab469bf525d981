//! What each way in asks of a caller, and each call.

use travertine_engine::contract::{Error, Result};

use crate::proto::{FenceCall, call};
use crate::rights::{Asks, Caller, Verb};

/// What the service's paths ask, for a [`Guard`](crate::rights::Guard). A session asks for each of its
/// calls.
#[must_use]
pub fn asks(path: &str) -> Option<Asks> {
    let method = path.strip_prefix("/travertine.v1.Store/")?;
    Some(match method {
        "Session" | "Greet" => Asks::Something,
        method => {
            let verb = Verb::by_name(&method.to_ascii_lowercase())?;
            let ours = [
                Verb::Store,
                Verb::Read,
                Verb::Commit,
                Verb::Root,
                Verb::Fence,
                Verb::Adopt,
                Verb::Scan,
                Verb::Reclaim,
                Verb::Status,
                Verb::Close,
                Verb::Recall,
                Verb::Note,
            ];
            Asks::Verb(ours.contains(&verb).then_some(verb)?)
        }
    })
}

/// Whether a fence refuses nobody and only looks.
pub(super) fn looks(fence: &FenceCall) -> bool {
    fence.epoch.is_none_or(|it| it.number == 0)
}

/// Whether a caller may make a call. One whom nobody guarded may all.
pub(super) fn may(caller: Option<&Caller>, call: &call::Verb) -> Result<()> {
    let Some(caller) = caller else { return Ok(()) };
    let verb = match call {
        call::Verb::Store(_) => Verb::Store,
        call::Verb::Read(_) => Verb::Read,
        call::Verb::Commit(_) => Verb::Commit,
        call::Verb::Root(_) => Verb::Root,
        call::Verb::Fence(fence) if looks(fence) => Verb::Root,
        call::Verb::Fence(_) => Verb::Fence,
        call::Verb::Adopt(_) => Verb::Adopt,
        call::Verb::Scan(_) => Verb::Scan,
        call::Verb::Reclaim(_) => Verb::Reclaim,
        call::Verb::Status(_) => Verb::Status,
        call::Verb::Close(_) => Verb::Close,
    };
    let may = caller.may(verb);
    may.map_err(|status| Error::invalid(status.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_asks_for_something() {
        let set = prost_names();
        assert_eq!(set.len(), 14, "{set:?}");
        for method in set {
            let asked = asks(&format!("/travertine.v1.Store/{method}"));
            assert!(!matches!(asked, None | Some(Asks::Nothing)), "{method}");
        }
        assert!(asks("/travertine.v1.Store/Session/").is_none());
        assert!(asks("/travertine.v1.Store/Follow").is_none());
        assert!(asks("/travertine.v1.Engine/Session").is_none());
    }

    /// The methods, as the protocol's text has them.
    fn prost_names() -> Vec<&'static str> {
        let text = include_str!("../../proto/store.proto");
        let lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc "));
        lines.filter_map(|line| line.split('(').next()).collect()
    }
}
