//! The commands this cache sends to Redis, and the keys it uses there.

pub(crate) mod commands;
mod fill_batches;
pub(crate) mod layout;
pub(crate) mod registry;
pub(crate) mod removal;
pub(crate) mod scan;
pub(crate) mod scripts;
pub(crate) mod slot;
pub(crate) mod write;
