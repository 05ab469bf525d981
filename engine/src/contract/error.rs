//! One error for the whole workspace. The kind tells a program the remedy, the message tells a
//! person the facts, and the trail tells both where it rose through.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What to do about an [`Error`]. A new kind exists only if somebody would act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Somebody else was first: read again and try again.
    Conflict,
    /// Nobody can answer now: try later or elsewhere. The answer is *unknown*, not *no*.
    Unavailable,
    /// Bytes are damaged: repair them or read a replica.
    Corrupt,
    /// The call or the config is wrong: mend it.
    Invalid,
    /// Another writer took over: this one must not go on.
    Fenced,
    /// The handle no longer writes (closed, or poisoned by a failed write): reopen. Reads still work.
    Closed,
    /// No space: free some, then go on; nothing was lost and nothing needs reopening.
    Full,
    /// This floor cannot do that; the message names it.
    Unsupported,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt",
            Self::Invalid => "invalid",
            Self::Fenced => "fenced",
            Self::Closed => "closed",
            Self::Full => "full",
            Self::Unsupported => "unsupported",
        })
    }
}

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    trail: Vec<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

/// A cheap-to-clone error: several waiters of one failed flush get the same one.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// `std::result::Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind with these facts.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Arc::new(Inner {
            kind,
            message,
            trail: Vec::new(),
            source: None,
            retry_after: None,
        }))
    }

    /// The remedy.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The facts, without kind and trail.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The places the error rose through, innermost first.
    #[must_use]
    pub fn trail(&self) -> &[String] {
        &self.0.trail
    }

    /// Adds the place that the error rises through.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).trail.push(place.into());
        self
    }

    /// Attaches the foreign error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// How long the caller may wait before it tries again. There only where the call was refused
    /// before it did anything, so that trying again is all there is to it.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Says that nothing was done, and when to try again.
    #[must_use]
    pub fn with_retry(mut self, after: Duration) -> Self {
        Arc::make_mut(&mut self.0).retry_after = Some(after);
        self
    }

    /// Translates an I/O error met while doing `what`: out of space is [`ErrorKind::Full`], all else
    /// [`ErrorKind::Unavailable`] (the medium may come back; nothing is known to be damaged).
    #[must_use]
    pub fn io(what: impl fmt::Display, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, format!("{what}: {source}")).caused_by(source)
    }
}

macro_rules! constructors {
    ($($name:ident $kind:ident),*) => {
        impl Error {
            $(
                #[doc = concat!("An [`ErrorKind::", stringify!($kind), "`] with these facts.")]
                #[must_use]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}
constructors!(
    conflict Conflict, unavailable Unavailable, corrupt Corrupt, invalid Invalid,
    fenced Fenced, closed Closed, full Full, unsupported Unsupported
);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        if let Some(after) = self.0.retry_after {
            write!(f, "; try again in {after:?}")?;
        }
        for place in &self.0.trail {
            write!(f, " (in {place})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_kind_facts_and_places_in_order() {
        let error = Error::corrupt("checksum differs")
            .at("segment 3")
            .at("file data/a");
        assert_eq!(
            error.to_string(),
            "corrupt: checksum differs (in segment 3) (in file data/a)"
        );
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_refusal_says_when_to_try_again_and_keeps_that_on_its_way_up() {
        let error = Error::unavailable("the device is slow")
            .with_retry(Duration::from_millis(50))
            .at("monitor");
        assert_eq!(error.retry_after(), Some(Duration::from_millis(50)));
        assert_eq!(
            error.to_string(),
            "unavailable: the device is slow; try again in 50ms (in monitor)"
        );
        assert_eq!(Error::full("x").retry_after(), None);
    }

    #[test]
    fn no_space_is_full_and_other_io_is_unavailable() {
        let full = Error::io("write", std::io::Error::from_raw_os_error(28));
        let other = Error::io("write", std::io::Error::from_raw_os_error(5));
        assert_eq!(
            (full.kind(), other.kind()),
            (ErrorKind::Full, ErrorKind::Unavailable)
        );
    }
}
