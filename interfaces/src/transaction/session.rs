//! One transaction: its collections as it alone sees them, and how they are committed.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use travertine_engine::contract::{Env, Error, Random, Result};

use super::decision::Decisions;
use super::engine::{Engine, Engines, Later, Work};
use super::stamp::{EXPIRES_MS, Sign, Stamp, Transaction, TransactionId, hash};
use crate::block::{Block, BlockId, ByteString, ReadBlocks as _, Value};
use crate::collection::{Collection, Kind, Prepared};
use crate::transactor::{
    ActionId, ActionRev, Commit, Part, Pend, Reads, Stale, Status, Transacted, Transactor, each,
    transact,
};

/// Most statements of a transaction.
pub const STATEMENTS_MAX: usize = 65_536;

/// Where collections lie.
pub trait Places: Send + Sync {
    /// The number of the store that a collection lies in.
    fn place(&self, collection: &BlockId) -> usize;

    /// The store of this number. `None`: there is none.
    fn transactor(&self, place: usize) -> Option<Arc<dyn Transactor>>;
}

/// All in one store.
impl Places for Arc<dyn Transactor> {
    fn place(&self, _: &BlockId) -> usize {
        0
    }

    fn transactor(&self, place: usize) -> Option<Arc<dyn Transactor>> {
        (place == 0).then(|| self.clone())
    }
}

/// The collections that transactions may touch, and what each is.
#[derive(Clone, Default)]
pub struct Schema(BTreeMap<BlockId, Arc<dyn Open>>);

impl Schema {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more; of two with one name the later one.
    #[must_use]
    pub fn with(mut self, collection: BlockId, kind: impl Kind) -> Self {
        self.0.insert(collection, Arc::new(Opens(kind)));
        self
    }

    /// Names it: equal for equal names and kinds.
    pub fn hash(&self) -> Result<String> {
        let all = self.0.iter();
        let all = all.map(|(id, kind)| (id.as_str(), kind.header(id).header().code.to_string()));
        Ok(hash(&Value::of(&all.collect::<Vec<_>>())?))
    }
}

impl Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Opens collections of one kind.
trait Open: Send + Sync {
    fn header(&self, id: &BlockId) -> Block;

    fn open<'o>(
        &'o self,
        transactor: Arc<dyn Transactor>,
        env: &'o Env,
        id: BlockId,
    ) -> Later<'o, Box<dyn Member>>;
}

struct Opens<K>(K);

impl<K: Kind> Open for Opens<K> {
    fn header(&self, id: &BlockId) -> Block {
        self.0.header(id)
    }

    fn open<'o>(
        &'o self,
        transactor: Arc<dyn Transactor>,
        env: &'o Env,
        id: BlockId,
    ) -> Later<'o, Box<dyn Member>> {
        Box::pin(async move {
            let opened = Collection::create_or_open(transactor, env, id, self.0.clone()).await?;
            opened.view().note_reads();
            Ok(Box::new(opened) as Box<dyn Member>)
        })
    }
}

/// A collection of a transaction, whatever its kind.
pub(super) trait Member: Debug + Send {
    fn act<'m>(&'m mut self, actions: &'m [Value]) -> Later<'m, ()>;
    fn block<'m>(&'m self, id: &'m BlockId) -> Later<'m, Option<Arc<Block>>>;
    fn ask<'m>(&'m self, question: &'m Value) -> Later<'m, Value>;
    /// `None`: nothing was done.
    fn prepare<'m>(
        &'m self,
        id: &'m ActionId,
        others: &'m [BlockId],
        now: u64,
        random: &'m Arc<dyn Random>,
    ) -> Later<'m, Option<Prepared>>;
    /// Blocks that were read and not changed so far, and that it was not there, if it was not.
    fn reads(&self) -> Reads;
    fn changes(&self) -> bool;
}

impl<K: Kind> Member for Collection<K> {
    fn act<'m>(&'m mut self, actions: &'m [Value]) -> Later<'m, ()> {
        Box::pin(async move {
            let actions: Vec<K::Action> = actions.iter().map(Value::to).collect::<Result<_>>()?;
            Self::act(self, actions).await
        })
    }

    fn block<'m>(&'m self, id: &'m BlockId) -> Later<'m, Option<Arc<Block>>> {
        Box::pin(async move { self.blocks().get(id).await })
    }

    fn ask<'m>(&'m self, question: &'m Value) -> Later<'m, Value> {
        Box::pin(async move { self.kind().ask(self.blocks(), self.id(), question).await })
    }

