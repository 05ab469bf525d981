//! What interfaces made of records, kept so that it need not be made again.
//!
//! A record never changes and an address never means two things, so what was made of the record at an
//! address is good for ever: nothing here is ever out of date, and anything may be dropped at any time.
//!
//! ```text
//!   line   value  value  value          values that share memory: the newest states of one tree
//!          │ era 6 ││ era 7 │           of earlier eras nothing is kept
//! ```
//!
//! Values of one line may share most of what they hold, so what they hold is told for the line as a
//! whole. Where all lines together hold more than 64 MiB, whole lines go, the one that was asked
//! for longest ago first; never the one that was kept last.
//!
//! Invariant: a value must not hold what leads back to the engine, or neither is ever dropped.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::Oid;

/// Most bytes that all lines hold, unless a single one holds more.
const BYTES_MAX: u64 = 64 << 20;

/// Most values of a line: readers that lag by fewer commits find theirs. Were they many more, a writer that
/// lets go of the oldest with every commit would wait for memory that no processor has at hand any more.
const VALUES_MAX: usize = 256;
/// Most lines.
const LINES_MAX: usize = 4096;

/// Values by the address of the record that they were made of.
#[derive(Default)]
pub struct Memo(Mutex<State>);

/// Positions are spread by a multiplication: an engine hands them out, nobody chooses them.
type Values = HashMap<Oid, (u64, Value), BuildHasherDefault<Spread>>;

#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}

#[derive(Default)]
struct State {
    values: Values,
    lines: HashMap<u64, Line, BuildHasherDefault<Spread>>,
    bytes: u64,
    /// Counts calls, and lines.
    clock: u64,
}

#[derive(Default)]
struct Line {
    oids: VecDeque<(u64, Oid)>,
    bytes: u64,
    used: u64,
}

/// Where a value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The line, a number from [`Memo::line`].
    pub line: u64,
    /// Values of this era and the one before stay, those of earlier ones go.
    pub era: u64,
    /// What all values of the line hold from now on, in bytes.
    pub bytes: u64,
}

impl Memo {
    /// A number for a line of its own.
    #[must_use]
    pub fn line(&self) -> u64 {
        let mut state = self.lock();
        state.clock += 1;
        state.clock
    }

