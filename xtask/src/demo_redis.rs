//! The Redis server of the demonstration: started, killed and started again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::demo::free_port;

/// A running Redis server without persistence.
#[derive(Debug)]
pub(crate) struct RedisProcess {
    program: String,
    folder: PathBuf,
    child: Child,
    pub(crate) port: u16,
}

impl RedisProcess {
    pub(crate) fn start(program: &str, folder: &Path) -> Result<Self, String> {
        let port = free_port().map_err(|error| format!("no port for Redis: {error}"))?;
        let child = Self::spawn(program, folder, port)?;
        let mut redis = Self { program: program.to_owned(), folder: folder.to_owned(), child, port };
        redis.wait_until_it_answers()?;
        Ok(redis)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| format!("cannot kill Redis: {error}"))?;
        self.child.wait().map(drop).map_err(|error| format!("waiting for Redis: {error}"))
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        self.child = Self::spawn(&self.program, &self.folder, self.port)?;
        self.wait_until_it_answers()
    }

    fn spawn(program: &str, folder: &Path, port: u16) -> Result<Child, String> {
        let mut command = Command::new(program);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map_err(|error| format!("cannot start {program}: {error}"))
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.answers() {
            let ended = self.child.try_wait().map_err(|error| format!("waiting for Redis: {error}"))?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("{} does not answer on port {}", self.program, self.port));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let ask = || -> std::io::Result<[u8; 5]> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut reply = [0; 5];
            stream.read_exact(&mut reply).map(|()| reply)
        };
        ask().is_ok_and(|reply| reply == *b"+PONG")
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
