//! Time, randomness and drivers, handed in, so that a run can be replayed.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::{Error, Result};
use super::memory::{Memory, SystemMemory};
use super::oid::Oid;
use super::op::{Op, Pending, Promise};
use super::pool::Pool;
use super::record::Reference;
use super::trace;

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Microseconds since 1970, as the wall clock has it.
    fn unix_us(&self) -> u64;
    /// Blocks this thread for about so long.
    fn sleep(&self, time: Duration);
}

/// Where randomness comes from.
pub trait Random: Send + Sync + Debug {
    /// Sixty-four random bits.
    fn next_u64(&self) -> u64;
}

/// A piece of work for a driver.
pub type Job = Box<dyn FnOnce() + Send>;

/// Where work that waits for a device runs.
pub trait Drivers: Send + Sync + Debug {
    /// Runs `job` on some driver thread, soon. Jobs may run side by side and in any order.
    fn run(&self, job: Job);
    /// Whether jobs run on the caller's own thread, inside [`Drivers::run`].
    fn inline(&self) -> bool;
    /// Starts a thread that lives as long as its owner wants it to; its body ends by itself.
    fn thread(&self, name: &str, body: Job) -> Result<()>;
}

/// Most drivers of the real world: so many devices flush side by side. They are started as they are
/// needed.
const DRIVERS: usize = 16;

/// Everything a stack may not take from the outside by itself. Clones share it.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Drivers.
    pub drivers: Arc<dyn Drivers>,
    /// How much memory is in use.
    pub memory: Arc<dyn Memory>,
}

impl Env {
    /// The real world: system clocks, the kernel's randomness, a few threads.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(system::SystemClock::new()),
            random: Arc::new(system::SystemRandom),
            drivers: Arc::new(Pool::new(DRIVERS)),
            memory: Arc::new(SystemMemory),
        }
    }

    /// Sixteen random bytes: an identity.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.random.next_u64().to_le_bytes());
        bytes
    }

    /// Whether this thread does at once what it would hand over: see [`waiting`].
    pub(crate) fn works_here(&self) -> bool {
        self.drivers.inline() || WAITING.get()
    }

    /// Hands `work` to a driver and returns the place of its answer. A thread that waits for the
    /// answer before a driver took the work does the work itself: one hand-over less on the path of
    /// a durable commit.
    pub fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Op<T> {
        if self.works_here() {
            return Op::ready(work());
        }
        let (promise, answer) = Promise::new();
        let here = trace::Here::now();
        let task = Arc::new(Mutex::new(Some(Task {
            work: Box::new(move || here.call(work)),
            promise,
        })));
        let theirs = task.clone();
        self.drivers.run(Box::new(move || {
            if let Some(task) = take(&theirs) {
                task.promise.fulfil((task.work)());
            }
        }));
        Op::pending(Offloaded {
            task,
            answer: Some(answer),
        })
    }
}

thread_local! {
    static WAITING: Cell<bool> = const { Cell::new(false) };
    static PASSING: Cell<bool> = const { Cell::new(false) };
    static AHEAD: Ahead = const {
        Ahead {
            count: Cell::new(0),
            records: [const { Cell::new((0, 0)) }; AHEAD_MAX],
        }
    };
}

/// Makes a call below whose answer this thread will wait for before it does anything else: what the
/// call would [offload](Env::offload) is done on this thread at once. Waking a driver only to find
/// the work taken costs a durable commit some microseconds.
pub fn waiting<T>(call: impl FnOnce() -> T) -> T {
    with(&WAITING, true, call)
}

/// Makes several calls below whose work shall run side by side, whoever waits above: a floor that
/// asks many does so in here.
pub fn side_by_side<T>(calls: impl FnOnce() -> T) -> T {
    with(&WAITING, false, calls)
}

/// Makes calls below whose answers are wanted once, as by a walk over everything: a floor that keeps
/// what is read keeps nothing because of them. The answers are the same.
pub fn in_passing<T>(calls: impl FnOnce() -> T) -> T {
    with(&PASSING, true, calls)
}

/// Whether a call of this thread is made [in passing](in_passing).
#[must_use]
#[inline]
pub fn is_passing() -> bool {
    PASSING.get()
}

/// Most records that [`ahead`] speaks of.
pub const AHEAD_MAX: usize = 16;

/// Makes calls below that will ask for these records, and says so first: a floor that has them at hand
/// may begin to bring all of them near before it answers for one. Of more than [`AHEAD_MAX`] the first
/// count. The answers are the same.
#[inline]
pub fn ahead<T>(references: &[Reference], calls: impl FnOnce() -> T) -> T {
    let say = |count| AHEAD.with(|ahead| ahead.count.set(count));
    let most = references.len().min(AHEAD_MAX);
    AHEAD.with(|ahead| {
        for (place, reference) in ahead.records.iter().zip(references) {
            place.set((reference.oid.raw(), reference.length));
        }
    });
    say(most);
    let answer = calls();
    say(0);
    answer
}

