//! `remote`: the stack goes on in another process.
//!
//! ```text
//!   verb ──> call ──> message of up to 128 calls ──> server
//!    │                                                 │
//!    └── place of the answer <── message of answers <──┘    in whatever order
//! ```
//!
//! It promises what the other side proved when it was opened, and proves again at each reconnect: a
//! server with less than is expected, or with another store, is refused. What was stored is kept until
//! it is durable there, and brought to a server that came back without it. A call waits through a
//! reconnect, up to its deadline; then its answer is unknown.
//!
//! Where there is no store yet, it has one made, of the identity and for the stream that this stack wants;
//! but never in the place of one that it knew. Notes of whoever stands on it lie at the server.
//!
//! It writes where nobody else does, if it is to yield; else whoever fences last is the writer. It tells
//! the server what stack it is of, and what another stack wrote is refused there.
//!
//! It refuses to be opened as numbered parts: one server serves one stack. It knows nothing of what
//! fails for good there: that is told by the errors of the other side, which arrive as they are.
//!
//! All `remote` floors of a stack share one thread, on which their connections live. A call costs that
//! thread no task; whoever blocks for an answer is woken by it directly.
//!
//! Its status counts the calls that were sent, and the round trips: messages that went while nothing else
//! waited for an answer.

mod config;
mod drive;
mod kept;
mod link;
mod shelf;
mod slot;
mod store;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use travertine_engine::contract::{Env, Error, Level, Promise, Result, Status, Store, Stream};
use travertine_engine::stack::{
    Below, Declared, Fault, Fingerprint, OpenContext, Plugin, PluginKind, Properties, Property,
    Shelf,
};

pub use config::Remote;
pub use store::RemoteStore;

use crate::connect::{Channel, Endpoint};
use crate::hop;
use crate::proto::Welcome;
use link::Link;

/// What a `remote` floor goes by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server is, for people.
    pub address: String,
    /// The level that commits must be able to reach there.
    pub level: Level,
    /// What it must guarantee.
    pub properties: Properties,
    /// A call without an answer by then is unknown.
    pub deadline: Duration,
    /// An attempt to connect ends by then.
    pub connect: Duration,
    /// The longest pause before the next attempt.
    pub retry: Duration,
    /// Most calls that are sent and not answered.
    pub calls: usize,
    /// Most bytes of them.
    pub bytes: usize,
    /// Most bytes that are kept because they are not durable there.
    pub keep: u64,
    /// How old what is known of the other side may be.
    pub refresh: Duration,
    /// Nothing will be written.
    pub read_only: bool,
    /// The store that is expected.
    pub identity: Option<[u8; 16]>,
    /// The stream that it is expected to hold.
    pub stream: Stream,
    /// How it comes to write there.
    pub role: Role,
}

/// How a `remote` floor that writes stands to others who do.
#[derive(Debug, Clone, Default)]
pub struct Role {
    /// Who writes: openings of the same one do not keep each other off. None: this opening alone.
    pub writer: Option<[u8; 16]>,
    /// It is refused while another one writes; else it takes over.
    pub yields: bool,
    /// What of its stack the bytes depend on; empty: that is not told.
    pub stack: String,
}

impl Plugin for Remote {
    const KIND: PluginKind = config::KIND;

    fn declare(&self, declared: &mut Declared) -> std::result::Result<Vec<String>, Fault> {
        Self::declare(self, declared)
    }

    fn open(&self, context: &OpenContext, _below: Vec<Below>) -> Result<Arc<dyn Store>> {
        if !context.parts().is_empty() {
            return Err(Error::unsupported(
                "`remote` cannot be opened as numbered parts: let the served stack have them",
            ));
        }
        let thread = thread::shared(context);
        let running = thread.as_ref().as_ref().map_err(Clone::clone)?;
        let settings = self.settings(context, running)?;
        let handle = running.handle();
        let endpoint = Arc::new(self.endpoint(context)?);
        let store = RemoteStore::begin(&context.env, settings, endpoint, |task| {
            handle.spawn(task);
        });
        let (mut store, opened) = store;
        store.name = context.name.clone();
        store._thread = Some(thread.clone());
        opened.wait()?;
        Ok(Arc::new(store))
    }

    fn shelf(&self, context: &OpenContext) -> Option<Arc<dyn Shelf>> {
        let (_, expects) = self.needs().ok()?;
        let shelf = || Arc::new(shelf::RemoteShelf::new(self, context)) as _;
        expects.has(Property::Notes).then(shelf)
    }
}

/// A channel that is being made.
pub type Reaching = std::pin::Pin<Box<dyn Future<Output = Result<Channel>> + Send>>;

