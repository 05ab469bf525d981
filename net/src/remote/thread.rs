//! The thread on which the connections of a stack live: one for all `remote` floors of an opening.

use std::sync::Arc;

use travertine_engine::contract::{Env, Error, Result};
use travertine_engine::stack::OpenContext;

/// The one of an opening.
pub(super) fn shared(context: &OpenContext) -> Arc<Result<NetThread>> {
    context.common(|_| NetThread::start(&context.env))
}

/// A runtime on a thread of its own, which ends when nobody holds this any more.
#[derive(Debug)]
pub(super) struct NetThread {
    handle: tokio::runtime::Handle,
    /// Who writes through any of them.
    pub(super) writer: [u8; 16],
    /// Dropped, it ends the thread.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl NetThread {
    pub(super) fn start(env: &Env) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::io("making ready for the network", source))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        env.drivers.thread(
            "travertine-net",
            Box::new(move || {
                let _ = runtime.block_on(stopped);
            }),
        )?;
        Ok(Self {
            handle,
            writer: env.identity(),
            _stop: stop,
        })
    }

    pub(super) fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}
