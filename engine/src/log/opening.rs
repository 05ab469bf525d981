//! Opening a log: who it is, what lies there, and nothing changed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::format::{Identity, Writer, segment_base};
use super::mapped::Maps;
use super::options::LogOptions;
use super::segment::{Files, Segment};
use super::writer::Writing;
use super::{IDENTITY, LOCK, Log, Shared, WRITER, recovery};
use crate::contract::{Env, Error, ErrorKind, Extent, Position, Result};
use crate::medium::{Medium, MediumFile, read_small, read_whole, replace_small};

impl Log {
    pub(super) fn open_inner(
        kind: &'static str,
        medium: Arc<dyn Medium>,
        env: &Env,
        mut options: LogOptions,
    ) -> Result<Self> {
        options.check()?;
        options.read_only |= options.extent.is_sealed();
        let began = env.clock.monotonic_ns();
        // Where there is a log, nothing needs to be listed before the lock is ours: it says who it is once
        // and for all.
        let identity = medium.open(IDENTITY, false).ok();
        let names = match identity {
            Some(_) => Vec::new(),
            None => medium.list()?,
        };
        if identity.is_none() && !names.iter().any(|name| name == IDENTITY) {
            refuse_foreign(&names)?;
            if matches!(
                options.extent,
                Extent::Part { make: false, .. } | Extent::Sealed { .. }
            ) {
                return Err(Error::unavailable(
                    "there is no log here, and this part of the stream had begun",
                ));
            }
            if options.read_only {
                return Err(Error::invalid("there is no log here to read"));
            }
        }
        if !options.read_only {
            medium.lock()?;
        }
        let locked = !options.read_only;
        let opened = Self::open_locked(kind, medium.clone(), env, options, identity);
        match &opened {
            Err(_) if locked => medium.unlock(),
            Err(_) => {}
            Ok(log) => {
                let found = log.0.found.lock().unwrap_or_else(PoisonError::into_inner);
                tracing::info!(
                    place = medium.place(),
                    end = found.end.position.0,
                    durable = found.durable.0,
                    clean = found.clean,
                    scanned = found.scanned,
                    took_us = (env.clock.monotonic_ns() - began) / 1000,
                    "log opened"
                );
            }
        }
        opened
    }

    pub(super) fn open_locked(
        kind: &'static str,
        medium: Arc<dyn Medium>,
        env: &Env,
        options: LogOptions,
        identity: Option<Arc<dyn MediumFile>>,
    ) -> Result<Self> {
        let at = |error: Error| error.at(IDENTITY);
        let said = match identity {
            Some(file) => Some(read_whole(&*file).map_err(at)?),
            // Before the lock was ours somebody else may have made the log, written it and gone.
            None if medium.list()?.iter().any(|name| name == IDENTITY) => {
                Some(read_small(&*medium, IDENTITY)?)
            }
            None => None,
        };
        let exists = said.is_some();
        let identity = if let Some(said) = said {
            let identity = Identity::decode(&said)?;
            if identity.stream != options.stream {
                return Err(Error::invalid(format!(
                    "this log holds stream {}, the stack wants {} here",
                    identity.stream, options.stream
                )));
            }
            if options.store.is_some_and(|store| store != identity.store) {
                return Err(Error::invalid("this log belongs to another store"));
            }
            identity
        } else {
            let store = options.store.unwrap_or_else(|| env.identity());
            let identity = Identity {
                store,
                medium: env.identity(),
                stream: options.stream,
            };
            replace_small(&*medium, IDENTITY, &identity.encode())?;
            identity
        };
        let writer = match read_writer(&*medium)? {
            Some(writer) => writer,
            None => {
                if exists && !options.read_only {
                    // Who made the log may have died before its name was durable, and nothing else
                    // may be durable before it.
                    medium.sync_dir()?;
                }
                Writer::default()
            }
        };
        let files = Arc::new(Files {
            medium: medium.clone(),
            identity,
            handles: options.handles.clone(),
        });
        let found = recover_settled(&files, &writer, &options)?;
        let mut writing = Writing::new(found.end, found.durable, found.ceiling, writer.epoch);
        writing.newest = found.newest;
        writing.proven = found.proven;
        let segments = found.segments.clone();
        let tail = AtomicU64::new(found.end.position.0);
        let durable = AtomicU64::new(found.durable.min(found.end.position).0);
        let held = !options.read_only;
        let vouched = found.clean && !options.read_only || options.extent.is_sealed();
        Ok(Self(Arc::new(Shared {
            medium,
            env: env.clone(),
            options,
            identity,
            files,
            kind,
            writing: Mutex::new(writing),
            behind: Arc::default(),
            held: AtomicBool::new(held),
            writer_file: Mutex::new(writer),
            found: Mutex::new(found),
            segments: RwLock::new(segments),
            maps: Maps::default(),
            tail,
            durable,
            vouched: AtomicBool::new(vouched),
            reclaiming: Mutex::default(),
            taking: Mutex::default(),
            reclaims: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        })))
    }
}

