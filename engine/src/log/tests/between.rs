//! Stories of what happens between two steps of the log: something is done in the middle of a call
//! to the medium, as another thread or process might.

use super::*;
use crate::conformance::env::OnCall;
use crate::conformance::sim::{Plan, SimDisk};
use crate::medium::MediumFile;
use std::sync::mpsc;
use std::time::Duration;

/// Where a story goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the lock is asked for.
    Lock,
    /// After a file was synced.
    Synced,
    /// Before a file is made.
    Create,
    /// Before the first write to a file that was just renamed.
    Rolled,
    /// After bytes were read.
    Read,
}

type Step = Box<dyn FnOnce() -> Result<()> + Send>;

#[derive(Default)]
struct Story {
    step: Mutex<Option<(At, Step)>>,
    writes: AtomicU64,
    renamed: AtomicBool,
}

impl Story {
    fn tell(&self, at: At, step: impl FnOnce() -> Result<()> + Send + 'static) {
        self.renamed.store(false, Ordering::Relaxed);
        *self.step.lock().unwrap() = Some((at, Box::new(step)));
    }

    fn reached(&self, at: At) -> Result<()> {
        let step = self.step.lock().unwrap().take_if(|(here, _)| *here == at);
        step.map_or(Ok(()), |(_, step)| step())
    }
}

impl fmt::Debug for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Story")
    }
}

#[derive(Debug, Clone)]
struct Told {
    below: Arc<dyn Medium>,
    story: Arc<Story>,
}

impl Told {
    fn on(below: impl Medium + 'static) -> Self {
        Self {
            below: Arc::new(below),
            story: Arc::default(),
        }
    }

    fn open(&self, options: LogOptions) -> Result<Log> {
        Log::open("file", Arc::new(self.clone()), &Env::system(), options)
    }

    fn file(&self, file: Arc<dyn MediumFile>) -> Arc<dyn MediumFile> {
        Arc::new(ToldFile {
            below: file,
            story: self.story.clone(),
        })
    }
}

impl Medium for Told {
    fn place(&self) -> String {
        self.below.place()
    }
    fn list(&self) -> Result<Vec<String>> {
        self.below.list()
    }
    fn create(&self, name: &str) -> Result<Arc<dyn MediumFile>> {
        self.story.reached(At::Create)?;
        Ok(self.file(self.below.create(name)?))
    }
    fn open(&self, name: &str, write: bool) -> Result<Arc<dyn MediumFile>> {
        Ok(self.file(self.below.open(name, write)?))
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.below.rename(from, to)?;
        self.story.renamed.store(true, Ordering::Relaxed);
        Ok(())
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.below.remove(name)
    }
    fn sync_dir(&self) -> Result<()> {
        self.below.sync_dir()
    }
    fn lock(&self) -> Result<()> {
        self.story.reached(At::Lock)?;
        self.below.lock()
    }
    fn unlock(&self) {
        self.below.unlock();
    }
    fn unit(&self) -> u64 {
        self.below.unit()
    }
    fn level(&self) -> Level {
        self.below.level()
    }
}

#[derive(Debug)]
struct ToldFile {
    below: Arc<dyn MediumFile>,
    story: Arc<Story>,
}

impl MediumFile for ToldFile {
    fn len(&self) -> Result<u64> {
        self.below.len()
    }
    fn read_at(&self, offset: u64, length: usize) -> Result<bytes::Bytes> {
        let bytes = self.below.read_at(offset, length)?;
        self.story.reached(At::Read)?;
        Ok(bytes)
    }
    fn fetch(&self, env: &Env, offset: u64, length: usize) -> Op<bytes::Bytes> {
        self.below.fetch(env, offset, length)
    }
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> Result<()> {
        self.story.writes.fetch_add(1, Ordering::Relaxed);
        if self.story.renamed.load(Ordering::Relaxed) {
            self.story.reached(At::Rolled)?;
        }
        self.below.write_at(offset, parts)
    }
    fn claim(&self, end: u64) -> Result<()> {
        self.below.claim(end)
    }
    fn set_len(&self, length: u64) -> Result<()> {
        self.below.set_len(length)
    }
    fn sync(&self) -> Result<()> {
        self.below.sync()?;
        self.story.reached(At::Synced)
    }
    fn map(&self, length: u64) -> Option<Result<bytes::Bytes>> {
        self.below.map(length)
    }
}

