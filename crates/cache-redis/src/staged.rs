//! Fills whose values do not pass through a script: one transaction for all that is stored in a group.

use cache_core::envelope;
use redis::{Cmd, Pipeline, Value};

use crate::error::Fault;
use crate::script::{self, Call};
use crate::together::Together;

/// How many replies the commands of [`add`] get.
pub(crate) const REPLIES: usize = 6;

/// What became of a staged batch, and what its first step said of each field.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All were stored.
    Stored(Value),
    /// None was: not every token stood.
    Refused(Value),
}

/// The first step moves the group to a staging key if all tokens stand, the second stores the values there, the last moves
/// it back if the first left its mark. If it did not, for whatever reason, the group was never touched and what is
/// thrown away is the values alone.
pub(crate) fn add(
    commands: &mut Pipeline,
    how: Call,
    batch: &Together<'_>,
    staging: &str,
    expires_fields: bool,
) {
    let Together { group, fills, .. } = batch;
    commands.cmd("MULTI");
    let mut first = script::STAGED.call(how, &[group, staging]);
    first.arg("first");
    let (mut bytes, mut longest, mut is_for_ever) = (staging.len() + 8, 0, false);
    for fill in fills {
        first.arg(&fill.field);
        bytes += fill.field.len() + fill.envelope.len();
        longest = longest.max(fill.millis);
        is_for_ever |= fill.millis == 0;
    }
    for fill in fills {
        first.arg(&envelope::lease(fill.token));
    }
    commands.add_command(first);
    let mut values = Cmd::with_capacity(2 + 2 * fills.len(), bytes);
    values.arg("HSET").arg(staging);
    for fill in fills {
        values.arg(&fill.field).arg(&fill.envelope);
    }
    commands.add_command(values);
    // The same script: whatever the server forgets in between, it does not forget in the middle of a transaction.
    let mut last = script::STAGED.call(how, &[group, staging]);
    last.arg("last").arg(if is_for_ever { 0 } else { longest }).arg(fills.len());
    for fill in fills.iter().filter(|fill| expires_fields && fill.millis > 0) {
        last.arg(&fill.field).arg(fill.millis);
    }
    commands.add_command(last);
    commands.cmd("UNLINK").arg(staging);
    commands.cmd("EXEC");
}

/// Reads `OK QUEUED QUEUED QUEUED QUEUED [first, HSET, last, UNLINK]`: what the last step says counts.
pub(crate) fn outcome(replies: impl Iterator<Item = Value>) -> Result<Outcome, Fault> {
    let mut executed = Vec::new();
    for reply in replies {
        // A command that was refused when it was queued says why better than EXEC does.
        if let Value::Array(steps) = reply.extract_error()? {
            executed = steps;
        }
    }
    let Ok([first, values, last, _]) = <[Value; 4]>::try_from(executed) else {
        return Err(Fault::mismatch());
    };
    // What goes wrong in the first step leaves no evidence, and what was staged is thrown away.
    match [first, values, last].map(Value::extract_error) {
        [Ok(first), Ok(Value::Int(_)), Ok(Value::Int(1))] => Ok(Outcome::Stored(first)),
        [Ok(first), Ok(_), Ok(Value::Int(0))] => Ok(Outcome::Refused(first)),
        [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => Err(error.into()),
        _ => Err(Fault::mismatch()),
    }
}
