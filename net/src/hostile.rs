//! Hostile bytes: what reads from the network, called by the fuzzers and by seeded tests alike.
//!
//! Each takes bytes of any kind, of which the first says who reads them, and promises no panic, no hang
//! and memory bounded by the input and the limits of the protocol.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};
use travertine_engine::contract::{
    Batches, Commit, End, Epoch, Error, Level, Name, Position, Reclaim, Record, Reference, Result,
    Sparse, Stream, StreamState,
};

use crate::pace::{Form, Items};
use crate::proto::{self, answer, ask, call, reply, target};
use crate::wire::codec::read;
use crate::wire::parts::{Assembly, cut};
use crate::wire::{convert, error, status};

/// What a server reads.
pub fn server(bytes: &[u8]) {
    let Some((who, bytes)) = bytes.split_first() else {
        return;
    };
    match who % 4 {
        0 => paces(bytes),
        1 => drop(calls(bytes)),
        2 => drop(read::<proto::Call>(bytes).map(|call| call.verb.map(verb))),
        _ => drop(asks(bytes)),
    }
}

/// What a client reads.
pub fn client(bytes: &[u8]) {
    let Some((who, bytes)) = bytes.split_first() else {
        return;
    };
    match who % 4 {
        0 => {
            let details = Bytes::copy_from_slice(bytes);
            let status = Status::with_details(Code::Aborted, "it is so", details);
            let error = error::from_status(&status);
            let plain = |text: &str| !text.chars().any(char::is_control);
            assert!(plain(error.message()), "control characters came through");
        }
        1 => drop(answers(bytes)),
        2 => drop(read::<proto::Answer>(bytes).map(|it| it.answer.map(answer))),
        _ => drop(read::<proto::Replies>(bytes).map(replies)),
    }
}

/// Where items begin and end does not depend on how the bytes are cut.
fn paces(bytes: &[u8]) {
    for form in [Form::TlsRecord, Form::Http2Frame, Form::GrpcMessage] {
        let (mut whole, mut pieces) = (Items::new(form), Items::new(form));
        whole.came(bytes);
        bytes.chunks(7).for_each(|piece| pieces.came(piece));
        let seen = |items: &Items| (items.ended(), items.held(), items.is_open());
        assert_eq!(seen(&whole), seen(&pieces), "{form:?}");
    }
}

fn calls(bytes: &[u8]) -> Result<()> {
    let calls: proto::Calls = read(bytes)?;
    if let Some(hello) = calls.hello {
        let _ = convert::identity(&hello.client);
        let _ = convert::identity(&hello.store);
    }
    for call in calls.calls {
        let _ = call.verb.map(verb);
    }
    let mut assembly = Assembly::default();
    for part in calls.parts {
        let whole = assembly.take(part)?;
        let _ = whole.map(|(_, whole)| read::<proto::Call>(whole));
    }
    Ok(())
}

fn verb(verb: call::Verb) -> Result<()> {
    match verb {
        call::Verb::Store(call) => {
            let length = call.batch.len();
            let batch = convert::to_batch(call.batch)?;
            assert_eq!(batch.bytes().len(), length, "a batch is all that came");
        }
        call::Verb::Read(oid) => drop(convert::oid(oid)?),
        call::Verb::Commit(call) => drop(convert::to_commit(call)?),
        call::Verb::Root(call) => drop(convert::to_root_at(&call)),
        call::Verb::Fence(call) => drop(convert::to_epoch(call.epoch)),
        call::Verb::Adopt(call) => drop(convert::to_adopt(&call)?),
        call::Verb::Scan(call) => {
            convert::stream(call.stream)?;
            convert::position(call.from)?;
        }
        call::Verb::Reclaim(call) => drop(convert::to_reclaim(*call)?),
        call::Verb::Close(call) => drop(convert::identity(&call.client)?),
        call::Verb::Status(_) => {}
    }
    Ok(())
}

fn answers(bytes: &[u8]) -> Result<()> {
    let answers: proto::Answers = read(bytes)?;
    if let Some(told) = answers.welcome.and_then(|welcome| welcome.status) {
        let _ = status::from_proto(&told);
    }
    for told in answers.answers {
        let _ = told.answer.map(answer);
    }
    Ok(())
}

