//! Requests and replies: sends commands, matches replies to them, and reads fields and leases.

use std::pin::pin;

use bytes::Bytes;
use cache_core::envelope::{self, Header, LEASE_LENGTH, Rejected};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::layout::{GroupFields, HashField};
use super::scripts::{self, Call};
use crate::connection::Connection;
use crate::connection::watchdog::reply_to;
use crate::error::{Fate, Fault};

/// How long a group that holds only leases lives.
const LEASE_MILLIS: u64 = 60_000;

/// The content of a field after the lease script ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leased {
    /// A lease; shared if an earlier lookup created it.
    Lease { nonce: u128, is_shared: bool },
    /// A value, which came in between.
    Value,
    /// Nothing: the slot is being moved to another node.
    Nothing,
}

impl Connection {
    /// Sends one command and waits for its reply, which may be an error.
    async fn ask_one(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let request = self.socket.send_packed_command(command);
        let reply = reply_to(&self.status, pin!(request), deadline).await;
        self.noted(reply)
    }

    /// Sends one command, which must succeed.
    pub(crate) async fn ask(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let reply = self.ask_one(command, deadline).await?;
        self.succeeded(reply)
    }

    /// Sends several commands in one round trip. Returns their replies, errors included, in order.
    pub(crate) async fn ask_all(
        &mut self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        let count = commands.len();
        let request = self.socket.send_packed_commands(commands, 0, count);
        let replies = reply_to(&self.status, pin!(request), deadline).await;
        let is_complete = |replies: &Vec<Value>| replies.len() == count;
        self.noted(replies.and_then(|replies| Some(replies).filter(is_complete).ok_or_else(Fault::mismatch)))
    }

    /// Sends several commands and an `ECHO` of a random number, which proves that the replies belong to these commands.
    ///
    /// After a lost reply, each later one answers an earlier request. A value is recognised by the hash of its key; an
    /// acknowledgement only by this seal.
    pub(crate) async fn ask_sealed(
        &mut self,
        mut commands: Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        if self.is_asking {
            commands = asking(&commands);
        }
        let seal = self.epoch.fresh_nonce().to_le_bytes();
        commands.cmd("ECHO").arg(&seal);
        let mut replies = self.ask_all(&commands, deadline).await?;
        match replies.pop() {
            Some(Value::BulkString(echo)) if echo == seal => {}
            _ => return self.noted(Err(Fault::mismatch())),
        }
        // Those to the ASKINGs are left out.
        let each = usize::from(self.is_asking);
        Ok(replies.into_iter().skip(each).step_by(each + 1).collect())
    }

