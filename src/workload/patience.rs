//! Trying again where a stack lets nothing new begin for now: a refusal that names a time did nothing.
//!
//! What was waited counts as part of the operation that waited: a stack that sheds load is slower by it.

use std::time::Duration;

use crate::contract::{Env, Result};

/// So long one operation waits, over all its tries.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who may try again at once waits a little all the same.
const LEAST: Duration = Duration::from_millis(1);

/// The first answer that is no such refusal; or the refusal, when there was no end to them.
pub(super) fn patiently<T>(env: &Env, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut left = PATIENCE;
    loop {
        let answer = attempt();
        let after = answer.as_ref().err().and_then(|error| error.retry_after());
        let Some(after) = after.map(|after| after.max(LEAST)) else {
            return answer;
        };
        let Some(rest) = left.checked_sub(after) else {
            return answer.map_err(|error| {
                error.at(format!("a workload that waited {:?}", PATIENCE - left))
            });
        };
        left = rest;
        env.clock.sleep(after);
    }
}
