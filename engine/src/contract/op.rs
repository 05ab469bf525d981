//! The answer of a verb: ready when it can be, pending when it must be.
//!
//! An [`Op`] is itself a future, and [`Op::wait`] needs no runtime. A ready answer passes up through
//! any number of floors without an allocation. The call starts the work; dropping an op stops the
//! waiting only. The habit of a value that is either here or on its way, and is itself a future,
//! was learnt from the caches that serve a hit without a task.
//!
//! ```text
//!   call ──> Ready(answer)                     done before the call returned
//!        └─> Pending(place for the answer) ──> a driver fills it; whoever waits may run the job
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::error::{Error, Result};

/// Something that will have an answer. Implemented by drivers; users only see [`Op`].
pub trait Pending<T>: Send {
    /// Asks for the answer; wakes the context's task when there is one.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>>;
    /// Blocks this thread until there is an answer.
    fn wait(self: Box<Self>) -> Result<T>;
}

enum State<T> {
    Ready(Result<T>),
    Pending(Box<dyn Pending<T>>),
    Taken,
}

/// The answer of a verb, now or later.
#[must_use = "dropping an op stops the waiting, not the work: wait for it or await it"]
pub struct Op<T>(State<T>);

impl<T> Op<T> {
    /// An answer that is here.
    pub fn ready(answer: Result<T>) -> Self {
        Self(State::Ready(answer))
    }

    /// A good answer that is here.
    pub fn ok(value: T) -> Self {
        Self(State::Ready(Ok(value)))
    }

    /// An error that is here.
    pub fn err(error: Error) -> Self {
        Self(State::Ready(Err(error)))
    }

    /// An answer on its way.
    pub fn pending(place: impl Pending<T> + 'static) -> Self {
        Self(State::Pending(Box::new(place)))
    }

    /// Whether [`Op::wait`] would return at once without looking below.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.0, State::Ready(_))
    }

    /// A look at the answer if it is here.
    #[must_use]
    pub fn as_ready(&self) -> Option<&Result<T>> {
        match &self.0 {
            State::Ready(answer) => Some(answer),
            _ => None,
        }
    }

    /// The answer if it is here, else the op again.
    pub fn try_ready(self) -> std::result::Result<Result<T>, Self> {
        match self.0 {
            State::Ready(answer) => Ok(answer),
            state => Err(Self(state)),
        }
    }

    /// Blocks the calling thread until there is an answer. Needs no runtime. Must not be called on
    /// a thread that drives the work it waits for.
    pub fn wait(self) -> Result<T> {
        match self.0 {
            State::Ready(answer) => answer,
            State::Pending(place) => place.wait(),
            State::Taken => Err(taken()),
        }
    }
}

impl<T: Send + 'static> Op<T> {
    /// Shapes a good answer: inline when it is here, one box when it is on its way.
    pub fn map<U: Send + 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Op<U> {
        self.and_then(|value| Ok(f(value)))
    }

    /// Shapes a good answer by a function that may fail.
    pub fn and_then<U: Send + 'static>(
        self,
        f: impl FnOnce(T) -> Result<U> + Send + 'static,
    ) -> Op<U> {
        self.shape(|answer| answer.and_then(f))
    }

    /// Shapes the answer, good or bad.
    pub fn shape<U: Send + 'static>(
        self,
        f: impl FnOnce(Result<T>) -> Result<U> + Send + 'static,
    ) -> Op<U> {
        match self.0 {
            State::Ready(answer) => Op::ready(f(answer)),
            State::Pending(below) => Op::pending(Shaped { below, f: Some(f) }),
            State::Taken => Op::err(taken()),
        }
    }

    /// Goes on with another op once this one has a good answer.
    pub fn then<U: Send + 'static>(self, f: impl FnOnce(T) -> Op<U> + Send + 'static) -> Op<U> {
        match self.0 {
            State::Ready(Ok(value)) => f(value),
            State::Ready(Err(error)) => Op::err(error),
            State::Pending(below) => Op::pending(Chained::First { below, f: Some(f) }),
            State::Taken => Op::err(taken()),
        }
    }

    /// Adds a place to the error's trail, if there is an error.
    pub fn at(self, place: &'static str) -> Self {
        match self.0 {
            State::Ready(Ok(value)) => Self::ok(value),
            state => Self(state).shape(move |answer| answer.map_err(|error| error.at(place))),
        }
    }
}

impl<T> Future for Op<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let State::Pending(place) = &mut this.0 {
            let answer = std::task::ready!(place.poll(context));
            this.0 = State::Taken;
            return Poll::Ready(answer);
        }
        match std::mem::replace(&mut this.0, State::Taken) {
            State::Ready(answer) => Poll::Ready(answer),
            _ => Poll::Ready(Err(taken())),
        }
    }
}

// Nothing inside is address-sensitive: pending places are boxed.
impl<T> Unpin for Op<T> {}

impl<T: fmt::Debug> fmt::Debug for Op<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            State::Ready(answer) => write!(f, "Op({answer:?})"),
            State::Pending(_) => f.write_str("Op(pending)"),
            State::Taken => f.write_str("Op(taken)"),
        }
    }
}

fn taken() -> Error {
    Error::invalid("an op was polled again after it had answered")
}

