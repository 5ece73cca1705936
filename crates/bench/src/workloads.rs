//! What an application does: hit ratios of mixes and traces beside an exact LRU, space over a churn, the cost of clearing by
//! keyspace, and the distribution of latencies.

pub mod churn;
pub mod clearing;
pub mod hit_ratio;
pub mod latency;

use testkit::RedisServer;

use crate::Outcome;
use crate::requests::Mix;
use crate::session::Session;

/// Measures the rows and draws the plots.
pub fn run(session: &mut Session, trace: Option<&Mix>) -> Outcome<()> {
    hit_ratio::run(session, trace)?;
    churn::run(session)?;
    let server = RedisServer::start().map(drop);
    if let Err(error) = &server {
        session.leave_out("workloads over Redis", &error.to_string());
    }
    clearing::run(session, server.is_ok())?;
    latency::run(session, server.is_ok())
}
