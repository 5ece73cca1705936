//! The cache directory, its files, and the storage that ends at the limit.

mod directory;
mod size_limited_storage;
pub(crate) mod sparse;

pub(crate) use self::directory::Directory;
pub(crate) use self::size_limited_storage::{FileSpace, Shortage, SizeLimitedStorage};
