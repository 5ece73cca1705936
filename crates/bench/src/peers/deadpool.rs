//! The Redis backend beside deadpool-redis as its documentation shows it.

use std::hint::black_box;

use cache_core::CacheKey;
use deadpool_redis::redis::cmd;
use deadpool_redis::{Config, Pool, Runtime};

use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::redis::hits::Hits;
use crate::redis::{Rig, of_tasks};
use crate::session::Session;
use crate::tasks::Figure;

const ROWS: [(&str, u64, f64); 3] = [
    ("redis hit 1 KB, 1 task, deadpool", 1, 1.0),
    ("redis hit 1 KB, 16 tasks, deadpool", 16, 1.5),
    ("redis hit 1 KB, 64 tasks, deadpool", 64, 1.5),
];

async fn get(pool: Pool, key: CacheKey) -> Outcome<usize> {
    let found: Vec<u8> = cmd("GET").arg(key.as_str()).query_async(&mut pool.get().await?).await?;
    Ok(black_box(found).len())
}

/// Measures the rows.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    let rig = match Rig::start(&session.runtime) {
        Ok(rig) => rig,
        Err(error) => {
            session.leave_out("deadpool-redis", &error.to_string());
            return Ok(());
        }
    };
    let hits = Hits::store(&rig, 1024)?;
    let pool = {
        let _runtime = session.runtime.enter();
        Config::from_url(rig.url.clone()).create_pool(Some(Runtime::Tokio1))?
    };
    of_tasks(session, |session| {
        for (name, tasks, target) in ROWS {
            let (pool, peer_name) = (pool.clone(), "deadpool-redis as documented");
            let spec = Spec::new(name, peer_name, Unit::PerSecond, Pace::FREE, Target::Ratio(target))
                .note("flatters ours, whose tasks share connections; the peer's wait for one of the pool");
            let mut case = hits.beside(tasks, Figure::Throughput, move |key| get(pool.clone(), key));
            session.measure(&spec, &mut case)?;
        }
        Ok(())
    })
}
