//! Rows of one's own types, found by their key and by something else, and a queue of work beside them:
//! two trees and a chain, one commit.
//!
//! ```text
//!   users            u64 ──> User                     cargo run --example typed
//!   users/by/city    (city, u64)
//!   mail             whom to greet, in order
//! ```

use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};
use travertine::config::{Overrides, StackFile};
use travertine::contract::{Env, Name};
use travertine::interfaces::typed::IndexedMap;
use travertine::interfaces::{Btree, Chain, chain};

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    city: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stacks/memory.toml");
    let file = StackFile::load(stack, &travertine::standard(), &Overrides::none())?;
    let (_stack, engine) = file.engine(&Env::system(), false)?;

    let city = |_: &u64, user: &User| vec![user.city.clone()];
    let users = IndexedMap::new(Name::new("users")?, "city", Btree::default(), city)?;
    let mail = Chain::new(Name::new("mail")?, chain::Options::default());

    // Rows, their index and the queue change together or not at all.
    let session = engine.session()?;
    let (mut turn, mut queue) = (users.writer(&session), mail.queue(&session)?);
    let people = [("ada", "London"), ("emmy", "Erlangen"), ("alan", "London")];
    for (id, (name, city)) in (1_u64..).zip(people) {
        let (name, city) = (name.to_owned(), city.to_owned());
        queue.push(name.as_bytes())?;
        turn.put(&id, &User { name, city })?;
    }
    let mut changes = turn.finish()?;
    changes.extend(queue.finish()?);
    session.commit(&changes, None).wait()?;

    let session = engine.session()?;
    let mut turn = users.writer(&session);
    turn.update(&1, |user| {
        let city = "Paris".to_owned();
        user.map(|user| User { city, ..user })
    })?;
    turn.commit(None)?.wait()?;

    let reader = users.reader(&engine.snapshot()).wait()?;
    for city in ["London", "Paris"] {
        for row in reader.by(city) {
            let (id, user) = row?;
            println!("{city}: {} ({id})", user.name);
        }
    }
    assert_eq!(reader.by("London").count(), 1);
    println!("rows and index: {}", reader.verify());

    let session = engine.session()?;
    let mut queue = mail.queue(&session)?;
    while let Some(name) = queue.shift()? {
        println!("dear {}", String::from_utf8_lossy(&name));
    }
    queue.commit(None)?.wait()?;
    engine.close()?;
    Ok(())
}