    fn prepare<'m>(
        &'m self,
        id: &'m ActionId,
        others: &'m [BlockId],
        now: u64,
        random: &'m Arc<dyn Random>,
    ) -> Later<'m, Option<Prepared>> {
        Box::pin(async move {
            match self.noted().is_empty() {
                true => Ok(None),
                false => {
                    let reads = self.view().reads();
                    let prepared = Self::prepare(self, id, others, now, random).await;
                    // Its own log is no part of what was read.
                    self.view().set_reads(reads);
                    prepared.map(Some)
                }
            }
        })
    }

    fn reads(&self) -> Reads {
        let mut reads = self.view().reads();
        if self.is_new() {
            reads.insert(self.id().clone(), 0);
        }
        let changes = self.blocks().changes();
        reads.retain(|id, _| self.noted().is_empty() || changes.now(id).is_none());
        reads
    }

    fn changes(&self) -> bool {
        !self.noted().is_empty()
    }
}

/// The collections of one transaction.
pub(super) struct Members {
    world: World,
    stamp: Stamp,
    open: BTreeMap<BlockId, Box<dyn Member>>,
}

impl Members {
    pub(super) async fn open(&mut self, id: &BlockId) -> Result<&mut Box<dyn Member>> {
        if !self.open.contains_key(id) {
            let kind = self.world.schema.0.get(id).ok_or_else(|| {
                Error::invalid(format!("the schema has no collection {id}: name it there"))
            })?;
            let env = Env {
                random: Arc::new(self.stamp.random(id.as_str())?),
                ..self.world.env.clone()
            };
            let transactor = self.world.transactor(self.world.places.place(id))?;
            let member = kind.open(transactor, &env, id.clone()).await?;
            self.open.insert(id.clone(), member);
        }
        let member = self.open.get_mut(id);
        member.ok_or_else(|| Error::invalid("a collection that was just opened is gone"))
    }
}

impl Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.open.keys()).finish()
    }
}

/// What transactions are done in.
#[derive(Clone)]
pub struct World {
    pub(super) env: Env,
    pub(super) places: Arc<dyn Places>,
    pub(super) schema: Schema,
    pub(super) engines: Engines,
    peer: String,
    sign: Option<Arc<dyn Sign>>,
    pub(super) decisions: Option<Decisions>,
}

impl World {
    /// Transactions of somebody of this name, with the [plain engine](super::Actions).
    pub fn new(env: &Env, peer: &str, places: impl Places + 'static, schema: Schema) -> Self {
        Self {
            env: env.clone(),
            places: Arc::new(places),
            schema,
            engines: Engines::standard(),
            peer: peer.to_owned(),
            sign: None,
            decisions: None,
        }
    }

    /// With other engines.
    #[must_use]
    pub fn with_engines(self, engines: Engines) -> Self {
        Self { engines, ..self }
    }

    /// Where transactions are signed.
    #[must_use]
    pub fn with_signatures(self, sign: Arc<dyn Sign>) -> Self {
        let sign = Some(sign);
        Self { sign, ..self }
    }

    /// Where transactions over several stores are all or nothing too.
    #[must_use]
    pub fn with_decisions(self, decisions: Decisions) -> Self {
        let decisions = Some(decisions);
        Self { decisions, ..self }
    }

    /// Completes what was decided, and undoes what was not, of transactions over several stores whose
    /// process ended. Others may go on meanwhile. Returns how many there were of each.
    pub async fn recover(&self) -> Result<(u64, u64)> {
        match &self.decisions {
            Some(decisions) => decisions.recover(&*self.places).await,
            None => Ok((0, 0)),
        }
    }

    /// Begins a transaction for an engine.
    pub fn begin(&self, engine: &str) -> Result<Session> {
        let timestamp = self.env.clock.unix_us() / 1000;
        self.begin_as(Stamp {
            peer: self.peer.clone(),
            timestamp,
            expires: timestamp + EXPIRES_MS,
            schema: self.schema.hash()?,
            engine: engine.to_owned(),
            nonce: self.env.random.next_u64(),
        })
    }

    pub(super) fn begin_as(&self, stamp: Stamp) -> Result<Session> {
        let engine = self.engines.get(&stamp.engine).cloned();
        let engine = engine.ok_or_else(|| {
            Error::invalid(format!(
                "no engine is called {}",
                stamp.engine.escape_debug()
            ))
        })?;
        Ok(Session {
            engine,
            members: Members {
                world: self.clone(),
                stamp,
                open: BTreeMap::new(),
            },
            statements: Vec::new(),
            ended: None,
            tried: false,
        })
    }

    pub(super) fn transactor(&self, place: usize) -> Result<Arc<dyn Transactor>> {
        let transactor = self.places.transactor(place);
        transactor.ok_or_else(|| Error::invalid(format!("there is no store number {place}")))
    }
}

