//! One function a round trip: requests out, replies in, faults told apart. Nothing else speaks Redis, but for scans.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use cache_core::envelope::{self, LEASE_LENGTH};
use cache_core::soon;
use futures_util::FutureExt;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use crate::error::{Fate, Fault, is_wrong_type};
use crate::layout::{Place, fresh_nonce};
use crate::manager::{About, Connection};
use crate::script;

/// How long a group of leases alone lives.
const LEASE_MILLIS: u64 = 60_000;
/// After how long somebody who waits for a reply looks whether the connection is still there; then twice as long.
pub(crate) const FIRST_LOOK: Duration = soon::WITHIN;

impl Connection {
    /// Sends one command and waits for its reply.
    pub(crate) async fn ask(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let reply = answer(&self.about, pin!(self.socket.send_packed_command(command)), deadline).await;
        let reply = reply.and_then(|reply| Ok(reply.extract_error()?));
        self.noted(reply)
    }

    /// Sends several commands in one go; what each says, errors included, in their order.
    pub(crate) async fn ask_all(
        &mut self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let count = commands.len();
        let asked = self.socket.send_packed_commands(commands, 0, count);
        let replies = answer(&self.about, pin!(asked), deadline).await;
        let replies = replies
            .and_then(|replies| if replies.len() == count { Ok(replies) } else { Err(Fault::mismatch()) });
        self.noted(replies)
    }

    /// The same, sealed: the replies count only if they are the replies to these commands.
    ///
    /// Where replies got lost on the way, each later one answers an earlier request; a value is known by its key, an
    /// acknowledgement by nothing but this.
    pub(crate) async fn ask_sealed(
        &mut self,
        mut commands: Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let seal = fresh_nonce().to_le_bytes();
        commands.cmd("ECHO").arg(&seal);
        let mut replies = self.ask_all(&commands, deadline).await?;
        match replies.pop() {
            Some(Value::BulkString(echo)) if echo == seal => Ok(replies),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// What a field holds; nothing where the key is no hash.
    pub(crate) async fn read(&mut self, at: &Place<'_>, deadline: Instant) -> Result<Option<Bytes>, Fault> {
        let mut command = Cmd::with_capacity(3, 4 + at.group.len() + at.field.len());
        command.arg("HGET").arg(&at.group).arg(at.field);
        match self.ask(&command, deadline).await {
            Err(fault) if fault.is_wrong_type() => Ok(None),
            reply => self.in_step(self.bulk(reply?)?),
        }
    }

    /// What a field holds, and in the same go a lease for it if that is nothing: what it begins with then. No lease where
    /// the server does not know the script, or refuses to write.
    pub(crate) async fn read_or_lease(
        &mut self,
        at: &Place<'_>,
        deadline: Instant,
    ) -> Result<(Option<Bytes>, Option<Bytes>), Fault> {
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("HGET").arg(&at.group).arg(at.field);
        commands.add_command(self.lease_call(script::LEASE.by_hash(&[&at.group]), &[at.field]));
        let replies = self.ask_all(&commands, deadline).await?;
        let Ok([found, leased]) = <[Value; 2]>::try_from(replies) else {
            return self.noted(Err(Fault::mismatch()));
        };
        let found = match found {
            Value::ServerError(error) if is_wrong_type(&error.clone().into()) => None,
            found => self.bulk(found.extract_error().map_err(|error| self.seen(error.into()))?)?,
        };
        let slot = match leased {
            Value::ServerError(_) => None,
            leased => self.slots(leased, 1)?.pop(),
        };
        self.in_step((found, slot))
    }

    /// What fields hold, group by group.
    pub(crate) async fn read_many(
        &mut self,
        groups: &[(String, Vec<&str>)],
        deadline: Instant,
    ) -> Result<Vec<Vec<Option<Bytes>>>, Fault> {
        let mut commands = Pipeline::with_capacity(groups.len());
        for (group, fields) in groups {
            commands.cmd("HMGET").arg(group).arg(fields);
        }
        let replies = self.ask_all(&commands, deadline).await?;
        let mut found = Vec::with_capacity(groups.len());
        for (reply, (_, fields)) in replies.into_iter().zip(groups) {
            found.push(match reply {
                Value::Array(values) if values.len() == fields.len() => {
                    values.into_iter().map(|value| self.bulk(value)).collect::<Result<_, _>>()?
                }
                Value::ServerError(error) if is_wrong_type(&error.clone().into()) => vec![None; fields.len()],
                Value::ServerError(error) => return self.noted(Err(redis::RedisError::from(error).into())),
                _ => return self.noted(Err(Fault::mismatch())),
            });
        }
        self.in_step(found)
    }

    /// Plants a lease in each field that holds nothing, and says what each begins with then: a lease, ours or another's,
    /// or a value.
    ///
    /// Every call sends nonces of its own: one that timed out may land after an invalidation, and nobody has its nonces.
    pub(crate) async fn lease(
        &mut self,
        groups: &[(String, Vec<&str>)],
        deadline: Instant,
    ) -> Result<Vec<Vec<Bytes>>, Fault> {
        let single = match groups {
            [(group, fields)] => {
                Some(self.ask(&self.lease_call(script::LEASE.by_hash(&[group]), fields), deadline).await)
            }
            _ => None,
        };
        let replies = match single {
            Some(Ok(reply)) => vec![reply],
            Some(Err(fault)) if !fault.is_no_script() => return Err(fault),
            // In full at first: the others then find it by its hash, in the same go.
            Some(Err(_)) | None => {
                let mut commands = Pipeline::with_capacity(groups.len());
                for (at, (group, fields)) in groups.iter().enumerate() {
                    let lua = &script::LEASE;
                    let start = if at == 0 { lua.in_full(&[group]) } else { lua.by_hash(&[group]) };
                    commands.add_command(self.lease_call(start, fields));
                }
                self.ask_all(&commands, deadline).await?
            }
        };
        let mut slots = Vec::with_capacity(groups.len());
        for (reply, (_, fields)) in replies.into_iter().zip(groups) {
            let reply = reply.extract_error().map_err(|error| self.seen(error.into()))?;
            slots.push(self.slots(reply, fields.len())?);
        }
        Ok(slots)
    }

    fn lease_call(&self, mut call: Cmd, fields: &[&str]) -> Cmd {
        call.arg(LEASE_MILLIS).arg(u8::from(self.expires_fields));
        for field in fields {
            call.arg(field).arg(&envelope::lease(fresh_nonce()));
        }
        call
    }

    /// What LEASE says of `count` fields.
    fn slots(&self, reply: Value, count: usize) -> Result<Vec<Bytes>, Fault> {
        let slot = |value| match value {
            Value::BulkString(slot) if slot.len() == LEASE_LENGTH => Ok(Bytes::from(slot)),
            _ => Err(Fault::mismatch()),
        };
        let slots = match reply {
            Value::Array(values) if values.len() == count => values.into_iter().map(slot).collect(),
            _ => Err(Fault::mismatch()),
        };
        self.noted(slots)
    }

    /// How many bytes a field holds; none where the key is no hash.
    pub(crate) async fn length(&mut self, at: &Place<'_>, deadline: Instant) -> Result<usize, Fault> {
        match self.ask(redis::cmd("HSTRLEN").arg(&at.group).arg(at.field), deadline).await {
            Ok(Value::Int(length)) => Ok(usize::try_from(length).unwrap_or(usize::MAX)),
            Ok(_) => self.noted(Err(Fault::mismatch())),
            Err(fault) if fault.is_wrong_type() => Ok(0),
            Err(fault) => Err(fault),
        }
    }

    /// Removes a field.
    pub(crate) async fn remove_field(&mut self, at: &Place<'_>, deadline: Instant) -> Result<(), Fault> {
        self.ask(redis::cmd("HDEL").arg(&at.group).arg(at.field), deadline).await.map(drop)
    }

    /// Removes whole keys, whatever they hold.
    pub(crate) async fn unlink(&mut self, keys: &[&str], deadline: Instant) -> Result<Value, Fault> {
        self.ask(redis::cmd("UNLINK").arg(keys), deadline).await
    }

    /// `read`, unless another reply on this connection was none to its request: then this may be an earlier one's.
    fn in_step<T>(&self, read: T) -> Result<T, Fault> {
        if self.is_out_of_step() { Err(Fault::mismatch()) } else { Ok(read) }
    }

    /// Marks the connection where a fault says that it cannot be used any more.
    pub(crate) fn noted<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| self.seen(fault))
    }

