//! Values, rows and entries as JSON, and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json as json_of};

use crate::cli::{Failure, Outcome, Terminal};
use crate::contract::{Error, block_on};
use crate::interfaces::Direction;
use crate::interfaces::block::Value;
use crate::interfaces::collection::{Collection, Kind};
use crate::interfaces::structure::log::Event;

/// What JSON says; what is none is a text.
pub(super) fn value(text: &str) -> Result<Value, Error> {
    match serde_json::from_str::<Json>(text) {
        Ok(json) => from_json(&json),
        Err(_) => Ok(Value::text(text)),
    }
}

/// What [`json`] made.
pub(super) fn from_json(json: &Json) -> Result<Value, Error> {
    let bytes = json.as_object().filter(|object| object.len() == 1);
    match bytes.and_then(|object| object.get("cbor_b64")?.as_str()) {
        Some(bytes) => {
            let unfit = |error| Error::invalid(format!("cbor_b64 is no base64: {error}"));
            Value::from_bytes(STANDARD.decode(bytes).map_err(unfit)?.into())
        }
        None => Value::of(json),
    }
}

/// A value as JSON; one that has no JSON in its bytes.
pub(super) fn json(value: &Value) -> Json {
    let lacks = || json_of!({ "cbor_b64": STANDARD.encode(value.as_bytes()) });
    value.to::<Json>().unwrap_or_else(|_| lacks())
}

/// A row: its key in letters, if it has any.
pub(super) fn row(key: &[u8], value: &Value) -> Json {
    match std::str::from_utf8(key) {
        Ok(key) => json_of!({ "key": key, "value": json(value) }),
        Err(_) => json_of!({ "key_b64": STANDARD.encode(key), "value": json(value) }),
    }
}

/// Prints entries of a log.
pub(super) fn log<K: Kind>(
    terminal: &mut Terminal<'_>,
    collection: &Collection<K>,
    direction: Direction,
    limit: u64,
) -> Result<Outcome, Failure> {
    let mut walk = collection.log().walk(collection.blocks(), direction);
    for _ in 0..limit {
        let Some(entry) = block_on(walk.next())? else {
            break;
        };
        let at = entry.timestamp;
        let line = match &entry.event {
            Event::Action(action) => json_of!({
                "revision": entry.revision,
                "timestamp_ms": at,
                "action": action.id.as_str(),
                "actions": action.actions.iter().map(json).collect::<Vec<_>>(),
                "blocks": action.blocks.len(),
                "collections": action.collections.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
            }),
            Event::Checkpoint(pending) => json_of!({
                "revision": entry.revision,
                "timestamp_ms": at,
                "checkpoint": pending.len(),
            }),
        };
        terminal.say(line)?;
    }
    Ok(Outcome::Fine)
}
