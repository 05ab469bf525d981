//! Giving space back: each part that a decision speaks of gets its share of it.
//!
//! A part keeps its place in the catalogue and its footer whatever is freed of it, and tells by itself
//! what is absent. One that is missing is left as it is: it can be asked again when it is back.

use travertine_engine::contract::{Error, ErrorKind, Freed, Position, Reclaim, Result};

use super::shared::Shared;
use super::table::Part;

impl Shared {
    pub(super) fn reclaim(&self, decision: &Reclaim) -> Result<Freed> {
        decision.check()?;
        if decision.left.is_some() {
            return Err(Error::unsupported(
                "`sequence` does not take over what another store has left of a run, as below `cluster`: \
                 children that are a `file` each do, which cut their logs into segments by themselves; \
                 `travertine migrate` copies a stack into such a one",
            ));
        }
        if self.setup.read_only {
            return Err(Error::closed("the sequence is open for reading only"));
        }
        if decision.stream != self.setup.stream {
            return Err(Error::invalid(format!(
                "stream {} does not lie here",
                decision.stream
            )));
        }
        let mut freed = Freed::nothing(decision.to);
        let (mut trouble, mut damage) = (None, None);
        let parts = self.table.all();
        for (index, part) in parts.iter().enumerate() {
            let next = parts
                .get(index + 1)
                .map_or(Position::LIMIT, |next| next.start);
            let (from, to) = (decision.from.max(part.start), decision.to.min(next));
            if from >= to {
                continue;
            }
            // Asked for each part anew: somebody may have taken over since.
            self.lock().admit(decision.sender)?;
            match self.reclaim_part(part, decision.within(from, to)) {
                Ok(of) => {
                    freed.bytes += of.bytes;
                    freed.kept += of.kept;
                    match to == next {
                        // What it left at its end no run that goes on would give back.
                        true => freed.kept += to.bytes_since(of.to.min(to)),
                        false => freed.to = of.to.clamp(from, to),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    damage.get_or_insert(error);
                }
                Err(error) if self.is_elsewhere(error.kind()) => {
                    tracing::warn!(%error, part.number, "a part of the sequence gives nothing back");
                    freed.kept += to.bytes_since(from);
                    trouble = trouble.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        match damage.or(trouble) {
            Some(error) if error.kind() == ErrorKind::Corrupt => Err(error),
            Some(error) if freed.bytes == 0 && error.kind() == ErrorKind::Unavailable => Err(error),
            // That it is not the sequence itself that was closed.
            _ => self.lock().admit(decision.sender).map(|()| freed),
        }
    }

    fn reclaim_part(&self, part: &Part, share: Reclaim) -> Result<Freed> {
        let persists = self.setup.parts.persists();
        let open = part.is_live() || !persists;
        let store = match part.store().filter(|_| open) {
            Some(store) => store,
            // The handle that wrote it was closed when it was sealed: it goes on from a new one.
            None => self.open_ended(part)?,
        };
        match store.reclaim(share.clone()).wait() {
            // It was sealed just now.
            Err(error) if error.kind() == ErrorKind::Closed && persists && !part.is_live() => {
                self.open_ended(part)?.reclaim(share).wait()
            }
            answer => answer,
        }
    }

    /// Whether a part may be asked again later, or has to stay as it is: it is missing, or just being
    /// sealed, or can only be read for want of its footer; or it ended under an older epoch, in memory,
    /// and nobody can open it anew.
    fn is_elsewhere(&self, kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::Unavailable | ErrorKind::Closed => true,
            ErrorKind::Invalid | ErrorKind::Fenced => !self.setup.parts.persists(),
            _ => false,
        }
    }
}
