//! The operations of the backend: what each sends, and what the replies mean.

mod count;
mod counters;
mod fill;
mod invalidate;
mod near;
mod read;

pub use invalidate::Unacknowledged;
