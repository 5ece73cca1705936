//! The waits-for graph of loads: loads that request each other's keys would wait in a circle until the load timeout.
//!
//! Each load in flight is a node, with an edge to every load that it waits for. A load that would close a circle does not
//! wait. (The graph by which databases find deadlocks: Knapp, Deadlock Detection in Distributed Databases, 1987.) Only
//! loads inside loads come here.

use std::sync::Arc;

use cache_core::sync::Mutex;

/// A load in flight, with the loads that it waits for.
#[derive(Default)]
pub(crate) struct Node {
    waits_for: Mutex<Vec<Arc<Self>>>,
}

/// Admits one load at a time to the search for circles.
#[derive(Default)]
pub(crate) struct WaitsForGraph(Mutex<()>);

/// An edge; dropping it removes it.
pub(crate) struct Wait {
    from: Arc<Node>,
    to: Arc<Node>,
}

impl WaitsForGraph {
    /// Adds an edge from `from` to `to`; `None` where `to` already waits for `from`.
    pub(crate) fn begin(&self, from: Arc<Node>, to: &Arc<Node>) -> Option<Wait> {
        // Two loads that are about to wait for each other must not both search before either has added its edge.
        let _one_at_a_time = self.0.lock();
        if to.reaches(&from) {
            return None;
        }
        from.waits_for(to);
        Some(Wait { from, to: Arc::clone(to) })
    }
}

impl Node {
    /// Adds an edge to `other`.
    pub(crate) fn waits_for(&self, other: &Arc<Self>) {
        self.waits_for.lock().push(Arc::clone(other));
    }

    /// Removes the edge to `other`.
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
        // Without its edges: the chain may be long.
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_would_close_a_circle_is_refused_until_the_circle_is_open() {
        let (waits, nodes) = (WaitsForGraph::default(), [(); 3].map(|()| Arc::new(Node::default())));
        let wait = |from: usize, to: usize| waits.begin(Arc::clone(&nodes[from]), &nodes[to]);
        let (one, two) = (wait(0, 1), wait(1, 2));
        assert!(one.is_some() && two.is_some() && wait(2, 0).is_none() && wait(1, 1).is_none());
        drop(one);
        assert!(wait(2, 0).is_some());
        drop(two);
        assert!(nodes.iter().all(|node| node.waits_for.lock().is_empty()), "nothing is left behind");
    }
}
