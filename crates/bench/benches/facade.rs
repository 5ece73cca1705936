//! The facade's rows under criterion, for its analysis of one function over time; ratios come from `cargo xtask bench`.

use std::sync::Arc;
use std::time::Duration;

use bench::facade::Caches;
use bench::facade::hits::hits;
use bench::facade::loads::loads;
use bench::{Case, Outcome};
use criterion::{Criterion, criterion_group, criterion_main};

fn pair(criterion: &mut Criterion, name: &str, peer: &str, case: &mut dyn Case) {
    let timed = |done: Outcome<Duration>| done.expect("the answers are right");
    let mut group = criterion.benchmark_group(name);
    group.bench_function("ours", |bencher| bencher.iter_custom(|operations| timed(case.ours(operations))));
    group.bench_function(peer, |bencher| bencher.iter_custom(|operations| timed(case.peer(operations))));
    group.finish();
}

fn facade(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build();
    let runtime = Arc::new(runtime.expect("a runtime can be started"));
    let caches = || Caches::create(&runtime).expect("a cache can be opened");
    pair(criterion, "hit", "bare backend", &mut hits(caches()).expect("the cache can be filled"));
    pair(criterion, "load", "bare loader", &mut loads(caches()));
}

criterion_group! {
    name = rows;
    config = Criterion::default().sample_size(20);
    targets = facade
}
criterion_main!(rows);
