//! Slots that go from one node of a cluster to another: the new node is told what it has missed before it is used.

use std::time::Duration;

use cache_core::Result;

use super::Servers;
use super::map::Map;
use super::refresh::Admitted;
use crate::connection::server_epoch::or_everything;
use crate::connection::server_info::ServerInfo;
use crate::protocol::slot::Slot;

impl Servers {
    /// Gives `node` slots that another one held before, once it was told what it has missed of them in the last `age`; by
    /// default, since the node that held them before was checked last.
    pub(super) async fn take_over(
        &self,
        node: &Admitted,
        slots: &[Slot],
        age: Option<Duration>,
    ) -> Result<()> {
        let before = Map::clone(&self.map.load());
        // 1. Requests wait.
        self.publish(before.with(slots, None));
        // 2. What was acknowledged until now is read; what is acknowledged by the old node from now on begins again.
        let since_check = |slot: &Slot| before.owner(*slot).map(|owner| owner.manager.epochs.since_check());
        let longest = slots.iter().map(|slot| since_check(slot).unwrap_or(Duration::MAX)).max();
        // The old node may have given the slots away a moment after its last check, and not have known.
        let longest = longest.map(|longest| longest.saturating_add(self.config.heartbeat));
        let age = age.or(longest).filter(|_| is_newer(node, &before, slots)).unwrap_or(Duration::MAX);
        let now = self.config.clock.monotonic();
        let missed = or_everything(self.shared.history.removals(age, now));
        // 3. The new node is told.
        let mut connection = node.connection.clone();
        let told = self.while_renewing(node.pool.manager.remove(&mut connection, &missed, Some(slots))).await;
        // 4. It is used. Where that failed, the old node goes on to refuse requests for these slots.
        let after = match &told {
            Ok(()) => before.with(slots, Some(&node.pool)),
            Err(_) => before,
        };
        self.publish(after);
        told?;
        cache_core::log::info!(
            limit: &node.pool.address, server = %node.pool.address, slots = slots.len(), repeated = missed.len(),
            "Redis slots changed owner"
        );
        Ok(())
    }
}

/// Whether the config epoch of `node` is higher than those of the nodes that held `slots` before, as the specification
/// demands. A server that only pretends to have epochs may have held the slots before, with other values.
fn is_newer(node: &Admitted, before: &Map, slots: &[Slot]) -> bool {
    let epoch_of = |info: &ServerInfo| info.cluster.as_ref().map_or(0, |view| view.epoch);
    let own = epoch_of(&node.info);
    slots
        .iter()
        .filter_map(|slot| before.owner(*slot))
        .all(|owner| epoch_of(&owner.manager.info.load()) < own)
}
