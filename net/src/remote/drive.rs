//! Driving a link: connect, greet, bring back what the server lost, and take answers in; again and
//! again, until the floor is gone.
//!
//! ```text
//!   connect ─ greet ─ is it the same store, and no less than expected?
//!       └─ another run of the server, and we write: fence ─ where does it end? ─ adopt there
//!             ─ bring what it lacks ─┐
//!                                    └─> calls that were not answered, again, in their order
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::Streaming;
use travertine_engine::contract::{Epoch, Error, ErrorKind, Promise, Result, Vector};

use super::Reach;
use super::link::{Behind, Known, Link, State};
use super::slot::unfit;
use super::store::fenced;
use crate::proto::answer::Answer as Payload;
use crate::proto::call::Verb;
use crate::proto::store_client::StoreClient;
use crate::proto::{Answer, Answers, Calls, FenceCall, Hello, StoreCall, Welcome};
use crate::wire::codec::read;
use crate::wire::error::{from_status, text};
use crate::wire::parts::Assembly;
use crate::wire::{HOPS_MAX, MESSAGE_MAX, NEWEST, OLDEST, convert, status};

/// How often it is looked at whether the time of a call is over.
const TICK: Duration = Duration::from_millis(25);
/// First pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs until the floor is gone. `opened` is told of the first session, or why there is none.
pub(super) fn drive(
    link: Arc<Link>,
    reach: Arc<dyn Reach>,
    opened: Promise<()>,
) -> impl Future<Output = ()> + Send {
    // Here already: it may be dropped before it ever runs.
    let ends = Ends(link.clone());
    async move {
        let _ends = ends;
        run(link, reach, opened).await;
    }
}

async fn run(link: Arc<Link>, reach: Arc<dyn Reach>, opened: Promise<()>) {
    let mut opened = Some(opened);
    let began = Instant::now();
    let mut pause = PAUSE;
    while !link.is_stopped() {
        let mut greeted = None;
        let ended = session(&link, &reach, || {
            greeted = Some(Instant::now());
            if let Some(opened) = opened.take() {
                opened.fulfil(Ok(()));
            }
        });
        let error = ended.await;
        if link.is_stopped() {
            break;
        }
        // Who is welcomed and sent away at once, again and again, is to come ever more seldom too.
        if greeted.is_some_and(|since| since.elapsed() >= link.settings.retry) {
            pause = PAUSE;
        }
        tracing::debug!(%error, address = link.settings.address, "no session");
        link.fall(error.clone());
        let over = error.kind() != ErrorKind::Unavailable
            || began.elapsed() >= link.settings.connect
            || link.lock().yielded;
        if let Some(opened) = opened.take_if(|_| over) {
            opened.fulfil(Err(error));
            break;
        }
        idle(&link, jittered(&link, pause)).await;
        pause = (2 * pause).min(link.settings.retry);
    }
}

/// Tells those who wait that nobody will answer, whatever way the driving ends: also when it is dropped
/// with the thread that it lived on, or panics.
struct Ends(Arc<Link>);

impl Drop for Ends {
    fn drop(&mut self) {
        let link = &self.0;
        link.stop();
        link.end();
        if let Some(host) = &link.host {
            host.note(key(link), Vec::new(), 0);
        }
    }
}

/// Between half a pause and all of it, so that those who lost a server do not all come at once.
fn jittered(link: &Link, pause: Duration) -> Duration {
    let share = link.env.random.next_u64() % 512;
    pause.mul_f64(0.5 + share as f64 / 1024.0)
}

/// Waits; those whose time is over meanwhile are told.
async fn idle(link: &Link, time: Duration) {
    let until = Instant::now() + time;
    loop {
        let ticking = link.tick();
        let next = if ticking {
            until.min(Instant::now() + TICK)
        } else {
            until
        };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = link.changed.notified() => {}
        }
        if Instant::now() >= until || link.is_stopped() {
            return;
        }
    }
}

/// Whose entry a link is at the server that it stands in.
fn key(link: &Link) -> u64 {
    let mut key = [0; 8];
    key.copy_from_slice(&link.client[..8]);
    u64::from_le_bytes(key)
}

/// One session, from connecting to its end: why it ended.
async fn session(link: &Arc<Link>, reach: &Arc<dyn Reach>, greeted: impl FnOnce()) -> Error {
    match attempt(link, reach, greeted).await {
        Ok(never) => never,
        Err(error) => error,
    }
}

