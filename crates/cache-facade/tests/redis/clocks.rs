//! A clock that differs from the server's makes values with a time to live misses: a warning says so, but not at every
//! heartbeat.

use std::time::Duration;

use cache_facade::ManualClock;
use testkit::{Lines, RedisServer};
use tracing::Level;

use crate::support::*;

#[tokio::test]
async fn a_clock_that_differs_from_the_servers_is_a_warning_and_not_one_at_every_heartbeat() {
    Lines::capture(Level::TRACE);
    let server = RedisServer::start().unwrap();
    let clock = std::sync::Arc::new(ManualClock::new());
    let site = Instance::with(server.address(), |config| config.clock(clock)).await;
    let warnings = || Lines::with("the clock of this machine is").len();
    assert_eq!(warnings(), 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(warnings(), 1, "not at every heartbeat");
    assert!(Lines::with("the clock of this machine is")[0].contains("behind the server's"));
    drop(site);
}
