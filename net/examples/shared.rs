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
use travertine_engine::contract::{Env, Error, ErrorKind, Level, Name, Result};
use travertine_engine::front::{Engine, Options};
use travertine_net::client::{Change, Client, Followed, NewRecord};
use travertine_net::engine_service::{Bounds, EngineService};
use travertine_net::server::{self, Server};

const STEPS: u64 = 20;

#[tokio::main]
async fn main() -> Result<()> {
    // A server. `travertine serve STACK --listen 127.0.0.1:7420` is one of a stack file.
    let env = Env::system();
    let store = Arc::new(ModelStore::default());
    let engine = Engine::open(store, &env, Options::default())?;
    let service = EngineService::new(engine, &env, Level::Disk, "a model", Bounds::default());
    let server = Server::new()?.engine(&service);
    let (address, incoming) = server::plain(([127, 0, 0, 1], 0).into(), false).await?;
    let patience = Duration::from_secs(10);
    tokio::spawn(server.serve(incoming, std::future::pending(), patience));
    println!("served on {address}");

    // Its clients.
    let address = format!("http://{address}");
    let mut follow = Client::connect(&address).await?.follow(1).await?;
    let counters = ["ada", "bob"].map(|who| tokio::spawn(count(who, address.clone())));
    for _ in 0..2 * STEPS {
        if let Followed::Commit { sequence, .. } = follow.next().await? {
            println!("commit {sequence}");
        }
    }
    for counter in counters {
        let lost = |error| Error::closed("a counter went away").caused_by(error);
        counter.await.map_err(lost)??;
    }
    let client = Client::connect(&address).await?;
    println!("the count is {}", read(&client).await?.1);
    Ok(())
}

async fn count(who: &'static str, address: String) -> Result<()> {
    let client = Client::connect(&address).await?;
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
async fn read(client: &Client) -> Result<(Option<travertine_engine::contract::Oid>, u64)> {
    let Some(at) = client.root(&Name::new("count")?).await? else {
        return Ok((None, 0));
    };
    let found = client.read(at).await?;
    let text = found.map(|found| String::from_utf8_lossy(&found.body).into_owned());
    let count = text.and_then(|text| text.parse().ok());
    let wrong = || Error::corrupt("the count is no number");
    Ok((Some(at.oid), count.ok_or_else(wrong)?))
}
