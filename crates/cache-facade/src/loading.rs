//! Which loads the running task is part of: a load that asks for its own key is told so instead of waiting for itself.
//!
//! The chain goes with the load that the facade runs, and with loads started inside it. A task that the load spawns by
//! itself starts without one.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future;

use crate::flight::FlightId;
use crate::rt;
use crate::waits::{Node, Wait, Waits};

/// A load that is being run, and the load that asked for it.
#[derive(Debug)]
pub(crate) struct Loading {
    /// What it loads: one value, or many at once.
    ids: Vec<FlightId>,
    asked_by: Option<Arc<Self>>,
    node: Arc<Node>,
}

/// A load inside another would wait for itself by way of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WouldCircle;

rt::thread_local! {
    static CURRENT: RefCell<Option<Arc<Loading>>> = const { RefCell::new(None) };
}

impl Loading {
    /// The load of `ids`, asked for by the load that the running task is part of.
    ///
    /// `node` is that of its flight.
    pub(crate) fn new(ids: Vec<FlightId>, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { ids, asked_by: current(), node })
    }

    /// The load `id`, which nobody waits for.
    pub(crate) fn alone(id: FlightId, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { ids: vec![id], asked_by: None, node })
    }

    /// The load `id` that its caller runs for himself, as a part of the load that he is part of.
    pub(crate) fn within(id: FlightId) -> Arc<Self> {
        let asked_by = current();
        let node = asked_by.as_ref().map(|loading| Arc::clone(&loading.node)).unwrap_or_default();
        Arc::new(Self { ids: vec![id], asked_by, node })
    }

    /// Runs `load` as part of this one.
    pub(crate) async fn run<F: Future>(self: Arc<Self>, load: F) -> F::Output {
        let mut load = pin!(load);
        future::poll_fn(|context| {
            let _restore = Entered(swap(Some(Arc::clone(&self))));
            load.as_mut().poll(context)
        })
        .await
    }
}

/// Whether the running task is part of the load `id`.
pub(crate) fn is_running(id: &FlightId) -> bool {
    CURRENT.with(|current| {
        let current = current.borrow();
        let mut chain = std::iter::successors(current.as_ref(), |loading| loading.asked_by.as_ref());
        chain.any(|loading| loading.ids.contains(id))
    })
}

/// Says that the load which the running task is part of waits for the flight `node`, until what this gives is dropped;
/// nothing where it is part of none.
pub(crate) fn waits_for(waits: &Waits, node: &Arc<Node>) -> Result<Option<Wait>, WouldCircle> {
    match current() {
        None => Ok(None),
        Some(loading) => waits.begin(Arc::clone(&loading.node), node).map(Some).ok_or(WouldCircle),
    }
}

/// Puts back what was current before, also when the load panics.
struct Entered(Option<Arc<Loading>>);

impl Drop for Entered {
    fn drop(&mut self) {
        swap(self.0.take());
    }
}

fn current() -> Option<Arc<Loading>> {
    CURRENT.with(|current| current.borrow().clone())
}

fn swap(loading: Option<Arc<Loading>>) -> Option<Arc<Loading>> {
    CURRENT.with(|current| current.replace(loading))
}
