//! Fills whose values do not pass through a script: one transaction for all that is stored in a group.

use cache_core::envelope;
use redis::{Cmd, Pipeline, Value};

use crate::error::Fault;
use crate::script::{self, Call};
use crate::together::{Group, Together};

/// What became of a staged batch, and what its first step said of each field.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All were stored.
    Stored(Value),
    /// None was: not every token stood.
    Refused(Value),
}

/// The first step moves the groups to staging keys if all tokens stand, then the values are stored there, and the last step
/// moves the groups back if the first left its mark. If it did not, for whatever reason, the groups were not touched and
/// what is thrown away is the values alone.
pub(crate) fn add(commands: &mut Pipeline, how: Call, batch: &Together<'_>, expires_fields: bool) {
    let Together { groups, .. } = batch;
    let names = groups.iter().map(|group| group.name);
    let keys: Vec<&str> = names.chain(groups.iter().map(|group| group.staging.as_str())).collect();
    commands.cmd("MULTI");
    let mut first = script::STAGED.call(how, &keys);
    first.arg("first");
    for Group { fills, .. } in groups {
        first.arg(fills.len());
        for fill in fills {
            first.arg(&fill.field);
        }
        for fill in fills {
            first.arg(&envelope::lease(fill.token));
        }
    }
    commands.add_command(first);
    for Group { fills, staging, .. } in groups {
        let bytes: usize = fills.iter().map(|fill| fill.field.len() + fill.envelope.len()).sum();
        let mut values = Cmd::with_capacity(2 + 2 * fills.len(), 4 + staging.len() + bytes);
        values.arg("HSET").arg(staging);
        for fill in fills {
            values.arg(&fill.field).arg(&fill.envelope);
        }
        commands.add_command(values);
    }
    // The same script: whatever the server forgets in between, it does not forget in the middle of a transaction.
    let mut last = script::STAGED.call(how, &keys);
    last.arg("last");
    for Group { fills, .. } in groups {
        let is_for_ever = fills.iter().any(|fill| fill.millis == 0);
        let longest = fills.iter().map(|fill| fill.millis).max().unwrap_or(0);
        let expire: Vec<_> = fills.iter().filter(|fill| expires_fields && fill.millis > 0).collect();
        last.arg(if is_for_ever { 0 } else { longest }).arg(fills.len()).arg(expire.len());
        for fill in expire {
            last.arg(&fill.field).arg(fill.millis);
        }
    }
    commands.add_command(last);
    commands.cmd("UNLINK").arg(keys.get(groups.len()..));
    commands.cmd("EXEC");
}

/// How many replies the commands of [`add`] get.
pub(crate) fn replies(batch: &Together<'_>) -> usize {
    batch.groups.len() + 5
}

/// Reads `OK`, `QUEUED` for each command, and `[first, HSET..., last, UNLINK]`: what the last step says counts.
pub(crate) fn outcome(replies: impl Iterator<Item = Value>) -> Result<Outcome, Fault> {
    let mut executed = Vec::new();
    for reply in replies {
        // A command that was refused when it was queued says why better than EXEC does.
        if let Value::Array(steps) = reply.extract_error()? {
            executed = steps;
        }
    }
    // What goes wrong in the first step leaves no evidence, and what was staged is thrown away.
    let mut steps = executed.into_iter().map(Value::extract_error).collect::<Result<Vec<_>, _>>()?;
    let (_, last) = (steps.pop(), steps.pop());
    match (steps.into_iter().next(), last) {
        (Some(first), Some(Value::Int(1))) => Ok(Outcome::Stored(first)),
        (Some(first), Some(Value::Int(0))) => Ok(Outcome::Refused(first)),
        _ => Err(Fault::mismatch()),
    }
}
