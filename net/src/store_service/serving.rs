//! What is served: the floors as they are open now, and who writes them.
//!
//! ```text
//!   fence by another client ──> refused by the floors: nothing changes
//!                          └──> fenced: from here on the client before is answered with `Fenced`
//! ```
//!
//! Where there is no store yet, nothing is open until a client wants one: a store that is to be one of
//! several must get their identity, which only the client knows.
//!
//! The floors are opened anew where a writer at home would open them: when they take no more writes, and
//! when a client comes again in an epoch that is in force. What was left behind is recovered then.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use travertine_engine::contract::{
    Commit, Epoch, Error, ErrorKind, Result, Store, Stream, StreamState,
};
use travertine_engine::stack::Property;

use super::notes::Notes;
use super::offer::{Offer, Wanted};
use super::seat::{Seat, Sitting};
use crate::hop::{Host, serving};

/// One opening by one client, as it names itself.
pub(super) type Client = [u8; 16];

pub(super) struct Serving {
    pub(super) offer: Offer,
    host: Arc<Host>,
    /// None: there is no store yet.
    store: RwLock<Option<Arc<dyn Store>>>,
    /// What clients note beside it.
    notes: Option<Notes>,
    /// The stream that it holds.
    stream: Mutex<Stream>,
    /// The stack that wrote it, if that is known.
    wrote: Mutex<Option<String>>,
    /// Who may come to write.
    pub(super) seat: Seat,
    /// The client that fenced last, and its epoch. None: nobody yet.
    writer: RwLock<Option<(Client, Epoch)>>,
    /// Takeovers come one after the other. Nothing else takes this lock.
    takeover: Mutex<()>,
}

impl Serving {
    pub(super) fn open(offer: Offer, host: &Arc<Host>) -> Result<Self> {
        let bare = offer.is_bare()?;
        let notes = offer.gives.properties.has(Property::Notes);
        let shelf = offer.shelves.first().filter(|_| notes);
        let notes = shelf.cloned().map(Notes::new);
        let stream = match &notes {
            Some(notes) if !bare => noted(notes)?,
            _ => Stream::default(),
        };
        let wrote = match &notes {
            Some(notes) if !bare => wrote(notes)?,
            _ => None,
        };
        let wanted = Wanted {
            stream,
            ..Wanted::default()
        };
        let store = (!bare).then(|| serving(host, || opened(&offer, wanted)));
        Ok(Self {
            notes,
            stream: Mutex::new(stream),
            wrote: Mutex::new(wrote),
            seat: Seat::default(),
            offer,
            host: host.clone(),
            store: RwLock::new(store.transpose()?),
            writer: RwLock::default(),
            takeover: Mutex::default(),
        })
    }

    /// The floors as they are open now, if there is a store.
    pub(super) fn there(&self) -> Option<Arc<dyn Store>> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    /// The floors as they are open now.
    ///
    /// Errors: `Invalid`, if there is no store.
    pub(super) fn store(&self) -> Result<Arc<dyn Store>> {
        self.there().ok_or_else(|| {
            Error::invalid(
                "nothing lies here: the place is new and no client has made a store, or it was emptied",
            )
        })
    }

