//! A slow disk: callers wait in an await, and the threads of the runtime go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_core::{CacheBackend, NewEntry};
use cache_disk::DiskBackend;
use tokio::runtime::Builder;

use super::storage::{Operation, Tap, Verdict, tapped};
use super::support::{config, key, on_disk, what};

/// The duration of each sync.
const SYNC: Duration = Duration::from_millis(200);
/// Longer than a read from the page cache of the system, and shorter than a sync.
const LONG_TURN: Duration = Duration::from_millis(150);
/// The number of such turns that a busy machine may cause.
const FEW: usize = 2;

#[derive(Debug, Default)]
struct Slow {
    syncs: AtomicUsize,
}

impl Tap for Slow {
    fn before(&self, _: usize, operation: Operation<'_>) -> Verdict {
        if matches!(operation, Operation::Sync) {
            self.syncs.fetch_add(1, Ordering::Relaxed);
            thread::sleep(SYNC);
        }
        Verdict::Pass
    }
}

#[test]
fn a_slow_disk_holds_no_thread_of_the_runtime() {
    let root = on_disk();
    // All tasks share one thread: the task that counts its turns notices when it is blocked.
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let is_done = Arc::new(AtomicBool::new(false));
        let turns = tokio::spawn({
            let is_done = Arc::clone(&is_done);
            async move {
                let mut long = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    long += usize::from(began.elapsed() >= LONG_TURN);
                }
                long
            }
        });
        let disk = Arc::new(Slow::default());
        let backend = DiskBackend::open(tapped(config(root.path()), &disk)).await.unwrap();
        let mut waited = Duration::ZERO;
        for round in 0..2 {
            for number in 0..25 {
                let key = key(&format!("image:{number}:metadata"));
                let token = backend.lookup(&key).await.unwrap().token;
                let _ = backend.fill(&key, token, NewEntry::new(vec![7; 20_000])).await.unwrap();
                let _ = backend.set(&key, NewEntry::new(vec![8; 20_000])).await;
                let _ = backend.get(&key).await.unwrap();
            }
            let began = Instant::now();
            let _ = backend.invalidate(&[what(&format!("group image:{round}"))]).await.unwrap();
            waited = waited.max(began.elapsed());
            backend.flush().await.unwrap();
        }
        assert!(waited >= SYNC, "nothing waited for the disk: {waited:?}");
        backend.close().await.unwrap();
        is_done.store(true, Ordering::Relaxed);
        let (long, syncs) = (turns.await.unwrap(), disk.syncs.load(Ordering::Relaxed));
        println!("{long} long turns, {syncs} syncs");
        assert!(syncs > 10 && long <= FEW, "of {syncs} syncs {long} held the thread of the runtime");
    });
}
