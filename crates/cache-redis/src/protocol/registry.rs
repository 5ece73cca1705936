//! [`Registry`]: the instances that keep values in memory, in one hash and one stream of the server.
//!
//! ```text
//! {namespace}:#near:{incarnation}      hash    g        -> the name of this registry, new whenever it is made
//!                                              n        -> how many changes were announced in it
//!                                              session  -> "acknowledged renewals": the last change that the session has
//!                                                          forgotten, and a count, so that each renewal changes the value
//! {namespace}:#near:{incarnation}:log  stream  {n}-1    -> w: the groups that change n concerns, or *
//! ```

use std::collections::HashMap;
use std::time::Duration;

use cache_core::{EpochScope, random_nonzero};
use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use super::layout::Layout;
use super::scripts::{Call, Lua, NEAR_ANNOUNCE, NEAR_REGISTER, NEAR_REMOVE, NEAR_RENEW};
use crate::connection::Connection;
use crate::error::Fault;

/// How long a registry that no session renews is kept.
const LIVES_MILLIS: u64 = 86_400_000;
/// Stands for all groups.
const ALL: &str = "*";
/// The longest list of groups; a longer one is all groups.
const LONGEST: usize = 64 << 10;

/// The registry at one incarnation of a server.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) key: String,
    log: String,
}

/// The groups that a change concerns, as they stand in the log.
#[derive(Debug, Clone)]
pub(crate) struct Scopes(String);

/// A change that was announced.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) number: u64,
    /// The name of the registry; `None` where it is damaged.
    pub(crate) registry: Option<String>,
    /// The sessions, each with its value.
    pub(crate) sessions: HashMap<String, String>,
}

/// A session that was renewed.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// How many changes were announced before.
    pub(crate) announced: u64,
    /// How many sessions there are.
    pub(crate) sessions: u64,
}

impl Registry {
    pub(crate) fn new(layout: &Layout, incarnation: u64) -> Self {
        let key = layout.internal(&format!("near:{incarnation:016x}"));
        Self { log: format!("{key}:log"), key }
    }

    /// Returns a command that announces a change.
    pub(crate) fn announce(&self, how: Call, scopes: &Scopes) -> Cmd {
        let mut call = NEAR_ANNOUNCE.call(how, &[&self.key, &self.log]);
        call.arg(&scopes.0).arg(unique()).arg(LIVES_MILLIS);
        call
    }

    /// Returns a command that counts the fields of the registry.
    pub(crate) fn look(&self) -> Cmd {
        let mut command = redis::cmd("HLEN");
        command.arg(&self.key);
        command
    }
}

impl Scopes {
    pub(crate) fn new<'a>(scopes: impl Iterator<Item = EpochScope<'a>>) -> Self {
        let mut list = String::new();
        for scope in scopes {
            match scope {
                EpochScope::Group(group) if list.len() + group.len() < LONGEST => {
                    list.extend([if list.is_empty() { "" } else { "\n" }, group]);
                }
                _ => return Self(ALL.to_owned()),
            }
        }
        Self(list)
    }

    /// Returns the groups, or all where the text is none of this cache.
    pub(crate) fn iter(&self) -> impl Iterator<Item = EpochScope<'_>> {
        self.0.split('\n').map(|group| match group {
            "" | ALL => EpochScope::All,
            group => EpochScope::Group(group),
        })
    }
}

/// Returns a name that no other call, process or machine gets.
pub(crate) fn unique() -> String {
    format!("{:016x}{:016x}", random_nonzero(), random_nonzero())
}