    /// Sends one command with a seal, as [`ask_sealed`](Self::ask_sealed) does. Returns its reply, which may be an error.
    pub(crate) async fn ask_sealed_one(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Fault> {
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(command.clone());
        let mut replies = self.ask_sealed(commands, deadline).await?;
        Ok(replies.pop().unwrap_or(Value::Nil))
    }

    /// Returns `reply`, or the error that it is.
    pub(crate) fn succeeded(&self, reply: Value) -> Result<Value, Fault> {
        self.noted(reply.extract_error().map_err(Fault::from))
    }

    /// Reads a field; `None` if the key is no hash.
    pub(crate) async fn read(
        &mut self,
        at: &HashField<'_>,
        deadline: Instant,
    ) -> Result<Option<Bytes>, Fault> {
        let mut command = Cmd::with_capacity(3, 4 + at.group.len() + at.field.len());
        command.arg("HGET").arg(&at.group).arg(at.field);
        let reply = self.ask_one(&command, deadline).await?;
        self.in_step(self.content(reply)?)
    }

    /// Reads a field and requests a lease for it in the same round trip. The second part is `None` where the server does not
    /// know the script or refuses to write.
    pub(crate) async fn read_or_lease(
        &mut self,
        at: &HashField<'_>,
        deadline: Instant,
    ) -> Result<(Option<Bytes>, Option<Leased>), Fault> {
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("HGET").arg(&at.group).arg(at.field);
        let nonce = [self.epoch.fresh_nonce()];
        commands.add_command(self.lease_call(Call::ByHash, &at.group, &[at.field], &nonce));
        let replies = self.ask_all(&commands, deadline).await?;
        let Ok([found, leased]) = <[Value; 2]>::try_from(replies) else {
            return self.noted(Err(Fault::mismatch()));
        };
        let found = self.content(found)?;
        let leased = match leased {
            Value::ServerError(_) => None,
            leased => self.leased(leased, &nonce)?.pop(),
        };
        self.in_step((found, leased))
    }

    /// Reads the fields of several groups, in the order of `groups`; none from a key that is no hash.
    pub(crate) async fn read_many(
        &mut self,
        groups: &[GroupFields<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Option<Bytes>>>, Fault> {
        let mut commands = Pipeline::with_capacity(groups.len());
        for GroupFields { group, fields, .. } in groups {
            commands.cmd("HMGET").arg(group).arg(fields);
        }
        let replies = self.ask_all(&commands, deadline).await?;
        let mut found = Vec::with_capacity(groups.len());
        for (reply, GroupFields { fields, .. }) in replies.into_iter().zip(groups) {
            found.push(match reply {
                Value::Array(values) if values.len() == fields.len() => {
                    values.into_iter().map(|value| self.content(value)).collect::<Result<_, _>>()?
                }
                Value::ServerError(_) => vec![self.content(reply)?; fields.len()],
                _ => return self.noted(Err(Fault::mismatch())),
            });
        }
        self.in_step(found)
    }

    /// Creates a lease in each field that holds nothing, and returns what each field holds then.
    ///
    /// Every call sends fresh nonces: one that timed out may arrive after an invalidation, and then no caller has its nonces.
    pub(crate) async fn lease(
        &mut self,
        groups: &[GroupFields<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Leased>>, Fault> {
        match self.lease_by(Call::ByHash, groups, deadline).await {
            Err(fault) if fault.is_no_script() => self.lease_by(Call::InFull, groups, deadline).await,
            leased => leased,
        }
    }

    async fn lease_by(
        &mut self,
        how: Call,
        groups: &[GroupFields<'_>],
        deadline: Instant,
    ) -> Result<Vec<Vec<Leased>>, Fault> {
        let mut commands = Pipeline::with_capacity(groups.len());
        let mut nonces = Vec::with_capacity(groups.len());
        for GroupFields { group, fields, .. } in groups {
            let fresh: Vec<u128> = fields.iter().map(|_| self.epoch.fresh_nonce()).collect();
            commands.add_command(self.lease_call(how, group, fields, &fresh));
            nonces.push(fresh);
        }
        let replies = self.ask_all(&commands, deadline).await?;
        let leased = |(reply, nonces): (Value, Vec<u128>)| match self.succeeded(reply) {
            Err(fault) if fault.fate == Fate::Moving => Ok(vec![Leased::Nothing; nonces.len()]),
            reply => self.leased(reply?, &nonces),
        };
        replies.into_iter().zip(nonces).map(leased).collect()
    }

    fn lease_call(&self, how: Call, group: &str, fields: &[&str], nonces: &[u128]) -> Cmd {
        let mut call = scripts::LEASE.call(how, &[group]);
        call.arg(LEASE_MILLIS).arg(u8::from(self.expires_fields));
        for (field, nonce) in fields.iter().zip(nonces) {
            call.arg(field).arg(&envelope::lease(*nonce));
        }
        call
    }

    /// Parses the reply of the lease script, which got `nonces`, one for each field.
    fn leased(&self, reply: Value, nonces: &[u128]) -> Result<Vec<Leased>, Fault> {
        let one = |(value, fresh): (Value, &u128)| match value {
            Value::BulkString(start) if start.len() == LEASE_LENGTH => Ok(match Header::parse(&start) {
                Err(Rejected::Lease { nonce }) => Leased::Lease { nonce, is_shared: nonce != *fresh },
                _ => Leased::Value,
            }),
            _ => Err(Fault::mismatch()),
        };
        self.noted(match reply {
            Value::Array(values) if values.len() == nonces.len() => {
                values.into_iter().zip(nonces).map(one).collect()
            }
            _ => Err(Fault::mismatch()),
        })
    }

    /// Parses the content of a field; none if its key is no hash, or may be at another node by now: what that one holds can
    /// be a copy that a removal did not reach.
    fn content(&self, reply: Value) -> Result<Option<Bytes>, Fault> {
        match self.succeeded(reply) {
            Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
            Ok(Value::Nil) => Ok(None),
            Ok(_) => self.noted(Err(Fault::mismatch())),
            Err(fault) if fault.is_wrong_type() || fault.fate == Fate::Moving => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Puts an `ASKING` before each of `commands`: it holds for the next command only ("ASK redirection" in the Redis Cluster
/// specification).
fn asking(commands: &Pipeline) -> Pipeline {
    let mut all = Pipeline::with_capacity(2 * commands.len() + 1);
    for command in commands.cmd_iter() {
        all.cmd("ASKING").add_command(command.clone());
    }
    all
}