struct Shaped<T, F> {
    below: Box<dyn Pending<T>>,
    f: Option<F>,
}

impl<T, U, F: FnOnce(Result<T>) -> Result<U> + Send> Pending<U> for Shaped<T, F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<U>> {
        let answer = std::task::ready!(self.below.poll(context));
        Poll::Ready(match self.f.take() {
            Some(f) => f(answer),
            None => Err(taken()),
        })
    }

    fn wait(mut self: Box<Self>) -> Result<U> {
        let f = self.f.take().ok_or_else(taken)?;
        f(self.below.wait())
    }
}

enum Chained<T, U, F> {
    First {
        below: Box<dyn Pending<T>>,
        f: Option<F>,
    },
    Second(Op<U>),
}

impl<T, U, F> Pending<U> for Chained<T, U, F>
where
    T: Send,
    U: Send,
    F: FnOnce(T) -> Op<U> + Send,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<U>> {
        loop {
            match self {
                Self::First { below, f } => {
                    let value = match std::task::ready!(below.poll(context)) {
                        Ok(value) => value,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    match f.take() {
                        Some(f) => *self = Self::Second(f(value)),
                        None => return Poll::Ready(Err(taken())),
                    }
                }
                Self::Second(op) => return Pin::new(op).poll(context),
            }
        }
    }

    fn wait(self: Box<Self>) -> Result<U> {
        match *self {
            Self::First { below, mut f } => match f.take() {
                Some(f) => f(below.wait()?).wait(),
                None => Err(taken()),
            },
            Self::Second(op) => op.wait(),
        }
    }
}

/// The far end of a pending op: whoever holds it owes the answer. Dropped without one, the waiter
/// gets [`Closed`](super::ErrorKind::Closed) rather than waiting for ever.
#[derive(Debug)]
pub struct Promise<T>(Option<Arc<Place<T>>>);

struct Place<T> {
    state: Mutex<PlaceState<T>>,
    answered: Condvar,
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

struct PlaceState<T> {
    answer: Option<Result<T>>,
    waker: Option<Waker>,
    blocked: bool,
}

impl<T: Send + 'static> Promise<T> {
    /// A promise and the op that waits for it.
    pub fn new() -> (Self, Op<T>) {
        let place = Arc::new(Place {
            state: Mutex::new(PlaceState {
                answer: None,
                waker: None,
                blocked: false,
            }),
            answered: Condvar::new(),
        });
        (Self(Some(place.clone())), Op::pending(Waiting(place)))
    }
}

impl<T> Promise<T> {
    /// Gives the answer.
    pub fn fulfil(mut self, answer: Result<T>) {
        self.give(answer);
    }

    fn give(&mut self, answer: Result<T>) {
        let Some(place) = self.0.take() else { return };
        let mut state = place.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answer = Some(answer);
        let waker = state.waker.take();
        let blocked = state.blocked;
        drop(state);
        // A wake costs a system call: only where somebody sleeps.
        if blocked {
            place.answered.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.give(Err(Error::closed("the work ended without an answer")));
    }
}

struct Waiting<T>(Arc<Place<T>>);

impl<T: Send> Pending<T> for Waiting<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn wait(self: Box<Self>) -> Result<T> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state.blocked = true;
            state = self
                .0
                .answered
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs any future to its end on this thread, without a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_op_stays_ready_through_map_and_then() {
        let op = Op::ok(1).map(|n| n + 1).then(|n| Op::ok(n * 10));
        assert!(op.is_ready());
        assert_eq!(op.wait().unwrap(), 20);
    }

    #[test]
    fn a_promise_answers_a_blocked_thread_and_a_future_alike() {
        for blocking in [true, false] {
            let (promise, op) = Promise::new();
            let op = op.map(|n: u32| n + 1).then(|n| Op::ok(n * 2)).at("here");
            assert!(!op.is_ready());
            std::thread::scope(|scope| {
                let waiter = scope.spawn(move || if blocking { op.wait() } else { block_on(op) });
                promise.fulfil(Ok(20));
                assert_eq!(waiter.join().unwrap().unwrap(), 42);
            });
        }
    }

    #[test]
    fn a_bad_answer_is_shaped_too_ready_or_not() {
        let rescue = |answer: Result<u32>| answer.or(Ok(7));
        assert_eq!(Op::err(Error::full("x")).shape(rescue).wait().unwrap(), 7);
        let (promise, op) = Promise::new();
        let op = op.shape(rescue);
        promise.fulfil(Err(Error::full("x")));
        assert_eq!(op.wait().unwrap(), 7);
    }

    #[test]
    fn a_dropped_promise_is_an_error_and_not_a_hang() {
        let (promise, op) = Promise::<()>::new();
        drop(promise);
        let error = op.at("the floor").wait().unwrap_err();
        assert_eq!(error.kind(), super::super::ErrorKind::Closed);
        assert_eq!(error.trail(), ["the floor"]);
    }

    #[test]
    fn an_op_polled_after_its_answer_is_an_error() {
        let mut op = Op::ok(1);
        assert_eq!(block_on(&mut op).unwrap(), 1);
        assert!(block_on(&mut op).is_err());
    }
}