/// How a server is reached: each time anew, for a connection that was lost is given up.
pub trait Reach: Send + Sync + std::fmt::Debug {
    /// Begins to connect.
    fn reach(&self, env: &Env) -> Reaching;
}

impl Reach for Endpoint {
    fn reach(&self, env: &Env) -> Reaching {
        let (endpoint, env) = (self.clone(), env.clone());
        Box::pin(async move { endpoint.connect(&env).await })
    }
}

/// What drives a link, to be run by somebody.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl RemoteStore {
    /// A floor over a server that can be reached so, driven by a task that `spawn` runs. The op is ready
    /// once the other side has proven what it guarantees; or says why there is no such floor.
    pub fn begin(
        env: &Env,
        settings: Settings,
        reach: Arc<dyn Reach>,
        spawn: impl FnOnce(Task),
    ) -> (Self, travertine_engine::contract::Op<()>) {
        let link = Arc::new(Link::new(env, settings, hop::host()));
        let (promise, opened) = Promise::new();
        spawn(Box::pin(drive::drive(link.clone(), reach, promise)));
        let store = Self {
            link,
            name: None,
            _thread: None,
        };
        (store, opened)
    }
}

/// How long a server may be silent before it is asked whether it is there; and once more before it is
/// given up.
const SILENCE: Duration = Duration::from_secs(5);

impl Remote {
    fn endpoint(&self, context: &OpenContext) -> Result<Endpoint> {
        // A way that went silent is noticed while there is time to come again by another.
        let silence = (self.deadline.0 / 6).min(SILENCE);
        let mut endpoint = Endpoint::parse(&self.address)?
            .plain_text(self.plain)
            .keepalive(silence, silence);
        let file = |path: &String| context.resolve(path);
        if let Some(ca) = &self.tls.ca {
            endpoint = endpoint.ca(file(ca));
        }
        if let Some(cert) = &self.tls.cert {
            endpoint = endpoint.cert(file(cert));
        }
        if let Some(key) = &self.tls.key {
            endpoint = endpoint.key(file(key));
        }
        if let Some(name) = &self.tls.name {
            endpoint = endpoint.server_name(name);
        }
        if let Some(token) = &self.token {
            endpoint = endpoint.token_file(file(token));
        }
        endpoint.check()?;
        Ok(endpoint)
    }

    fn settings(&self, context: &OpenContext, thread: &thread::NetThread) -> Result<Settings> {
        let (level, properties) = self
            .needs()
            .map_err(|fault| Error::invalid(fault.to_string()))?;
        Ok(Settings {
            address: self.address.clone(),
            level,
            properties,
            deadline: self.deadline.0,
            connect: self.connect.0,
            retry: self.retry.0,
            calls: self.calls as usize,
            bytes: self.bytes.0 as usize,
            keep: self.keep.0,
            refresh: Duration::from_millis(500),
            read_only: context.read_only,
            identity: context.identity,
            stream: context.stream,
            role: Role {
                writer: Some(thread.writer),
                yields: context.yields,
                stack: signature(&context.fingerprint),
            },
        })
    }
}

/// A fingerprint that fits into a note.
fn signature(fingerprint: &Fingerprint) -> String {
    const MOST: usize = 1 << 10;
    let text = fingerprint.text();
    match text.len() > MOST {
        true => format!("{:016x}", fingerprint.hash()),
        false => text.to_owned(),
    }
}

impl Settings {
    /// Whether the other side gives what this stack was judged with.
    fn judge(&self, welcome: &Welcome, status: &Status) -> Result<()> {
        let gives = |property: &Property| {
            let mut words = welcome.properties.iter();
            words.any(|word| word == property.name())
        };
        if let Some(property) = self.properties.iter().find(|it| !gives(it)) {
            let lack = welcome.lacks.iter();
            let layer = lack
                .filter(|lack| lack.property == property.name())
                .map(|lack| crate::wire::error::text(&lack.layer, 64))
                .next()
                .unwrap_or_else(|| "the served stack".to_owned());
            return Err(Error::invalid(format!(
                "this stack expects of {} that {} (`{property}`), which `{layer}` there does not give: \
                 serve a stack that does, or take the word out of `expects` if nothing above needs it",
                self.address,
                property.meaning()
            )));
        }
        if status.root_stream != self.stream.0 {
            return Err(Error::invalid(format!(
                "{} serves stream {}, and this stack wants stream {} there",
                self.address, status.root_stream, self.stream
            )));
        }
        if status.level < self.level {
            return Err(Error::invalid(format!(
                "this stack expects of {} that commits reach {}, and {} is the most there: serve a \
                 stack that does, or write level = \"{}\"",
                self.address, self.level, status.level, status.level
            )));
        }
        Ok(())
    }
}