async fn attempt(
    link: &Arc<Link>,
    reach: &Arc<dyn Reach>,
    greeted: impl FnOnce(),
) -> Result<Error> {
    let limit = Instant::now() + link.settings.connect;
    let timely = async {
        let channel = reach.reach(&link.env).await?;
        let number = link.begin();
        let outbox = Outbox {
            link: link.clone(),
            number,
            hello: Some(hello(link)),
        };
        let mut client = StoreClient::new(channel)
            .max_decoding_message_size(2 * MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let inbound = client.session(outbox).await;
        let mut inbound = inbound.map_err(|status| from_status(&status))?.into_inner();
        let first = message(&mut inbound).await?;
        let welcome = first
            .welcome
            .ok_or_else(|| Error::invalid("the server did not say welcome"))?;
        Ok::<_, Error>((inbound, welcome))
    };
    // While a connection is being made, time passes for those who wait; and so it does afterwards.
    let watch = watch(link);
    tokio::pin!(watch);
    let (mut inbound, welcome) = tokio::select! {
        greeted = tokio::time::timeout_at(limit, timely) => greeted.map_err(|_| {
            Error::unavailable(format!("no connection within {:?}", link.settings.connect))
        })??,
        () = &mut watch => return Err(gone()),
    };
    take_in(link, &welcome)?;
    greeted();
    let recover = recover(link);
    tokio::pin!(recover);
    let mut recovering = true;
    let mut assembly = Assembly::default();
    loop {
        tokio::select! {
            answers = message(&mut inbound) => {
                let mut answers = answers?;
                for part in std::mem::take(&mut answers.parts) {
                    if let Some((_, whole)) = assembly.take(part)? {
                        answers.answers.push(read::<Answer>(whole).map_err(broken)?);
                    }
                }
                link.land(answers.answers).map_err(broken)?;
            }
            recovered = &mut recover, if recovering => {
                recovered?;
                recovering = false;
                link.rise();
            }
            () = &mut watch => return Err(gone()),
        }
    }
}

fn gone() -> Error {
    Error::closed("the floor is gone")
}

/// What breaks the protocol breaks the session; the next may be better.
fn broken(error: Error) -> Error {
    Error::unavailable(error.message())
}

/// Looks at the time for those who wait, as long as anybody does, until the floor is gone.
async fn watch(link: &Link) {
    while !link.is_stopped() {
        if link.tick() {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = link.changed.notified() => {}
            }
        } else {
            link.changed.notified().await;
        }
    }
}

async fn message(inbound: &mut Streaming<Answers>) -> Result<Answers> {
    let message = inbound.message().await;
    let message = message.map_err(|status| from_status(&status))?;
    message.ok_or_else(|| Error::unavailable("the server ended the session"))
}

/// Whether it gives way to another one who writes: who was welcomed once comes back as who it is.
fn yields(link: &Link, state: &State) -> bool {
    link.settings.role.yields && !link.settings.read_only && state.known.is_none()
}

fn hello(link: &Link) -> Hello {
    let (known, closed, yields) = {
        let state = link.lock();
        let known = state.known.as_ref().map(|known| known.identity);
        (known, state.closed, yields(link, &state))
    };
    let (role, host) = (&link.settings.role, link.host.as_ref());
    // Whoever writes in a server is that server, however often it opens its floors anew.
    let writer = host.map(|host| host.instance).or(role.writer);
    let writes = !link.settings.read_only && !closed;
    // What was there and is gone is not made anew: that is no store which has all that it had.
    let makes = known.is_none() && !link.settings.read_only;
    let store = known.or(link.settings.identity);
    Hello {
        oldest: OLDEST,
        newest: NEWEST,
        client: link.client.to_vec().into(),
        path: link
            .host
            .iter()
            .map(|host| host.instance.to_vec().into())
            .collect(),
        reads_only: link.settings.read_only,
        store: store.map(|store| store.to_vec().into()).unwrap_or_default(),
        makes,
        stream: link.settings.stream.0.into(),
        writer: match writes {
            true => writer.unwrap_or(link.client).to_vec().into(),
            false => Default::default(),
        },
        yields,
        stack: role.stack.clone(),
    }
}

