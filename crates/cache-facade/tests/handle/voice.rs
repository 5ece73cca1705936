//! Collects the log of a test.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::MutexGuard;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The log of this thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Voice(Arc<Mutex<Vec<u8>>>);

impl Voice {
    /// Collects the log of this thread, one test at a time: tracing caches for all threads which events are enabled.
    pub(crate) async fn listen() -> (Self, DefaultGuard, MutexGuard<'static, ()>) {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        let voice = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::WARN)
            .with_ansi(false)
            .with_writer(voice.clone())
            .finish();
        (voice, tracing::subscriber::set_default(subscriber), alone)
    }

    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl io::Write for Voice {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Voice {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