fn answer(told: answer::Answer) -> Result<()> {
    match told {
        answer::Answer::Error(told) => drop(error::from_proto(&told)),
        answer::Answer::Stored(tail) => drop(convert::to_tail(&tail)?),
        answer::Answer::Record(record) => drop(Record::decode(convert::oid(16)?, record)?),
        answer::Answer::Committed(level) => drop(convert::to_level(Some(level))?),
        answer::Answer::Root(root) => drop(convert::to_root(&root)?),
        answer::Answer::Fenced(states) => drop(convert::to_streams(&states)?),
        answer::Answer::Scanned(found) => drop(convert::to_found(*found)?),
        answer::Answer::Reclaimed(freed) => drop(convert::to_freed(&freed)?),
        answer::Answer::Status(told) => drop(status::from_proto(&told)?),
        answer::Answer::Absent(_) | answer::Answer::Adopted(_) | answer::Answer::Closed(_) => {}
    }
    Ok(())
}

fn asks(bytes: &[u8]) -> Result<()> {
    let asks: proto::Asks = read(bytes)?;
    for what in asks.asks.into_iter().filter_map(|ask| ask.what) {
        let _ = match what {
            ask::What::Store(told) => told.references.into_iter().try_for_each(named),
            ask::What::Commit(told) => told.changes.into_iter().try_for_each(|change| {
                Name::new(change.name)?;
                change.expect.map(crate::convert::oid).transpose()?;
                change.to.map_or(Ok(()), named)
            }),
            ask::What::Read(told) => told.target.map_or(Ok(()), named),
            ask::What::Root(told) => Name::new(told.name).map(drop),
            ask::What::Begin(_) => Ok(()),
        };
    }
    Ok(())
}

fn named(told: proto::Target) -> Result<()> {
    match told.to {
        Some(target::To::Reference(told)) => Reference::try_from(told).map(drop),
        Some(target::To::Oid(oid)) => crate::convert::oid(oid).map(drop),
        _ => Ok(()),
    }
}

fn replies(told: proto::Replies) {
    for what in told.replies.into_iter().filter_map(|reply| reply.what) {
        let _ = match what {
            reply::What::Error(told) => Err(error::from_proto(&told)),
            told => crate::client::understood(told),
        };
    }
}