fn disk() -> (SimDisk, Told) {
    let disk = SimDisk::new(1, Plan::calm());
    let told = Told::on(disk.medium());
    (disk, told)
}

fn refused<T: fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.unwrap_err().kind()
}

#[test]
fn what_is_stored_while_a_sync_runs_is_synced_by_the_next_one() {
    let (disk, told) = disk();
    // Nothing is synced by anybody but who asks for it.
    let env = Env {
        drivers: Arc::new(OnCall::default()),
        ..Env::system()
    };
    let log = Log::open("file", Arc::new(told.clone()), &env, options()).unwrap();
    let mut bones = Bones::begin(log);
    bones.commit(b"the first");
    let bones = Arc::new(Mutex::new(bones));
    let oids = Arc::new(Mutex::new(Vec::new()));
    let (theirs, log) = (
        (bones.clone(), oids.clone()),
        bones.lock().unwrap().log.clone(),
    );
    let batch = bones.lock().unwrap().batch(b"the second", false).0;
    bones.lock().unwrap().take(&batch);
    told.story.tell(At::Synced, move || {
        let mut bones = theirs.0.lock().unwrap();
        let segments = bones.log.segment_headers()?.len();
        while bones.log.segment_headers()?.len() == segments {
            let (batch, stored) = bones.batch(&[7; 9_000], false);
            bones.log.store(bones.epoch, batch.clone()).wait()?;
            bones.take(&batch);
            theirs.1.lock().unwrap().push(stored.oid);
        }
        Ok(())
    });
    let commit = Commit {
        sender: bones.lock().unwrap().epoch,
        level: Level::Disk,
        last: vec![batch],
    };
    log.commit(commit).wait().unwrap();
    let last = bones.lock().unwrap().commit(b"the last");
    drop((bones, log));
    disk.power_cut();
    let log = Log::open("file", Arc::new(disk.medium()), &Env::system(), options()).unwrap();
    let oids = oids.lock().unwrap();
    assert!(oids.len() > 1);
    for oid in oids.iter().chain([&last]) {
        assert!(log.read(*oid).wait().unwrap().is_some(), "{oid}");
    }
}

/// Commits, and lets the next commit say that this one is proven.
fn commit_and_prove(bones: &mut Bones) -> Oid {
    let (batch, stored) = bones.batch(b"while somebody looks", false);
    let commit = Commit {
        sender: bones.epoch,
        level: Level::Disk,
        last: vec![batch.clone()],
    };
    bones.log.commit(commit).wait().unwrap();
    bones.take(&batch);
    bones.proven = Some(Proven {
        sequence: bones.sequence,
        epoch: bones.epoch.number,
        oid: batch.header().marker.unwrap(),
    });
    stored.oid
}

/// Commits after each read, for ever: often enough that what follows vouches for what was not read.
fn commit_beside(story: &Arc<Story>, bones: &Arc<Mutex<Bones>>) {
    let (again, writer) = (story.clone(), bones.clone());
    story.tell(At::Read, move || {
        for _ in 0..3 {
            commit_and_prove(&mut writer.lock().unwrap());
        }
        commit_beside(&again, &writer);
        Ok(())
    });
}

#[test]
fn a_reader_that_is_slower_than_the_writer_at_every_look_reports_no_damage() {
    let (disk, told) = disk();
    let log = |medium: Arc<dyn Medium>, read_only| {
        let options = LogOptions {
            read_only,
            segment: 64 << 20,
            ..options()
        };
        Log::open("file", medium, &Env::system(), options).unwrap()
    };
    let mut bones = Bones::begin(log(Arc::new(disk.medium()), false));
    let mut oids: Vec<_> = (0..9).map(|_| commit_and_prove(&mut bones)).collect();
    let bones = Arc::new(Mutex::new(bones));
    commit_beside(&told.story, &bones);
    let mut reader = log(Arc::new(told.clone()), true);
    for turn in 0..60 {
        let known = bones.lock().unwrap().proven.unwrap();
        oids.push(commit_and_prove(&mut bones.lock().unwrap()));
        if turn % 3 == 0 {
            reader = log(Arc::new(told.clone()), true);
        }
        let (_, marker) = reader.root(RootAt::Newest).wait().unwrap().unwrap();
        assert!(marker.sequence >= known.sequence, "{turn}");
        for oid in &oids[..oids.len() - 2] {
            assert!(reader.read(*oid).wait().unwrap().is_some(), "{oid}");
        }
    }
}

