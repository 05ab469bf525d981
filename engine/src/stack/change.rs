//! Whether a store may be opened again through another stack: each difference, judged one by one.
//!
//! ```text
//!   old      cache   sequence ──┬── file a        new    monitor  sequence ──┬── file a
//!                               └── file b                                   ├── file b
//!                                                                            └── file c
//!   `cache` was taken away     safe: it leaves no trace in the bytes
//!   `monitor` was added        safe: it leaves no trace in the bytes
//!   one stack more             safe: `sequence` goes on in it when the others are full
//! ```
//!
//! It promises that what is found safe opens and has every record, and that what is refused would not,
//! or would begin another store beside the old one. It judges two stacks as data and touches nothing:
//! whether the bytes on the media are those of the old stack is for the bottoms to say, which keep a
//! [`Fingerprint`](super::Fingerprint).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::fingerprint::canonical;
use super::guarantee::Property;
use super::options::{OptionType, Setting};
use super::plan::{Floor, Plan};
use super::plugin::Growth;
use super::secret::Secret;
use super::value::{Span, Value};

/// One difference between two stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What differs, in a sentence.
    pub what: String,
    /// Whether a store of the old stack may be opened through the new one all the same.
    pub verdict: Verdict,
    /// Where the new stack says so, if it says anything.
    pub span: Option<Span>,
}

/// What a difference means for the bytes that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: they are read as before. Why.
    Safe(String),
    /// They would not be found, or not be what they were. Why, and what to do.
    Refused {
        /// Why, in half a sentence.
        why: String,
        /// What to do instead.
        instead: String,
    },
}

impl Change {
    /// Whether it is safe.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.verdict, Verdict::Safe(_))
    }
}

/// `what: safe, why`, or `what: refused, why (instead)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Safe(why) => write!(f, "{}: safe, {why}", self.what),
            Verdict::Refused { why, instead } => {
                write!(f, "{}: refused, {why} ({instead})", self.what)
            }
        }
    }
}

const NO_TRACE: &str = "it leaves no trace in the bytes";
const MIGRATE: &str = "open it with the old stack, or copy it into a new one with `migrate`";

impl Plan {
    /// What differs from the stack that a store was opened through before, and whether the store may
    /// be opened through this one. Nothing differs: nothing is told.
    #[must_use]
    pub fn changes_from(&self, old: &Self) -> Vec<Change> {
        let mut judge = Judge {
            old,
            new: self,
            changes: Vec::new(),
        };
        judge.whole();
        judge.changes
    }

    fn persists(&self) -> bool {
        self.top().gives().properties.has(Property::Persists)
    }
}

struct Judge<'a> {
    old: &'a Plan,
    new: &'a Plan,
    changes: Vec<Change>,
}

