//! The disk rows under criterion, for its analysis of one function over time; ratios come from `cargo xtask bench`.

use std::sync::Arc;
use std::time::Duration;

use bench::Case;
use bench::Outcome;
use bench::disk::reads::{LARGE_ENTRIES, Reading, SMALL_ENTRIES, hits, misses};
use bench::disk::removals::{clears, deletes};
use bench::disk::sets::sets;
use bench::disk::{LARGE, SMALL};
use bench::stores::{DataSet, Stores};
use bench::workload::{Access, image_keys};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

fn stores(runtime: &Arc<Runtime>, entries: usize, value_bytes: usize) -> Arc<Stores> {
    let data = DataSet::new(image_keys(0, entries), value_bytes);
    Stores::create(runtime, data).expect("the stores can be filled")
}

/// Ours and the peer's under one name each; a wrong answer ends the run.
fn pair(criterion: &mut Criterion, name: &str, case: &mut dyn Case) {
    let timed = |done: Outcome<Duration>| done.expect("the answers are right");
    let mut group = criterion.benchmark_group(name);
    group.bench_function("ours", |bencher| bencher.iter_custom(|operations| timed(case.ours(operations))));
    group
        .bench_function("raw redb", |bencher| bencher.iter_custom(|operations| timed(case.peer(operations))));
    group.finish();
}

fn disk(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
    let runtime = Arc::new(runtime.expect("a runtime can be started"));
    for (size, entries, value_bytes) in [("1 KB", SMALL_ENTRIES, SMALL), ("50 KB", LARGE_ENTRIES, LARGE)] {
        let stores = stores(&runtime, entries, value_bytes);
        let mut hits = hits(&stores, Access::Uniform, Reading::Each).expect("the stores can be read");
        pair(criterion, &format!("get {size}"), &mut hits);
        let mut misses = misses(&stores).expect("the stores can be read");
        pair(criterion, &format!("get absent among {size}"), &mut misses);
        pair(criterion, &format!("set {size}"), &mut sets(&stores));
        pair(criterion, &format!("delete {size}"), &mut deletes(&stores, 1));
        pair(criterion, &format!("clear {size}"), &mut clears(&stores));
    }
}

criterion_group! {
    name = rows;
    config = Criterion::default().sample_size(20);
    targets = disk
}
criterion_main!(rows);
