//! [`Registry`]: the instances that keep values in memory, in one hash and one stream of the server.
//!
//! A cluster has one for each zone: its keys then end with a hash tag, which puts them into a slot of that zone.
//!
//! ```text
//! {namespace}:#near:{run}      hash    g        -> the name of this registry, new whenever it is made
//!                                      n        -> how many changes were announced in it
//!                                      e        -> the incarnation of the server for which it was made
//!                                      session  -> "acknowledged renewals": the last change that the session has
//!                                                  forgotten, and a count, so that each renewal changes the value
//! {namespace}:#near:{run}:log  stream  {n}-1    -> w: the groups that change n concerns, or *
//! ```
//!
//! `run` is a hash of the server's `run_id`. The incarnation may change while the server runs, and one instance notices that before
//! another: the first to announce or to register makes a new registry, and the sessions of the old one end.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use cache_core::{EpochScope, ErrorKind, random_nonzero};
use redis::{Cmd, Pipeline, ToSingleRedisArg, Value};
use tokio::time::Instant;

use super::layout::Layout;
use super::scripts::{Call, Lua, NEAR_ANNOUNCE, NEAR_REGISTER, NEAR_REMOVE, NEAR_RENEW};
use super::slot::{Slot, SlotHasher};
use crate::connection::Connection;
use crate::error::{Fate, Fault};

/// How long a registry that no session renews is kept.
const LIVES_MILLIS: u64 = 86_400_000;
/// Stands for all groups.
const ALL: &str = "*";
/// The longest list of groups; a longer one is all groups.
const LONGEST: usize = 16 << 10;
/// The most changes that are read at a time; a session that is further behind forgets everything.
const MOST_CHANGES: usize = 200;
/// The fields of a registry that are no sessions.
const FIELDS: u64 = 3;

/// The registry at one incarnation of a server.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) key: String,
    /// `None` where it is left out: its slot is being moved, and commands of several keys are refused.
    log: Option<String>,
    epoch: String,
}

/// The groups that a change concerns, in the encoding of the log.
#[derive(Debug, Clone)]
pub(crate) struct Scopes(String);

/// A change that was announced.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) number: u64,
    /// The name of the registry.
    pub(crate) registry: String,
    pub(crate) sessions: Sessions,
}

/// Sessions, each with its value. They are bytes: anything may have been written there.
pub(crate) type Sessions = HashMap<Vec<u8>, Vec<u8>>;

/// A session that was renewed.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// How many changes were announced before.
    pub(crate) announced: u64,
    /// How many sessions there are.
    pub(crate) sessions: u64,
}

impl Registry {
    /// Names the registry of the only server, or of `zone` in a cluster.
    pub(crate) fn new(layout: &Layout, run: u64, incarnation: u64, zone: Option<u8>) -> Self {
        let tag = zone.map(|zone| format!(":{{{}}}", tag(zone))).unwrap_or_default();
        let key = layout.internal(&format!("near:{run:016x}{tag}"));
        Self { log: Some(format!("{key}:log")), key, epoch: format!("{incarnation:016x}") }
    }

    /// Returns this registry without its log.
    pub(crate) fn without_log(self) -> Self {
        Self { log: None, ..self }
    }

    fn keys(&self) -> Vec<&str> {
        [self.key.as_str()].into_iter().chain(self.log.as_deref()).collect()
    }

    /// Returns a command that announces a change.
    pub(crate) fn announce(&self, how: Call, scopes: &Scopes) -> Cmd {
        let mut call = NEAR_ANNOUNCE.call(how, &self.keys());
        call.arg(&scopes.0).arg(unique()).arg(&self.epoch).arg(LIVES_MILLIS);
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
        let mut groups = BTreeSet::new();
        let mut length = 0;
        for scope in scopes {
            match scope {
                EpochScope::Group(group) if length < LONGEST => {
                    length += if groups.insert(group) { group.len() + 1 } else { 0 };
                }
                _ => return Self(ALL.to_owned()),
            }
        }
        Self(groups.into_iter().collect::<Vec<_>>().join("\n"))
    }

