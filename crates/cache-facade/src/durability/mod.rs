//! What outlives the process beside the stores: which store was used last, and which invalidations are still to be applied.
//!
//! ```text
//! CACHE_DIR/lock                 held while a cache runs here: exclusively by a disk cache, shared with Redis
//! CACHE_DIR/state                the store that was used last: a store is read only if it saw every invalidation
//! CACHE_DIR/instance-N/lock      held by one process for life
//! CACHE_DIR/instance-N/journal   changes that this process has begun, and invalidations that Redis has not acknowledged
//! CACHE_DIR/instance-N/contact   the Redis server that this process used last, and until when
//! CACHE_DIR/instance-N/fallback  the fallback store of a Redis outage; useless to any other process
//! ```
//!
//! In reading order: [`files`] (modes and refusals), [`lock`], [`instance`], [`last_run`] (the record `state`),
//! [`directory`] (the locks of a process, and whether they still hold), [`zones`] (the parts of a store), [`journal`].

pub(crate) mod directory;
pub(crate) mod files;
pub(crate) mod instance;
pub(crate) mod journal;
pub(crate) mod last_run;
pub(crate) mod lock;
pub(crate) mod zones;
