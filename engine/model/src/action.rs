//! What may happen next.

use std::fmt;

use crate::mark::Mark;

/// One event. Writers and children are named by their place in the state.
///
/// A request that is lost is one that never happens. An answer that is late is one on which the
/// writer acts late: it chooses, or counts a quorum, in an action of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process starts in this place, ending the one before, and takes an epoch.
    Take(usize),
    /// A writer fences a child, which answers.
    Fence(usize, usize),
    /// A writer chooses from the answers of the children in the mask, and makes the first batch
    /// of its epoch.
    Choose(usize, u8),
    /// A child takes the next batch of the writer's chain, unsynced.
    Send(usize, usize),
    /// A child syncs what it holds and says so.
    Commit(usize, usize),
    /// A child that has the chain up to the cut notes the epoch as adopted, and tells the writer.
    Adopt(usize, usize),
    /// The sync fails. The log is poisoned and its writer ends.
    FailSync(usize, usize),
    /// A writer counts a quorum: it adopts, or calls markers proven.
    Count(usize),
    /// A serving writer makes a batch, with or without a marker, and hands out its positions.
    Make(usize, bool),
    /// A serving writer, all of whose commits are proven, makes its last batch.
    Close(usize),
    /// A child loses power and comes back with its chain ending at the mark.
    Crash(usize, Mark),
    /// A child loses its medium.
    Wipe(usize),
    /// A child loses what it had made durable above the mark.
    Damage(usize, Mark),
    /// Somebody keeps an image of a child.
    Copy(usize),
    /// A child is rolled back to the image.
    Restore(usize),
    /// A child notes that it answers unknown from now on, and drops its chain.
    Rebuild(usize, usize),
    /// A child notes for the writer that the wiped child has a new medium.
    Note(usize, usize),
    /// The writer has brought the wiped child back.
    Rejoin(usize, usize),
}

impl Action {
    /// The sentence for a trace, with the children called by name.
    #[must_use]
    pub fn tell(&self, names: &[char]) -> String {
        let w = |writer: &usize| if *writer == 0 { 'x' } else { 'y' };
        let c = |child: &usize| names.get(*child).copied().unwrap_or('?');
        match self {
            Self::Take(writer) => format!("{} starts and takes an epoch", w(writer)),
            Self::Fence(writer, child) => format!("{} fences {}", w(writer), c(child)),
            Self::Choose(writer, mask) => {
                let asked: Vec<String> = (0..names.len())
                    .filter(|child| mask & (1 << child) != 0)
                    .map(|child| c(&child).to_string())
                    .collect();
                format!(
                    "{} chooses from the answers of {}",
                    w(writer),
                    asked.join(" and ")
                )
            }
            Self::Send(writer, child) => {
                format!("{} sends the next batch to {}", w(writer), c(child))
            }
            Self::Commit(writer, child) => format!("{} syncs and tells {}", c(child), w(writer)),
            Self::Adopt(writer, child) => format!("{} notes the epoch of {}", c(child), w(writer)),
            Self::FailSync(writer, child) => {
                format!("{} fails to sync for {}", c(child), w(writer))
            }
            Self::Count(writer) => format!("{} counts a quorum", w(writer)),
            Self::Make(writer, true) => format!("{} makes a batch with a marker", w(writer)),
            Self::Make(writer, false) => format!("{} makes a batch without a marker", w(writer)),
            Self::Close(writer) => format!("{} closes", w(writer)),
            Self::Copy(child) => format!("an image of {} is kept", c(child)),
            Self::Restore(child) => format!("{} is rolled back to the image", c(child)),
            Self::Rebuild(writer, child) => {
                format!("{} drops its chain to follow {}", c(child), w(writer))
            }
            Self::Crash(child, end) => format!("{} crashes, keeping up to {end}", c(child)),
            Self::Wipe(child) => format!("{} is wiped", c(child)),
            Self::Damage(child, end) => format!("{} is damaged above {end}", c(child)),
            Self::Note(writer, child) => {
                format!("{} notes the new medium for {}", c(child), w(writer))
            }
            Self::Rejoin(writer, child) => format!("{} brings {} back", w(writer), c(child)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tell(&['A', 'B', 'C']))
    }
}