/// Parses the first number of the value of a session.
pub(crate) fn acknowledged(value: &str) -> u64 {
    value.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Connection {
    /// Registers `session` in place of `before`. Returns how many changes were announced until now.
    pub(crate) async fn register(
        &mut self,
        registry: &Registry,
        session: &str,
        before: &str,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let mut call = NEAR_REGISTER.call(Call::InFull, &[&registry.key, &registry.log]);
        call.arg(session).arg(before).arg(unique()).arg(LIVES_MILLIS);
        match self.ask(&call, deadline).await? {
            Value::Int(announced) => Ok(u64::try_from(announced).unwrap_or(0)),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// Renews `session` with `value`; `None` if it is not registered any more.
    pub(crate) async fn renew(
        &mut self,
        registry: &Registry,
        session: &str,
        value: &str,
        deadline: Instant,
    ) -> Result<Option<Renewed>, Fault> {
        let arguments = [session, value, &LIVES_MILLIS.to_string()];
        let reply = self.run_script(&NEAR_RENEW, &[&registry.key], &arguments, deadline).await?;
        match reply {
            Value::Nil => Ok(None),
            Value::Array(parts) => match &parts[..] {
                // The value proves that the reply belongs to this renewal.
                [Value::Int(announced), Value::Int(fields), Value::BulkString(held)]
                    if held == value.as_bytes() =>
                {
                    let [announced, fields] = [announced, fields].map(|n| u64::try_from(*n).unwrap_or(0));
                    Ok(Some(Renewed { announced, sessions: fields.saturating_sub(2) }))
                }
                _ => self.noted(Err(Fault::mismatch())),
            },
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// Waits up to `block` for changes after number `after`. Returns each with its number, in order; those that do not fit this
    /// form as all groups.
    pub(crate) async fn read_log(
        &mut self,
        registry: &Registry,
        after: u64,
        block: Duration,
        deadline: Instant,
    ) -> Result<Vec<(u64, Scopes)>, Fault> {
        let mut command = redis::cmd("XREAD");
        let millis = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
        command.arg("BLOCK").arg(millis).arg("STREAMS").arg(&registry.log).arg(format!("{after}-1"));
        let entries = match self.ask(&command, deadline).await? {
            Value::Nil => return Ok(Vec::new()),
            reply => log_entries(reply, &registry.log),
        };
        self.noted(entries.ok_or_else(Fault::mismatch))
    }

    /// Returns the sessions of the registry, each with its value.
    pub(crate) async fn sessions(
        &mut self,
        registry: &Registry,
        deadline: Instant,
    ) -> Result<HashMap<String, String>, Fault> {
        let mut command = redis::cmd("HGETALL");
        command.arg(&registry.key);
        let reply = self.ask(&command, deadline).await?;
        let (sessions, _) = self.noted(fields(reply).ok_or_else(Fault::mismatch))?;
        Ok(sessions)
    }

    /// Returns the name of the registry, if there is one, and the values of `sessions`.
    pub(crate) async fn values(
        &mut self,
        registry: &Registry,
        sessions: &[String],
        deadline: Instant,
    ) -> Result<(Option<String>, Vec<Option<String>>), Fault> {
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("HMGET").arg(&registry.key).arg("g").arg(sessions);
        let mut replies = self.ask_sealed(commands, deadline).await?;
        let reply = self.succeeded(replies.pop().unwrap_or(Value::Nil))?;
        let Value::Array(values) = reply else { return self.noted(Err(Fault::mismatch())) };
        let mut values = values.into_iter().map(text);
        let name = values.next().flatten();
        Ok((name, values.collect()))
    }

    /// Removes sessions whose values are still these.
    pub(crate) async fn remove_silent(
        &mut self,
        registry: &Registry,
        silent: &HashMap<String, String>,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let pairs: Vec<&str> =
            silent.iter().flat_map(|(session, value)| [session.as_str(), value.as_str()]).collect();
        match self.run_script(&NEAR_REMOVE, &[&registry.key], &pairs, deadline).await? {
            Value::Int(removed) => Ok(u64::try_from(removed).unwrap_or(0)),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// Removes `session`.
    pub(crate) async fn leave(
        &mut self,
        registry: &Registry,
        session: &str,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut command = redis::cmd("HDEL");
        command.arg(&registry.key).arg(session);
        self.ask(&command, deadline).await.map(drop)
    }

    /// Parses the reply to [`Registry::announce`].
    pub(crate) fn announced(&self, reply: Value) -> Result<Announced, Fault> {
        let reply = self.succeeded(reply)?;
        let parsed = || {
            let Value::Array(parts) = reply else { return None };
            let Ok([Value::Int(number), held]) = <[Value; 2]>::try_from(parts) else { return None };
            let (sessions, name) = fields(held)?;
            Some(Announced { number: u64::try_from(number).ok()?, registry: name, sessions })
        };
        self.noted(parsed().ok_or_else(Fault::mismatch))
    }

    /// Runs a script, which the server may not know yet.
    async fn run_script(
        &mut self,
        script: &Lua,
        keys: &[&str],
        arguments: &[&str],
        deadline: Instant,
    ) -> Result<Value, Fault> {
        match self.ask(script.call(Call::ByHash, keys).arg(arguments), deadline).await {
            Err(fault) if fault.is_no_script() => {
                self.ask(script.call(Call::InFull, keys).arg(arguments), deadline).await
            }
            reply => reply,
        }
    }
}

/// Parses the fields of a registry: its sessions, and its name.
fn fields(reply: Value) -> Option<(HashMap<String, String>, Option<String>)> {
    let Value::Array(fields) = reply else { return None };
    let (mut sessions, mut name) = (HashMap::new(), None);
    let mut texts = fields.into_iter().map(text);
    while let Some(field) = texts.next() {
        let (field, value) = (field?, texts.next()??);
        match field.as_str() {
            "g" => name = Some(value),
            "n" => {}
            _ => drop(sessions.insert(field, value)),
        }
    }
    Some((sessions, name))
}

/// Parses what `XREAD` replied for the stream `log`; `None` if that is the reply to something else. An entry that cannot be read
/// has the number 0.
fn log_entries(reply: Value, log: &str) -> Option<Vec<(u64, Scopes)>> {
    let Value::Array(mut streams) = reply else { return None };
    let Value::Array(stream) = streams.pop()? else { return None };
    let Ok([name, Value::Array(entries)]) = <[Value; 2]>::try_from(stream) else { return None };
    let entry = |entry: Value| {
        let Value::Array(parts) = entry else { return None };
        let Ok([id, Value::Array(mut fields)]) = <[Value; 2]>::try_from(parts) else { return None };
        let number = text(id)?.split('-').next()?.parse().ok()?;
        Some((number, Scopes(fields.pop().and_then(text)?)))
    };
    let unread = || (0, Scopes(ALL.to_owned()));
    let entries = entries.into_iter().map(|parts| entry(parts).unwrap_or_else(unread)).collect();
    text(name).is_some_and(|name| name == log).then_some(entries)
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_a_change_are_read_back() {
        let groups = ["image:5", "project_images:7"];
        let scopes = Scopes::new(groups.into_iter().map(EpochScope::Group));
        let read: Vec<_> = scopes.iter().map(|scope| format!("{scope:?}")).collect();
        assert_eq!(read, groups.map(|group| format!("{:?}", EpochScope::Group(group))));
    }

    #[test]
    fn too_many_groups_and_a_text_that_is_unknown_are_all_groups() {
        let is_all = |scopes: &Scopes| scopes.iter().all(|scope| matches!(scope, EpochScope::All));
        let group = "g".repeat(1000);
        assert!(is_all(&Scopes::new((0..100).map(|_| EpochScope::Group(&group)))));
        assert!(is_all(&Scopes::new([EpochScope::Group("a:b"), EpochScope::All].into_iter())));
        assert!(is_all(&Scopes(String::new())));
    }
}