/// What fuzzing begins with: the target, what the input is, and its bytes, made of messages that are
/// sent. `engine/fuzz/corpus` holds them as files, and so pins what the protocol is.
pub fn seeds() -> Result<Vec<(&'static str, &'static str, Vec<u8>)>> {
    let old = travertine_engine::conformance::hostile::seeds();
    let bytes = |name: &str| {
        let mut seeds = old.iter();
        let found = seeds.find(|seed| seed.1 == name);
        found.map_or_else(Bytes::new, |seed| seed.2.clone().into())
    };
    let (batch, record) = (bytes("first"), bytes("blob"));
    let batch = convert::to_batch(batch)?;
    let oid = convert::oid(16)?;
    let record = Record::decode(oid, record)?;
    let epoch = Epoch { number: 2, tag: 9 };
    let end = End {
        position: batch.header().end,
        running: batch.running(),
    };
    let sparse = Sparse {
        from: Position::START,
        to: end.position,
        before: None,
        records: vec![(oid, record.clone())],
        after: Some(end),
    };
    let reclaim = Reclaim {
        sender: epoch,
        stream: Stream(0),
        from: Position::START,
        to: end.position,
        alive: vec![oid.position()].into(),
        left: None,
    };
    let commit = Commit {
        sender: epoch,
        level: Level::Disk,
        last: vec![batch.clone()],
    };
    let verbs = [
        call::Verb::Store(proto::StoreCall {
            sender: Some(epoch.into()),
            batch: batch.bytes().clone(),
        }),
        call::Verb::Read(oid.raw()),
        call::Verb::Commit(convert::commit(&commit)),
        call::Verb::Adopt(convert::adopt(epoch, &vec![(Stream(0), end)])),
        call::Verb::Reclaim(convert::reclaim(&reclaim).into()),
    ];
    let numbered = |(at, verb): (usize, call::Verb)| proto::Call {
        id: at as u64 + 1,
        deadline: 1_000,
        verb: Some(verb),
        ..proto::Call::default()
    };
    let calls: Vec<_> = verbs.into_iter().enumerate().map(numbered).collect();
    let whole = calls[0].encode_to_vec();
    let state = StreamState {
        stream: Stream(0),
        end,
        durable: end.position,
        safe: end.position,
        ceiling: end.position,
        clean: false,
        proven: None,
        epoch,
        chain: Vec::new(),
    };
    let found = Batches {
        batches: vec![batch],
        sparse: Some(sparse),
        next: None,
    };
    let answers = [
        answer::Answer::Record(record.encoded().clone()),
        answer::Answer::Committed(Level::Disk.into()),
        answer::Answer::Fenced(convert::streams(&[state])),
        answer::Answer::Scanned(convert::batches(&found).into()),
        answer::Answer::Error(error::to_proto(&Error::full("no")).into()),
    ];
    let numbered = |(at, answer): (usize, answer::Answer)| proto::Answer {
        id: at as u64 + 1,
        answer: Some(answer),
    };
    let answers: Vec<_> = answers.into_iter().enumerate().map(numbered).collect();
    let one = answers[3].encode_to_vec();
    let calls = proto::Calls {
        parts: cut(9, whole.clone()).collect(),
        calls,
        ..proto::Calls::default()
    };
    let answers = proto::Answers {
        answers,
        ..proto::Answers::default()
    };
    let told = error::to_status(&Error::conflict("another was first"));
    let asks = proto::Asks {
        asks: vec![proto::Ask {
            id: 1,
            trace: String::new(),
            what: Some(ask::What::Store(proto::StoreRequest {
                kind: 1_024,
                references: vec![proto::Target {
                    to: Some(target::To::Reference(record.reference_to(oid).into())),
                    weak: false,
                }],
                body: Bytes::from_static(b"a body"),
                tag: 0,
            })),
        }],
    };
    let replies = proto::Replies {
        replies: vec![proto::Reply {
            id: 1,
            what: Some(reply::What::Found(crate::convert::found(oid, Some(record)))),
        }],
    };
    let led = |by: u8, bytes: Vec<u8>| [vec![by], bytes].concat();
    Ok(vec![
        ("wire_server", "calls", led(1, calls.encode_to_vec())),
        ("wire_server", "one-call", led(2, whole)),
        ("wire_server", "asks", led(3, asks.encode_to_vec())),
        ("wire_client", "status", led(0, told.details().to_vec())),
        ("wire_client", "answers", led(1, answers.encode_to_vec())),
        ("wire_client", "one-answer", led(2, one)),
        ("wire_client", "replies", led(3, replies.encode_to_vec())),
    ])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `TRAVERTINE_BLESS=1` writes anew what the fuzzers begin with.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the test looks at the repository"
    )]
    fn what_fuzzing_begins_with_is_there_and_does_no_harm() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/fuzz/corpus");
        for (target, name, bytes) in seeds().unwrap() {
            let path = corpus.join(target).join(name);
            if std::env::var_os("TRAVERTINE_BLESS").is_some() {
                std::fs::create_dir_all(corpus.join(target)).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            let kept = std::fs::read(&path).unwrap();
            let path = path.display();
            assert!(kept == bytes, "{path} differs: has the protocol changed?");
        }
    }

    #[test]
    fn what_fuzzing_begins_with_gets_past_the_door_and_what_is_near_it_does_no_harm() {
        for (target, name, bytes) in seeds().unwrap() {
            let read: fn(&[u8]) = match target {
                "wire_server" => server,
                _ => client,
            };
            read(&bytes);
            for at in 0..bytes.len() {
                let mut near = bytes.clone();
                near[at] ^= 1 << (at % 8);
                read(&near);
                read(&near[..at]);
            }
            match name {
                "calls" => {
                    let calls: proto::Calls = read_of(&bytes);
                    calls
                        .calls
                        .into_iter()
                        .for_each(|it| verb(it.verb.unwrap()).unwrap());
                }
                "answers" => {
                    let answers: proto::Answers = read_of(&bytes);
                    answers
                        .answers
                        .into_iter()
                        .for_each(|it| answer(it.answer.unwrap()).unwrap());
                }
                _ => {}
            }
        }
    }

    fn read_of<T: Message + crate::wire::room::Shaped + Default>(bytes: &[u8]) -> T {
        read(&bytes[1..]).unwrap()
    }
}
