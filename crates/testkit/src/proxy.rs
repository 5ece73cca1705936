//! [`TcpProxy`]: a network with faults that are switched by the test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The behaviour of the network; can be switched while connections are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes everything on, each piece after this delay.
    Delay(Duration),
    /// Passes requests on, and each piece of replies after this delay.
    DelayReplies(Duration),
    /// Passes replies on in pieces of this many bytes, with this pause after each.
    Drip(usize, Duration),
    /// Passes nothing on in either direction and keeps connections open. Bytes sent meanwhile arrive when the mode changes,
    /// as after a partition, even those of a client that has disconnected since.
    BlackHole,
    /// Passes requests on and throws replies away.
    SwallowReplies,
    /// Ends every connection with a reset, new ones as well.
    Reset,
    /// Ends every connection, and closes the port.
    Refuse,
    /// Passes requests on, and answers with these bytes instead of the replies.
    Garbage(Bytes),
    /// Passes this many bytes of replies on, then ends the connection.
    CutAfter(usize),
}

/// A proxy on 127.0.0.1 in front of a server. Dropping it ends its connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    mode: watch::Sender<Mode>,
    is_listening: watch::Receiver<bool>,
    open: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Starts a proxy in front of `target`, on a free port, in [`Mode::Pass`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::Pass);
        let (listening, is_listening) = watch::channel(true);
        let (opened, open) = watch::channel(0);
        let target = Arc::new(Mutex::new(target));
        let task = tokio::spawn(accept(listener, address, Arc::clone(&target), seen, listening, opened));
        Ok(Self { address, target, mode, is_listening, open, task })
    }

    /// The address to which clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port to which clients connect.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connects new connections to another server, as a failover does; open connections stay.
    ///
    /// # Panics
    /// If another thread panicked in this very call.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().expect("no thread panics while it holds the lock") = target;
    }

    /// Switches to `mode`, for open connections and new ones; returns once the port is open or closed as `mode` says, and
    /// the connections that it ends are over.
    pub async fn set(&mut self, mode: Mode) {
        let (is_open, ends) = (mode != Mode::Refuse, matches!(mode, Mode::Reset | Mode::Refuse));
        self.mode.send_replace(mode);
        // The senders live as long as the proxy's task, which only Drop ends.
        let _ = self.is_listening.wait_for(|listening| *listening == is_open).await;
        if ends {
            let _ = self.open.wait_for(|open| *open == 0).await;
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    first: TcpListener,
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    mut mode: watch::Receiver<Mode>,
    listening: watch::Sender<bool>,
    open: watch::Sender<usize>,
) {
    // Connections end with this task: each holds a receiver, and this task the only sender.
    let (alive, _) = watch::channel(());
    let mut listener = Some(first);
    loop {
        if *mode.borrow_and_update() == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            // Another process may have taken the port meanwhile: tried again until the test's own timeout.
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
        }
        listening.send_replace(listener.is_some());
        let connection = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = connection => if let Some((client, _)) = accepted {
                let target = *target.lock().expect("no thread panics while it holds the lock");
                open.send_modify(|open| *open += 1);
                let (open, mode, alive) = (open.clone(), mode.clone(), alive.subscribe());
                tokio::spawn(async move {
                    serve(client, target, mode, alive).await;
                    open.send_modify(|open| *open -= 1);
                });
            },
            changed = mode.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    mut alive: watch::Receiver<()>,
) {
    if *mode.borrow() != Mode::Reset
        && let Ok(mut server) = TcpStream::connect(target).await
    {
        for stream in [&client, &server] {
            // A failure only costs speed.
            let _ = stream.set_nodelay(true);
        }
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = replies(from_server, to_client, mode.clone()) => {},
            () = requests(from_client, to_server, mode.clone()) => {},
            () = ended(mode.clone()) => {},
            _ = alive.changed() => {},
        }
    }
    if *mode.borrow() == Mode::Reset {
        // Without it, the connection is closed in the ordinary way.
        let _ = client.set_zero_linger();
    }
}

