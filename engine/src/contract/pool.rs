//! A few threads that take jobs in turn.
//!
//! Of those that rest the one that worked last is called first: what it works with is still in the caches of
//! its processor, and an allocator, which keeps some memory for each thread that ever asked, keeps it for few.
//! Who is not called for long ends.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::env::{Drivers, Job};
use super::error::{Error, Result};

/// Who is not called during so many rests of so long ends.
const RESTS: u32 = 3;
const REST: Duration = Duration::from_secs(5);

/// The threads; started as they are needed, ended when the pool is dropped.
#[derive(Debug)]
pub struct Pool {
    queue: Arc<Mutex<Queue>>,
    most: usize,
    rest: Duration,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Those that wait to be called, in the order in which they were done with what they did last.
    resting: Vec<Thread>,
    closed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} jobs, {} threads", self.jobs.len(), self.threads)
    }
}

impl Pool {
    /// A pool of at most this many threads.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self::with_rest(most, REST)
    }

    fn with_rest(most: usize, rest: Duration) -> Self {
        Self {
            queue: Arc::default(),
            most: most.max(1),
            rest,
        }
    }
}

impl Drivers for Pool {
    fn run(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        // Each job has one called, or started; where all are busy, each of them looks again before it rests.
        if let Some(thread) = queue.resting.pop() {
            drop(queue);
            return thread.unpark();
        }
        if queue.threads == self.most {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let (theirs, rest) = (self.queue.clone(), self.rest);
        let body = Box::new(move || drive(&theirs, rest));
        if self.thread("travertine-driver", body).is_err() {
            // No thread to be had: the jobs still run, on whoever brings or awaits them.
            let mut queue = lock(&self.queue);
            queue.threads -= 1;
            let nobody = queue.threads == 0;
            let jobs = nobody.then(|| std::mem::take(&mut queue.jobs));
            drop(queue);
            jobs.into_iter().flatten().for_each(|job| job());
        }
    }

    fn inline(&self) -> bool {
        false
    }

    fn thread(&self, name: &str, body: Job) -> Result<()> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .map(drop)
            .map_err(|source| Error::io(format!("starting the thread {name}"), source))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.resting.drain(..).for_each(|thread| thread.unpark());
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn drive(shared: &Mutex<Queue>, rest: Duration) {
    let me = std::thread::current();
    let mut queue = lock(shared);
    loop {
        while let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            // A job that panics takes its own answer with it, not the thread that others wait for.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            queue = lock(shared);
        }
        if queue.closed {
            return;
        }
        queue.resting.push(me.clone());
        let mut rests = 0;
        // Who is called is taken off the list. A wake-up that was meant for what the last job waited for, and
        // came too late, ends a rest early.
        while let Some(place) = queue.resting.iter().position(|who| who.id() == me.id()) {
            if rests == RESTS {
                queue.resting.remove(place);
                queue.threads -= 1;
                return;
            }
            drop(queue);
            std::thread::park_timeout(rest);
            rests += 1;
            queue = lock(shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(120);

    #[test]
    fn a_job_does_not_queue_behind_one_that_waits_for_it_while_there_are_threads() {
        let pool = Pool::new(2);
        for _ in 0..50 {
            let (say, heard) = mpsc::channel();
            let (done, ended) = mpsc::channel();
            pool.run(Box::new(move || {
                let _ = done.send(heard.recv_timeout(LONG).is_ok());
            }));
            pool.run(Box::new(move || {
                let _ = say.send(());
            }));
            assert_eq!(ended.recv(), Ok(true));
        }
    }

    #[test]
    fn a_job_that_panics_leaves_the_threads_to_others() {
        let pool = Pool::new(1);
        pool.run(Box::new(|| {
            panic!("a job that panics, as this test wants it to")
        }));
        let (done, ended) = mpsc::channel();
        pool.run(Box::new(move || {
            let _ = done.send(());
        }));
        assert_eq!(ended.recv_timeout(LONG), Ok(()));
    }

    /// Waits for a state of a pool.
    fn until(pool: &Pool, what: impl Fn(&Queue) -> bool) {
        for _ in 0..120_000 {
            if what(&lock(&pool.queue)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("it never came to that");
    }

    /// Has all threads of a pool work at once.
    fn begin(pool: &Pool) {
        let barrier = Arc::new(std::sync::Barrier::new(pool.most));
        for _ in 0..pool.most {
            let barrier = barrier.clone();
            pool.run(Box::new(move || {
                barrier.wait();
            }));
        }
    }

    #[test]
    fn jobs_that_come_one_after_the_other_are_done_by_the_thread_that_worked_last() {
        let pool = Pool::with_rest(8, Duration::from_secs(3600));
        begin(&pool);
        until(&pool, |queue| queue.resting.len() == 8);
        let (say, heard) = mpsc::channel();
        let mut before = None;
        for _ in 0..50 {
            let say = say.clone();
            pool.run(Box::new(move || {
                let _ = say.send(std::thread::current().id());
            }));
            let who = heard.recv_timeout(LONG).unwrap();
            assert_eq!(*before.get_or_insert(who), who);
            until(&pool, |queue| queue.resting.len() == 8);
        }
    }

    #[test]
    fn threads_that_nobody_calls_end_and_a_job_that_comes_later_is_done() {
        let pool = Pool::with_rest(8, Duration::from_millis(1));
        for _ in 0..3 {
            let (say, heard) = mpsc::channel();
            for _ in 0..100 {
                let say = say.clone();
                pool.run(Box::new(move || {
                    let _ = say.send(());
                }));
            }
            for _ in 0..100 {
                heard.recv_timeout(LONG).unwrap();
            }
            until(&pool, |queue| queue.threads == 0);
            assert!(lock(&pool.queue).resting.is_empty());
        }
    }

    #[test]
    fn of_many_threads_one_stays_for_jobs_that_come_one_after_the_other() {
        let pool = Pool::with_rest(8, Duration::from_millis(50));
        begin(&pool);
        let (say, heard) = mpsc::channel();
        for _ in 0..120_000 {
            let say = say.clone();
            pool.run(Box::new(move || {
                let _ = say.send(());
            }));
            heard.recv_timeout(LONG).unwrap();
            if lock(&pool.queue).threads == 1 {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("more than one stays");
    }
}
