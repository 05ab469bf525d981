//! Three `travertine serve --store` processes, and a client whose stack is a `cluster` over three
//! `remote`: every server is killed by `kill -9` while rows are written, and begun again, in turn. Nothing
//! acknowledged is lost, the repair is seen in the monitor, and in the end the three hold the same bytes.
//! And two shards of three servers each, as the preset `scale-out` has them.
//!
//! `TRAVERTINE_BIG=1` writes a million rows.
#![expect(
    clippy::disallowed_methods,
    reason = "a test of processes and files, in real time"
)]

mod desk;
mod three;

use std::time::Instant;

use desk::Desk;
use three::{
    BATCH, PATIENCE, PLACES, Server, all_there, are_alike, figure, floor, open, stack_over, told,
    write, write_until,
};
use travertine::contract::{ErrorKind, Status};

fn servers(desk: &Desk) -> Vec<Server> {
    PLACES.map(|place| Server::start(desk, place)).into()
}

fn stack(servers: &[Server]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    stack_over(&addresses)
}

#[test]
fn nothing_is_lost_while_each_server_is_killed_in_turn() {
    let big = std::env::var_os("TRAVERTINE_BIG").is_some();
    let (total, rounds) = if big { (1_000_000, 4) } else { (30_000, 1) };
    let desk = Desk::new();
    // Nothing lies there yet: the client makes three stores of one identity.
    let mut servers = servers(&desk);
    let text = stack(&servers);
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    let began = Instant::now();
    let mut rows = 0;
    write(&engine, &mut rows, BATCH);
    assert_eq!(figure(&engine, "children_in_line"), 3);
    let between = total / BATCH / (rounds * 3 * 2) - 1;
    for round in 0..rounds {
        for server in &mut servers {
            let returned = figure(&engine, "children_returned");
            server.kill();
            let gone = || figure(&engine, "children_in_line") == 2;
            write_until(&engine, &mut rows, between, gone);
            server.restart(&desk);
            let back = || {
                figure(&engine, "children_in_line") == 3
                    && figure(&engine, "children_returned") > returned
            };
            write_until(&engine, &mut rows, between, back);
            println!(
                "round {round}: {} came back; {rows} rows, {} batches were brought to those that lacked them",
                server.place,
                figure(&engine, "batches_caught_up")
            );
        }
    }
    let left = total.saturating_sub(rows).div_ceil(BATCH);
    write_until(&engine, &mut rows, left, || {
        figure(&engine, "children_in_line") == 3
    });
    println!("{rows} rows in {:?}", began.elapsed());
    // The repair, as whoever looks at the monitor sees it.
    assert!(told(&engine, "children_returned") >= 3 * rounds);
    assert!(told(&engine, "children_left") >= 3 * rounds);
    assert!(told(&engine, "batches_caught_up") > 0);
    assert!(told(&engine, "children_in_line") >= 2);
    all_there(&engine, rows);
    engine.close().unwrap();
    drop(engine);

    desk.file("c.toml", &text);
    desk.ok("cluster check c.toml");
    // Whichever of them is away, the others have it all.
    for server in &mut servers {
        server.kill();
        let (_stack, engine) = open(&text, desk.path(), false).unwrap();
        all_there(&engine, rows);
        engine.close().unwrap();
        drop(engine);
        server.restart(&desk);
    }
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    write_until(&engine, &mut rows, 1, || {
        figure(&engine, "children_in_line") == 3
    });
    engine.close().unwrap();
    drop(engine);
    servers.iter_mut().for_each(Server::kill);
    println!(
        "{} batches lie in each of the three, byte for byte",
        are_alike(&desk)
    );
}

