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

/// A load that is being run, and the load that asked for it.
#[derive(Debug)]
pub(crate) struct Loading {
    /// What it loads: one value, or many at once.
    ids: Vec<FlightId>,
    asked_by: Option<Arc<Self>>,
}

rt::thread_local! {
    static CURRENT: RefCell<Option<Arc<Loading>>> = const { RefCell::new(None) };
}

impl Loading {
    /// The load of `ids`, asked for by the load that the running task is part of.
    pub(crate) fn new(ids: Vec<FlightId>) -> Arc<Self> {
        Arc::new(Self { ids, asked_by: current() })
    }

    /// The load `id`, which nobody waits for.
    pub(crate) fn alone(id: FlightId) -> Arc<Self> {
        Arc::new(Self { ids: vec![id], asked_by: None })
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