impl Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("peer", &self.peer)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Why a transaction did not land.
#[derive(Debug, Clone)]
pub enum TransactionError {
    /// Somebody else was first: nothing of it landed. Begin anew.
    Stale(Stale),
    /// It took too long: nothing of it landed. Begin anew.
    Expired,
    /// It landed in some collections and not in others, whose stores each decide for themselves.
    Partly {
        /// Where it landed.
        landed: Vec<BlockId>,
        /// Where it did not, and why.
        failed: Vec<(BlockId, String)>,
    },
    /// Something failed; the kind says what to do. Of an answer that got lost it is not known whether it
    /// landed: commit again.
    Failed(Error),
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(Stale::Refused(why)) => write!(f, "the transaction was refused: {why}"),
            Self::Stale(_) => f.write_str("somebody else was first: begin the transaction anew"),
            Self::Expired => f.write_str("the transaction took too long: begin it anew"),
            Self::Partly { landed, failed } => {
                f.write_str("the transaction landed in")?;
                landed.iter().try_for_each(|id| write!(f, " {id}"))?;
                f.write_str(", and not in")?;
                failed
                    .iter()
                    .try_for_each(|(id, why)| write!(f, " {id} ({why})"))
            }
            Self::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for TransactionError {}

/// A transaction on its way. Dropped it never was.
#[derive(Debug)]
pub struct Session {
    engine: Arc<dyn Engine>,
    pub(super) members: Members,
    statements: Vec<Value>,
    ended: Option<&'static str>,
    /// Whether it was tried to commit it, and no answer came.
    tried: bool,
}

/// What a transaction is to do, ready to be committed.
#[derive(Debug)]
pub struct Proposal {
    /// What it did.
    pub transaction: Transaction,
    /// Its name.
    pub id: TransactionId,
    /// The hash of what becomes of each block of each collection.
    pub operations: String,
    pub(super) parts: BTreeMap<usize, Vec<Part>>,
}

impl Session {
    /// What it began with.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        &self.members.stamp
    }

    /// Does a statement, as its engine understands it; what fails has done nothing in the collection that
    /// it failed in.
    pub async fn execute(&mut self, statement: Value) -> Result<Value> {
        self.check()?;
        if self.statements.len() == STATEMENTS_MAX {
            return Err(Error::invalid(format!(
                "a transaction has {STATEMENTS_MAX} statements at most"
            )));
        }
        // What it did before it fails, or is dropped, is not in the statements: it may not land.
        self.ended = Some("failed in a statement");
        let mut work = Work(&mut self.members);
        let result = self.engine.execute(&statement, &mut work).await?;
        self.statements.push(statement);
        self.ended = None;
        Ok(result)
    }

    /// What a collection answers to a question of its [kind](crate::collection::Kind::ask), with what was
    /// done here. The transaction rests on it.
    pub async fn ask(&mut self, collection: &BlockId, question: &Value) -> Result<Value> {
        self.check()?;
        self.members.open(collection).await?.ask(question).await
    }

    /// A block of a collection, likewise.
    pub async fn block(
        &mut self,
        collection: &BlockId,
        id: &BlockId,
    ) -> Result<Option<Arc<Block>>> {
        self.check()?;
        self.members.open(collection).await?.block(id).await
    }

    /// Forgets all of it.
    pub fn rollback(&mut self) -> Result<()> {
        self.check()?;
        self.members.open.clear();
        self.ended = Some("was rolled back");
        Ok(())
    }

    /// What it is to do, as others can check it.
    pub async fn propose(&mut self) -> Result<Proposal> {
        self.check()?;
        let members = &self.members;
        let reads = members.open.iter().map(|(id, it)| (id.clone(), it.reads()));
        let reads: BTreeMap<_, _> = reads.collect();
        let told = reads.iter().flat_map(|(collection, reads)| {
            let name = |id: &BlockId| id.as_str().to_owned();
            let read =
                move |(id, revision): (&BlockId, &_)| (name(collection), name(id), *revision);
            reads.iter().map(read)
        });
        let told = told.collect();
        let stamp = members.stamp.clone();
        let mut transaction = Transaction::new(stamp, self.statements.clone(), told);
        let id = transaction.id()?;
        if let Some(sign) = &members.world.sign {
            transaction.signature = Some(ByteString(sign.sign(id.as_str().as_bytes())));
        }
        let (operations, parts) = self.prepare(&id, reads).await?;
        Ok(Proposal {
            transaction,
            id,
            operations,
            parts,
        })
    }

    /// What becomes of the blocks, under this name.
    pub(super) async fn propose_as(&self, id: TransactionId) -> Result<String> {
        Ok(self.prepare(&id, BTreeMap::new()).await?.0)
    }

