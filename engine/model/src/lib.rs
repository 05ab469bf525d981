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
//!    not), the epoch that it has adopted, the candidates in its chain, the newest proven marker it
//!    names and its highest ceiling. A child that promised takes batches, commits and notes from that
//!    epoch only. Where `ack` of the children acknowledge, all but `ack - 1` must be fenced and know
//!    what they hold: so each acknowledgement is met. Two takeovers need not meet.
//! 3. **Join** the reports into that of one log: the chain of the child that adopted the newest epoch,
//!    among those the one with the newest marker; the highest ceiling of all.
//! 4. **Choose** the newest marker of that chain: that is the cut. The first batch of the new epoch
//!    stands at the ceiling; or right behind a clean close, if the chain ends in one.
//! 5. **Send** the chain up to the cut to each child, batch by batch. A child that follows keeps the
//!    common prefix; what lay above it is void. Ceilings never go down, not even when the batch whose
//!    frame announced them is cut.
//! 6. **Adopt**: a child that has all of it durable notes, durably, that it adopted the epoch, and from
//!    then on its answers count. When `ack` children have the note, the carried marker is proven, and
//!    only then is anything served.
//! 7. **Serve**: make the first batch, which holds nothing and announces a ceiling; hand out positions
//!    below the ceiling that `ack` children have durable; call a marker proven when `ack` children have
//!    it durable, and with it all that lies below. Say absent only below that same ceiling, and let a
//!    child say it only up to what it acknowledged. Who is behind is caught up meanwhile, by 5 and 6.
//!
//! Instead of the note, the first batch of an epoch may hold a marker and travel with the chain: then
//! adopted means that it is durable on `ack` children, and the newest marker of a chain tells which
//! epoch its child adopted. One of the two is needed: ranked by their markers alone, chains that a
//! takeover showed to its readers lose to what an older, abandoned takeover left on a child.
//!
//! A **wiped** child answers unknown and is not asked. It comes back when enough of the others have
//! durably noted its new medium for the writer that replaces it. Then the writer brings it the chain
//! that is acknowledged, with the ceiling, forgets what the old medium acknowledged, and whoever still
//! holds an answer of the old medium finds a note that voids it: among the answers that it chooses
//! from, or in one that comes later, which is read before anything is sent to that child. A child whose
//! chain must go (damaged, or unable to cut) notes first that it answers unknown, keeps its promise,
//! and is brought back without the others.
//!
//! A child that is **rolled back** to an older image of itself breaks its word without knowing. One
//! such child may cost an acknowledged commit, unless a takeover hears from one child more.
//!
//! A **single log** is the same with one child. Recovery writes the unproven tail again before it
//! syncs, because pages whose sync failed count as clean; and it writes beside what is there, not over
//! it, because the tail may hold an acknowledged marker that no later batch names.
//!
//! Until an epoch is adopted, the position of its first batch is not final: two epochs that both
//! failed to adopt, or one that failed and one that did not, may have made their first batches at
//! the same position, and two children may hold one each. So nobody is told the OIDs in it before.
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
