//! Storing values in one round trip, each where its token still stands: few small ones by a script, others staged beside it.

use std::io::Write;

use bytes::Bytes;
use cache_core::envelope::{self, HEADER_LENGTH, Header, LEASE_LENGTH};
use redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};
use tokio::time::Instant;

use crate::error::Fault;
use crate::layout::Layout;
use crate::manager::Connection;
use crate::script::{self, Call};
use crate::staged::{self, Outcome};
use crate::together::{Group, Together, all_at_once, each_by_itself};

/// How many commands store one value whatever its field holds.
const COMMANDS_OF_A_SET: usize = 3;

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
    /// Where no value was.
    New,
    /// In place of so many bytes of an older value.
    Over(u64),
}

impl Stored {
    /// What was stored in a field that held so many bytes before.
    fn over(held: u64) -> Self {
        if held <= LEASE_LENGTH as u64 { Self::New } else { Self::Over(held) }
    }
}

impl Connection {
    /// Stores values, each only if its field still begins with its token's nonce, in one round trip; in more if the server
    /// has forgotten the scripts, or if some tokens of a staged batch stand no more.
    pub(crate) async fn fill(
        &mut self,
        layout: &Layout,
        fills: &[Store],
        deadline: Instant,
    ) -> Result<Vec<Stored>, Fault> {
        let mut outcomes = vec![Stored::Refused; fills.len()];
        let mut left: Vec<usize> = (0..fills.len()).collect();
        // Those that stood are likely to stand still; but they must not wait for each other for ever.
        for batches in [all_at_once, all_at_once, each_by_itself] {
            if !left.is_empty() {
                let batches = batches(layout, fills, &left);
                left = self.fill_batches(&batches, &mut outcomes, deadline).await?;
            }
        }
        Ok(outcomes)
    }

    /// Notes what became of each value; says which were not stored although their tokens stood.
    async fn fill_batches(
        &mut self,
        batches: &[Together<'_>],
        outcomes: &mut [Stored],
        deadline: Instant,
    ) -> Result<Vec<usize>, Fault> {
        match self.fill_by(Call::ByHash, batches, outcomes, deadline).await {
            Err(fault) if fault.is_no_script() => {
                self.fill_by(Call::InFull, batches, outcomes, deadline).await
            }
            left => left,
        }
    }

    async fn fill_by(
        &mut self,
        how: Call,
        batches: &[Together<'_>],
        outcomes: &mut [Stored],
        deadline: Instant,
    ) -> Result<Vec<usize>, Fault> {
        let expires_fields = self.expires_fields;
        if let [only @ Together { is_staged: false, groups, count, .. }] = batches
            && let [group] = groups.as_slice()
        {
            let reply = self.ask(&by_script(how, group, expires_fields), deadline).await?;
            only.note(self.said(reply, *count)?, outcomes);
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::with_capacity(batches.len());
        for batch in batches {
            if batch.is_staged {
                staged::add(&mut commands, how, batch, expires_fields);
                continue;
            }
            for group in &batch.groups {
                commands.add_command(by_script(how, group, expires_fields));
            }
        }
        let mut replies = self.ask_all(&commands, deadline).await?.into_iter();
        let mut left = Vec::new();
        for batch in batches {
            let count = batch.count;
            if !batch.is_staged {
                let reply = replies.next().unwrap_or(Value::Nil).extract_error();
                let reply = reply.map_err(|error| self.seen(error.into()))?;
                batch.note(self.said(reply, count)?, outcomes);
                continue;
            }
            let outcome = staged::outcome(replies.by_ref().take(staged::replies(batch)));
            let (said, is_stored) = match self.noted(outcome)? {
                Outcome::Stored(said) => (self.said(said, count)?, true),
                Outcome::Refused(said) => (self.said(said, count)?, false),
            };
            if is_stored {
                batch.note(said, outcomes);
            } else {
                let stood = batch.places().zip(said).filter(|(_, said)| *said != Stored::Refused);
                left.extend(stood.map(|(place, _)| place));
            }
        }
        Ok(left)
    }

    /// Stores values whatever their fields hold, and says what each replaced.
    pub(crate) async fn set(&mut self, values: &[Store], deadline: Instant) -> Result<Vec<Stored>, Fault> {
        let mut commands = Pipeline::with_capacity(COMMANDS_OF_A_SET * values.len() + 1);
        for Store { group, field, token: _, envelope, millis } in values {
            commands.cmd("HSTRLEN").arg(group).arg(field);
            let mut command = Cmd::with_capacity(4, 8 + group.len() + field.len() + envelope.len());
            command.arg("HSET").arg(group).arg(field).arg(envelope);
            commands.add_command(command);
            if *millis == 0 {
                commands.cmd("PERSIST").arg(group);
            } else {
                let mut call = script::EXPIRE.in_full(&[group]);
                call.arg(*millis).arg(u8::from(self.expires_fields)).arg(field);
                commands.add_command(call);
            }
        }
        let replies = self.ask_sealed(commands, deadline).await?;
        let replies: Vec<Value> = replies
            .into_iter()
            .map(|reply| reply.extract_error().map_err(|error| self.seen(error.into())))
            .collect::<Result<_, _>>()?;
        let stored = |replies: &[Value]| match replies {
            // That the field was new tells what another client's value in between would hide.
            [_, Value::Int(1), ..] => Ok(Stored::New),
            [Value::Int(held), Value::Int(_), ..] => Ok(Stored::over(u64::try_from(*held).unwrap_or(0))),
            _ => Err(Fault::mismatch()),
        };
        self.noted(replies.chunks(COMMANDS_OF_A_SET).map(stored).collect())
    }

    /// What a script says of `count` fields, or of all of them: 0.
    fn said(&self, reply: Value, count: usize) -> Result<Vec<Stored>, Fault> {
        let one = |value: Value| match value {
            // Negative where the token does not stand.
            Value::Int(replaced) => Ok(u64::try_from(replaced).map_or(Stored::Refused, Stored::over)),
            _ => Err(Fault::mismatch()),
        };
        let said = match reply {
            Value::Array(values) if values.len() == count => values.into_iter().map(one).collect(),
            Value::Int(0) => Ok(vec![Stored::New; count]),
            _ => Err(Fault::mismatch()),
        };
        self.noted(said)
    }
}

fn by_script(how: Call, group: &Group<'_>, expires_fields: bool) -> Cmd {
    let mut call = script::FILL.call(how, &[group.name]);
    call.arg(u8::from(expires_fields));
    for Store { group: _, field, token, envelope, millis } in &group.fills {
        call.arg(field).arg(&envelope::lease(*token)).arg(envelope).arg(*millis);
    }
    call
}