    /// What was made of the record at `oid`, if it is still there and of this type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self, oid: Oid) -> Option<Arc<T>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let (line, value) = state.values.get(&oid)?;
        let (line, value) = (*line, value.clone());
        if let Some(line) = state.lines.get_mut(&line) {
            line.used = clock;
        }
        drop(state);
        value.downcast().ok()
    }

    /// Keeps what was made of the record at `oid`.
    pub fn put<T: Send + Sync + 'static>(&self, oid: Oid, value: Arc<T>, kept: Kept) {
        let mut gone = Gone::default();
        let mut state = self.lock();
        state.put(oid, value, kept, &mut gone);
        drop(state);
        // What goes may be large: not under the lock.
        drop(gone);
    }

    /// Bytes that all lines hold, as was told of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Says what all values of a line hold from now on, in bytes, where nothing new is kept.
    pub fn holds(&self, line: u64, bytes: u64) {
        let mut gone = Gone::default();
        let mut state = self.lock();
        state.holds(line, bytes);
        state.shrink(line, &mut gone);
        drop(state);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Value = Arc<dyn Any + Send + Sync>;

/// What goes. Mostly that is one value.
#[derive(Default)]
struct Gone {
    one: Option<Value>,
    more: Vec<Value>,
}

impl Gone {
    fn add(&mut self, value: Option<Value>) {
        if self.one.is_none() {
            self.one = value;
        } else {
            self.more.extend(value);
        }
    }
}

impl State {
    fn put(&mut self, oid: Oid, value: Value, kept: Kept, gone: &mut Gone) {
        self.clock += 1;
        let line = self.lines.entry(kept.line).or_default();
        line.used = self.clock;
        if let Some((_, before)) = self.values.insert(oid, (kept.line, value)) {
            // The other line's note of it finds nothing, which is fine.
            gone.add(Some(before));
        }
        line.oids.push_back((kept.era, oid));
        while line
            .oids
            .front()
            .is_some_and(|(era, _)| era + 1 < kept.era || line.oids.len() > VALUES_MAX)
        {
            let stale = line.oids.pop_front();
            gone.add(stale.and_then(|(_, oid)| forget(&mut self.values, kept.line, oid)));
        }
        self.holds(kept.line, kept.bytes);
        self.shrink(kept.line, gone);
    }

    fn holds(&mut self, line: u64, bytes: u64) {
        if let Some(line) = self.lines.get_mut(&line) {
            self.bytes = self.bytes - line.bytes + bytes;
            line.bytes = bytes;
        }
    }

    /// Lets go of what is too much, but not of this line.
    fn shrink(&mut self, kept: u64, gone: &mut Gone) {
        while self.lines.len() > 1 && (self.bytes > BYTES_MAX || self.lines.len() > LINES_MAX) {
            let others = self.lines.iter().filter(|(line, _)| **line != kept);
            let Some(oldest) = others.min_by_key(|(_, line)| line.used).map(|(id, _)| *id) else {
                break;
            };
            let Some(line) = self.lines.remove(&oldest) else {
                break;
            };
            self.bytes -= line.bytes;
            for (_, oid) in line.oids {
                gone.add(forget(&mut self.values, oldest, oid));
            }
        }
    }
}

/// Takes a value out, if it is still of this line.
fn forget(values: &mut Values, line: u64, oid: Oid) -> Option<Value> {
    if values.get(&oid).is_none_or(|(of, _)| *of != line) {
        return None;
    }
    values.remove(&oid).map(|(_, value)| value)
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let (values, lines) = (state.values.len(), state.lines.len());
        write!(
            f,
            "Memo({values} values in {lines} lines, {} bytes)",
            state.bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Position, Stream};

    fn oid(position: u64) -> Oid {
        Oid::new(Stream(0), Position(position)).unwrap()
    }

    fn has(memo: &Memo, position: u64) -> bool {
        let found = memo.get::<u64>(oid(position));
        assert!(found.as_deref().is_none_or(|value| *value == position));
        found.is_some()
    }

    fn put(memo: &Memo, position: u64, line: u64, era: u64, bytes: u64) {
        memo.put(oid(position), Arc::new(position), Kept { line, era, bytes });
    }

    #[test]
    fn what_is_kept_is_found_under_its_type_only() {
        let memo = Memo::default();
        let line = memo.line();
        put(&memo, 7, line, 0, 100);
        assert!(has(&memo, 7) && !has(&memo, 8));
        assert!(memo.get::<String>(oid(7)).is_none());
    }

    #[test]
    fn of_a_line_the_newest_two_eras_stay() {
        let memo = Memo::default();
        let line = memo.line();
        for era in 0..5 {
            put(&memo, 1 + era, line, era, 100);
        }
        let found: Vec<_> = (1..=5).map(|at| has(&memo, at)).collect();
        assert_eq!(found, [false, false, false, true, true]);
    }

    #[test]
    fn a_line_keeps_so_many_values_and_no_more() {
        let memo = Memo::default();
        let line = memo.line();
        for at in 1..=VALUES_MAX as u64 + 10 {
            put(&memo, at, line, 0, 100);
        }
        assert!(!has(&memo, 10) && has(&memo, 11));
    }

    #[test]
    fn where_there_is_too_much_the_line_asked_for_longest_ago_goes() {
        let memo = Memo::default();
        let lines: Vec<_> = (0..4).map(|_| memo.line()).collect();
        for (nth, line) in lines[..3].iter().enumerate() {
            put(&memo, 1 + nth as u64, *line, 0, BYTES_MAX / 3);
        }
        assert!(has(&memo, 1));
        put(&memo, 4, lines[3], 0, BYTES_MAX / 3);
        let found: Vec<_> = (1..=4).map(|at| has(&memo, at)).collect();
        assert_eq!(found, [true, false, true, true]);
        put(&memo, 5, lines[3], 0, BYTES_MAX * 2);
        assert!(has(&memo, 4) && has(&memo, 5), "the newest line stays");
        assert!(!has(&memo, 1) && !has(&memo, 3));
        put(&memo, 6, lines[3], 0, 100);
        assert_eq!(memo.bytes(), 100);
        put(&memo, 7, lines[0], 0, 100);
        memo.holds(lines[0], BYTES_MAX);
        assert!(has(&memo, 7) && !has(&memo, 6), "what grew counts as well");
        memo.holds(lines[3], BYTES_MAX);
        assert_eq!(
            memo.bytes(),
            BYTES_MAX,
            "a line that is not there holds nothing"
        );
    }
}
