//! [`LoadContext`]: the loads that the running task is part of. A load that requests its own key fails with
//! [`LoadError::Recursive`](super::LoadError::Recursive) instead of waiting for itself.
//!
//! The chain follows the load that the cache runs, and loads started inside it, also to the thread of a blocking load. A task that
//! a load spawns by itself starts without one.

use std::any::TypeId;
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

use cache_core::{CacheKey, CodecId};
use futures_util::future;

use super::waits_for_graph::{Node, Wait, WaitsForGraph};
use crate::rt;

/// Identity of a load.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LoadId {
    /// Number of the cache.
    pub(super) cache: u64,
    pub(super) key: CacheKey,
    /// Types of value and error.
    pub(super) types: TypeId,
    pub(super) codec: CodecId,
}

/// A load that is being run, with the load that requested it.
#[derive(Debug)]
pub(crate) struct LoadContext {
    ids: Vec<LoadId>,
    requested_by: Option<Arc<Self>>,
    node: Arc<Node>,
}

/// Waiting would close a circle of loads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circle;

rt::thread_local! {
    static CURRENT: RefCell<Option<Arc<LoadContext>>> = const { RefCell::new(None) };
}

impl LoadContext {
    /// A load of `ids`, requested by the load that the running task is part of: each of `nodes` waits for it.
    pub(crate) fn of_all<'a>(ids: Vec<LoadId>, nodes: impl Iterator<Item = &'a Arc<Node>>) -> Arc<Self> {
        let node = Arc::default();
        nodes.for_each(|led| led.waits_for(&node));
        Arc::new(Self { ids, requested_by: current(), node })
    }

    /// A background load, which no load waits for.
    pub(crate) fn background(id: LoadId, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { ids: vec![id], requested_by: None, node })
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Runs `load` as part of this one.
    pub(crate) async fn run<F: Future>(self: Arc<Self>, load: F) -> F::Output {
        let mut load = pin!(load);
        future::poll_fn(|context| {
            let _restore = Restore(swap(Some(Arc::clone(&self))));
            load.as_mut().poll(context)
        })
        .await
    }
}

/// Whether the running task is part of the load `id`.
pub(crate) fn is_running(id: &LoadId) -> bool {
    CURRENT.with(|current| {
        let current = current.borrow();
        let mut chain = std::iter::successors(current.as_ref(), |context| context.requested_by.as_ref());
        chain.any(|context| context.ids.contains(id))
    })
}

/// Adds an edge from the load that the running task is part of to `node`; none where it is part of no load.
pub(crate) fn wait_for(graph: &WaitsForGraph, node: &Arc<Node>) -> Result<Option<Wait>, Circle> {
    match current() {
        None => Ok(None),
        Some(context) => graph.begin(Arc::clone(&context.node), node).map(Some).ok_or(Circle),
    }
}

/// Restores the previous context on drop, also when the load panics.
struct Restore(Option<Arc<LoadContext>>);

impl Drop for Restore {
    fn drop(&mut self) {
        swap(self.0.take());
    }
}

/// The load that the running task is part of.
pub(crate) fn current() -> Option<Arc<LoadContext>> {
    CURRENT.with(|current| current.borrow().clone())
}

fn swap(context: Option<Arc<LoadContext>>) -> Option<Arc<LoadContext>> {
    CURRENT.with(|current| current.replace(context))
}
