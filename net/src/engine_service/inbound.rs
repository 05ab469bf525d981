//! What is asked in a session: all that is there is taken in at once, up to where it is worth carrying out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::Message;
use tokio_stream::Stream;
use tonic::{Status, Streaming};
use travertine_engine::contract::Error;

use crate::proto;
use crate::wire::FLUSH;
use crate::wire::error::to_status;

/// No further message is taken in once so many asks wait, or [`FLUSH`] bytes of them.
const TOGETHER: usize = 256;
/// What a message takes beside what is in it: those with nothing in them come to an end too.
const MESSAGE: usize = 64;

pub(super) struct Inbound {
    asks: Streaming<proto::Asks>,
    /// Most asks of one message.
    most: usize,
    /// Nothing more will come, for this reason if there is one.
    over: Option<Option<Status>>,
}

impl Inbound {
    pub(super) fn new(asks: Streaming<proto::Asks>, most: usize) -> Self {
        Self {
            asks,
            most,
            over: None,
        }
    }

    /// Whether nobody asks any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.over, Some(None))
    }

    /// Puts what has come behind what waits. Ready once there is any of it, or nobody asks any more.
    ///
    /// What came before an error is given first: it was asked, whatever became of the connection since.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        waiting: &mut VecDeque<proto::Ask>,
    ) -> Poll<Result<(), Status>> {
        let (mut bytes, enough) = (0, self.most.min(TOGETHER));
        while self.over.is_none() && waiting.len() < enough && bytes < FLUSH {
            let message = match Pin::new(&mut self.asks).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(message) => message.transpose(),
            };
            match message.and_then(|message| message.map(|it| self.check(it)).transpose()) {
                Ok(Some(message)) => {
                    bytes += MESSAGE + message.encoded_len();
                    waiting.extend(message.asks);
                }
                ended => self.over = Some(ended.err()),
            }
        }
        match &mut self.over {
            _ if !waiting.is_empty() => Poll::Ready(Ok(())),
            None => {
                if bytes >= FLUSH {
                    // More may be there: what else goes on in the session comes first.
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Some(why) => Poll::Ready(why.take().map_or(Ok(()), Err)),
        }
    }

    fn check(&self, message: proto::Asks) -> Result<proto::Asks, Status> {
        let (came, most) = (message.asks.len(), self.most);
        if came > most {
            let text = format!("{came} asks in one message, {most} are the limit");
            return Err(to_status(&Error::invalid(text)));
        }
        Ok(message)
    }
}
