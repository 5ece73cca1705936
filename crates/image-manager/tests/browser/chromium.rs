//! [`Chromium`]: a browser process, and the `DevTools` protocol over two pipes to it.
//!
//! Messages are JSON, each ended by a zero byte (`--remote-debugging-pipe`): no port, and no WebSocket. The browser reads
//! file descriptor 3 and writes 4, which a shell makes of its standard input and output.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest time for one answer of the browser, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(3 * 60);

const ARGUMENTS: [&str; 14] = [
    "--headless",
    // Tests run as root in containers, where the sandbox cannot be set up. The pages are this workspace's own.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--lang=en-US",
    "--force-color-profile=srgb",
    // Nothing but the servers of the tests can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--remote-debugging-pipe",
];

/// A headless browser. Dropping it ends the process and removes its profile.
pub(crate) struct Chromium {
    process: Child,
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    last_id: u64,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("chromium-").tempdir().unwrap();
        let mut data = OsString::from("--user-data-dir=");
        data.push(profile.path());
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program())
            .args(ARGUMENTS)
            .arg(data)
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the browser sends JSON");
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        let commands = process.stdin.take();
        Self { process, commands, messages, events: VecDeque::new(), last_id: 0, _profile: profile }
    }

    /// Sends a command and returns its result. Events that arrive meanwhile are kept.
    ///
    /// # Errors
    /// The browser's message.
    pub(crate) fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        parameters: &Value,
    ) -> Result<Value, String> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.as_mut().unwrap().write_all(&bytes).expect("the browser runs");
        loop {
            let mut message = self.next(method);
            if message["id"] == self.last_id {
                return match message["error"]["message"].as_str() {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(message["result"].take()),
                };
            }
            self.events.push_back(message);
        }
    }

    /// Returns the next event of this name, which may have arrived before; earlier events are kept.
    pub(crate) fn wait_for(&mut self, name: &str) -> Value {
        loop {
            if let Some(place) = self.events.iter().position(|event| event["method"] == name) {
                return self.events.remove(place).unwrap();
            }
            let message = self.next(name);
            self.events.push_back(message);
        }
    }

    /// Returns the events that have arrived so far.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        self.events.iter()
    }

    fn next(&self, awaited: &str) -> Value {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer: {awaited}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended: {awaited}"),
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser ends when its pipe is closed; the pipe from it ends with the last of its processes.
        self.commands = None;
        let ended = Duration::from_secs(20);
        while self.messages.recv_timeout(ended).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finds the browser, by its variable or on PATH.
fn program() -> PathBuf {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from).filter(|program| program.is_file());
    let on_path = |name: &str| {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|program| program.is_file())
    };
    let found = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path);
    named.or_else(found).expect(
        "a browser is needed: install chromium, or name the program in CHROMIUM; `cargo xtask test` installs Debian's \
         package where it may",
    )
}
