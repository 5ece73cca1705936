//! What the cache says, for tests of what it says.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::MutexGuard;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The log of this test's thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Voice(Arc<Mutex<Vec<u8>>>);

impl Voice {
    /// Listens on this thread, one test at a time: what is enabled is cached for all threads.
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
