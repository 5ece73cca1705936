//! What one node of a cluster says about all of them.

use std::io;
use std::ops::RangeInclusive;

/// A node as another node, or the node itself, sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its name in the cluster.
    pub(super) id: String,
    /// Its index, if it is one of the nodes that were started.
    pub(super) index: Option<usize>,
    flags: Vec<String>,
    /// The name of its master; `-` if it has none.
    pub(super) master: String,
    /// The epoch of its claim to its slots, or to those of its master.
    pub(super) epoch: u64,
    /// Whether there is a connection to it. Counts as given for a node that is down.
    pub(super) is_linked: bool,
    /// The slots that it owns.
    pub(super) slots: Vec<RangeInclusive<usize>>,
}

impl Seen {
    /// Whether the cluster counts it as failed.
    pub(super) fn is_down(&self) -> bool {
        self.flags.iter().any(|flag| flag == "fail")
    }

    /// Whether it is not yet known, or one node takes it for failed and the others are not asked yet.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.flags.iter().any(|flag| flag == "handshake" || flag == "fail?")
    }
}

/// Reads a reply to `CLUSTER NODES`, sorted by name; `ports` are those of the nodes by index.
pub(super) fn parse(reply: &str, ports: &[u16]) -> io::Result<Vec<Seen>> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, reply.to_owned());
    let mut nodes = Vec::new();
    for line in reply.lines() {
        let mut fields = line.split(' ');
        let mut next = || fields.next().ok_or_else(unreadable);
        let (id, address, flags, master) = (next()?, next()?, next()?, next()?);
        let (_, _, epoch, link) = (next()?, next()?, next()?, next()?);
        let port =
            address.split('@').next().and_then(|address| address.rsplit(':').next()?.parse::<u16>().ok());
        let mut seen = Seen {
            id: id.to_owned(),
            index: ports.iter().position(|known| Some(*known) == port),
            flags: flags.split(',').filter(|flag| *flag != "myself").map(str::to_owned).collect(),
            master: master.to_owned(),
            epoch: epoch.parse().map_err(|_| unreadable())?,
            is_linked: link == "connected",
            // Slots in brackets are on their way to or from another node.
            slots: fields.filter(|slots| !slots.starts_with('[')).filter_map(range).collect(),
        };
        seen.is_linked |= seen.is_down();
        nodes.push(seen);
    }
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(nodes)
}

fn range(slots: &str) -> Option<RangeInclusive<usize>> {
    let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
