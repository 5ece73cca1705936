//! [`Lines`]: captures log events, by thread.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::{Mutex, Once, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static EVERYWHERE: Mutex<Vec<String>> = Mutex::new(Vec::new());

static LEVEL: OnceLock<Level> = OnceLock::new();

/// Captures each event as one line of its thread: level, message and fields. A test on one thread sees all events of its
/// tasks.
///
/// There is one subscriber for all threads. With one per thread, an event could be lost when two threads reached its place
/// in the code for the first time at the same moment.
#[derive(Debug)]
pub struct Lines;

impl Lines {
    /// Captures the later events of all threads, from `level` up. The first call in a process sets the level.
    ///
    /// # Panics
    /// When the process has another subscriber.
    pub fn capture(level: Level) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // Set first, because the answers of `enabled` are cached.
            LEVEL.get_or_init(|| level);
            tracing::subscriber::set_global_default(Self).expect("the process has no other subscriber");
        });
    }

    /// Returns the lines of this thread that contain `text`.
    pub fn with(text: &str) -> Vec<String> {
        LINES.with_borrow(|lines| lines.iter().filter(|line| line.contains(text)).cloned().collect())
    }

    /// Returns the lines of all threads that contain `text`.
    ///
    /// # Panics
    /// When a thread panicked while it captured a line.
    pub fn of_all_threads(text: &str) -> Vec<String> {
        let lines = EVERYWHERE.lock().expect("capturing a line does not panic");
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Returns the lines of this thread that begin with `start`.
    pub fn beginning(start: &str) -> Vec<String> {
        LINES.with_borrow(|lines| lines.iter().filter(|line| line.starts_with(start)).cloned().collect())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        LEVEL.get().is_none_or(|level| metadata.level() <= level)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = format!("{} {}{}", event.metadata().level(), line.message, line.fields);
        EVERYWHERE.lock().expect("capturing a line does not panic").push(line.clone());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {field}={value:?}")
        };
    }
}
