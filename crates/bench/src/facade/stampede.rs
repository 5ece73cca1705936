//! Ten thousand callers that ask for one missing value at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Error, ensure};
use cache_core::images;
use tokio::sync::Barrier;

use super::{Caches, Metadata};
use crate::Outcome;
use crate::case::Unit;
use crate::row::Row;
use crate::session::Session;

/// Callers.
const CALLERS: usize = 10_000;

/// How often the value of image `image` was loaded for ten thousand callers that started together.
pub fn stampede(caches: &Caches, image: usize) -> Outcome<u64> {
    let key = Arc::new(images::image_metadata(image));
    let loads = Arc::new(AtomicU64::new(0));
    let start = Arc::new(Barrier::new(CALLERS));
    caches.runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (cache, key) = (caches.cache.clone(), Arc::clone(&key));
                let (loads, start) = (Arc::clone(&loads), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    let load = move || async move {
                        loads.fetch_add(1, Ordering::SeqCst);
                        // Lets other callers arrive while it runs.
                        tokio::task::yield_now().await;
                        Ok::<_, String>(Metadata::of(image))
                    };
                    cache.get_or_load(&key, load).await.map_err(|error| Error::msg(error.to_string()))
                })
            })
            .collect();
        for caller in callers {
            ensure!(caller.await?? == Metadata::of(image), "a caller of a stampede got something else");
        }
        Ok(loads.load(Ordering::SeqCst))
    })
}

/// Measures the row: the most loads of several stampedes.
pub fn run(session: &mut Session) -> Outcome<()> {
    let name = "loads of a stampede of 10,000";
    session.doing(name);
    let caches = Caches::create(&session.runtime)?;
    let mut most = 0;
    for image in 0..session.plan.rounds {
        most = most.max(stampede(&caches, image)?);
    }
    session.keep(Row::counted(name, Unit::LOADS, most as f64, 1.0));
    Ok(())
}