    async fn prepare(
        &self,
        id: &TransactionId,
        mut reads: BTreeMap<BlockId, Reads>,
    ) -> Result<(String, BTreeMap<usize, Vec<Part>>)> {
        let members = &self.members;
        let changed = members.open.iter().filter(|(_, it)| it.changes());
        let changed: Vec<_> = changed.map(|(id, _)| id.clone()).collect();
        let (mut parts, mut operations) = (BTreeMap::<_, Vec<Part>>::new(), Vec::new());
        for (collection, member) in &members.open {
            let others = changed.iter().filter(|it| *it != collection);
            let others: Vec<_> = others.cloned().collect();
            let random = format!("{} log", collection.as_str());
            let random: Arc<dyn Random> = Arc::new(members.stamp.random(&random)?);
            let now = members.stamp.timestamp;
            let prepared = member.prepare(id, &others, now, &random).await?;
            let read = reads.remove(collection).unwrap_or_default();
            let mut part = match prepared {
                Some(prepared) => prepared.part,
                None if read.is_empty() => continue,
                None => only_read(collection, id),
            };
            let transforms = &part.pend.transforms;
            if !transforms.is_empty() {
                let bytes = transforms.to_bytes();
                operations.push((collection.as_str().to_owned(), ByteString(bytes.to_vec())));
            }
            // Those that its entry changes are checked by their revision.
            let read = read.into_iter();
            part.pend.reads = read.filter(|(id, _)| transforms.of(id).is_none()).collect();
            part.commit.blocks = part.pend.blocks().cloned().collect();
            let place = members.world.places.place(collection);
            parts.entry(place).or_default().push(part);
        }
        Ok((hash(&Value::of(&operations)?), parts))
    }

    /// Commits it. When it has landed everybody sees it, the next transaction of this client too.
    pub async fn commit(&mut self) -> Result<TransactionId, TransactionError> {
        let proposal = self.propose().await?;
        let id = proposal.id.clone();
        self.land(proposal).await?;
        Ok(id)
    }

    /// Commits what was proposed, if nothing was done since.
    pub async fn land(&mut self, proposal: Proposal) -> Result<(), TransactionError> {
        self.check()?;
        if proposal.transaction.stamp != self.members.stamp
            || proposal.transaction.statements != self.statements
        {
            let other = Error::invalid("another transaction was proposed: propose this one");
            return Err(other.into());
        }
        let world = self.members.world.clone();
        if self.tried && self.has_landed(&proposal).await? {
            self.ended = Some("was committed");
            return Ok(());
        }
        if world.env.clock.unix_us() / 1000 > self.members.stamp.expires {
            self.ended = Some("expired");
            return Err(TransactionError::Expired);
        }
        self.tried = true;
        let mut parts = proposal.parts;
        let done = match (parts.len(), &world.decisions) {
            (0, _) => Transacted::Done,
            (1, _) => match parts.pop_first() {
                Some((place, parts)) => transact(&world.transactor(place)?, parts).await?,
                None => Transacted::Done,
            },
            (_, Some(decisions)) => decisions.land(&*world.places, &proposal.id, &parts).await?,
            (_, None) => {
                let mut all = Vec::new();
                for (place, parts) in parts {
                    let transactor = world.transactor(place)?;
                    all.extend(parts.into_iter().map(|part| (transactor.clone(), part)));
                }
                each(&all).await?
            }
        };
        self.ended = Some("was committed");
        match done {
            Transacted::Done => Ok(()),
            Transacted::Stale(stale) => {
                self.ended = Some("was too late");
                Err(TransactionError::Stale(stale))
            }
            Transacted::Partly { landed, failed } => {
                Err(TransactionError::Partly { landed, failed })
            }
        }
    }

    /// Whether an attempt whose answer got lost landed everywhere.
    async fn has_landed(&self, proposal: &Proposal) -> Result<bool> {
        for (place, parts) in &proposal.parts {
            let transactor = self.members.world.transactor(*place)?;
            let changing = parts.iter().filter(|it| !it.pend.transforms.is_empty());
            for part in changing {
                let tail = std::slice::from_ref(&part.commit.tail);
                let status = transactor.status(&part.commit.action, tail).await?;
                if status.get(&part.commit.tail) != Some(&Status::Committed) {
                    return Ok(false);
                }
            }
        }
        Ok(!proposal.parts.is_empty())
    }

    fn check(&self) -> Result<()> {
        match self.ended {
            None => Ok(()),
            Some(how) => Err(Error::invalid(format!(
                "the transaction {how}: begin another"
            ))),
        }
    }
}

/// A collection that is read and not changed: it gets no entry.
fn only_read(collection: &BlockId, id: &TransactionId) -> Part {
    Part {
        collection: collection.clone(),
        pend: Pend::new(id.clone(), None, std::iter::empty().collect()),
        commit: Commit {
            action: ActionRev {
                action: id.clone(),
                revision: 0,
            },
            blocks: Vec::new(),
            tail: collection.clone(),
            header: None,
        },
    }
}
