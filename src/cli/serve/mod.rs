//! `serve`: a stack on the network: an engine that clients share, or its floors for one engine elsewhere.

mod door;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use travertine_net::accept::Accept;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::server::{self, Ended, Health, Probe, Server};
use travertine_net::store_service::{self, Offer, StoreService};

use self::door::DoorArg;
use super::{Failure, Opened, Outcome, Run, StackArg, Terminal};
use crate::config::StackFile;
use crate::contract::{Env, Error, Level, Status};
use crate::stack::{Opening, Registry};

/// Put a stack on the network
///
/// With --engine, and without either, clients share an engine on the stack: they store records and move
/// names by compare-and-set; whose commit comes first wins, the others are told of the conflict. The
/// protocol is that of the files in net/proto, which any language with gRPC can use;
/// `travertine_net::client` is a client in Rust. Other commands read beside it, as beside any writer: get,
/// scan, follow, roots. What they would write is for clients now.
///
/// With --store the floors themselves are offered, to one writing engine elsewhere and to any number that
/// read: their stacks name this address in a layer `remote`, and every command works on such a stack. In an
/// empty place nothing is made before a client wants to write: a new cluster over several servers gives
/// them one identity.
///
/// Health (grpc.health.v1) and reflection are served too. It serves until it is told to stop (SIGTERM, or
/// ctrl-c): then it takes nothing in any more, answers what was asked, closes the stack and ends with exit
/// code 0. Nothing that was acknowledged is lost then, nor by a kill.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine serve stack.toml --listen 127.0.0.1:7420
  travertine serve disk.toml --store --listen 127.0.0.1:7411
  travertine serve stack.toml --listen 127.0.0.1:0 --ready-file address
  travertine serve stack.toml --listen 0.0.0.0:7420 --health 0.0.0.0:7421 \\
    --cert server.pem --key server.key --client-ca ca.pem")]
pub(super) struct Serve {
    #[command(flatten)]
    stack: StackArg,
    /// Offer an engine that clients share
    #[arg(long, conflicts_with = "store")]
    engine: bool,
    /// Offer the floors, to an engine elsewhere
    #[arg(long)]
    store: bool,
    /// Where clients connect; with port 0 a free port is taken, and told
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    #[command(flatten)]
    door: DoorArg,
    /// Tell health over plain HTTP here: /healthz (it runs) and /readyz (it takes work)
    #[arg(long, value_name = "ADDR")]
    health: Option<SocketAddr>,
    /// Once it serves, write the address into this file; it goes again at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// When told to stop, wait no longer for what was asked
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// A session that asks nothing for so long ends, and what it held may be freed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// Sessions at once
    #[arg(long, value_name = "N", default_value_t = Bounds::default().sessions)]
    sessions: usize,
    /// Print what is served as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Facts {
    /// Where clients connect.
    address: SocketAddr,
    /// How they get in.
    door: String,
    /// `engine` or `store`.
    offers: &'static str,
    health: Option<SocketAddr>,
    /// None: the first client that writes makes the store.
    identity: Option<String>,
    stack: String,
    level: Level,
    level_max: Level,
    /// The number of the newest commit, where an engine is offered.
    sequence: Option<u64>,
}

impl Run for Serve {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        // What is wrong with the call is told before the stack is touched.
        self.door.check(self.listen)?;
        let runtime = server::runtime()?;
        let env = Env::system();
        let offered = self.open(registry, &env)?;
        let served = runtime.block_on(self.serve(&offered, &env, terminal));
        // What is left of cut connections ends before the stack does.
        runtime.shutdown_timeout(Duration::from_secs(1));
        let closed = offered.close();
        served?;
        closed?;
        Ok(Outcome::Fine)
    }
}

/// What is served, open.
enum Offered {
    Engine(Box<Opened>, EngineService),
    Store(Box<StackFile>, StoreService),
}

impl Offered {
    fn file(&self) -> &StackFile {
        match self {
            Self::Engine(opened, _) => &opened.file,
            Self::Store(file, _) => file,
        }
    }

    /// How it is; `None`: there is no store yet.
    fn status(&self) -> Option<Status> {
        match self {
            Self::Engine(opened, _) => Some(opened.engine.status()),
            Self::Store(_, service) => service.store().map(|store| store.status()),
        }
    }

    fn close(&self) -> Result<(), Error> {
        match self {
            Self::Engine(opened, _) => opened.engine.close(),
            Self::Store(_, service) => service.close(),
        }
    }
}

