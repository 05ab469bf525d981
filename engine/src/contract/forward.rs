//! Verbs that a floor does not care about: passed on to the floor below, as they come.
//!
//! The contract gives no verb a default, so that a floor that forgets one does not compile. This macro
//! keeps that: whoever uses it names each verb, and a verb of a later contract is missed by the
//! compiler in every floor.

/// Implements the named verbs of [`Store`](crate::contract::Store) by calling the same verb of a field.
/// The rest is written by hand.
///
/// ```
/// use std::sync::Arc;
/// use travertine_engine::contract::{Epoch, Batch, Op, Status, Store, Tail};
///
/// /// Tells of every batch that goes by.
/// #[derive(Debug)]
/// struct Loud {
///     below: Arc<dyn Store>,
/// }
///
/// impl Store for Loud {
///     travertine_engine::forward!(below: read commit root fence adopt scan reclaim close);
///
///     fn store(&self, sender: Epoch, batch: Batch) -> Op<Tail> {
///         println!("{batch:?}");
///         self.below.store(sender, batch)
///     }
///
///     fn status(&self) -> Status {
///         Status::over(self.below.status(), "loud", None)
///     }
/// }
/// ```
///
/// A verb that is neither named nor written does not compile:
///
/// ```compile_fail,E0046
/// # use std::sync::Arc;
/// # use travertine_engine::contract::Store;
/// # #[derive(Debug)]
/// # struct Loud { below: Arc<dyn Store> }
/// impl Store for Loud {
///     travertine_engine::forward!(below: store read commit root fence adopt scan reclaim close);
/// }
/// ```
#[macro_export]
macro_rules! forward {
    ($below:ident: $($verb:ident)+) => {
        $($crate::forward!(@ $verb $below);)+
    };
    (@ store $below:ident) => {
        fn store(
            &self,
            sender: $crate::contract::Epoch,
            batch: $crate::contract::Batch,
        ) -> $crate::contract::Op<$crate::contract::Tail> {
            self.$below.store(sender, batch)
        }
    };
    (@ read $below:ident) => {
        fn read(
            &self,
            oid: $crate::contract::Oid,
        ) -> $crate::contract::Op<Option<$crate::contract::Record>> {
            self.$below.read(oid)
        }
    };
    (@ commit $below:ident) => {
        fn commit(
            &self,
            commit: $crate::contract::Commit,
        ) -> $crate::contract::Op<$crate::contract::Level> {
            self.$below.commit(commit)
        }
    };
    (@ root $below:ident) => {
        fn root(
            &self,
            at: $crate::contract::RootAt,
        ) -> $crate::contract::Op<Option<($crate::contract::Oid, $crate::contract::RootMarker)>> {
            self.$below.root(at)
        }
    };
    (@ fence $below:ident) => {
        fn fence(
            &self,
            epoch: $crate::contract::Epoch,
        ) -> $crate::contract::Op<Vec<$crate::contract::StreamState>> {
            self.$below.fence(epoch)
        }
    };
    (@ adopt $below:ident) => {
        fn adopt(
            &self,
            epoch: $crate::contract::Epoch,
            vector: $crate::contract::Vector,
        ) -> $crate::contract::Op<()> {
            self.$below.adopt(epoch, vector)
        }
    };
    (@ scan $below:ident) => {
        fn scan(
            &self,
            stream: $crate::contract::Stream,
            from: $crate::contract::Position,
        ) -> $crate::contract::Op<$crate::contract::Batches> {
            self.$below.scan(stream, from)
        }
    };
    (@ reclaim $below:ident) => {
        fn reclaim(
            &self,
            decision: $crate::contract::Reclaim,
        ) -> $crate::contract::Op<$crate::contract::Freed> {
            self.$below.reclaim(decision)
        }
    };
    (@ status $below:ident) => {
        fn status(&self) -> $crate::contract::Status {
            self.$below.status()
        }
    };
    (@ close $below:ident) => {
        fn close(&self) -> $crate::contract::Op<()> {
            self.$below.close()
        }
    };
}