/// Takes what this thread said of the records that it [will ask for](ahead), each with its bytes:
/// those that `take` answers `true` to are not told again.
#[inline]
pub fn take_ahead(mut take: impl FnMut(Oid, u32) -> bool) {
    AHEAD.with(|ahead| {
        let mut left = 0;
        for index in 0..ahead.count.get() {
            let record = ahead.records[index].get();
            if Oid::from_raw(record.0).is_some_and(|oid| !take(oid, record.1)) {
                ahead.records[left].set(record);
                left += 1;
            }
        }
        ahead.count.set(left);
    });
}

struct Ahead {
    count: Cell<usize>,
    records: [Cell<(u64, u32)>; AHEAD_MAX],
}

fn with<T>(
    what: &'static std::thread::LocalKey<Cell<bool>>,
    holds: bool,
    call: impl FnOnce() -> T,
) -> T {
    /// Puts back what was said before, whatever way the call ends.
    struct Before(&'static std::thread::LocalKey<Cell<bool>>, bool);
    impl Drop for Before {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _before = Before(what, what.replace(holds));
    call()
}

struct Task<T> {
    work: Box<dyn FnOnce() -> Result<T> + Send>,
    promise: Promise<T>,
}

fn take<T>(task: &Mutex<Option<T>>) -> Option<T> {
    task.lock().unwrap_or_else(PoisonError::into_inner).take()
}

struct Offloaded<T> {
    task: Arc<Mutex<Option<Task<T>>>>,
    answer: Option<Op<T>>,
}

impl<T: Send + 'static> Pending<T> for Offloaded<T> {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<T>> {
        match &mut self.answer {
            Some(answer) => std::pin::Pin::new(answer).poll(context),
            None => {
                std::task::Poll::Ready(Err(Error::invalid("an op was polled after its answer")))
            }
        }
    }

    fn wait(mut self: Box<Self>) -> Result<T> {
        if let Some(task) = take(&self.task) {
            let answer = (task.work)();
            // Nobody else waits for this promise: its op is ours, and dropped here.
            drop(task.promise);
            return answer;
        }
        match self.answer.take() {
            Some(answer) => answer.wait(),
            None => Err(Error::invalid("an op was polled after its answer")),
        }
    }
}

mod system {
    //! The one file that may ask the operating system for time and chance.
    #![expect(
        clippy::disallowed_methods,
        reason = "this is where Env gets them from"
    )]

    use std::hash::{BuildHasher, Hasher, RandomState};
    use std::time::{Duration, Instant, SystemTime};

    #[derive(Debug)]
    pub(super) struct SystemClock(Instant);

    impl SystemClock {
        pub(super) fn new() -> Self {
            Self(Instant::now())
        }
    }

    impl super::Clock for SystemClock {
        fn monotonic_ns(&self) -> u64 {
            self.0.elapsed().as_nanos() as u64
        }

        fn unix_us(&self) -> u64 {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.map_or(0, |time| time.as_micros() as u64)
        }

        fn sleep(&self, time: Duration) {
            std::thread::sleep(time);
        }
    }

    /// The standard library seeds each `RandomState` from the kernel; no further crate is needed
    /// for identities and tags, which must be unlikely to meet but need not be secret.
    #[derive(Debug)]
    pub(super) struct SystemRandom;

    impl super::Random for SystemRandom {
        fn next_u64(&self) -> u64 {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u128(
                SystemTime::now()
                    .elapsed()
                    .map_or(0, |time| time.as_nanos()),
            );
            hasher.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_ahead_is_told_once_and_forgotten_after_the_calls() {
        let reference = |number: u64| Reference {
            oid: Oid::from_raw(number).unwrap(),
            length: number as u32 * 10,
            check: 0,
            weak: false,
            leaf: true,
        };
        let many: Vec<_> = (1..40).map(reference).collect();
        let told = |take: fn(u32) -> bool| {
            let mut told = Vec::new();
            take_ahead(|oid, length| {
                told.push((oid.raw(), length));
                take(length)
            });
            told
        };
        ahead(&many[..3], || {
            assert_eq!(told(|length| length != 20), [(1, 10), (2, 20), (3, 30)]);
            assert_eq!(told(|_| true), [(2, 20)]);
            assert_eq!(told(|_| true), []);
        });
        ahead(&many, || assert_eq!(told(|_| false).len(), AHEAD_MAX));
        assert_eq!(told(|_| true), []);
    }

    #[test]
    fn work_is_done_on_a_thread_that_waits_for_it_and_side_by_side_when_asked() {
        let env = Env::system();
        let here = std::thread::current().id();
        let call = || env.offload(move || Ok(std::thread::current().id() == here));
        assert!(waiting(call).is_ready());
        assert!(waiting(call).wait().unwrap());
        assert!(!waiting(|| side_by_side(call)).is_ready());
        assert!(!call().is_ready());
    }

    #[test]
    fn offloaded_work_is_done_once_whoever_gets_to_it() {
        let env = Env::system();
        let done = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let ops: Vec<_> = (0..200)
            .map(|n| {
                let done = done.clone();
                env.offload(move || {
                    done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(n)
                })
            })
            .collect();
        for (n, op) in ops.into_iter().enumerate() {
            assert_eq!(op.wait().unwrap(), n);
        }
        assert_eq!(done.load(std::sync::atomic::Ordering::Relaxed), 200);
    }
}
