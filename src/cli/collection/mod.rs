//! `collection`: trees and diaries of blocks that clients share, for shells.

mod lines;
mod sync;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};

use self::sync::Sync;
use super::text::KeyArg;
use super::{Failure, Opened, Outcome, Run, StackArg, Terminal};
use crate::contract::{Env, Error, Name, block_on};
use crate::front::Engine;
use crate::interfaces::Direction;
use crate::interfaces::block::{BlockId, Value};
use crate::interfaces::collection::{Collection as Shared, Diary, Kind, Replace, Retry, Tree, row};
use crate::interfaces::structure::tree::{Pairs, Tree as Blocks};
use crate::interfaces::transactor::{Local, Options, Transactor};
use crate::stack::Registry;

/// Create, fill, read and check collections: trees and diaries of versioned blocks
///
/// A collection is a tree of rows or a diary of entries that several clients change at a time: each acts
/// on what it sees, and to synchronise is to be one entry of the collection's log. What clients did in
/// different rows lands one after the other. Values and entries are JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  travertine collection create stack.toml --collection people --kind tree
  travertine collection put stack.toml --collection people ada '{\"born\":1815}'
  travertine collection get stack.toml --collection people ada
  travertine collection scan stack.toml --collection people --from a --limit 10
  travertine collection sync stack.toml --collection people < actions.ndjson
  travertine collection append stack.toml --collection journal '\"began\"'
  travertine collection log stack.toml --collection people --reverse --limit 5
  travertine collection verify stack.toml --collection people")]
pub(super) struct Collection {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(Create),
    Append(Append),
    Put(Put),
    Del(Del),
    Get(Get),
    Scan(Scan),
    Log(Log),
    Verify(Verify),
    Sync(Sync),
}

#[derive(Debug, Args)]
struct CollectionArg {
    #[command(flatten)]
    stack: StackArg,
    /// The name of the collection
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// The name of the map that its blocks lie in
    #[arg(long, value_name = "NAME", default_value = "blocks")]
    blocks: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindArg {
    /// Rows by key
    Tree,
    /// Entries in one order
    Diary,
}

/// Create a collection; one that is there already of that kind stays as it is
#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    collection: CollectionArg,
    /// What it is
    #[arg(long, value_enum)]
    kind: KindArg,
}

/// Add an entry to a diary
#[derive(Debug, Args)]
struct Append {
    #[command(flatten)]
    collection: CollectionArg,
    /// The entry, as JSON; what is none is taken for a text
    #[arg(value_name = "ENTRY", allow_hyphen_values = true)]
    entry: String,
}

/// Set the value of a row of a tree
#[derive(Debug, Args)]
struct Put {
    #[command(flatten)]
    collection: CollectionArg,
    #[command(flatten)]
    key: KeyArg,
    /// The value, as JSON; what is none is taken for a text
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

/// Take a row of a tree away, whether it is there or not
#[derive(Debug, Args)]
struct Del {
    #[command(flatten)]
    collection: CollectionArg,
    #[command(flatten)]
    key: KeyArg,
}

/// Print the value of a row of a tree, as JSON
#[derive(Debug, Args)]
struct Get {
    #[command(flatten)]
    collection: CollectionArg,
    #[command(flatten)]
    key: KeyArg,
}

/// Print the rows of a tree, or the entries of a diary, as lines of JSON
#[derive(Debug, Args)]
struct Scan {
    #[command(flatten)]
    collection: CollectionArg,
    /// Only rows whose key is this or greater
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the last one down
    #[arg(long)]
    reverse: bool,
}

/// Print what was done to a collection, as lines of JSON: each with its revision, when, and by which action
#[derive(Debug, Args)]
struct Log {
    #[command(flatten)]
    collection: CollectionArg,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the newest entry down
    #[arg(long)]
    reverse: bool,
}

/// Check every link of the log, and every node and the order of a tree
#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    collection: CollectionArg,
}

impl Run for Collection {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        match self.what {
            What::Create(create) => create.run(registry, terminal),
            What::Append(append) => append.run(registry, terminal),
            What::Put(put) => put.run(registry, terminal),
            What::Del(del) => del.run(registry, terminal),
            What::Get(get) => get.run(registry, terminal),
            What::Scan(scan) => scan.run(registry, terminal),
            What::Log(log) => log.run(registry, terminal),
            What::Verify(verify) => verify.run(registry, terminal),
            What::Sync(sync) => sync.run(registry, terminal),
        }
    }
}

impl Run for Create {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let revision = self.collection.stack.write(registry, |engine| {
            let local = self.collection.local(engine)?;
            if let Some(kind) = self.collection.kind(&local)? {
                self.collection.must_be(kind, self.kind)?;
            }
            let id = self.collection.id()?;
            match self.kind {
                KindArg::Tree => create(&local, id, Tree),
                KindArg::Diary => create(&local, id, Diary),
            }
        })?;
        terminal.say(format_args!("revision {revision}"))?;
        Ok(Outcome::Fine)
    }
}

