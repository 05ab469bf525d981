//! An exhaustive model of how one writer takes over from another: fence, choose, adopt, cut.
//!
//! A stream has one writer at a time, and one or more logs that keep it. When the writer dies, or
//! only seems to, another must find out what was promised, decide where the old epochs end, and go
//! on, while the old one may still be running, logs may have lost what they had not synced, and one
//! log may have lost everything. This crate explores **every** order of those events within stated
//! bounds and checks that nothing promised is lost and nothing means two things.
//!
//! ```text
//!   writer x ----.                          .---- child A   chain, durable frontier,
//!                 >-- fence, send, sync ---<----- child B   promised epoch, ceiling
//!   writer y ----'                          '---- child C   may crash, be damaged or wiped
//! ```
//!
//! The rules that an engine needs stand alone in [`rules`], as pure functions with the reason for
//! each. The rest of the crate applies them to a small world ([`state`], [`step`]), states what
//! must hold ([`model`]), and plants mistakes ([`mutations`]) to show that the checker would see
//! one.
//!
//! # The protocol
//!
//! 1. **Take** an epoch: a number above all that are known, and a random tag.
//! 2. **Fence** each child: it promises the epoch durably, then reports its valid chain (synced or
//!    not), the candidates in it, the newest proven marker it names and its highest ceiling. A
//!    child that promised takes batches, commits and notes from that epoch only.
//! 3. **Choose** from a quorum of reports that count: the newest marker by epoch of birth, then by
//!    position. The first batch of the new epoch stands at the highest ceiling reported, holds a
//!    marker, and names the chosen marker as the one before it. That is the cut.
//! 4. **Send** the chosen chain to each child, batch by batch, then the first batch. A child that
//!    follows keeps the common prefix; what lay above it is void. Ceilings never go down, not even
//!    when the batch whose frame announced them is cut.
//! 5. **Adopt** when the first batch is durable on a quorum. Only now is the carried marker proven,
//!    and only now is anything served or any other position handed out.
//! 6. **Serve**: hand out positions below the ceiling that a quorum has durable; call a marker
//!    proven when a quorum has it durable, and with it all that lies below.
//!
//! Carried batches and the first batch may travel in one write and one sync: only serving waits.
//!
//! A **wiped** child answers unknown and is not asked to be part of a quorum. It comes back when a
//! quorum of the others has durably noted its new medium for the writer that replaces it. Then the
//! writer brings it the chain that a quorum has, with the ceiling, forgets what the old medium
//! acknowledged, and whoever still holds an answer of the old medium finds a note that voids it.
//!
//! A **single log** is the same with a quorum of one. Recovery writes the unproven tail again
//! before it syncs, because pages whose sync failed count as clean; and it writes beside what is
//! there, not over it, because the tail may hold an acknowledged marker that no later batch names.
//!
//! Until an epoch is adopted, the position of its first batch is not final: two epochs that both
//! failed to adopt, or one that failed and one that did not, may have made their first batches at
//! the same position, and two children may hold one each. So nobody is told the OIDs in it before,
//! and a child must answer reads only up to where the adopted epoch has confirmed its chain. (Reads
//! are not modelled.)
//!
//! # What is idealised
//!
//! - A batch is one position long, and a running checksum never lies: a chain is named by its end.
//! - A lost request is one that does not happen; a late answer is one that is acted on late. What a
//!   dead process had sent does not arrive after its successor in the same place has started; the
//!   writer in the other place stands for that.
//! - Random tags never repeat. There is one stream, so a marker's vector is the chain below it, and
//!   the rule that several streams are cut together is not modelled.
//! - Bounds (takeovers, batches, faults) make the world finite; each run prints them. Children are
//!   interchangeable, so states that differ in their order are one.
//! - Only safety is checked. A run in which nobody can make progress is a legal run.

pub mod action;
pub mod check;
pub mod history;
pub mod mark;
pub mod model;
pub mod mutations;
pub mod rules;
pub mod setting;
pub mod state;
pub mod step;