#[test]
fn a_lost_page_that_one_sync_hears_of_is_not_vouched_for_by_another() {
    let (_disk, told) = disk();
    let mut bones = Bones::begin(told.open(options()).unwrap());
    bones.commit(b"the first");
    let mut next = || {
        let batch = bones.batch(b"another", false).0;
        bones.take(&batch);
        Commit {
            sender: bones.epoch,
            level: Level::Disk,
            last: vec![batch],
        }
    };
    let (one, two) = (next(), next());
    let (log, (answer, answered)) = (bones.log.clone(), mpsc::channel());
    told.story.tell(At::Synced, move || {
        let (said, heard) = mpsc::channel();
        let two = move || {
            let _ = said.send(());
            let _ = answer.send(log.commit(two).wait());
        };
        std::thread::Builder::new().spawn(two).unwrap();
        heard.recv().unwrap();
        // Time enough to end, if it does not wait for this one.
        Env::system().clock.sleep(Duration::from_millis(100));
        Err(Error::unavailable("the device lost a page"))
    });
    assert_eq!(refused(bones.log.commit(one).wait()), ErrorKind::Closed);
    let two = answered.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(refused(two), ErrorKind::Closed);
}

#[test]
fn a_segment_whose_first_batch_found_no_room_is_read_from_all_the_same() {
    let (_disk, told) = disk();
    let mut bones = Bones::begin(told.open(options()).unwrap());
    bones.commit(b"the first");
    told.story
        .tell(At::Rolled, || Err(Error::full("no room, once")));
    let stored = loop {
        let (batch, stored) = bones.batch(&[7; 9_000], false);
        if let Err(error) = bones.log.store(bones.epoch, batch.clone()).wait() {
            assert_eq!(error.kind(), ErrorKind::Full);
            bones.log.store(bones.epoch, batch.clone()).wait().unwrap();
            bones.take(&batch);
            break stored;
        }
        bones.take(&batch);
    };
    let read = bones.log.read(stored.oid).wait().unwrap().unwrap();
    assert_eq!(read.body(), &[7; 9_000]);
}

#[test]
fn two_that_make_a_log_at_once_make_one() {
    let medium = MemoryMedium::new();
    let told = Told::on(medium.clone());
    let oid = Arc::new(Mutex::new(None));
    let theirs = oid.clone();
    told.story.tell(At::Lock, move || {
        let mut bones = Bones::begin(open(&medium));
        *theirs.lock().unwrap() = Some(bones.commit(b"theirs"));
        bones.log.close().wait()
    });
    let log = told.open(options()).unwrap();
    let oid = oid.lock().unwrap().unwrap();
    assert_eq!(log.read(oid).wait().unwrap().unwrap().body(), b"theirs");
}