    /// Makes a store, if there is none. Whoever comes meanwhile is not kept waiting: in a loop of servers
    /// it would be this one.
    pub(super) fn make(&self, wanted: Wanted) -> Result<()> {
        let alone = match self.takeover.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(lock)) => Some(lock.into_inner()),
            Ok(lock) => Some(lock),
        };
        let _alone = alone.ok_or_else(|| Error::unavailable("a store is being made here"))?;
        if self.there().is_some() {
            return Ok(());
        }
        let store = serving(&self.host, || opened(&self.offer, wanted))?;
        if wanted.stream != Stream::default() {
            // When it is opened again nobody says so before.
            let text = wanted.stream.0.to_le_bytes().to_vec();
            self.notes()?.replace(STREAM, None, text.into())?;
        }
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = wanted.stream;
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        Ok(())
    }

    /// What clients note beside the store.
    pub(super) fn notes(&self) -> Result<&Notes> {
        self.notes
            .as_ref()
            .ok_or_else(|| Error::unsupported("no notes are kept beside what is served here"))
    }

    fn writer(&self) -> Option<(Client, Epoch)> {
        *self.writer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this client that writes.
    pub(super) fn is_writer(&self, client: Client) -> bool {
        self.writer().is_some_and(|(writer, _)| writer == client)
    }

    /// The floors, for a client that writes.
    ///
    /// Errors: `Fenced`, if another client has taken over.
    pub(super) fn writable(
        &self,
        client: Client,
        sitting: Option<&Arc<Sitting>>,
    ) -> Result<Arc<dyn Store>> {
        // Also once that one has done, while the floors are closed and opened again.
        let fenced = sitting.is_some_and(|sitting| sitting.is_fenced());
        match self.writer() {
            Some((writer, _)) if writer == client => self.store(),
            None if !fenced => self.store(),
            _ => Err(Error::fenced(
                "another client took over the stack that is served here",
            )),
        }
    }

    /// Who writes, in words.
    pub(super) fn written_by(&self) -> String {
        match self.writer() {
            Some((_, epoch)) => format!("another client, in epoch {epoch}"),
            None => "another client".to_owned(),
        }
    }

    /// Whether what lies here is of a client's stack, as far as either is known.
    ///
    /// Errors: `Invalid`, if another stack wrote it.
    pub(super) fn is_of(&self, stack: Option<&str>) -> Result<()> {
        let wrote = self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        match (stack, wrote.as_deref()) {
            (Some(stack), Some(wrote)) if stack != wrote => Err(Error::invalid(format!(
                "what is served here was written by the stack {wrote}, and the client's is {stack}"
            ))),
            _ => Ok(()),
        }
    }

    /// Notes the stack of the client that writes, if none is noted yet.
    fn sign(&self, stack: &str) -> Result<()> {
        let known = || self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = self.notes.as_ref().filter(|_| known().is_none()) else {
            return Ok(());
        };
        let noted = notes.replace(WROTE, None, stack.to_owned().into());
        match noted {
            // Another server before the same floors was first.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let wrote = wrote(notes)?;
                *known() = wrote;
                self.is_of(Some(stack))
            }
            noted => {
                noted?;
                *known() = Some(stack.to_owned());
                Ok(())
            }
        }
    }

    /// A fence by a client. Blocks.
    pub(super) fn fence(
        &self,
        client: Client,
        sitting: Option<&Arc<Sitting>>,
        epoch: Epoch,
    ) -> Result<Vec<StreamState>> {
        if epoch.number == 0 || self.is_writer(client) {
            return self.store()?.fence(epoch).wait();
        }
        let _alone = self.takeover.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = sitting.and_then(|sitting| sitting.stack.as_deref());
        self.is_of(stack)?;
        // What refuses now may take writes again, and a fence in vain changes nothing: so the fence first.
        let report = match self.store()?.fence(epoch).wait() {
            // A log that was closed does not know better.
            Err(error) if error.kind() == ErrorKind::Closed => {
                self.open_again()?;
                self.store()?.fence(epoch).wait()?
            }
            report => report?,
        };
        let before = {
            let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
            writer.replace((client, epoch))
        };
        self.seat.take(sitting);
        stack.map_or(Ok(()), |stack| self.sign(stack))?;
        let same = before.is_some_and(|(_, before)| before == epoch);
        if same || self.store()?.status().refusing.is_some() {
            self.open_again()?;
            return self.store()?.fence(epoch).wait();
        }
        Ok(report)
    }

    /// A client has done. If it wrote, the floors are closed, so that they end as cleanly as it left
    /// them; and opened again, for whoever reads and for the next who writes.
    pub(super) fn leave(&self, client: Client, sitting: Option<&Arc<Sitting>>) -> Result<()> {
        // Once the floors are open again: the next one finds them so.
        let _leaves = sitting.map(|sitting| Leaves(sitting));
        let _alone = self.takeover.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        if place.is_none_or(|(writer, _)| writer != client) {
            return Ok(());
        }
        *place = None;
        drop(place);
        self.open_again()
    }

    fn open_again(&self) -> Result<()> {
        // What does not close well is let go all the same: it was poisoned, or it is gone.
        if let Err(error) = self.store()?.close().wait() {
            tracing::warn!(%error, "what was served before a takeover did not close well");
        }
        let wanted = Wanted {
            stream: *self.stream.lock().unwrap_or_else(PoisonError::into_inner),
            ..Wanted::default()
        };
        let store = serving(&self.host, || opened(&self.offer, wanted))?;
        let old = {
            let mut place = self.store.write().unwrap_or_else(PoisonError::into_inner);
            place.replace(store)
        };
        drop(old);
        Ok(())
    }
}

/// Leaves the seat in the end.
struct Leaves<'a>(&'a Sitting);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The note that says which stack wrote the store.
const WROTE: &str = "written-by";

/// The stack that wrote a store, if it is noted.
fn wrote(notes: &Notes) -> Result<Option<String>> {
    let Some(text) = notes.read(WROTE)? else {
        return Ok(None);
    };
    let text = String::from_utf8(text.to_vec());
    let text = text.map_err(|_| Error::corrupt(format!("the note `{WROTE}` is damaged")))?;
    Ok(Some(text))
}

/// The note that says which stream the store holds, if it is not the one of the roots.
const STREAM: &str = "served-stream";

/// The stream that a store holds.
fn noted(notes: &Notes) -> Result<Stream> {
    let Some(text) = notes.read(STREAM)? else {
        return Ok(Stream::default());
    };
    let number = <[u8; 2]>::try_from(&text[..]);
    let number = number.map_err(|_| Error::corrupt(format!("the note `{STREAM}` is damaged")))?;
    Ok(Stream(u16::from_le_bytes(number)))
}

/// Opens what is offered, and makes what was found there safe: a writer that was killed with the server
/// before this one was told that it is durable, and whoever reads goes by that.
///
/// Errors: `Unsupported`, if bodies go through codecs there.
fn opened(offer: &Offer, wanted: Wanted) -> Result<Arc<dyn Store>> {
    let store = (offer.open)(wanted)?;
    let status = store.status();
    if status.codecs.is_empty() {
        if offer.waits
            && let Err(error) = store.commit(Commit::keep(status.level)).wait()
        {
            // The next writer recovers it, or is told why not.
            tracing::warn!(%error, "what was found is not known to be durable");
        }
        return Ok(store);
    }
    Err(Error::unsupported(
        "a stack that packs or seals bodies is not served as a store: the engine does that, so put \
         those layers on top of the client's stack, over `remote`",
    ))
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serving({:?})", self.offer)
    }
}
