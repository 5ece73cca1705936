//! Who waits for whom: loads that ask for each other's values would wait until somebody's patience ends.
//!
//! Each flight is a node. While a load waits for another's flight, or for one of its own inside it, there is an edge
//! between the two. Whoever would close a circle does not wait. (The waits-for graph of databases that find deadlocks:
//! Knapp, Deadlock Detection in Distributed Databases, 1987.) Only loads inside loads come here.

use std::sync::Arc;

use cache_core::sync::Mutex;

/// A flight, and whose it waits for.
#[derive(Default)]
pub(crate) struct Node {
    waits_for: Mutex<Vec<Arc<Self>>>,
}

/// Lets one load at a time find out whether it may wait.
#[derive(Default)]
pub(crate) struct Waits(Mutex<()>);

/// An edge, until it is dropped.
pub(crate) struct Wait {
    from: Arc<Node>,
    to: Arc<Node>,
}

impl Waits {
    /// `from` waits for `to` from now on; `None` where `to` waits for `from` already.
    pub(crate) fn begin(&self, from: Arc<Node>, to: &Arc<Node>) -> Option<Wait> {
        // Two that are about to wait for each other must not both look before either has said so.
        let _one_at_a_time = self.0.lock();
        if to.reaches(&from) {
            return None;
        }
        from.waits_for(to);
        Some(Wait { from, to: Arc::clone(to) })
    }
}

impl Node {
    /// This waits for `other` from now on.
    pub(crate) fn waits_for(&self, other: &Arc<Self>) {
        self.waits_for.lock().push(Arc::clone(other));
    }

    /// The end of it.
    pub(crate) fn waits_no_more_for(&self, other: &Arc<Self>) {
        let mut waits_for = self.waits_for.lock();
        if let Some(at) = waits_for.iter().position(|node| Arc::ptr_eq(node, other)) {
            waits_for.swap_remove(at);
        }
    }

    fn reaches(self: &Arc<Self>, goal: &Arc<Self>) -> bool {
        let mut seen = Vec::new();
        let mut left = vec![Arc::clone(self)];
        while let Some(node) = left.pop() {
            if Arc::ptr_eq(&node, goal) {
                return true;
            }
            if seen.iter().any(|seen| Arc::ptr_eq(seen, &node)) {
                continue;
            }
            left.extend(node.waits_for.lock().iter().map(Arc::clone));
            seen.push(node);
        }
        false
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.from.waits_no_more_for(&self.to);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not whom it waits for: that may be a long way.
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn who_would_close_a_circle_does_not_wait_until_it_is_open_again() {
        let (waits, nodes) = (Waits::default(), [(); 3].map(|()| Arc::new(Node::default())));
        let wait = |from: usize, to: usize| waits.begin(Arc::clone(&nodes[from]), &nodes[to]);
        let (one, two) = (wait(0, 1), wait(1, 2));
        assert!(one.is_some() && two.is_some() && wait(2, 0).is_none() && wait(1, 1).is_none());
        drop(one);
        assert!(wait(2, 0).is_some());
        drop(two);
        assert!(nodes.iter().all(|node| node.waits_for.lock().is_empty()), "nothing is left behind");
    }
}
