//! What an application does: hit ratios of mixes and traces beside an exact LRU, space over a churn, the cost of clearing by
//! keyspace, throughput by concurrency, and how latencies spread.

pub mod churn;
pub mod clearing;
pub mod concurrency;
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
    let has_redis = match RedisServer::start() {
        Ok(_) => true,
        Err(why) => {
            session.leave_out("workloads over Redis", &why.to_string());
            false
        }
    };
    clearing::run(session, has_redis)?;
    latency::run(session, has_redis)?;
    concurrency::run(session, has_redis)
}