/// Looks at who answered, and notes whether it is another run of the server than before.
///
/// Errors: `Invalid`, if it is another store, or gives less than is needed, or stands in a loop.
fn take_in(link: &Link, welcome: &Welcome) -> Result<()> {
    if !(OLDEST..=NEWEST).contains(&welcome.version) {
        return Err(Error::unsupported(format!(
            "the server speaks version {} of the protocol, and {OLDEST} to {NEWEST} are known here",
            welcome.version
        )));
    }
    let instance = convert::identity(&welcome.instance)?;
    let wrong = || Error::invalid("the server does not say what it serves");
    let status = status::from_proto(welcome.status.as_ref().ok_or_else(wrong)?)?;
    let identity = status.identity_bytes()?;
    let told = welcome.status.as_ref();
    if let Some(codec) = told.and_then(|status| status.codecs.first()) {
        return Err(Error::invalid(format!(
            "what is served packs or seals bodies ({codec}), which this stack would not undo"
        )));
    }
    link.settings.judge(welcome, &status)?;
    if let Some(host) = &link.host {
        let mut behind: Vec<[u8; 16]> = Vec::new();
        for id in welcome.behind.iter().take(256) {
            behind.push(convert::identity(id)?);
        }
        behind.push(instance);
        if behind.contains(&host.instance) {
            return Err(Error::invalid(
                "the servers stand in a loop: this one is found again behind the one it goes on in",
            ));
        }
        if welcome.depth >= HOPS_MAX {
            return Err(Error::invalid(format!(
                "more than {HOPS_MAX} servers would stand behind one another"
            )));
        }
        host.note(key(link), behind, welcome.depth);
    }
    let limits = welcome.limits.unwrap_or_default();
    link.credit(
        link.settings.calls.min(limits.calls as usize).max(1),
        link.settings.bytes.min(limits.bytes as usize).max(1),
    );
    let mut state = link.lock();
    let wanted = state.known.as_ref().map(|known| known.identity);
    let wanted = wanted.or(link.settings.identity);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != identity) {
        return Err(Error::invalid(format!(
            "{} serves the store {}, and {} is expected",
            link.settings.address,
            status.identity,
            travertine_engine::contract::Status::identity_text(&wanted)
        )));
    }
    if yields(link, &state) && !welcome.written_by.is_empty() {
        state.yielded = true;
        return Err(Error::unavailable(format!(
            "{} is being written by {}: wait until it has done, or take its role over with `travertine \
             takeover`",
            link.settings.address,
            text(&welcome.written_by, 64)
        )));
    }
    let known = state.known.as_ref();
    if known.is_some_and(|known| known.instance != instance) {
        state.behind = Some(Behind::default());
    }
    state.known = Some(Known {
        identity,
        instance,
        status,
    });
    Ok(())
}

/// A server that began anew is brought what it lacks of what was stored by this floor.
async fn recover(link: &Arc<Link>) -> Result<()> {
    let writer = {
        let state = link.lock();
        state.kept.epoch().filter(|_| state.behind.is_some())
    };
    if let Some(epoch) = writer {
        match bring_back(link, epoch).await {
            Err(error) if error.kind() != ErrorKind::Unavailable => {
                // Others may read on; this floor writes no more.
                tracing::warn!(%error, address = link.settings.address, "writing ends");
                link.refuse(&error);
            }
            brought => brought?,
        }
    }
    link.lock().behind = None;
    Ok(())
}

async fn bring_back(link: &Arc<Link>, epoch: Epoch) -> Result<()> {
    let fence = Verb::Fence(FenceCall {
        epoch: Some(epoch.into()),
    });
    let states = link.prepare(fence, fenced).await?;
    let (vector, lacking) = {
        let mut state = link.lock();
        let unit = state.known.as_ref().map_or(8, |known| known.status.unit);
        let told_before = state.behind.as_ref().and_then(|behind| behind.cut.clone());
        let vector = match told_before {
            Some(vector) => vector,
            None => {
                let cuts = states.iter().map(|told| {
                    let cut = state.kept.goes_on(told, unit)?;
                    Ok((told.stream, cut))
                });
                cuts.collect::<Result<Vector>>()?
            }
        };
        let mut lacking = Vec::new();
        for (stream, cut) in &vector {
            lacking.extend(state.kept.after(*stream, *cut)?);
        }
        state.behind = Some(Behind {
            cut: Some(vector.clone()),
        });
        (vector, lacking)
    };
    let adopt = Verb::Adopt(convert::adopt(epoch, &vector));
    let adopted = link.prepare(adopt, |answer, _| match answer {
        Payload::Adopted(_) => Ok(()),
        _ => unfit(),
    });
    adopted.await?;
    tracing::info!(
        address = link.settings.address,
        batches = lacking.len(),
        "the server came back, and is brought what it lacks"
    );
    for batch in lacking {
        let store = Verb::Store(StoreCall {
            sender: Some(epoch.into()),
            batch: batch.bytes().clone(),
        });
        let stored = link.prepare(store, |answer, _| match answer {
            Payload::Stored(_) => Ok(()),
            _ => unfit(),
        });
        stored.await?;
    }
    Ok(())
}

/// The calls of one session, as they are to be sent.
struct Outbox {
    link: Arc<Link>,
    number: u64,
    hello: Option<Hello>,
}

impl Stream for Outbox {
    type Item = Calls;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Calls>> {
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(Calls {
                hello: Some(hello),
                ..Calls::default()
            }));
        }
        self.link.poll_message(self.number, context.waker())
    }
}
