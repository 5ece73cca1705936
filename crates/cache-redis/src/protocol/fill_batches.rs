//! [`FillBatch`]: fills that the server carries out in one step. See `docs/decisions/0012-staging.md`.
//!
//! A few small values pass through a script that compares the tokens and stores. Others are staged, so that no value passes
//! through a script, in one transaction:
//!
//! 1. A script moves the groups to staging keys if all tokens are valid, and leaves a mark there.
//! 2. `HSET` stores the values in the staging keys.
//! 3. A script moves the groups back if it finds the mark. Otherwise the groups were never touched.
//! 4. `UNLINK` removes the staging keys, which are left only if step 1 refused.

use std::collections::{BTreeMap, HashSet};

use cache_core::envelope;
use redis::{Cmd, Pipeline, Value};

use super::layout::Layout;
use super::scripts::{self, Call};
use super::slot::{Slot, SlotHasher};
use super::write::FieldWrite;
use crate::error::Fault;

/// The most values and bytes that pass through scripts. Staging costs more per batch and less per value.
const MOST_IN_SCRIPT: usize = 3;
const LARGEST_IN_SCRIPT: usize = 8 << 10;
/// About how many bytes the server takes in one step; other clients wait meanwhile.
const LARGEST_BATCH: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct FillBatch<'a> {
    /// Fills by group. Only a staged batch has several groups.
    groups: BTreeMap<&'a str, Vec<&'a FieldWrite>>,
    /// The staging key of each group; none in a batch that passes through a script.
    staging: Vec<String>,
}

/// Makes batches for a node of a cluster: a transaction holds keys of one slot only.
pub(super) fn by_slot<'a>(
    make: impl Fn(&Layout, &[&'a FieldWrite]) -> Vec<FillBatch<'a>>,
    layout: &Layout,
    fills: &[&'a FieldWrite],
) -> Vec<FillBatch<'a>> {
    let mut slots: BTreeMap<Slot, Vec<&FieldWrite>> = BTreeMap::new();
    for &fill in fills {
        slots.entry(SlotHasher::default().with(&fill.group).slot()).or_default().push(fill);
    }
    slots.into_values().flat_map(|fills| make(layout, &fills)).collect()
}

/// Makes batches that are each stored as a whole or not at all, unless the fills are too few or too small for that.
pub(super) fn all_at_once<'a>(layout: &Layout, fills: &[&'a FieldWrite]) -> Vec<FillBatch<'a>> {
    // Of two fills of one key the first is stored, and then the token of the second is not valid any more.
    let mut fields = HashSet::with_capacity(fills.len());
    let is_any_twice = fills.iter().any(|fill| !fields.insert((&fill.group, &fill.field)));
    let bytes: usize = fills.iter().map(|fill| fill.envelope.len()).sum();
    if is_any_twice || fills.len() <= MOST_IN_SCRIPT && bytes <= LARGEST_IN_SCRIPT {
        return each_by_itself(layout, fills);
    }
    chunks(fills).into_iter().map(|chunk| FillBatch::staged(layout, chunk)).collect()
}

/// Makes batches in which each fill is stored or refused on its own: small ones through a script for each group, large ones
/// staged alone.
pub(super) fn each_by_itself<'a>(layout: &Layout, fills: &[&'a FieldWrite]) -> Vec<FillBatch<'a>> {
    let (large, small): (Vec<_>, Vec<_>) =
        fills.iter().copied().partition(|fill| fill.envelope.len() > LARGEST_IN_SCRIPT);
    let alone = large.into_iter().map(|fill| FillBatch::staged(layout, vec![fill]));
    let groups = by_group(small).into_values();
    let scripts = groups.flat_map(|group| chunks(&group)).map(FillBatch::through_script);
    alone.chain(scripts).collect()
}

/// Cuts `fills` into lists of at most [`LARGEST_BATCH`] bytes, in their order.
fn chunks<'a>(fills: &[&'a FieldWrite]) -> Vec<Vec<&'a FieldWrite>> {
    let mut chunks: Vec<Vec<&FieldWrite>> = Vec::new();
    let mut room = 0;
    for &fill in fills {
        let length = fill.envelope.len();
        if let Some(chunk) = chunks.last_mut().filter(|_| length <= room) {
            chunk.push(fill);
        } else {
            room = LARGEST_BATCH;
            chunks.push(vec![fill]);
        }
        room = room.saturating_sub(length);
    }
    chunks
}

