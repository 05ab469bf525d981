//! On whose behalf a call is made, over the wire: the caller's trace as W3C writes it, a field of what goes
//! through a session and a header of what goes alone. What is no trace is none.

use tonic::Request;
use travertine_engine::contract::trace::{TraceParent, current, extract};

/// What goes along with a call from here; empty: nobody traces it.
pub(crate) fn told() -> String {
    current().map_or_else(String::new, |place| place.to_string())
}

/// What came along with a call.
pub(crate) fn of(text: &str) -> Option<TraceParent> {
    extract(|_| Some(text))
}

/// What came along with a request.
pub(crate) fn of_request<T>(request: &Request<T>) -> Option<TraceParent> {
    extract(|key| request.metadata().get(key)?.to_str().ok())
}