impl Shared {
    /// What a writer elsewhere has added since this reader looked last.
    pub(super) fn look_again(&self) -> Result<()> {
        let _turn = self.take_turn();
        if self.options.extent.is_sealed() {
            return Ok(());
        }
        let medium = &*self.medium;
        let writer = read_writer(medium)?.unwrap_or_default();
        let mut found = {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.clone()
        };
        let listed = self.files.segments()?;
        let run = |segment: &Arc<Segment>| (segment.base, segment.ends());
        let same = listed.iter().map(run).eq(found.segments.iter().map(run));
        // Where it cannot go on, the writer may have put another segment in the place of the last.
        let gone_on = same
            && found.damage.is_none()
            && recovery::go_on(&self.identity, &writer, &mut found).is_ok();
        if !gone_on {
            found = recover_settled(&self.files, &writer, &self.options)?;
            let mut segments = self
                .segments
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            segments.clone_from(&found.segments);
        }
        let durable = found.durable.min(found.end.position);
        self.tail.store(found.end.position.0, Ordering::Release);
        self.durable.store(durable.0, Ordering::Release);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }
}

/// What the newest writer left; `None`: nobody has written here yet.
fn read_writer(medium: &dyn Medium) -> Result<Option<Writer>> {
    let error = match read_small(medium, WRITER) {
        Ok(bytes) => return Writer::decode(&bytes).map(Some),
        Err(error) => error,
    };
    let names = medium.list()?;
    if names.iter().any(|name| name == WRITER) {
        return Err(error);
    }
    // It is durable before the first segment is made. Without it, what is missing at the end of the
    // log would pass for bytes that were never there.
    if names.iter().any(|name| segment_base(name).is_some()) {
        return Err(Error::corrupt(format!(
            "segments are here, and the file `{WRITER}` that says who wrote them is gone; restore it"
        )));
    }
    Ok(None)
}

/// A reader may look while somebody writes: a durable mark ahead of the chain is damage only if a
/// second look, which knows of a writer that took over meanwhile, does not get as far as the first one
/// heard of.
pub(super) fn recover_settled(
    files: &Arc<Files>,
    writer: &Writer,
    options: &LogOptions,
) -> Result<recovery::Found> {
    let recover = |writer: &Writer, known| {
        let mut found = recovery::recover(files, writer, &options.extent, known);
        for _ in 0..8 {
            match found {
                // A segment was reclaimed between the listing and the look.
                Err(error) if options.read_only && error.kind() == ErrorKind::Unavailable => {
                    found = recovery::recover(files, writer, &options.extent, known);
                }
                found => return found,
            }
        }
        found
    };
    let found = recover(writer, Position::LIMIT)?;
    if !options.read_only || found.damage.is_none() {
        return Ok(found);
    }
    let writer = read_writer(&*files.medium)?.unwrap_or_default();
    recover(&writer, found.durable)
}

fn refuse_foreign(names: &[String]) -> Result<()> {
    if names.iter().any(|name| segment_base(name).is_some()) {
        return Err(Error::corrupt(format!(
            "segments are here, and the file `{IDENTITY}` that says of which store they are is gone; \
             restore it"
        )));
    }
    let ours = |name: &str| name == LOCK || name == format!("{IDENTITY}.new");
    match names.iter().find(|name| !ours(name)) {
        None => Ok(()),
        Some(name) => Err(Error::invalid(format!(
            "this is not a log, and not empty either: it holds {name:?}; give the log a directory \
             of its own"
        ))),
    }
}