impl Serve {
    fn open(&self, registry: &Registry, env: &Env) -> Result<Offered, Failure> {
        if self.store {
            let file = self.stack.load(registry)?;
            let opening = Opening {
                yields: true,
                ..Opening::default()
            };
            let offer = Offer::of_plan(file.plan().clone(), env.clone(), opening);
            let limits = store_service::Limits::default();
            let service = StoreService::open(offer, limits, env)?;
            return Ok(Offered::Store(Box::new(file), service));
        }
        let opened = self.stack.open(registry)?;
        let bounds = Bounds {
            sessions: self.sessions,
            idle: self.idle,
            ..Bounds::default()
        };
        let (engine, plan) = (opened.engine.clone(), opened.file.plan());
        let stack = plan.fingerprint().text();
        let service = EngineService::new(engine, env, plan.level(), stack, bounds);
        Ok(Offered::Engine(Box::new(opened), service))
    }

    async fn serve(
        &self,
        offered: &Offered,
        env: &Env,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), Failure> {
        let failed = |source| Error::io("listening for signals", source);
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        let limits = Limits::default();
        let server = Server::new(limits.clone(), self.door.rights(env)?, env)?;
        let (server, probe, sequence) = match offered {
            Offered::Engine(opened, service) => {
                let engine = opened.engine.clone();
                let sequence = Some(engine.snapshot().sequence());
                let probe: Probe = Arc::new(move || engine.status().refusing);
                (server.engine(service), probe, sequence)
            }
            Offered::Store(_, service) => {
                let floors = service.clone();
                let probe: Probe = Arc::new(move || floors.store()?.status().refusing);
                (server.store(service), probe, None)
            }
        };
        let incoming = Accept::bind(self.listen, self.door.door(), &limits, env).await?;
        let health = match self.health {
            Some(address) => Some(Health::bind(address).await?),
            None => None,
        };
        let (plan, status) = (offered.file().plan(), offered.status());
        let facts = Facts {
            address: incoming.address(),
            door: self.door.to_string(),
            offers: if self.store { "store" } else { "engine" },
            health: health.as_ref().map(Health::address),
            level_max: status
                .as_ref()
                .map_or(plan.top().gives().level, |status| status.level),
            identity: status.map(|status| status.identity),
            stack: plan.fingerprint().text().to_owned(),
            level: plan.level(),
            sequence,
        };
        if let Some(health) = health {
            tokio::spawn(health.tell(server.phase(), probe));
        }
        facts.tell(self.json, terminal)?;
        let ready = self.ready_file.as_deref();
        let ready = ready.map(|path| Ready::say(path, facts.address));
        let _ready = ready.transpose()?;
        let stop = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        terminal.note(match server.serve(incoming, stop, self.drain).await? {
            Ended::Drained => "what was asked is answered; the stack is being closed",
            Ended::Cut => "connections that had not ended are cut; the stack is being closed",
        })
    }
}

impl Facts {
    fn tell(&self, json: bool, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        if json {
            terminal.json(self)?;
            return terminal.flush();
        }
        terminal.say(format_args!("serving   {}", self.stack))?;
        terminal.say(match self.sequence {
            Some(_) => "as        an engine that clients share",
            None => "as        floors, for one engine elsewhere that writes and any that read",
        })?;
        terminal.say(match &self.identity {
            Some(identity) => format!("store     {identity}"),
            None => "store     none yet: the first client that writes makes it".to_owned(),
        })?;
        terminal.say(format_args!("reaches   {}", self.level_max))?;
        if let Some(sequence) = self.sequence {
            terminal.say(format_args!(
                "commits   at {} where a client names no level; the newest is number {sequence}",
                self.level
            ))?;
        }
        terminal.say(format_args!("clients   {}", self.door))?;
        if let Some(health) = self.health {
            terminal.say(format_args!("health    http://{health}/readyz"))?;
        }
        // The last line, for scripts that wait for it.
        terminal.say(format_args!("ready     {}", self.address))?;
        terminal.flush()
    }
}

/// A file that is there as long as it is served.
struct Ready<'a>(&'a Path);

#[expect(
    clippy::disallowed_methods,
    reason = "a command writes files where it is told to"
)]
impl<'a> Ready<'a> {
    /// Whoever sees the file sees the whole address in it.
    fn say(path: &'a Path, address: SocketAddr) -> Result<Self, Failure> {
        let mut half = path.as_os_str().to_owned();
        half.push(".part");
        let written = std::fs::write(&half, format!("{address}\n"));
        written
            .and_then(|()| std::fs::rename(&half, path))
            .map_err(|source| Error::io(format!("writing {}", path.display()), source))?;
        Ok(Self(path))
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "it is this command's own file")]
        let _ = std::fs::remove_file(self.0);
    }
}