    /// Returns the groups, or all where the text is none of this cache.
    pub(crate) fn iter(&self) -> impl Iterator<Item = EpochScope<'_>> {
        self.0.split('\n').map(|group| match group {
            "" | ALL => EpochScope::All,
            group => EpochScope::Group(group),
        })
    }
}

/// The slot of the registry of each zone, and what makes a key be in that slot.
static TAGS: LazyLock<Vec<(Slot, String)>> = LazyLock::new(|| {
    let all = || (0..).map(|number: u32| number.to_string());
    let slot = |tag: &String| SlotHasher::default().with(tag).slot();
    let of_zone = |zone| all().find(|tag| slot(tag).zone() == zone).map(|tag| (slot(&tag), tag));
    (0..64).filter_map(of_zone).collect()
});

fn tag(zone: u8) -> &'static str {
    TAGS.get(usize::from(zone)).map_or("", |(_, tag)| tag)
}

/// Returns the slot of the registry of `zone` in a cluster.
pub(crate) fn slot_of_registry(zone: u8) -> Slot {
    TAGS.get(usize::from(zone)).map_or(Slot::default(), |(slot, _)| *slot)
}

/// Names the stream by which sessions at a node of a cluster are woken, in the slot of the registry of `zone`.
pub(crate) fn bell(layout: &Layout, zone: u8) -> String {
    layout.internal(&format!("near:bell:{{{}}}", tag(zone)))
}

/// Returns a command that wakes the sessions that wait for `bell`, because of a change in `zone`.
pub(crate) fn ring(bell: &str, zone: u8) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(bell).arg("MAXLEN").arg("~").arg(100).arg("*").arg("z").arg(zone);
    command
}

/// Returns a name that no other call, process or machine gets.
pub(crate) fn unique() -> String {
    format!("{:016x}{:016x}", random_nonzero(), random_nonzero())
}