impl Judge<'_> {
    fn safe(&mut self, what: String, why: &str, span: Option<Span>) {
        let verdict = Verdict::Safe(why.to_owned());
        self.changes.push(Change {
            what,
            verdict,
            span,
        });
    }

    fn refuse(&mut self, what: String, why: String, instead: &str, span: Option<Span>) {
        let instead = instead.to_owned();
        self.changes.push(Change {
            what,
            verdict: Verdict::Refused { why, instead },
            span,
        });
    }

    fn whole(&mut self) {
        let (old, new) = (self.old, self.new);
        if !old.persists() {
            return self.nothing_kept();
        }
        if !new.persists() {
            let why = "what was committed would be gone with the process".to_owned();
            let what = "the new stack keeps nothing when it is closed".to_owned();
            self.refuse(what, why, MIGRATE, None);
        }
        let (before, now) = (old.level(), new.level());
        if before != now {
            let what = format!("commits reach {now}, not {before}, unless they ask");
            self.safe(
                what,
                "commits made before keep the level they reached",
                None,
            );
        }
        self.floors(old.top(), new.top());
    }

    /// A stack that kept nothing leaves nothing to be lost, but it may have left something behind.
    fn nothing_kept(&mut self) {
        let was: Vec<PathBuf> = self
            .old
            .bottoms()
            .into_iter()
            .filter_map(|(_, place, _)| place)
            .collect();
        let now = self.new.bottoms();
        let again = now
            .iter()
            .find(|(_, place, _)| place.as_ref().is_some_and(|place| was.contains(place)));
        match again {
            Some((floor, Some(place), _)) => {
                let what = format!("{} lies in {}", title(floor), place.display());
                let why = "what lies there is left over from a stack that began anew each time";
                self.refuse(
                    what,
                    why.to_owned(),
                    "clear the directory",
                    Some(floor.span()),
                );
            }
            _ if self.old.fingerprint() != self.new.fingerprint() => {
                let what = "the old stack kept nothing when it was closed".to_owned();
                self.safe(what, "there is nothing to be found again", None);
            }
            _ => {}
        }
    }

    fn floors(&mut self, old: &Floor, new: &Floor) {
        let (passed, old) = to_structure(old);
        let (passing, new) = to_structure(new);
        self.traceless(&passed, &passing);
        if old.kind().name != new.kind().name {
            let what = format!("{} stands where {} stood", title(new), title(old));
            let why = "each lays out its bytes in its own way".to_owned();
            return self.refuse(what, why, MIGRATE, Some(new.span()));
        }
        self.settings(old, new);
        self.below(old, new);
    }

    /// Floors that leave no trace: those of the same kind that stand in the same order are the same.
    fn traceless(&mut self, old: &[&Floor], new: &[&Floor]) {
        let mut rest = new;
        for was in old {
            let same = |now: &&Floor| now.kind().name == was.kind().name;
            match rest.iter().position(same) {
                Some(at) => {
                    self.added(&rest[..at]);
                    self.settings(was, rest[at]);
                    rest = &rest[at + 1..];
                }
                None => self.gone(was),
            }
        }
        self.added(rest);
    }

    fn gone(&mut self, floor: &Floor) {
        let what = format!("{} was taken away", title(floor));
        match floor.kind().stays {
            None => self.safe(what, NO_TRACE, None),
            Some(why) => self.refuse(what, why.to_owned(), MIGRATE, None),
        }
    }

    fn added(&mut self, floors: &[&Floor]) {
        for floor in floors {
            let what = format!("{} was added", title(floor));
            let why = match floor.kind().stays {
                None => NO_TRACE,
                Some(_) => "what was stored before is read as it is",
            };
            self.safe(what, why, Some(floor.span()));
        }
    }

    fn settings(&mut self, old: &Floor, new: &Floor) {
        let bottom = new.below().is_empty();
        for was in old.settings() {
            let Some(now) = new.settings().iter().find(|now| now.name == was.name) else {
                continue;
            };
            if self.same(was, now) {
                continue;
            }
            let shown = |value: &Option<Value>| {
                value
                    .as_ref()
                    .map_or("nothing".to_owned(), ToString::to_string)
            };
            let what = format!(
                "`{}` of {} is {}, and was {}",
                now.name,
                title(new),
                shown(&now.value),
                shown(&was.value)
            );
            let place = now.row.kind == OptionType::Place;
            if Secret::ROWS.contains(now.row) {
                let why = "whether it holds the keys that are needed is not told by a stack file";
                let instead =
                    "put the new key first where the old ones are, and keep those behind it";
                self.refuse(what, why.to_owned(), instead, now.written);
            } else if place && bottom {
                let why = "the bytes lie in the other place".to_owned();
                let instead = "move the directory as a whole, or name the place where it lies";
                self.refuse(what, why, instead, now.written);
            } else if now.row.structural || place && new.kind().structural {
                let why = "the bytes that are there depend on it".to_owned();
                self.refuse(what, why, MIGRATE, now.written);
            } else if place {
                self.safe(what, "what lies there can be made again", now.written);
            } else {
                let why = "it says how things are done from now on";
                self.safe(what, why, now.written);
            }
        }
    }

    fn same(&self, was: &Setting, now: &Setting) -> bool {
        let (Some(before), Some(after)) = (&was.value, &now.value) else {
            return was.value.is_none() && now.value.is_none();
        };
        if now.row.kind == OptionType::Place
            && let (Some(before), Some(after)) = (before.as_text(), after.as_text())
        {
            return self.old.resolve(before) == self.new.resolve(after);
        }
        canonical(before) == canonical(after)
    }

    /// The lists of stacks below two floors of one kind.
    fn below(&mut self, old: &Floor, new: &Floor) {
        let (was, now) = (old.below(), new.below());
        let name = title(new);
        let span = Some(new.span());
        if (was.len() > 1) != (now.len() > 1) {
            let what = format!(
                "{name} stands over {}, and stood over {}",
                now.len(),
                was.len()
            );
            let why = "over one stack and over several its bytes lie differently".to_owned();
            return self.refuse(what, why, MIGRATE, span);
        }
        let before: Vec<_> = was.iter().map(|was| self.old.places_of(was)).collect();
        let after: Vec<_> = now.iter().map(|now| self.new.places_of(now)).collect();
        if matches!(new.kind().growth, Growth::Anywhere | Growth::AnyOrder) {
            return self.in_any_order((was, &before), (now, &after), new);
        }
        let sorted = |list: &[Vec<PathBuf>]| {
            let mut list = list.to_vec();
            list.sort();
            list
        };
        if before != after && sorted(&before) == sorted(&after) {
            let what = format!("the stacks under {name} stand in another order");
            let why = "which is which depends on the order".to_owned();
            return self.refuse(what, why, "list them as they were", span);
        }
        for (was, now) in was.iter().zip(now) {
            self.floors(was, now);
        }
        for more in now.iter().skip(was.len()) {
            self.one_more(new, more);
        }
        for less in was.iter().skip(now.len()) {
            self.one_less(new, less);
        }
    }

    /// Lists in which a stack is known by where it lies: by any of its places, for it may have grown.
    fn in_any_order(
        &mut self,
        (was, before): (&[Arc<Floor>], &[Vec<PathBuf>]),
        (now, after): (&[Arc<Floor>], &[Vec<PathBuf>]),
        new: &Floor,
    ) {
        let same = |one: &[PathBuf], other: &[PathBuf]| one.iter().any(|it| other.contains(it));
        let find = |of: &[PathBuf], list: &[Vec<PathBuf>]| list.iter().position(|it| same(of, it));
        let now_at: Vec<_> = before.iter().map(|place| find(place, after)).collect();
        if !now_at.iter().flatten().is_sorted() {
            let what = format!("the stacks under {} stand in another order", title(new));
            let why = "each is known by what it holds";
            self.safe(what, why, Some(new.span()));
        }
        for (was, at) in was.iter().zip(now_at) {
            match at {
                Some(at) => self.floors(was, &now[at]),
                None => self.one_less(new, was),
            }
        }
        for (now, place) in now.iter().zip(after) {
            if find(place, before).is_none() {
                self.one_more(new, now);
            }
        }
    }

    fn one_more(&mut self, floor: &Floor, more: &Floor) {
        let what = format!("{} has one stack more, {}", title(floor), title(more));
        match floor.kind().growth {
            Growth::AtEnd | Growth::Anywhere => {
                let why = "what is there stays where it is, and what comes may go there";
                self.safe(what, why, Some(more.span()));
            }
            Growth::Fixed | Growth::AnyOrder => {
                let why = "where the bytes lie depends on how many there are".to_owned();
                self.refuse(what, why, MIGRATE, Some(more.span()));
            }
        }
    }

    fn one_less(&mut self, floor: &Floor, less: &Floor) {
        let what = format!(
            "{} has one stack less: {} is gone",
            title(floor),
            title(less)
        );
        let why = "bytes of the store lie there".to_owned();
        self.refuse(what, why, "list it again", Some(floor.span()));
    }
}

impl Plan {
    /// Every directory that a floor and those below it own.
    fn places_of(&self, floor: &Floor) -> Vec<PathBuf> {
        let owned = floor.walk().filter_map(|(_, floor)| self.place_of(floor));
        owned.collect()
    }
}

/// The floors that leave no trace, and the first that does.
fn to_structure(mut floor: &Floor) -> (Vec<&Floor>, &Floor) {
    let mut passed = Vec::new();
    while !floor.kind().structural
        && let [below] = floor.below()
    {
        passed.push(floor);
        floor = below;
    }
    (passed, floor)
}

/// A floor in a sentence: `` `cache` ``, or with its name.
fn title(floor: &Floor) -> String {
    let kind = floor.kind().name;
    match floor.name() {
        Some(name) => format!("`{kind}` {name:?}"),
        None => format!("`{kind}`"),
    }
}
