//! The Redis backend beside deadpool-redis as its documentation shows it.

use std::hint::black_box;
use std::sync::Arc;

use deadpool_redis::redis::cmd;
use deadpool_redis::{Config, Runtime};

use crate::Outcome;
use crate::case::{Pace, Spec, Target, Unit};
use crate::redis::hits::{check, hit, key, store};
use crate::redis::{Rig, of_tasks};
use crate::session::Session;
use crate::tasks::{Figure, Tasks};
use crate::workload::{Values, image_keys};

const BYTES: usize = 1024;
const ROWS: [(&str, u64, f64); 3] = [
    ("redis hit 1 KB, 1 task, deadpool", 1, 1.0),
    ("redis hit 1 KB, 16 tasks, deadpool", 16, 1.5),
    ("redis hit 1 KB, 64 tasks, deadpool", 64, 1.5),
];

/// Measures the rows.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    let rig = match Rig::start(&session.runtime) {
        Ok(rig) => rig,
        Err(why) => {
            session.leave_out("deadpool-redis", &why.to_string());
            return Ok(());
        }
    };
    let keys: Arc<[_]> = image_keys(0, crate::redis::hits::KEYS as usize).into();
    session.runtime.block_on(store(&rig, &keys, &Values::new(BYTES)))?;
    let pool = {
        let _runtime = session.runtime.enter();
        Config::from_url(rig.url.clone()).create_pool(Some(Runtime::Tokio1))?
    };
    of_tasks(session, |session| {
        for (name, tasks, target) in ROWS {
            let (pool, plain) = (pool.clone(), Arc::clone(&keys));
            let (cache, known) = (Arc::clone(&rig.cache), Arc::clone(&keys));
            let mut case = Tasks {
                runtime: Arc::clone(&rig.runtime),
                tasks,
                figure: Figure::Throughput,
                ours: move |number| hit(Arc::clone(&cache), key(&known, number), BYTES),
                peer: move |number| {
                    let (pool, key) = (pool.clone(), key(&plain, number));
                    async move {
                        let mut connection = pool.get().await?;
                        let found: Vec<u8> =
                            cmd("GET").arg(key.as_str()).query_async(&mut connection).await?;
                        check(black_box(found).len(), BYTES)
                    }
                },
            };
            let spec = Spec {
                name,
                peer_name: "deadpool-redis as documented",
                unit: Unit::PerSecond,
                pace: Pace::Slices { most: 1 << 20 },
                target: Target::Ratio(target),
            };
            session.measure(&spec, &mut case)?;
        }
        Ok(())
    })
}
