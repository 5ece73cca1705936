//! [`RedisServer`]: a real server for one test.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{RedisConnection, Reply};

/// The longest time from the start of a server to its first answer.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// The pause between two attempts to reach it.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Ports that are tried before a start counts as failed.
const PORTS_TRIED: usize = 5;

/// The data of a restarted server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    Empty,
    /// The data that it saved in its directory, by `SAVE` or by its arguments.
    WithData,
}

/// A `redis-server` or `valkey-server` on a free port of 127.0.0.1, without persistence unless its arguments ask for it.
///
/// Dropping it kills the server and removes its directory.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    arguments: Vec<String>,
    directory: TempDir,
    port: u16,
    process: Option<Child>,
    is_paused: AtomicBool,
}

impl RedisServer {
    /// Starts a server.
    ///
    /// # Errors
    /// Of kind `NotFound`, with what to install, when there is no server; otherwise why it does not answer, with the end of
    /// its log.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments, such as `["--maxmemory", "3mb"]`.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn start_with(arguments: &[&str]) -> io::Result<Self> {
        Self::start_on(any_port, arguments)
    }

    /// Starts a server on one of the ports that `port` yields.
    pub(crate) fn start_on(port: fn() -> io::Result<u16>, arguments: &[&str]) -> io::Result<Self> {
        let mut server = Self {
            program: find_program()?,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            directory: tempfile::Builder::new().prefix("redis-").tempdir()?,
            port: 0,
            process: None,
            is_paused: AtomicBool::new(false),
        };
        let mut last = io::Error::other("no port was tried");
        for _ in 0..PORTS_TRIED {
            // Another process may take the port before the server binds it: then the next one is tried.
            server.port = port()?;
            match server.spawn() {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The port, which a restart keeps.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as a Redis URL.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address())
    }

    /// Kills the server as a crash would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// Those of the operating system. A server that does not run is not an error.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait().map(drop)
    }

    /// Kills the server if it runs, and starts it again on the same port with the same arguments.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn restart(&mut self, with: Restart) -> io::Result<()> {
        self.kill()?;
        if with == Restart::Empty {
            fs::remove_dir_all(self.data())?;
        }
        self.spawn()
    }

    /// Stops the server (SIGSTOP): its connections stay open, and it does not answer.
    ///
    /// # Errors
    /// `NotFound` when it does not run, or those of the operating system.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        self.is_paused.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Continues a stopped server (SIGCONT).
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)?;
        self.is_paused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the server has been neither killed nor paused.
    pub fn is_running(&self) -> bool {
        self.process.is_some() && !self.is_paused.load(Ordering::Relaxed)
    }

    /// Sends one command without quotes, as `redis-cli` would, and returns the first line of the reply.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer within a second.
    pub fn command(&self, line: &str) -> io::Result<String> {
        ask(self.address(), line)
    }

    /// Connects to the server, for commands that belong to one connection.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn connect(&self) -> io::Result<RedisConnection> {
        RedisConnection::open(self.address())
    }

    /// Sends one command on a connection of its own, and returns the whole reply, which may be an error.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer within five seconds.
    pub fn ask<A: AsRef<[u8]>>(&self, arguments: &[A]) -> io::Result<Reply> {
        self.connect()?.ask(arguments)
    }

    /// Returns the end of the server's log, for messages.
    pub fn log(&self) -> String {
        let mut text = String::new();
        // A log that cannot be read counts as empty: it only explains another failure.
        let _ = File::open(self.log_path()).and_then(|mut file| file.read_to_string(&mut text));
        let from = text.len().saturating_sub(2000);
        text.get(from..).unwrap_or(&text).to_owned()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the server does not run");
        let process = self.process.as_ref().ok_or_else(gone)?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        Ok(kill_process(pid, signal)?)
    }

    fn spawn(&mut self) -> io::Result<()> {
        fs::create_dir_all(self.data())?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        // An empty file, which a Sentinel (`--sentinel`) requires and any other server accepts.
        let configuration = self.directory.path().join("server.conf");
        File::options().create(true).append(true).open(&configuration)?;
        let process = Command::new(&self.program)
            .arg(configuration)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--port", &self.port.to_string()])
            .arg("--dir")
            .arg(self.data())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        *self.is_paused.get_mut() = false;
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                self.process = None;
                return Err(io::Error::other(format!("redis-server ended with {status}: {}", self.log())));
            }
            if answers(self.address()).unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("redis-server does not answer: {}", self.log())));
            }
            thread::sleep(ASK_EVERY);
        }
    }

    /// The directory of the server's data, for tests that restore an older state.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Ignored, because a panic in Drop would hide the failure of the test.
        let _ = self.kill();
    }
}

/// Returns whether the server answers commands, even if it requires a password first; not while it loads its data.
fn answers(address: SocketAddr) -> io::Result<bool> {
    let reply = ask(address, "PING")?;
    Ok(reply.starts_with("+PONG") || reply.starts_with("-NOAUTH"))
}

fn ask(address: SocketAddr, line: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(line.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    Ok(reply.trim_end().to_owned())
}

fn any_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn find_program() -> io::Result<PathBuf> {
    if let Some(named) = env::var_os("REDIS_SERVER_BIN") {
        return Ok(PathBuf::from(named));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |directory| directory.join(name)))
        .find(|program: &PathBuf| Path::is_file(program))
        .ok_or_else(|| {
            let message = "no redis-server or valkey-server on PATH; install the package redis-server (Debian: \
                           apt-get install redis-server) or name a binary in REDIS_SERVER_BIN";
            io::Error::new(io::ErrorKind::NotFound, message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &RedisServer, line: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 64];
        let length = stream.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..length]).into_owned()
    }

    #[test]
    fn a_restarted_server_has_its_port_and_its_data_if_asked_for() {
        let mut server = RedisServer::start().unwrap();
        let port = server.port();
        ask(&server, "SET key value");
        ask(&server, "SAVE");
        server.kill().unwrap();
        assert!(TcpStream::connect(server.address()).is_err());
        server.restart(Restart::WithData).unwrap();
        assert_eq!(ask(&server, "GET key"), "$5\r\nvalue\r\n");
        server.restart(Restart::Empty).unwrap();
        assert_eq!((ask(&server, "GET key").as_str(), server.port()), ("$-1\r\n", port));
    }

    #[test]
    fn a_paused_server_answers_once_it_is_resumed() {
        let server = RedisServer::start().unwrap();
        server.pause().unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"PING\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stream.read(&mut [0; 8]).is_err());
        server.resume().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 7);
    }

    #[test]
    fn arguments_reach_the_server() {
        let server = RedisServer::start_with(&["--requirepass", "secret"]).unwrap();
        assert!(ask(&server, "GET key").starts_with("-NOAUTH"));
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let error = RedisServer::start_with(&["--no-such-setting", "1"]).unwrap_err();
        assert!(error.to_string().contains("no-such-setting"), "{error}");
    }
}
