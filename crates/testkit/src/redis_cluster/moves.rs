//! Moving slots from one master to another, at once or step by step.

use std::io;

use super::RedisCluster;

/// The keys of one `MIGRATE`.
const KEYS_AT_ONCE: usize = 100;
/// The longest time that a server may take for one `MIGRATE`, in milliseconds.
const MIGRATES_WITHIN: &str = "4000";

impl RedisCluster {
    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does.
    ///
    /// # Errors
    /// When a node cannot be reached, or refuses a step.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        self.begin_move(slot, from, to)?;
        while self.move_keys(slot, from, to, KEYS_AT_ONCE)? > 0 {}
        self.end_move(slot, from, to)
    }

    /// Opens a slot: `from` redirects requests for keys that it lacks to `to` from now on (`ASK`).
    ///
    /// # Errors
    /// As for [`move_slot`](Self::move_slot).
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        let (source, target) = (self.id(from)?, self.id(to)?);
        self.set_slot(to, slot, &["IMPORTING", &source])?;
        self.set_slot(from, slot, &["MIGRATING", &target])
    }

    /// Moves up to `at_most` keys of an open slot, and returns how many there were.
    ///
    /// # Errors
    /// As for [`move_slot`](Self::move_slot).
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, at_most: usize) -> io::Result<usize> {
        let command = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &at_most.to_string()];
        let keys = self.ask(from, &command)?.texts()?;
        if !keys.is_empty() {
            let keys = keys.iter().map(String::as_str);
            self.migrate(from, to, "", &["REPLACE", "KEYS"].into_iter().chain(keys).collect::<Vec<_>>())?;
        }
        Ok(keys.len())
    }

    /// Gives an open slot to `to`, which is told first, and tells all masters that run.
    ///
    /// # Errors
    /// As for [`move_slot`](Self::move_slot). A `from` with keys of the slot refuses, unless it has already heard from `to`,
    /// which owns the slot by then; once it hears of it, it deletes the keys.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        let target = self.id(to)?;
        let others =
            self.own_words()?.into_iter().filter(|seen| seen.master == "-").filter_map(|seen| seen.index);
        let others = others.filter(|index| ![from, to].contains(index));
        [to, from]
            .into_iter()
            .chain(others)
            .try_for_each(|index| self.set_slot(index, slot, &["NODE", &target]))
    }

    /// Closes an open slot, which stays with `from`. Keys that were moved are out of reach at `to`.
    ///
    /// # Errors
    /// As for [`move_slot`](Self::move_slot).
    pub fn cancel_move(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        [from, to].into_iter().try_for_each(|index| self.set_slot(index, slot, &["STABLE"]))
    }

    /// Leaves a key of an open slot on both nodes, as a `MIGRATE` does that ran into its timeout (`IOERR`) after the target
    /// had received the key.
    ///
    /// # Errors
    /// As for [`move_slot`](Self::move_slot); `NotFound` when `from` does not have the key.
    pub fn copy_key(&self, key: &str, from: usize, to: usize) -> io::Result<()> {
        match self.migrate(from, to, key, &["COPY", "REPLACE"])?.as_str() {
            "NOKEY" => Err(super::missing(&format!("node {from} does not have {key}"))),
            _ => Ok(()),
        }
    }

    fn migrate(&self, from: usize, to: usize, key: &str, rest: &[&str]) -> io::Result<String> {
        let port = self.node(to).port().to_string();
        self.tell(from, &[&["MIGRATE", "127.0.0.1", &port, key, "0", MIGRATES_WITHIN], rest].concat())
    }

    fn set_slot(&self, index: usize, slot: u16, rest: &[&str]) -> io::Result<()> {
        self.tell(index, &[&["CLUSTER", "SETSLOT", &slot.to_string()], rest].concat()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;

    #[test]
    fn a_slot_is_moved_with_its_keys_at_once_or_step_by_step() {
        let cluster = RedisCluster::start_with(3, 1, &[]).unwrap();
        let slot = cluster.slot_of("{moved}").unwrap();
        let from = cluster.master_of_slot(slot).unwrap();
        let to = (from + 1) % 3;
        let get = |node, key: &str| cluster.ask(node, &["GET", key]).unwrap();
        let value = Reply::Bytes(b"value".to_vec());
        let keys: Vec<String> = (0..250).map(|number| format!("{{moved}}{number}")).collect();
        for key in &keys {
            cluster.ask(from, &["SET", key, "value"]).unwrap().text().unwrap();
        }
        cluster.move_slot(slot, from, to).unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.master_of_slot(slot).unwrap(), to);
        assert!(keys.iter().all(|key| get(to, key) == value));
        let Reply::Error(moved) = get(from, &keys[0]) else { panic!() };
        assert_eq!(moved, format!("MOVED {slot} {}", cluster.node(to).address()));

        cluster.begin_move(slot, to, from).unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.move_keys(slot, to, from, 200).unwrap(), 200);
        let stayed: Vec<&String> = keys.iter().filter(|key| get(to, key) == value).collect();
        assert_eq!(stayed.len(), 50);
        let asking = |key: &str| {
            let mut connection = cluster.node(from).connect().unwrap();
            connection.ask(&["ASKING"]).unwrap();
            connection.ask(&["GET", key]).unwrap()
        };
        assert_eq!(asking(stayed[0]), Reply::Nil);
        cluster.copy_key(stayed[0], to, from).unwrap();
        assert_eq!((get(to, stayed[0]), asking(stayed[0])), (value.clone(), value.clone()));
        assert!(cluster.copy_key("{moved}none", to, from).is_err());

        cluster.cancel_move(slot, to, from).unwrap();
        assert_eq!(cluster.master_of_slot(slot).unwrap(), to);
        cluster.move_slot(slot, to, from).unwrap();
        cluster.settle().unwrap();
        assert_eq!(cluster.master_of_slot(slot).unwrap(), from);
        assert!(keys.iter().all(|key| get(from, key) == value));

        cluster.begin_move(slot, from, to).unwrap();
        assert_eq!(cluster.move_keys(slot, from, to, 249).unwrap(), 249);
        // The last key is lost, whether the source refuses or has heard from the target before it is asked.
        let refused = cluster.end_move(slot, from, to).err();
        assert!(refused.is_none_or(|error| error.to_string().contains("still hold keys")));
        cluster.settle().unwrap();
        assert_eq!(cluster.master_of_slot(slot).unwrap(), to);
        assert_eq!(cluster.ask(from, &["DBSIZE"]).unwrap(), Reply::Integer(0));
    }
}
