//! Storing values in one round trip, each where its token still stands: small ones by a script, large ones staged beside it.

use std::collections::HashMap;
use std::io::Write;

use bytes::Bytes;
use cache_core::envelope::{HEADER_LENGTH, Header};
use redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};
use tokio::time::Instant;

use crate::error::Fault;
use crate::manager::Connection;
use crate::script::{self, Call};

/// A value on its way into a field.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) group: String,
    pub(crate) field: String,
    /// The nonce of the token; nobody looks at it in a `set`.
    pub(crate) token: u128,
    pub(crate) envelope: Sealed,
    /// How many milliseconds its group lives at least, and its field at most where fields expire; 0 for ever.
    pub(crate) millis: u64,
    /// Where a value waits that is too large to pass through a script.
    pub(crate) staging: Option<String>,
}

/// A header and its payload, sent as one.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
}

impl Sealed {
    pub(crate) fn len(&self) -> usize {
        HEADER_LENGTH + self.payload.len()
    }
}

impl ToRedisArgs for Sealed {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        // Joining them before would copy a large value once more.
        let mut argument = out.writer_for_next_arg();
        let written =
            argument.write_all(self.header.as_bytes()).and_then(|()| argument.write_all(&self.payload));
        debug_assert!(written.is_ok(), "a command is in memory");
    }
}

impl ToSingleRedisArg for Sealed {}

/// What became of a [`Store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Refused,
    /// In place of so many bytes of an older value.
    Over(u64),
}

impl Connection {
    /// Stores values, each only if its field still begins with its token's nonce: small ones by a script, large ones as
    /// plain data between two steps of a script in one transaction. All in one round trip, unless the server has
    /// forgotten the scripts.
    pub(crate) async fn fill(&mut self, fills: &[Store], deadline: Instant) -> Result<Vec<Stored>, Fault> {
        let batches = batches(fills);
        match self.fill_by(Call::ByHash, fills, &batches, deadline).await {
            Err(fault) if fault.is_no_script() => self.fill_by(Call::InFull, fills, &batches, deadline).await,
            outcomes => outcomes,
        }
    }

    async fn fill_by(
        &mut self,
        how: Call,
        fills: &[Store],
        batches: &[Vec<usize>],
        deadline: Instant,
    ) -> Result<Vec<Stored>, Fault> {
        let mut outcomes = vec![Stored::Refused; fills.len()];
        let of = |batch: &[usize]| batch.iter().filter_map(|at| fills.get(*at)).collect::<Vec<_>>();
        if let [batch] = batches
            && let [only, ..] = of(batch).as_slice()
            && only.staging.is_none()
        {
            let reply = self.ask(&small(how, &of(batch), self.expires_fields), deadline).await?;
            self.small_outcomes(reply, batch, &mut outcomes)?;
            return Ok(outcomes);
        }
        let mut commands = Pipeline::with_capacity(batches.len());
        for batch in batches {
            match of(batch).as_slice() {
                [fill @ Store { staging: Some(staging), .. }, ..] => {
                    large(how, &mut commands, fill, staging, self.expires_fields);
                }
                stores => drop(commands.add_command(small(how, stores, self.expires_fields))),
            }
        }
        let mut replies = self.ask_all(&commands, deadline).await?.into_iter();
        for batch in batches {
            let first = batch.first().and_then(|at| fills.get(*at));
            if first.is_some_and(|fill| fill.staging.is_some()) {
                let outcome = self.large_outcome(replies.by_ref().take(LARGE_REPLIES).collect())?;
                set(&mut outcomes, batch, [outcome]);
            } else {
                let reply = replies.next().unwrap_or(Value::Nil).extract_error();
                let reply = reply.map_err(|error| self.seen(error.into()))?;
                self.small_outcomes(reply, batch, &mut outcomes)?;
            }
        }
        Ok(outcomes)
    }

    /// Stores values whatever their fields hold.
    pub(crate) async fn set(&mut self, values: &[Store], deadline: Instant) -> Result<(), Fault> {
        let mut commands = Pipeline::with_capacity(2 * values.len());
        for Store { group, field, token: _, envelope, millis, staging: _ } in values {
            commands.add_command(store(group, field, envelope));
            if *millis == 0 {
                commands.cmd("PERSIST").arg(group);
            } else {
                let mut call = script::OUTLIVE.in_full(&[group]);
                call.arg(*millis).arg(u8::from(self.expires_fields)).arg(field);
                commands.add_command(call);
            }
        }
        for reply in self.ask_sealed(commands, deadline).await? {
            reply.extract_error().map_err(|error| self.seen(error.into()))?;
        }
        Ok(())
    }

