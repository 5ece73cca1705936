//! Faults of the server, of the network of one instance, and of an instance.

use std::time::Duration;

use bytes::Bytes;
use testkit::{Mode, RedisServer, Restart, TcpProxy};
use tokio::time::sleep;

use super::dice::Dice;
use super::fleet::Fleet;

/// Injects a random fault for a while, and returns its description.
pub(crate) async fn strike(dice: &Dice, server: &mut RedisServer, fleet: &mut Fleet) -> &'static str {
    let victim = dice.below(fleet.proxies.len() as u64) as usize;
    let a_while = Duration::from_millis(50 + dice.below(700));
    let proxy = &mut fleet.proxies[victim];
    match dice.below(15) {
        0 => {
            server.kill().unwrap();
            sleep(a_while).await;
            server.restart(Restart::Empty).unwrap();
            "the server was killed and came back empty"
        }
        1 => {
            server.command("SAVE").unwrap();
            sleep(a_while).await;
            server.kill().unwrap();
            server.restart(Restart::WithData).unwrap();
            "the server was killed and came back with an old snapshot"
        }
        2 => {
            server.pause().unwrap();
            sleep(a_while).await;
            server.resume().unwrap();
            "the server stood still"
        }
        3 => command(server, "FLUSHALL", "everything was flushed"),
        4 => command(server, "CLIENT KILL TYPE normal", "all connections were killed"),
        5 => command(server, "SCRIPT FLUSH", "the scripts were flushed"),
        6 => {
            command(server, "CONFIG SET min-replicas-to-write 1", "");
            sleep(a_while).await;
            command(server, "CONFIG SET min-replicas-to-write 0", "the server refused writes")
        }
        7 | 8 => {
            fleet.kill(victim);
            sleep(a_while).await;
            fleet.start(victim);
            "an instance was killed and started again"
        }
        9 => during(proxy, Mode::BlackHole, a_while, "the network of an instance swallowed everything").await,
        10 => during(proxy, Mode::SwallowReplies, a_while, "an instance got no replies").await,
        11 => during(proxy, Mode::Reset, a_while, "an instance's connections were reset").await,
        12 => during(proxy, Mode::Refuse, a_while, "an instance could not connect").await,
        13 => {
            // The first is no valid reply; the second is a surplus one, which shifts the answers of a connection.
            let garbage: &[u8] =
                if dice.below(2) == 0 { b"HTTP/1.1 400 Bad Request\r\n\r\n" } else { b"$5\r\nwrong\r\n" };
            let garbage = Mode::Garbage(Bytes::from_static(garbage));
            during(proxy, garbage, a_while, "an instance got garbage").await
        }
        _ => {
            let delay = Mode::Delay(Duration::from_millis(100 + dice.below(400)));
            during(proxy, delay, a_while, "the network of an instance was slow").await
        }
    }
}

fn command(server: &RedisServer, command: &str, what: &'static str) -> &'static str {
    let reply = server.command(command).unwrap();
    assert!(!reply.starts_with('-'), "{command}: {reply}");
    what
}

async fn during(proxy: &mut TcpProxy, mode: Mode, a_while: Duration, what: &'static str) -> &'static str {
    proxy.set(mode).await;
    sleep(a_while).await;
    proxy.set(Mode::Pass).await;
    what
}
