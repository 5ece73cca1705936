//! [`Sentinels`]: real Sentinels that watch a master for one test.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::{RedisServer, Reply};

/// The name of the master.
const NAME: &str = "mymaster";
/// The longest time until the Sentinels know each other.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
/// Arguments of a master or replica that syncs at once.
const SYNC_AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

/// Three Sentinels with the quorum 2, which replace a master that is down for half a second.
#[derive(Debug)]
pub struct Sentinels {
    all: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts a master with one replica, and Sentinels that watch them.
    ///
    /// # Errors
    /// As for [`RedisServer::start`]; `TimedOut` where the replica does not follow, or the Sentinels do not find each other.
    pub fn start() -> io::Result<(Self, RedisServer, RedisServer)> {
        let master = RedisServer::start_with(&SYNC_AT_ONCE)?;
        let port = master.port().to_string();
        let replica =
            RedisServer::start_with(&[&SYNC_AT_ONCE[..], &["--replicaof", "127.0.0.1", &port]].concat())?;
        until("the replica does not follow", || Ok(replica.command("WAIT 0 1")?.starts_with("-ERR")))?;
        until("the replica does not follow", || Ok(master.command("WAIT 1 100")? == ":1"))?;
        let all: Vec<RedisServer> =
            (0..3).map(|_| RedisServer::start_with(&["--sentinel"])).collect::<io::Result<_>>()?;
        let sentinels = Self { all };
        sentinels.watch(NAME, &master)?;
        let knows_all = |sentinel: &RedisServer| {
            Ok(sentinel.command(&format!("SENTINEL CKQUORUM {NAME}"))?.starts_with("+OK 3 usable"))
        };
        for sentinel in &sentinels.all {
            until("the Sentinels do not find each other", || knows_all(sentinel))?;
        }
        Ok((sentinels, master, replica))
    }

    /// Has all Sentinels watch `master` by `name`.
    ///
    /// # Errors
    /// When one cannot be reached.
    pub fn watch(&self, name: &str, master: &RedisServer) -> io::Result<()> {
        for sentinel in &self.all {
            sentinel.command(&format!("SENTINEL MONITOR {name} 127.0.0.1 {} 2", master.port()))?;
            sentinel.command(&format!("SENTINEL SET {name} down-after-milliseconds 500"))?;
            sentinel.command(&format!("SENTINEL SET {name} failover-timeout 3000"))?;
        }
        Ok(())
    }

    /// The Sentinels, to be killed and restarted.
    pub fn all(&mut self) -> &mut [RedisServer] {
        &mut self.all
    }

    /// The addresses of the Sentinels.
    pub fn addresses(&self) -> Vec<(String, u16)> {
        self.all.iter().map(|sentinel| ("127.0.0.1".to_owned(), sentinel.port())).collect()
    }

    /// Whether all Sentinels that answer name `master`.
    ///
    /// # Errors
    /// When none answers, or the answer is not understood.
    pub fn name(&self, master: &RedisServer) -> io::Result<bool> {
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let named: Vec<_> =
            self.all.iter().filter_map(|sentinel| sentinel.ask(&asked).ok()).map(Reply::texts).collect();
        let port = master.port().to_string();
        let is_named = |address: io::Result<Vec<String>>| Ok(address?.get(1) == Some(&port));
        let named: Vec<bool> = named.into_iter().map(is_named).collect::<io::Result<_>>()?;
        if named.is_empty() {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(named.into_iter().all(|is| is))
        }
    }

    /// Begins a failover although the master is well.
    ///
    /// # Errors
    /// When the first Sentinel cannot be reached, or refuses.
    pub fn fail_over(&self) -> io::Result<()> {
        let first = self.all.first().ok_or(io::ErrorKind::NotFound)?;
        let reply = first.command(&format!("SENTINEL FAILOVER {NAME}"))?;
        if reply == "+OK" { Ok(()) } else { Err(io::Error::other(reply)) }
    }
}

fn until(what: &str, is_so: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > KNOWN_WITHIN {
            return Err(io::Error::new(io::ErrorKind::TimedOut, what.to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
