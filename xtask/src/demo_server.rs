//! [`Server`]: a server of the demonstration, which can be killed and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::describe;

/// A running server on a port of this machine. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    command: Command,
    pub(crate) child: Child,
    pub(crate) port: u16,
    answers: fn(u16) -> bool,
}

impl Server {
    /// Starts a server that listens on `port`, and waits until it answers.
    pub(crate) fn start(mut command: Command, port: u16, answers: fn(u16) -> bool) -> Result<Self> {
        let child = spawn(&mut command)?;
        let mut server = Self { command, child, port, answers };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Starts it again on the port it had.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&mut self.command)?;
        self.wait_until_it_answers()
    }

    /// Ends it as a crash or a power cut would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !(self.answers)(self.port) {
            let waits = self.child.try_wait()?.is_none() && Instant::now() < deadline;
            ensure!(waits, "`{}` does not answer", describe(&self.command));
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.kill();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {}", describe(command)))
}

/// A port that was free a moment ago; if another program takes it in between, the server cannot start and says so.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
