//! The signals that stop the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens to the signals that ask a process to end: SIGINT (Ctrl-C), SIGTERM, SIGQUIT and SIGHUP.
///
/// SIGHUP stays ignored where the process was started so, as by `nohup`.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Begins to listen. From then on these signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the signals cannot be listened to.
    pub fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            hangup: if is_ignored(hangup) { None } else { Some(signal(hangup)?) },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Returns at the next signal.
    ///
    /// # Cancellation
    /// No signal is lost.
    pub async fn next(&mut self) {
        let Self { interrupt, terminate, quit, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            () = hung_up => {}
        }
    }
}

/// Returns whether the process ignores a signal, as Linux tells it; `false` where that cannot be read.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