#[test]
fn an_emptied_server_is_named_and_filled_again_when_it_is_replaced() {
    let desk = Desk::new();
    let mut servers = servers(&desk);
    let text = stack(&servers);
    desk.file("c.toml", &text);
    let mut rows = 0;
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    write(&engine, &mut rows, BATCH);
    // It comes back with nothing, under a client that knows better.
    servers[1].kill();
    std::fs::remove_dir_all(desk.path().join("two")).unwrap();
    write(&engine, &mut rows, BATCH);
    servers[1].restart(&desk);
    write_until(&engine, &mut rows, 1, || {
        figure(&engine, "children_lost") == 1
    });
    // Nobody made a store of that name there, by mistake.
    assert!(!desk.path().join("two").exists());
    all_there(&engine, rows);
    engine.close().unwrap();
    drop(engine);
    desk.fails(
        "cluster check c.toml",
        1,
        &["1 of 3 children are not whole"],
    );
    let said = desk.ok("cluster replace c.toml 2");
    assert!(said.contains("child 2 is in line"), "{said}");
    desk.ok("cluster check c.toml");
    // It counts: without another one nothing is missing.
    servers[0].kill();
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    all_there(&engine, rows);
    engine.close().unwrap();
    drop(engine);
    servers[0].restart(&desk);
    desk.ok("cluster check c.toml");
    servers.iter_mut().for_each(Server::kill);
    are_alike(&desk);
}

#[test]
fn a_foreign_server_is_refused_by_name() {
    let desk = Desk::new();
    let mut servers = servers(&desk);
    let text = stack(&servers);
    let mut rows = 0;
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    write(&engine, &mut rows, BATCH);
    engine.close().unwrap();
    drop(engine);
    // Another store stands in the place of the third.
    servers[2].kill();
    std::fs::rename(desk.path().join("three"), desk.path().join("away")).unwrap();
    desk.ok("put three.toml --tree t k v");
    servers[2].restart(&desk);
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    write(&engine, &mut rows, BATCH);
    let why = floor(&engine, "cluster").below[2].refusing.clone().unwrap();
    assert!(why.contains("nothing here says that it belongs"), "{why}");
    assert_eq!(figure(&engine, "children_lost"), 1);
    all_there(&engine, rows);
    engine.close().unwrap();
    drop(engine);
    // A new cluster is not made over it either.
    for place in ["one", "two"] {
        let server = servers.iter_mut().find(|server| server.place == place);
        server.unwrap().kill();
        std::fs::remove_dir_all(desk.path().join(place)).unwrap();
    }
    servers[0].restart(&desk);
    servers[1].restart(&desk);
    let error = open(&text, desk.path(), false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("another store"), "{error}");
}

/// Children in line, of all clusters.
fn in_line(status: &Status) -> u64 {
    let mut figures = status.figures.iter();
    match figures.find(|(of, _)| *of == "children_in_line") {
        Some((_, here)) => *here,
        None => status.below.iter().map(in_line).sum(),
    }
}

#[test]
fn two_shards_lose_nothing_and_readers_see_it_while_a_server_of_each_is_away() {
    let desk = Desk::new();
    let mut text = include_str!("../examples/stacks/network/scale-out.toml").to_owned();
    let places = ["1a", "1b", "1c", "2a", "2b", "2c"];
    let mut servers = places.map(|place| Server::start(&desk, place));
    for (server, port) in servers.iter().zip([7431, 7432, 7433, 7441, 7442, 7443]) {
        let preset = format!("\"127.0.0.1:{port}\"");
        assert!(text.contains(&preset));
        text = text.replace(&preset, &format!("\"{}\"", server.address));
    }
    desk.file("s.toml", &text);
    let (_stack, engine) = open(&text, desk.path(), false).unwrap();
    let mut rows = 0;
    write(&engine, &mut rows, BATCH);
    for pair in [0, 2] {
        servers[pair].kill();
        servers[3 + pair].kill();
        write_until(&engine, &mut rows, 2, || in_line(&engine.status()) == 4);
        // Another process, beside the writer: what was acknowledged is proven soon after.
        let began = Instant::now();
        while pair == 0 && desk.ok("count s.toml --tree rows").trim() != rows.to_string() {
            assert!(began.elapsed() < PATIENCE, "a reader does not see it");
        }
        servers[pair].restart(&desk);
        servers[3 + pair].restart(&desk);
        write_until(&engine, &mut rows, 1, || in_line(&engine.status()) == 6);
    }
    engine.close().unwrap();
    drop(engine);
    assert_eq!(
        desk.ok("count s.toml --tree rows").trim(),
        rows.to_string(),
        "a writer left it so"
    );
    let (_stack, engine) = open(&text, desk.path(), true).unwrap();
    all_there(&engine, rows);
}