impl Run for Append {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let entry = lines::value(&self.entry)?;
        let change = |diary: &mut Shared<Diary>| Ok(block_on(diary.act([entry]))?);
        let revision = self
            .collection
            .change(registry, KindArg::Diary, Diary, change)?;
        terminal.say(format_args!("revision {revision}"))?;
        Ok(Outcome::Fine)
    }
}

impl Run for Put {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let row = Replace::put(&self.key.bytes()?, &lines::value(&self.value)?)?;
        self.collection.replace(registry, terminal, row)
    }
}

impl Run for Del {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let row = Replace::delete(&self.key.bytes()?);
        self.collection.replace(registry, terminal, row)
    }
}

impl Run for Get {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (_opened, tree) = self
            .collection
            .read(registry, terminal, KindArg::Tree, Tree)?;
        let key = self.key.bytes()?;
        match block_on(tree.get(&key))? {
            Some(value) => {
                terminal.say(lines::json(&value))?;
                Ok(Outcome::Fine)
            }
            None => Err(Failure::fault(format!(
                "there is no {} in {}",
                String::from_utf8_lossy(&key).escape_debug(),
                self.collection.collection
            ))),
        }
    }
}

impl Run for Scan {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let (opened, local, kind) = self.collection.open(registry, terminal)?;
        let direction = direction(self.reverse);
        let mut print = |line: serde_json::Value| -> Result<ControlFlow<()>, Failure> {
            if left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            left -= 1;
            terminal.say(line)?;
            Ok(ControlFlow::Continue(()))
        };
        match kind {
            KindArg::Diary if self.from.is_some() => {
                return Err(Error::invalid("the entries of a diary have no keys").into());
            }
            KindArg::Diary => {
                let diary = self.collection.opened(&local, Diary)?;
                let mut log = diary.log().walk(diary.blocks(), direction);
                while let Some(entry) = block_on(log.next())? {
                    let mut entries: Vec<&Value> = entry.actions().collect();
                    if self.reverse {
                        entries.reverse();
                    }
                    for entry in entries {
                        if print(lines::json(entry))?.is_break() {
                            return Ok(Outcome::Fine);
                        }
                    }
                }
            }
            KindArg::Tree => {
                let tree = self.collection.opened(&local, Tree)?;
                let from = self.from.as_deref().map(OsStrExt::as_bytes);
                let mut cursor = tree.cursor();
                match self.reverse {
                    false => block_on(cursor.seek(from.unwrap_or_default()))?,
                    true => block_on(cursor.seek_end())?,
                }
                loop {
                    let next = match self.reverse {
                        false => block_on(cursor.next())?,
                        true => block_on(cursor.prev())?,
                    };
                    let Some(entry) = next else { break };
                    let (key, value) = row(&entry)
                        .ok_or_else(|| Error::corrupt("an entry of the tree is no row"))?;
                    if from.is_some_and(|from| &key[..] < from) {
                        break;
                    }
                    if print(lines::row(&key, &value))?.is_break() {
                        break;
                    }
                }
            }
        }
        opened.engine.close()?;
        Ok(Outcome::Fine)
    }
}

impl Run for Log {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (_opened, local, kind) = self.collection.open(registry, terminal)?;
        let limit = self.limit.unwrap_or(u64::MAX);
        let direction = direction(self.reverse);
        match kind {
            KindArg::Tree => lines::log(
                terminal,
                &self.collection.opened(&local, Tree)?,
                direction,
                limit,
            ),
            KindArg::Diary => lines::log(
                terminal,
                &self.collection.opened(&local, Diary)?,
                direction,
                limit,
            ),
        }
    }
}

impl Run for Verify {
    fn run(self, registry: &Registry, terminal: &mut Terminal<'_>) -> Result<Outcome, Failure> {
        let (_opened, local, kind) = self.collection.open(registry, terminal)?;
        let id = self.collection.id()?;
        let mut told = Vec::new();
        let checked = match kind {
            KindArg::Diary => links(&self.collection.opened(&local, Diary)?, &mut told),
            KindArg::Tree => {
                let tree = self.collection.opened(&local, Tree)?;
                links(&tree, &mut told).and_then(|()| {
                    let blocks = Blocks::new(id.clone(), id, Pairs);
                    let verified = block_on(blocks.verify(tree.blocks()))?;
                    told.push(format!("{} rows in order", verified.entries));
                    Ok(())
                })
            }
        };
        for line in told {
            terminal.say(line)?;
        }
        match checked {
            Ok(()) => Ok(Outcome::Fine),
            Err(error) => Err(Failure::fault(error.to_string())),
        }
    }
}

