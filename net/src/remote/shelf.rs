//! Notes beside what lies on the other side: asked for and kept there, each by a call of its own.
//!
//! They are read before the floor is opened, and seldom written, so they do without its session. A call
//! is made once, on a connection of its own, and blocks; whoever gets no answer asks again when it next
//! looks after what the note is about.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::{Response, Status};
use travertine_engine::contract::{Env, Error, Promise, Result};
use travertine_engine::stack::{OpenContext, Shelf};

use super::{Reach, Remote, thread};
use crate::connect::Channel;
use crate::hop;
use crate::proto::store_client::StoreClient;
use crate::proto::{NoteCall, RecallAnswer, RecallCall};
use crate::wire::HOPS_MAX;
use crate::wire::error::from_status;

/// The shelf of one server.
pub(super) struct RemoteShelf {
    env: Env,
    address: String,
    /// Why there is no way to it, else.
    reach: Result<Arc<dyn Reach>>,
    thread: Arc<Result<thread::NetThread>>,
    connect: Duration,
    deadline: Duration,
}

impl RemoteShelf {
    pub(super) fn new(remote: &Remote, context: &OpenContext) -> Self {
        let reach = remote.endpoint(context);
        Self {
            env: context.env.clone(),
            address: remote.address.clone(),
            reach: reach.map(|endpoint| Arc::new(endpoint) as _),
            thread: thread::shared(context),
            connect: remote.connect.0,
            deadline: remote.deadline.0,
        }
    }

    fn ask<T, F>(
        &self,
        call: impl FnOnce(StoreClient<Channel>, u32) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let hop = hop::current();
        if hop.passed >= HOPS_MAX {
            return Err(Error::invalid("the servers stand in a loop"));
        }
        let thread = self.thread.as_ref().as_ref().map_err(Clone::clone)?;
        let reach = self.reach.clone()?;
        let (env, now) = (self.env.clone(), Instant::now());
        let until = now + self.deadline;
        let until = hop.deadline.map_or(until, |theirs| theirs.min(until));
        let connected = until.min(now + self.connect);
        let (promise, answer) = Promise::new();
        thread.handle().spawn(async move {
            let late = |_| Error::unavailable("no answer in time about a note");
            let asked = async {
                let channel = tokio::time::timeout_at(connected, reach.reach(&env));
                let client = StoreClient::new(channel.await.map_err(late)??);
                let answer = tokio::time::timeout_at(until, call(client, hop.passed));
                let answer = answer.await.map_err(late)?;
                Ok(answer.map_err(|status| from_status(&status))?.into_inner())
            };
            promise.fulfil(asked.await);
        });
        let risen = |error: Error| error.at(format!("remote {}", self.address));
        answer.wait().map_err(risen)
    }

    fn recall(&self, name: &str) -> Result<RecallAnswer> {
        let name = name.to_owned();
        self.ask(|mut client, hops| async move { client.recall(RecallCall { name, hops }).await })
    }
}

impl Shelf for RemoteShelf {
    fn place(&self) -> String {
        self.address.clone()
    }

    fn is_bare(&self) -> Result<bool> {
        Ok(self.recall("")?.bare)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.recall(name)?.text)
    }

    fn replace(&self, name: &str, before: Option<&[u8]>, text: &[u8]) -> Result<()> {
        let (name, text) = (name.to_owned(), Bytes::copy_from_slice(text));
        let before = before.map(Bytes::copy_from_slice);
        let asked = self.ask(|mut client, hops| async move {
            let call = NoteCall {
                name,
                before,
                text,
                hops,
            };
            client.note(call).await
        });
        asked.map(drop)
    }
}

impl fmt::Debug for RemoteShelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteShelf({})", self.address)
    }
}
