//! Two clients share one server by compare-and-set.
//!
//! Both count in the same place. Each reads what is there, stores one more, and moves the name if it still
//! points to what was read; whoever comes second is told of the conflict, and reads again. A third one
//! follows and sees every step.
//!
//! `cargo run -p travertine-net --example shared`

use std::sync::Arc;
use std::time::Duration;

use travertine_engine::conformance::model::ModelStore;
use travertine_engine::contract::{Env, Error, ErrorKind, Level, Name, Oid, Result};
use travertine_engine::front::{Engine, Options};
use travertine_net::accept::{Accept, Door};
use travertine_net::client::{Change, Client, Followed, NewRecord};
use travertine_net::connect::Endpoint;
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::limits::Limits;
use travertine_net::rights::{Live, Rights};
use travertine_net::server::Server;

const STEPS: u64 = 20;

#[tokio::main]
async fn main() -> Result<()> {
    // A server. `travertine serve STACK --listen 127.0.0.1:7420` is one of a stack file.
    let env = Env::system();
    let store = Arc::new(ModelStore::default());
    let engine = Engine::open(store, &env, Options::default())?;
    let service = EngineService::new(engine, &env, Level::Disk, "a model", Bounds::default());
    let limits = Limits::default();
    let rights = Live::fixed(Rights::everyone());
    let server = Server::new(limits.clone(), rights, &env)?.engine(&service);
    let here = ([127, 0, 0, 1], 0).into();
    let incoming = Accept::bind(here, Door::Plain, &limits, &env).await?;
    let address = incoming.address();
    let patience = Duration::from_secs(10);
    tokio::spawn(server.serve(incoming, std::future::pending(), patience));
    println!("served on {address}");

    // Its clients.
    let endpoint = Endpoint::parse(&address.to_string())?;
    let client = Client::connect(&endpoint, &env).await?;
    let mut follow = client.follow(1).await?;
    let counters = ["ada", "bob"].map(|who| tokio::spawn(count(who, endpoint.clone())));
    for _ in 0..2 * STEPS {
        if let Followed::Commit { sequence, .. } = follow.next().await? {
            println!("commit {sequence}");
        }
    }
    for counter in counters {
        let lost = |error| Error::closed("a counter went away").caused_by(error);
        counter.await.map_err(lost)??;
    }
    println!("the count is {}", read(&client).await?.1);
    Ok(())
}

async fn count(who: &'static str, endpoint: Endpoint) -> Result<()> {
    let client = Client::connect(&endpoint, &Env::system()).await?;
    let mut done = 0;
    while done < STEPS {
        let (at, count) = read(&client).await?;
        let session = client.session().await?;
        let next = NewRecord::blob((count + 1).to_string());
        let next = session.store(next).await?;
        let change = Change::swap(Name::new("count")?, at, next.target());
        match session.commit(vec![change], None).await?.await {
            Ok(_) => done += 1,
            Err(error) if error.kind() == ErrorKind::Conflict => {
                println!("{who} was second: {}", error.message());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where the count lies, and what it is.
async fn read(client: &Client) -> Result<(Option<Oid>, u64)> {
    let Some(at) = client.root(&Name::new("count")?).await? else {
        return Ok((None, 0));
    };
    let found = client.read(at).await?;
    let text = found.map(|found| String::from_utf8_lossy(&found.body).into_owned());
    let count = text.and_then(|text| text.parse().ok());
    let wrong = || Error::corrupt("the count is no number");
    Ok((Some(at.oid), count.ok_or_else(wrong)?))
}