fn links<K: Kind>(collection: &Shared<K>, told: &mut Vec<String>) -> Result<(), Error> {
    let entries = block_on(collection.log().verify(collection.blocks()))?;
    told.push(format!(
        "{entries} entries of the log, every link as it was made"
    ));
    Ok(())
}

fn direction(reverse: bool) -> Direction {
    match reverse {
        true => Direction::Back,
        false => Direction::Forward,
    }
}

fn create<K: Kind>(local: &Local, id: BlockId, kind: K) -> Result<u64, Failure> {
    let store: Arc<dyn Transactor> = Arc::new(local.clone());
    let env = Env::system();
    let mut made = block_on(Shared::create_or_open(store, &env, id, kind))?;
    block_on(made.sync(&Retry::default())).map_err(failure)?;
    Ok(made.revision())
}

fn failure(error: crate::interfaces::collection::SyncError) -> Failure {
    use crate::interfaces::collection::SyncError;
    match error {
        SyncError::Failed(error) => error.into(),
        other => Failure::fault(other.to_string()),
    }
}

impl CollectionArg {
    fn id(&self) -> Result<BlockId, Failure> {
        Ok(BlockId::new(self.collection.as_str())?)
    }

    fn local(&self, engine: &Engine) -> Result<Local, Failure> {
        let name = Name::new(self.blocks.clone())?;
        let engine = Arc::new(engine.clone());
        Ok(Local::new(engine, &Env::system(), name, Options::default()))
    }

    /// What it is; `None`: it is not there.
    fn kind(&self, local: &Local) -> Result<Option<KindArg>, Failure> {
        let id = self.id()?;
        let mut answers = local.get(std::slice::from_ref(&id), None).wait()?;
        let Some(header) = answers.remove(&id).transpose()?.and_then(|it| it.block) else {
            return Ok(None);
        };
        let code = &header.header().code;
        let kinds = [
            (KindArg::Tree, Tree.header(&id)),
            (KindArg::Diary, Diary.header(&id)),
        ];
        let found = kinds.iter().find(|(_, like)| like.header().code == *code);
        match found {
            Some((kind, _)) => Ok(Some(*kind)),
            None => Err(Error::invalid(format!(
                "{} is a collection of kind {code}, which this command does not know",
                self.collection
            ))
            .into()),
        }
    }

    fn must_be(&self, is: KindArg, wanted: KindArg) -> Result<(), Failure> {
        let name = |kind| match kind {
            KindArg::Tree => "tree",
            KindArg::Diary => "diary",
        };
        match is == wanted {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "{} is a {}, and no {}",
                self.collection,
                name(is),
                name(wanted)
            ))
            .into()),
        }
    }

    fn absent(&self) -> Failure {
        Failure::fault(format!(
            "there is no collection {}; `collection create` makes one",
            self.collection
        ))
    }

    /// Opens the stack for reading.
    fn open(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
    ) -> Result<(Opened, Local, KindArg), Failure> {
        let opened = self.stack.open_to_read(registry, terminal)?;
        let local = self.local(&opened.engine)?;
        let kind = self.kind(&local)?.ok_or_else(|| self.absent())?;
        Ok((opened, local, kind))
    }

    fn opened<K: Kind>(&self, local: &Local, kind: K) -> Result<Shared<K>, Failure> {
        let store: Arc<dyn Transactor> = Arc::new(local.clone());
        let env = Env::system();
        let opened = Shared::open(store, &env, self.id()?, kind);
        block_on(opened)?.ok_or_else(|| self.absent())
    }

    fn read<K: Kind>(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
        wanted: KindArg,
        kind: K,
    ) -> Result<(Opened, Shared<K>), Failure> {
        let (opened, local, is) = self.open(registry, terminal)?;
        self.must_be(is, wanted)?;
        let collection = self.opened(&local, kind)?;
        Ok((opened, collection))
    }

    /// Does something and synchronises it; answers the revision then.
    fn change<K: Kind>(
        &self,
        registry: &Registry,
        wanted: KindArg,
        kind: K,
        work: impl FnOnce(&mut Shared<K>) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        self.stack.write(registry, |engine| {
            let local = self.local(engine)?;
            let is = self.kind(&local)?.ok_or_else(|| self.absent())?;
            self.must_be(is, wanted)?;
            let mut collection = self.opened(&local, kind)?;
            work(&mut collection)?;
            block_on(collection.sync(&Retry::default())).map_err(failure)?;
            Ok(collection.revision())
        })
    }

    fn replace(
        &self,
        registry: &Registry,
        terminal: &mut Terminal<'_>,
        row: Replace,
    ) -> Result<Outcome, Failure> {
        let change = |tree: &mut Shared<Tree>| Ok(block_on(tree.act([row]))?);
        let revision = self.change(registry, KindArg::Tree, Tree, change)?;
        terminal.say(format_args!("revision {revision}"))?;
        Ok(Outcome::Fine)
    }
}
