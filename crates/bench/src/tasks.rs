//! One operation in many tasks at once, ours beside the peer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::Outcome;
use crate::case::{Case, pair};

/// Which figure of many operations counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// How long all of them took together.
    Throughput,
    /// How long the slowest of a hundred takes: it is given as the time of each.
    Slowest1Percent,
}

/// A case of two operations, each run by so many tasks; an operation gets its number.
pub fn in_tasks<O, P, OursDone, PeerDone>(
    runtime: &Arc<Runtime>,
    tasks: u64,
    figure: Figure,
    ours: O,
    peer: P,
) -> impl Case + use<O, P, OursDone, PeerDone>
where
    O: Fn(u64) -> OursDone + Clone + Send + 'static,
    P: Fn(u64) -> PeerDone + Clone + Send + 'static,
    OursDone: Future<Output = Outcome<()>> + Send,
    PeerDone: Future<Output = Outcome<()>> + Send,
{
    let (here, there) = (Arc::clone(runtime), Arc::clone(runtime));
    pair(
        move |operations| here.block_on(run(tasks, operations, figure, ours.clone())),
        move |operations| there.block_on(run(tasks, operations, figure, peer.clone())),
    )
}

/// Runs `operations` in `tasks` tasks, each of which takes the next as soon as it has done one.
pub async fn run<F, Done>(tasks: u64, operations: u64, figure: Figure, operation: F) -> Outcome<Duration>
where
    F: Fn(u64) -> Done + Clone + Send + 'static,
    Done: Future<Output = Outcome<()>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut running = Vec::new();
    for _ in 0..tasks.min(operations) {
        let (next, operation) = (Arc::clone(&next), operation.clone());
        running.push(tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= operations {
                    return Outcome::Ok(times);
                }
                match figure {
                    Figure::Throughput => operation(number).await?,
                    Figure::Slowest1Percent => {
                        let began = Instant::now();
                        operation(number).await?;
                        times.push(began.elapsed());
                    }
                }
            }
        }));
    }
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await??);
    }
    let elapsed = started.elapsed();
    if figure == Figure::Throughput {
        return Ok(elapsed);
    }
    times.sort_unstable();
    let slowest = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(slowest * u32::try_from(operations)?)
}