/// Parses the first number of the value of a session.
pub(crate) fn acknowledged(value: &[u8]) -> u64 {
    let number = value.split(|byte| *byte == b' ').next().and_then(|number| str::from_utf8(number).ok());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Connection {
    /// Registers `session` in place of `before`. Returns how many changes were announced until now, and the name of the registry.
    pub(crate) async fn register(
        &mut self,
        registry: &Registry,
        session: &str,
        before: &str,
        deadline: Instant,
    ) -> Result<(u64, String), Fault> {
        let mut call = NEAR_REGISTER.call(Call::InFull, &registry.keys());
        call.arg(session).arg(before).arg(unique()).arg(&registry.epoch).arg(LIVES_MILLIS);
        if let Value::Array(parts) = self.ask(&call, deadline).await?
            && let Ok([Value::Int(announced), Value::BulkString(name)]) = <[Value; 2]>::try_from(parts)
        {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Ok((u64::try_from(announced).unwrap_or(0), name));
        }
        self.noted(Err(Fault::mismatch()))
    }

    /// Renews `session` with `value`; `None` if it is not registered any more.
    pub(crate) async fn renew(
        &mut self,
        registry: &Registry,
        session: &str,
        value: &str,
        deadline: Instant,
    ) -> Result<Option<Renewed>, Fault> {
        let arguments = [session, value, &registry.epoch, &LIVES_MILLIS.to_string()];
        let reply = self.run_script(&NEAR_RENEW, &[&registry.key], &arguments, deadline).await?;
        match reply {
            Value::Nil => Ok(None),
            Value::Array(parts) => match &parts[..] {
                // The value proves that the reply belongs to this renewal.
                [Value::Int(announced), Value::Int(fields), Value::BulkString(held)]
                    if held == value.as_bytes() =>
                {
                    let [announced, fields] = [announced, fields].map(|n| u64::try_from(*n).unwrap_or(0));
                    Ok(Some(Renewed { announced, sessions: fields.saturating_sub(FIELDS) }))
                }
                _ => self.noted(Err(Fault::mismatch())),
            },
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// Returns changes after number `after`, each with its number, in order; waits up to `block` for the first. An entry that
    /// cannot be read has the number 0 and concerns all groups.
    pub(crate) async fn read_log(
        &mut self,
        registry: &Registry,
        after: u64,
        block: Option<Duration>,
        deadline: Instant,
    ) -> Result<Vec<(u64, Scopes)>, Fault> {
        let log = registry.log.as_deref().unwrap_or_default();
        let entries = self.read_stream(log, &format!("{after}-1"), block, deadline).await?;
        let entry =
            |(id, value): (String, String)| Some((id.split('-').next()?.parse().ok()?, Scopes(value)));
        let unread = || (0, Scopes(ALL.to_owned()));
        Ok(entries.into_iter().map(|parts| parts.and_then(entry).unwrap_or_else(unread)).collect())
    }

    /// Waits up to `block` for changes that are rung after `after`, and sets that to the last of them. Returns their zones.
    pub(crate) async fn wait_for_bell(
        &mut self,
        bell: &str,
        after: &mut String,
        block: Duration,
        deadline: Instant,
    ) -> Result<Vec<u8>, Fault> {
        let entries = self.read_stream(bell, after, Some(block), deadline).await?;
        let mut zones = Vec::with_capacity(entries.len());
        for (id, zone) in entries.into_iter().flatten() {
            *after = id;
            zones.extend(zone.parse::<u8>());
        }
        zones.sort_unstable();
        zones.dedup();
        Ok(zones)
    }

    /// Keeps a bell for as long as registries are kept; a missing one is none.
    pub(crate) async fn keep_bell(&mut self, bell: &str, deadline: Instant) -> Result<(), Fault> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(bell).arg(LIVES_MILLIS);
        match self.ask(&command, deadline).await {
            Err(fault) if matches!(fault.fate, Fate::Keep | Fate::Moved | Fate::Moving) => Ok(()),
            kept => kept.map(drop),
        }
    }

    /// Reads entries of a stream, each as its id and its last value; `None` for one of another form.
    async fn read_stream(
        &mut self,
        stream: &str,
        after: &str,
        block: Option<Duration>,
        deadline: Instant,
    ) -> Result<Vec<Option<(String, String)>>, Fault> {
        let mut command = redis::cmd("XREAD");
        if let Some(block) = block {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(u64::MAX));
        }
        command.arg("COUNT").arg(MOST_CHANGES).arg("STREAMS").arg(stream).arg(after);
        match self.ask(&command, deadline).await? {
            Value::Nil => Ok(Vec::new()),
            reply => self.noted(entries_of(reply, stream).ok_or_else(Fault::mismatch)),
        }
    }

    /// Returns the sessions of the registry, each with its value.
    pub(crate) async fn sessions(
        &mut self,
        registry: &Registry,
        deadline: Instant,
    ) -> Result<Sessions, Fault> {
        let mut command = redis::cmd("HGETALL");
        command.arg(&registry.key);
        let reply = self.ask(&command, deadline).await?;
        self.noted(sessions_of(reply).map(|(sessions, _)| sessions).ok_or_else(Fault::mismatch))
    }

    /// Returns the name of the registry, if there is one, and the values of `sessions`.
    pub(crate) async fn values(
        &mut self,
        registry: &Registry,
        sessions: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<(Option<String>, Vec<Option<Vec<u8>>>), Fault> {
        let mut commands = Pipeline::with_capacity(2);
        commands.cmd("HMGET").arg(&registry.key).arg("g").arg(sessions);
        let mut replies = self.ask_sealed(commands, deadline).await?;
        let reply = self.succeeded(replies.pop().unwrap_or(Value::Nil))?;
        let Value::Array(values) = reply else { return self.noted(Err(Fault::mismatch())) };
        let mut values = values.into_iter();
        let name = values.next().and_then(text);
        Ok((name, values.map(bytes).collect()))
    }

    /// Removes sessions whose values are still these.
    pub(crate) async fn remove_silent(
        &mut self,
        registry: &Registry,
        silent: &Sessions,
        deadline: Instant,
    ) -> Result<u64, Fault> {
        let pairs: Vec<&[u8]> =
            silent.iter().flat_map(|(session, value)| [&session[..], &value[..]]).collect();
        match self.run_script(&NEAR_REMOVE, &[&registry.key], &pairs, deadline).await? {
            Value::Int(removed) => Ok(u64::try_from(removed).unwrap_or(0)),
            _ => self.noted(Err(Fault::mismatch())),
        }
    }

    /// Runs each command of the scripts, and the others that sessions need, on a key that nothing else uses.
    ///
    /// # Errors
    /// `Configuration` where one is not allowed. Others of a full server, or in a cluster, say nothing.
    pub(crate) async fn try_registry(&mut self, layout: &Layout, deadline: Instant) -> Result<(), Fault> {
        let (key, stream) = (layout.internal("near:check"), layout.internal("near:check:log"));
        let mut commands = Pipeline::with_capacity(6);
        commands.cmd("HGETALL").arg(&key);
        commands.cmd("HINCRBY").arg(&key).arg("n").arg(1);
        commands.cmd("XADD").arg(&stream).arg("*").arg("w").arg("");
        commands.cmd("XREAD").arg("COUNT").arg(1).arg("STREAMS").arg(&stream).arg("0");
        commands.cmd("UNLINK").arg(&key);
        commands.cmd("UNLINK").arg(&stream);
        for reply in self.ask_all(&commands, deadline).await? {
            match self.succeeded(reply) {
                Err(fault) if fault.kind == ErrorKind::Configuration => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes `registry`, with which all its sessions end.
    pub(crate) async fn end_sessions(&mut self, registry: &Registry, deadline: Instant) -> Result<(), Fault> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(&registry.key);
        let reply = self.ask_sealed_one(&unlink, deadline).await?;
        self.succeeded(reply).map(drop)
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
            let (sessions, name) = sessions_of(held)?;
            let number = u64::try_from(number).unwrap_or(0);
            Some(Announced { number, registry: name, sessions })
        };
        self.noted(parsed().ok_or_else(Fault::mismatch))
    }

    /// Runs a script, which the server may not know yet.
    async fn run_script(
        &mut self,
        script: &Lua,
        keys: &[&str],
        arguments: &[impl ToSingleRedisArg],
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
fn sessions_of(reply: Value) -> Option<(Sessions, String)> {
    let Value::Array(fields) = reply else { return None };
    let (mut sessions, mut name) = (Sessions::new(), String::new());
    let mut fields = fields.into_iter().map(bytes);
    while let Some(field) = fields.next() {
        let (field, value) = (field?, fields.next()??);
        match &field[..] {
            b"g" => name = String::from_utf8_lossy(&value).into_owned(),
            b"n" | b"e" => {}
            _ => drop(sessions.insert(field, value)),
        }
    }
    Some((sessions, name))
}

/// Parses what `XREAD` replied for one stream; `None` if that is the reply to something else.
fn entries_of(reply: Value, stream: &str) -> Option<Vec<Option<(String, String)>>> {
    let Value::Array(mut streams) = reply else { return None };
    let Value::Array(of_stream) = streams.pop()? else { return None };
    let Ok([name, Value::Array(entries)]) = <[Value; 2]>::try_from(of_stream) else { return None };
    let entry = |entry: Value| {
        let Value::Array(parts) = entry else { return None };
        let Ok([id, Value::Array(mut fields)]) = <[Value; 2]>::try_from(parts) else { return None };
        Some((text(id)?, fields.pop().and_then(text)?))
    };
    text(name).is_some_and(|name| name == stream).then(|| entries.into_iter().map(entry).collect())
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
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
        let same = Scopes::new((0..100).map(|_| EpochScope::Group(&group)));
        assert_eq!(same.iter().count(), 1, "a group is named once");
        let groups: Vec<String> = (0..100).map(|number| format!("{group}{number}")).collect();
        assert!(is_all(&Scopes::new(groups.iter().map(|group| EpochScope::Group(group)))));
        assert!(is_all(&Scopes::new([EpochScope::Group("a:b"), EpochScope::All].into_iter())));
        assert!(is_all(&Scopes(String::new())));
    }
}
