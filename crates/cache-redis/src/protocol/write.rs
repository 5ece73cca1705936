//! Writing values: sets, and fills that compare the token and store in one step on the server.

use std::io::Write;

use bytes::Bytes;
use cache_core::envelope::{HEADER_LENGTH, Header, LEASE_LENGTH};
use redis::{Cmd, Pipeline, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};
use tokio::time::Instant;

use super::fill_batches::{FillBatch, all_at_once, by_slot, each_by_itself};
use super::layout::Layout;
use super::scripts::{self, Call};
use crate::connection::Connection;
use crate::error::{Fate, Fault};

/// Commands of one set.
const COMMANDS_OF_A_SET: usize = 3;

/// A value to write into a field.
#[derive(Debug, Clone)]
pub(crate) struct FieldWrite {
    /// The position of its key in the caller's list.
    pub(crate) position: usize,
    pub(crate) group: String,
    pub(crate) field: String,
    /// The nonce of the fill token; not used by a set.
    pub(crate) token: u128,
    pub(crate) envelope: Envelope,
    /// The shortest lifetime of its group in milliseconds, and the longest of its field where fields expire; 0 for no end.
    pub(crate) millis: u64,
}

/// A header and its payload, sent as one argument.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
}

impl Envelope {
    pub(crate) fn len(&self) -> usize {
        HEADER_LENGTH + self.payload.len()
    }
}

impl ToRedisArgs for Envelope {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        // Joining both before would copy a large value once more.
        let mut argument = out.writer_for_next_arg();
        let written =
            argument.write_all(self.header.as_bytes()).and_then(|()| argument.write_all(&self.payload));
        debug_assert!(written.is_ok(), "a command is in memory");
    }
}

impl ToSingleRedisArg for Envelope {}

/// The outcome of a [`FieldWrite`]: how many bytes of an older value it replaced, 0 for none; `None` if it was refused because
/// its token is not valid any more.
pub(crate) type Written = Option<u64>;

impl Connection {
    /// Stores values, each only if its field still begins with the nonce of its token. Notes the outcomes by position.
    ///
    /// # Cost
    /// One round trip; more if the server has forgotten the scripts, or if a token of a staged batch is not valid any more.
    pub(crate) async fn fill(
        &mut self,
        layout: &Layout,
        fills: &[FieldWrite],
        outcomes: &mut [Written],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut left: Vec<&FieldWrite> = fills.iter().collect();
        // A batch with an invalid token stores nothing. The valid ones are probably still valid in the next attempt, and the
        // last attempt does not make them wait for each other.
        for batches in [all_at_once, all_at_once, each_by_itself] {
            if left.is_empty() {
                break;
            }
            let batches =
                if self.is_in_cluster { by_slot(batches, layout, &left) } else { batches(layout, &left) };
            left = match self.send_batches(Call::ByHash, &batches, outcomes, deadline).await {
                Err(fault) if fault.is_no_script() => {
                    self.send_batches(Call::InFull, &batches, outcomes, deadline).await?
                }
                left => left?,
            };
        }
        Ok(())
    }

    /// Sends `batches` in one round trip. Returns the fills that were not stored although their tokens were valid.
    async fn send_batches<'a>(
        &mut self,
        how: Call,
        batches: &[FillBatch<'a>],
        outcomes: &mut [Written],
        deadline: Instant,
    ) -> Result<Vec<&'a FieldWrite>, Fault> {
        let mut commands = Pipeline::with_capacity(batches.len());
        for batch in batches {
            batch.add_to(&mut commands, how, self.expires_fields);
        }
        let mut replies = self.ask_all(&commands, deadline).await?.into_iter();
        let mut left = Vec::new();
        for batch in batches {
            let replies: Vec<Value> = replies.by_ref().take(batch.replies()).collect();
            let (is_stored, said) = match self.noted(batch.outcome(replies)) {
                // Refused: what the field holds may be at another node.
                Err(fault) if fault.fate == Fate::Moving => continue,
                outcome => outcome?,
            };
            for (fill, written) in batch.fills().zip(self.written(said, batch.fills().count())?) {
                if !is_stored && written.is_some() {
                    left.push(fill);
                } else if let Some(outcome) = outcomes.get_mut(fill.position) {
                    *outcome = written;
                }
            }
        }
        Ok(left)
    }

    /// Parses what a script said of `count` fields; the number 0 stands for that many leases.
    fn written(&self, reply: Value, count: usize) -> Result<Vec<Written>, Fault> {
        let one = |value: Value| match value {
            // Negative where the token is not valid any more.
            Value::Int(replaced) => Ok(u64::try_from(replaced).ok()),
            _ => Err(Fault::mismatch()),
        };
        self.noted(match reply {
            Value::Array(values) if values.len() == count => values.into_iter().map(one).collect(),
            Value::Int(0) => Ok(vec![Some(0); count]),
            _ => Err(Fault::mismatch()),
        })
    }

    /// Stores values whatever their fields hold, and then sends `last`. Returns how many bytes of an older value each replaced,
    /// and the replies to `last`.
    pub(crate) async fn set(
        &mut self,
        values: &[FieldWrite],
        last: &[&Cmd],
        deadline: Instant,
    ) -> Result<(Vec<u64>, Vec<Value>), Fault> {
        let mut commands = Pipeline::with_capacity(COMMANDS_OF_A_SET * values.len() + 2);
        for FieldWrite { position: _, group, field, token: _, envelope, millis } in values {
            commands.cmd("HSTRLEN").arg(group).arg(field);
            let mut command = Cmd::with_capacity(4, 8 + group.len() + field.len() + envelope.len());
            command.arg("HSET").arg(group).arg(field).arg(envelope);
            commands.add_command(command);
            if *millis == 0 {
                commands.cmd("PERSIST").arg(group);
            } else {
                let mut call = scripts::EXPIRE.call(Call::InFull, &[group]);
                call.arg(*millis).arg(u8::from(self.expires_fields)).arg(field);
                commands.add_command(call);
            }
        }
        for last in last {
            commands.add_command(Cmd::clone(last));
        }
        let mut replies = self.ask_sealed(commands, deadline).await?;
        let last = replies.split_off(replies.len().saturating_sub(last.len()));
        let replies: Vec<Value> =
            replies.into_iter().map(|reply| self.succeeded(reply)).collect::<Result<_, _>>()?;
        let replaced = |replies: &[Value]| match replies {
            // HSET says that the field was new, whatever HSTRLEN found before it.
            [_, Value::Int(1), ..] => Ok(0),
            [Value::Int(held), Value::Int(_), ..] => {
                Ok(u64::try_from(*held).ok().filter(|held| *held > LEASE_LENGTH as u64).unwrap_or(0))
            }
            _ => Err(Fault::mismatch()),
        };
        let replaced = self.noted(replies.chunks(COMMANDS_OF_A_SET).map(replaced).collect())?;
        Ok((replaced, last))
    }
}
