//! What outlives this process beside the cache itself: who was in the directory last, and what was not invalidated yet.
//!
//! ```text
//! CACHE_DIR/lock                 held for as long as a cache runs here: alone by a disk cache, shared with Redis
//! CACHE_DIR/state                which store was the primary last: a store may be read only if it saw every invalidation
//! CACHE_DIR/instance-N/lock      held by one process for life
//! CACHE_DIR/instance-N/journal   what that process had begun to change, and what Redis has not heard of
//! CACHE_DIR/instance-N/contact   which Redis server that process used last, and until when
//! CACHE_DIR/instance-N/fallback  what stands in while Redis is away; worthless to anybody else
//! ```
//!
//! In reading order: [`files`] (modes and refusals), [`lock`], [`instance`], [`trust`] (the state), [`hold`] (all locks, and
//! whether they still keep others out), [`slots`] and [`table`] (a journal's bytes), [`debt`] (what is owed), [`leftover`] (a dead process's journal), [`journal`] and its [`writer`].

mod debt;
pub(crate) mod files;
pub(crate) mod hold;
pub(crate) mod instance;
pub(crate) mod journal;
pub(crate) mod leftover;
pub(crate) mod lock;
pub(crate) mod slots;
mod table;
pub(crate) mod trust;
mod writer;
