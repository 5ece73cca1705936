//! The Image Project Manager's backend: projects of images, with metadata, thumbnails and analyses, over HTTP.
//!
//! The first application on the cache, as an example of its use. Read it in this order:
//!
//! 1. `caching`: the layer that answers requests from the cache, and changes, which are announced to it.
//! 2. `routes`: one file a resource. What is cached has a `permit`, which authorises in the database before the layer.
//! 3. `database`: SQLite. A write requires proof that it was announced to the cache.
//! 4. `uploads`, `originals`, `pictures`: from a request's body to a checked file, and from files to pixels.
//! 5. [`App`], [`serve()`], [`Settings`], [`seed()`], [`doctor`]: assembly and start.

mod app;
mod caching;
mod connections;
mod database;
mod directories;
mod disposition;
pub mod doctor;
mod drain_body;
mod error;
mod extract;
mod hosts;
mod logging;
mod metadata;
mod metrics;
mod names;
mod originals;
mod pictures;
mod process_metrics;
mod ranges;
mod retry;
mod routes;
mod seed;
mod serve;
mod settings;
mod signals;
mod slow;
mod uploads;

pub use app::{App, StartError};
pub use database::OpenError;
pub use directories::check_directories;
pub use error::ApiError;
pub use logging::LogSettings;
pub use metrics::install as install_metrics;
pub use seed::seed;
pub use serve::serve;
pub use settings::{Diagnostics, Seed, Settings, SettingsError, near_misses, parse_address, variables};
pub use signals::StopSignals;