    pub(crate) fn seen(&self, fault: Fault) -> Fault {
        match fault.fate {
            Fate::Keep => {}
            Fate::Drop => self.break_off(),
            Fate::OutOfStep => self.lose_step(),
            Fate::Gone => self.lose(),
        }
        fault
    }

    fn bulk(&self, value: Value) -> Result<Option<Bytes>, Fault> {
        match value {
            Value::BulkString(bytes) => Ok(Some(bytes.into())),
            Value::Nil => Ok(None),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }
}

/// What came of `asked`, until `deadline`.
///
/// A request that is handed over at the very moment when its connection ends is lost without a word: the channel to the
/// connection's task keeps it (see "Disconnection" in the documentation of `tokio::sync::mpsc`), and with it the place
/// for the reply. So whoever waits for long looks whether there still is somebody to answer.
async fn answer<T>(
    about: &About,
    // Pinned by the caller: it is large, and would be there twice.
    mut asked: Pin<&mut impl Future<Output = RedisResult<T>>>,
    deadline: Instant,
) -> Result<T, Fault> {
    let mut patience = FIRST_LOOK;
    // Reckoned from the deadline: the clock is not read for every request.
    let mut until = deadline.checked_sub(about.after_first_look).unwrap_or(deadline);
    loop {
        let mut reply = pin!(timeout_at(until, asked.as_mut()));
        let reply = poll_fn(|context| {
            let reply = reply.as_mut().poll(context);
            if reply.is_pending() && patience == FIRST_LOOK {
                soon::will_be_polled();
            }
            reply
        });
        let is_over = match reply.await {
            Ok(reply) => return Ok(reply?),
            Err(_) if until == deadline => return Err(Fault::timeout()),
            Err(_) => about.is_over(),
        };
        if is_over {
            // It may have come in between.
            return asked.now_or_never().unwrap_or_else(|| Err(closed())).map_err(Fault::from);
        }
        patience *= 2;
        until = deadline.min(Instant::now() + patience);
    }
}

fn closed() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}