#[test]
fn a_fence_misses_nothing_that_was_acknowledged_while_it_looked() {
    let (_disk, told) = disk();
    let mut old = Bones::begin(told.open(options()).unwrap());
    old.commit(b"the first");
    let log = old.log.clone();
    let batch = old.batch(b"late", false).0;
    let (epoch, end, theirs) = (old.epoch, batch.header().end, log.clone());
    let (answer, answered) = mpsc::channel();
    told.story.tell(At::Create, move || {
        let stored = theirs.store(epoch, batch).wait();
        answer.send(stored).unwrap();
        Ok(())
    });
    let newer = Epoch { number: 9, tag: 9 };
    let state = log.fence(newer).wait().unwrap().remove(0);
    match answered.recv().unwrap() {
        Ok(_) => assert!(state.end.position >= end, "{state:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced),
    }
}

#[test]
fn an_adoption_counts_once_and_a_stale_one_harms_nobody() {
    let (_disk, told) = disk();
    let log = told.open(options()).unwrap();
    let mut old = Bones::begin(log.clone());
    old.commit(b"one");
    let mut new = Bones::begin(log.clone());
    let cut = vec![(Stream(0), new.before)];
    let oid = new.commit(b"two");
    assert_eq!(
        refused(log.adopt(old.epoch, cut.clone()).wait()),
        ErrorKind::Fenced
    );
    // Sent again, as a caller does who missed the answer.
    log.adopt(new.epoch, cut).wait().unwrap();
    assert!(log.read(oid).wait().unwrap().is_some());
    let elsewhere = vec![(Stream(0), new.before)];
    assert_eq!(
        refused(log.adopt(new.epoch, elsewhere).wait()),
        ErrorKind::Invalid
    );
    new.commit(b"three");
}

#[test]
fn a_commit_of_nothing_writes_nothing() {
    let (_disk, told) = disk();
    let options = LogOptions {
        segment: 1 << 20,
        ..options()
    };
    let mut bones = Bones::begin(told.open(options).unwrap());
    bones.commit(&[1; 100_000]);
    let before = told.story.writes.load(Ordering::Relaxed);
    for _ in 0..9 {
        let commit = Commit {
            sender: bones.epoch,
            level: Level::Disk,
            last: Vec::new(),
        };
        bones.log.commit(commit).wait().unwrap();
    }
    assert_eq!(told.story.writes.load(Ordering::Relaxed), before);
}

#[test]
fn a_closed_log_vouches_for_nothing_and_gives_back_no_lock_but_its_own() {
    let medium = MemoryMedium::new();
    let mut first = Bones::begin(open(&medium));
    let oid = first.commit(b"one");
    let above = Oid::from_raw(oid.raw() + 1_000).unwrap();
    assert_eq!(first.log.read(above).wait().unwrap(), None);
    first.log.close().wait().unwrap();
    assert_eq!(
        refused(first.log.read(above).wait()),
        ErrorKind::Unavailable
    );
    let newer = Epoch { number: 9, tag: 9 };
    assert_eq!(refused(first.log.fence(newer).wait()), ErrorKind::Closed);
    let _second = open(&medium);
    drop(first);
    let wrong = LogOptions {
        stream: Stream(4),
        read_only: true,
        ..options()
    };
    let shared: Arc<dyn Medium> = Arc::new(medium.clone());
    Log::open("memory", shared.clone(), &Env::system(), wrong).unwrap_err();
    let third = Log::open("memory", shared, &Env::system(), options());
    assert_eq!(refused(third), ErrorKind::Unavailable);
}

#[test]
fn a_commit_is_found_however_much_was_stored_after_it() {
    let medium = MemoryMedium::new();
    let mut bones = Bones::begin(open(&medium));
    bones.commit(b"one");
    let newest = bones.log.root(RootAt::Newest).wait().unwrap().unwrap();
    for _ in 0..1_100 {
        let mut builder = BatchBuilder::new(Stream(0), bones.next, bones.before, bones.epoch, 0);
        let record = NewRecord {
            kind: Kind::BLOB,
            references: &[],
            body: &[b"not committed"],
        };
        builder.push(&record).unwrap();
        let batch = builder.finish(None, false);
        bones.log.store(bones.epoch, batch.clone()).wait().unwrap();
        bones.take(&batch);
    }
    drop(bones);
    let log = open(&medium);
    let state = log.fence(Epoch::default()).wait().unwrap().remove(0);
    let link = state.chain.iter().rev().find(|link| link.marker.is_some());
    let link = link.unwrap();
    assert_eq!(link.marker, Some(newest));
    let epoch = Epoch { number: 9, tag: 9 };
    log.fence(epoch).wait().unwrap();
    log.adopt(epoch, vec![(Stream(0), link.end)])
        .wait()
        .unwrap();
}

#[test]
fn a_reader_sees_what_was_proven_since_it_opened() {
    let medium = MemoryMedium::new();
    let mut bones = Bones::begin(open(&medium));
    let prove = |bones: &mut Bones| {
        let (oid, marker) = bones.log.root(RootAt::Newest).wait().unwrap().unwrap();
        bones.proven = Some(Proven {
            sequence: marker.sequence,
            epoch: marker.epoch.number,
            oid,
        });
    };
    bones.commit(b"one");
    prove(&mut bones);
    bones.commit(b"two");
    let options = LogOptions {
        read_only: true,
        ..options()
    };
    let shared = Arc::new(medium.clone());
    let reader = Log::open("memory", shared, &Env::system(), options).unwrap();
    let seen = || {
        let newest = reader.root(RootAt::Newest).wait().unwrap();
        newest.map_or(0, |(_, marker)| marker.sequence)
    };
    assert_eq!(seen(), 1);
    // Far enough for new segments, twice.
    for round in 0..2 {
        for n in 0..60 {
            prove(&mut bones);
            let oid = bones.commit(&[n; 1_500]);
            assert_eq!(seen(), u64::from(n) + 2 + 60 * round);
            assert!(reader.read(oid).wait().unwrap().is_some());
        }
        bones.log.close().wait().unwrap();
        drop(bones);
        bones = Bones::begin(open(&medium));
    }
}
