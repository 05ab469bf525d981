//! Writing a map anew in the order of its keys, so that walks read records one after the other and
//! nodes are full again. The entries stay what they were; long values are not copied.

use travertine_engine::contract::Result;
use travertine_engine::front::{Change, Session};

use crate::index::{CursorExt, Index, Loader, View};
use crate::map::{Map, change};

impl<I: Index> Map<I> {
    /// Writes the map, as the session saw it, anew and returns the change to commit; `None`: there is
    /// no entry. Space comes back when nothing keeps the old records any more and somebody
    /// [reclaims](travertine_engine::front::Engine::reclaim).
    ///
    /// Blocks where a record must be fetched; takes the memory of a load, however long the map is.
    pub fn compact(&self, session: &Session) -> Result<Option<Change>> {
        let root = session.base().root(self.name());
        let reader = self.reader(session.base()).wait()?;
        if reader.count() == 0 {
            return Ok(None);
        }
        let mut loader = self.index().loader(session);
        let mut cursor = reader.view().cursor();
        while let Some(entry) = cursor.next()? {
            loader.push(entry.key, entry.value)?;
        }
        Ok(change(self.name().clone(), root, loader.finish()?))
    }
}