    fn small_outcomes(&self, reply: Value, batch: &[usize], outcomes: &mut [Stored]) -> Result<(), Fault> {
        let one = |value: Value| match value {
            Value::Int(outcome) => Ok(stored(outcome)),
            _ => Err(Fault::mismatch()),
        };
        let said = match reply {
            Value::Array(values) if values.len() == batch.len() => values.into_iter().map(one).collect(),
            _ => Err(Fault::mismatch()),
        };
        let said: Vec<Stored> = self.noted(said)?;
        set(outcomes, batch, said);
        Ok(())
    }

    /// Reads `OK QUEUED QUEUED QUEUED QUEUED [first, HSET, last, UNLINK]`: what the last step says counts.
    fn large_outcome(&self, replies: Vec<Value>) -> Result<Stored, Fault> {
        let mut executed = Vec::new();
        for reply in replies {
            // A command that was refused when it was queued says why better than EXEC does.
            if let Value::Array(steps) = reply.extract_error().map_err(|error| self.seen(error.into()))? {
                executed = steps;
            }
        }
        let Ok([first, set, last, _]) = <[Value; 4]>::try_from(executed) else {
            return self.noted(Err(Fault::mismatch()));
        };
        // What goes wrong in the first step leaves no evidence, and what was staged is thrown away.
        let steps = [first, set, last].map(Value::extract_error);
        match steps {
            [Ok(Value::Int(first)), Ok(Value::Int(_)), Ok(Value::Int(1))] => Ok(stored(first)),
            [Ok(_), Ok(_), Ok(Value::Int(0))] => Ok(Stored::Refused),
            [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => Err(self.seen(error.into())),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }
}

/// How many replies a large fill gets.
const LARGE_REPLIES: usize = 6;
/// About how many bytes of values pass through a script at a time: others wait meanwhile.
const LARGEST_BATCH: usize = 256 << 10;

/// What is sent together: small fills of one group; a large one alone. The numbers are places in `fills`.
fn batches(fills: &[Store]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    // The batch of each group that still has room, and how many bytes are in it.
    let mut open: HashMap<&str, (usize, usize)> = HashMap::new();
    for (at, fill) in fills.iter().enumerate() {
        let bytes = fill.envelope.len();
        let is_open = |(_, held): &&mut (usize, usize)| *held + bytes <= LARGEST_BATCH;
        if fill.staging.is_none()
            && let Some((batch, held)) = open.get_mut(fill.group.as_str()).filter(is_open)
            && let Some(batch) = batches.get_mut(*batch)
        {
            batch.push(at);
            *held += bytes;
            continue;
        }
        if fill.staging.is_none() {
            open.insert(&fill.group, (batches.len(), bytes));
        }
        batches.push(vec![at]);
    }
    batches
}

fn set(outcomes: &mut [Stored], batch: &[usize], said: impl IntoIterator<Item = Stored>) {
    for (at, said) in batch.iter().zip(said) {
        if let Some(outcome) = outcomes.get_mut(*at) {
            *outcome = said;
        }
    }
}

fn store(group: &str, field: &str, envelope: &Sealed) -> Cmd {
    let mut command = Cmd::with_capacity(4, 8 + group.len() + field.len() + envelope.len());
    command.arg("HSET").arg(group).arg(field).arg(envelope);
    command
}

fn small(how: Call, fills: &[&Store], expires_fields: bool) -> Cmd {
    let group = fills.first().map_or("", |fill| fill.group.as_str());
    let mut call = script::FILL.call(how, &[group]);
    call.arg(u8::from(expires_fields));
    for Store { group: _, field, token, envelope, millis, staging: _ } in fills {
        call.arg(field).arg(&token.to_le_bytes()).arg(envelope).arg(*millis);
    }
    call
}

/// The first step moves the group to a staging key if the token stands, the second stores the value there, the last moves
/// it back if the first left its mark. If it did not, for whatever reason, the group was never touched and what is
/// thrown away is the value alone.
fn large(how: Call, commands: &mut Pipeline, fill: &Store, staging: &str, expires_fields: bool) {
    let Store { group, field, token, envelope, millis, staging: _ } = fill;
    let nonce = token.to_le_bytes();
    commands.cmd("MULTI");
    let mut first = script::LARGE.call(how, &[group, staging]);
    first.arg(field).arg(&nonce);
    commands.add_command(first);
    commands.add_command(store(staging, field, envelope));
    // The same script: whatever the server forgets in between, it does not forget in the middle of a transaction.
    let mut last = script::LARGE.call(how, &[group, staging]);
    last.arg(field).arg(&nonce).arg(*millis).arg(u8::from(expires_fields));
    commands.add_command(last);
    commands.cmd("UNLINK").arg(staging);
    commands.cmd("EXEC");
}

fn stored(outcome: i64) -> Stored {
    u64::try_from(outcome).map_or(Stored::Refused, Stored::Over)
}