/// Returns when the mode ends connections.
async fn ended(mut mode: watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| matches!(mode, Mode::Reset | Mode::Refuse)).await;
}

/// Waits until the mode passes bytes on, and returns it.
async fn passable(mode: &mut watch::Receiver<Mode>) -> Mode {
    match mode.wait_for(|mode| *mode != Mode::BlackHole).await {
        Ok(mode) => mode.clone(),
        Err(_) => Mode::Reset,
    }
}

async fn requests(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Mode::Delay(delay) = passable(&mut mode).await {
            sleep(delay).await;
        }
        if to.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
    // The client has disconnected: the server reads the rest of its requests and then closes.
    let _ = to.shutdown().await;
    std::future::pending::<()>().await;
}

async fn replies(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0_usize;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let reply = buffer.get(..length).unwrap_or_default();
        // The rest is read even if the client has disconnected.
        let _ = match passable(&mut mode).await {
            Mode::Pass | Mode::BlackHole => to.write_all(reply).await,
            Mode::Delay(delay) | Mode::DelayReplies(delay) => {
                sleep(delay).await;
                to.write_all(reply).await
            }
            Mode::Drip(piece, pause) => drip(&mut to, reply, piece, pause).await,
            Mode::SwallowReplies => Ok(()),
            Mode::Garbage(garbage) => to.write_all(&garbage).await,
            Mode::CutAfter(limit) => {
                let rest = limit.saturating_sub(passed).min(length);
                passed += rest;
                let written = to.write_all(reply.get(..rest).unwrap_or_default()).await;
                if passed >= limit {
                    return;
                }
                written
            }
            Mode::Reset | Mode::Refuse => return,
        };
    }
}

async fn drip(to: &mut WriteHalf<'_>, reply: &[u8], piece: usize, pause: Duration) -> io::Result<()> {
    for piece in reply.chunks(piece.max(1)) {
        to.write_all(piece).await?;
        sleep(pause).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Starts a server that echoes every piece.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut reply = vec![0; 64];
        let length = stream.read(&mut reply).await?;
        Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
    }

    #[tokio::test]
    async fn every_mode_does_what_it_says_and_ends_when_it_is_switched() {
        let mut proxy = TcpProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut stream, "one").await.unwrap(), "one");

        proxy.set(Mode::SwallowReplies).await;
        assert!(timeout(SOON, ask(&mut stream, "two")).await.is_err());
        proxy.set(Mode::BlackHole).await;
        assert!(timeout(SOON, ask(&mut stream, "three")).await.is_err());
        proxy.set(Mode::Pass).await;
        let mut reply = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().unwrap();
        assert_eq!(&reply, b"three", "what was swallowed is gone, what was held arrives");

        proxy.set(Mode::Garbage(Bytes::from_static(b"junk"))).await;
        assert_eq!(ask(&mut stream, "four").await.unwrap(), "junk");
        proxy.set(Mode::CutAfter(2)).await;
        assert_eq!(ask(&mut stream, "five").await.unwrap(), "fi");
        let end = timeout(PATIENCE, stream.read(&mut reply)).await.unwrap();
        assert!(end.is_err() || end.is_ok_and(|length| length == 0), "the connection is over");
    }

    #[tokio::test]
    async fn a_reset_and_a_refusal_end_connections_and_the_port_comes_back() {
        let mut proxy = TcpProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut stream, "one").await.unwrap(), "one");
        proxy.set(Mode::Reset).await;
        let end = timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap();
        assert!(end.is_err() || end.is_ok_and(|length| length == 0));
        proxy.set(Mode::Refuse).await;
        assert!(TcpStream::connect(proxy.address()).await.is_err());
        proxy.set(Mode::Pass).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut stream, "two").await.unwrap(), "two");
    }
}
