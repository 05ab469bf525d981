//! Typed faces over any index: keys whose bytes order as they do, values through serde.
//!
//! ```text
//!   TypedMap<K, V>      rows                     K: Key, V: Storable
//!   Set<K>              keys alone
//!   MultiMap<K, V>      several values a key     both are keys: values of one key are in order
//!   IndexedMap<K, V, X> rows, and where each X is found: two trees, one commit
//!   ─────────────────────────────────────────
//!   Map<I>              bytes                    any index; the B-tree unless told
//! ```
//!
//! Transactions, snapshots and conflicts are those of [`Map`](crate::Map): a typed face adds no record of
//! its own and no state, and its maps are committed together with any others. What is there under
//! another type is an error when it is read, never a wrong value where the bytes can tell.
//!
//! ```
//! use std::sync::Arc;
//! use travertine_engine::contract::{Env, Name, Result, Store};
//! use travertine_engine::front::{Engine, Options};
//! use travertine_interfaces::Btree;
//! use travertine_interfaces::typed::TypedMap;
//!
//! # fn run(store: Arc<dyn Store>) -> Result<()> {
//! let engine = Engine::open(store, &Env::system(), Options::default())?;
//! let born: TypedMap<String, u32> = TypedMap::new(Name::new("born")?, Btree::default());
//!
//! let session = engine.session()?;
//! let mut turn = born.writer(&session);
//! turn.put("ada", &1815)?;
//! turn.put("alan", &1912)?;
//! turn.commit(None)?.wait()?;
//!
//! let reader = born.reader(&engine.snapshot()).wait()?;
//! assert_eq!(reader.get("ada").wait()?, Some(1815));
//! # Ok(())
//! # }
//! ```

mod indexed;
pub mod key;
mod map;
mod multi;
mod set;
#[cfg(test)]
mod tests;
mod tuple;
pub mod value;

pub use self::indexed::{IndexedMap, IndexedReader, IndexedTurn};
pub use self::key::{AsKey, Key};
pub use self::map::{Rows, TypedMap, TypedReader, TypedTurn};
pub use self::multi::{MultiMap, MultiReader, MultiTurn, Values};
pub use self::set::{Keys, Set, SetReader, SetTurn};
pub use self::value::Storable;