fn by_group(fills: Vec<&FieldWrite>) -> BTreeMap<&str, Vec<&FieldWrite>> {
    let mut groups: BTreeMap<&str, Vec<&FieldWrite>> = BTreeMap::new();
    for fill in fills {
        groups.entry(fill.group.as_str()).or_default().push(fill);
    }
    groups
}

impl<'a> FillBatch<'a> {
    fn through_script(fills: Vec<&'a FieldWrite>) -> Self {
        Self { groups: by_group(fills), staging: Vec::new() }
    }

    fn staged(layout: &Layout, fills: Vec<&'a FieldWrite>) -> Self {
        let groups = by_group(fills);
        let staging = groups.keys().map(|group| layout.staging(group)).collect();
        Self { groups, staging }
    }

    /// The fills in the order of the server's outcomes.
    pub(super) fn fills(&self) -> impl Iterator<Item = &'a FieldWrite> {
        self.groups.values().flatten().copied()
    }

    pub(super) fn add_to(&self, commands: &mut Pipeline, how: Call, expires_fields: bool) {
        if !self.staging.is_empty() {
            return self.add_staged(commands, how, expires_fields);
        }
        for (group, fills) in &self.groups {
            let mut call = scripts::FILL.call(how, &[*group]);
            call.arg(u8::from(expires_fields));
            for FieldWrite { field, token, envelope, millis, .. } in fills {
                call.arg(field).arg(&envelope::lease(*token)).arg(envelope).arg(*millis);
            }
            commands.add_command(call);
        }
    }

    fn add_staged(&self, commands: &mut Pipeline, how: Call, expires_fields: bool) {
        let keys: Vec<&str> =
            self.groups.keys().copied().chain(self.staging.iter().map(String::as_str)).collect();
        commands.cmd("MULTI");
        let mut first = scripts::STAGED.call(how, &keys);
        first.arg("first");
        for fills in self.groups.values() {
            first.arg(fills.len());
            for fill in fills {
                first.arg(&fill.field);
            }
            for fill in fills {
                first.arg(&envelope::lease(fill.token));
            }
        }
        commands.add_command(first);
        for (fills, staging) in self.groups.values().zip(&self.staging) {
            let bytes: usize = fills.iter().map(|fill| fill.field.len() + fill.envelope.len()).sum();
            let mut values = Cmd::with_capacity(2 + 2 * fills.len(), 4 + staging.len() + bytes);
            values.arg("HSET").arg(staging);
            for fill in fills {
                values.arg(&fill.field).arg(&fill.envelope);
            }
            commands.add_command(values);
        }
        // As the first script: within a transaction the server knows either both or none.
        let mut last = scripts::STAGED.call(how, &keys);
        last.arg("last");
        for fills in self.groups.values() {
            let has_no_end = fills.iter().any(|fill| fill.millis == 0);
            let longest = fills.iter().map(|fill| fill.millis).max().unwrap_or(0);
            let expiring: Vec<_> = fills.iter().filter(|fill| expires_fields && fill.millis > 0).collect();
            last.arg(if has_no_end { 0 } else { longest }).arg(fills.len()).arg(expiring.len());
            for fill in expiring {
                last.arg(&fill.field).arg(fill.millis);
            }
        }
        commands.add_command(last);
        commands.cmd("UNLINK").arg(&self.staging);
        commands.cmd("EXEC");
    }

    /// How many replies the commands of [`add_to`](Self::add_to) get.
    pub(super) fn replies(&self) -> usize {
        // MULTI, two calls of the script, UNLINK and EXEC around an HSET for each group.
        self.groups.len() + if self.staging.is_empty() { 0 } else { 5 }
    }

    /// Reads the replies: whether the batch was stored as far as its tokens were valid, and what the script said of its fields.
    pub(super) fn outcome(&self, replies: Vec<Value>) -> Result<(bool, Value), Fault> {
        let mut last_reply = Value::Nil;
        for reply in replies {
            // A command that was refused when it was queued has a better error than EXEC.
            last_reply = reply.extract_error()?;
        }
        if self.staging.is_empty() {
            return Ok((true, last_reply));
        }
        // The reply to EXEC: [first, HSET..., last, UNLINK]. The last step decides.
        let Value::Array(steps) = last_reply else { return Err(Fault::mismatch()) };
        let mut steps = steps.into_iter().map(Value::extract_error).collect::<Result<Vec<_>, _>>()?;
        let (_, last) = (steps.pop(), steps.pop());
        match (steps.into_iter().next(), last) {
            (Some(first), Some(Value::Int(is_stored @ (0 | 1)))) => Ok((is_stored == 1, first)),
            _ => Err(Fault::mismatch()),
        }
    }
}
