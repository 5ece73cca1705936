//! Scans: throttled, sealed, and complete for whatever was there all along.

use std::time::Duration;

use cache_core::CachePattern;
use redis::{Pipeline, RedisError, Value};
use tokio::time::{Instant, sleep};

use crate::error::{Fault, is_wrong_type};
use crate::layout::{Layout, escaped};
use crate::manager::Connection;
use crate::removed::Removed;

/// How long one step may take.
const STEP: Duration = Duration::from_secs(1);
/// About how many keys or fields one step looks at.
const COUNT: usize = 500;
/// About how many fields, which may bring large values with them.
const FIELDS: usize = 100;
/// How long scans work before they pause: less is not worth a timer.
const BRIEF: Duration = Duration::from_millis(2);

/// Keeps scans from taking all of the server: they pause for as long as they worked, so that others get half of its time
/// at least. Scans within scans share one.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
}

impl Pace {
    pub(crate) fn start() -> Self {
        Self { since: Instant::now() }
    }

    async fn pause(&mut self) {
        let worked = self.since.elapsed();
        if worked > BRIEF {
            sleep(worked).await;
            self.since = Instant::now();
        }
    }
}

/// A walk over all keys, or over the fields of one hash, that match a pattern.
///
/// What is there from the first step to the last is found; Redis promises no more, and no more is needed: what is stored
/// later was loaded later, unless it was stored by the token of a lease, and that was there.
#[derive(Debug)]
pub(crate) struct Scan {
    hash: Option<String>,
    pattern: String,
    cursor: Option<Vec<u8>>,
}

impl Scan {
    pub(crate) fn keys(pattern: String) -> Self {
        Self { hash: None, pattern, cursor: Some(b"0".to_vec()) }
    }

    /// The fields of the hash `key`, each followed by what it holds where the server cannot leave that out.
    pub(crate) fn fields(key: String, pattern: String) -> Self {
        Self { hash: Some(key), ..Self::keys(pattern) }
    }

    /// The next few; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        connection: &mut Connection,
        pace: &mut Pace,
    ) -> Result<Option<Vec<Value>>, Fault> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        pace.pause().await;
        let mut commands = Pipeline::new();
        match &self.hash {
            None => commands.cmd("SCAN").arg(cursor).arg("COUNT").arg(COUNT),
            Some(hash) => commands.cmd("HSCAN").arg(hash).arg(cursor).arg("COUNT").arg(FIELDS),
        };
        commands.arg("MATCH").arg(&self.pattern);
        if self.hash.is_some() && leaves_values_out(connection) {
            commands.arg("NOVALUES");
        }
        let replies = connection.ask_sealed(commands, Instant::now() + STEP).await?;
        let reply = replies.into_iter().next().unwrap_or(Value::Nil);
        let reply = match reply.extract_error() {
            // It is no hash: nothing of ours is in it.
            Err(error) if self.hash.is_some() && is_wrong_type(&error) => return Ok(None),
            reply => connection.noted(reply.map_err(Fault::from))?,
        };
        let Value::Array(parts) = reply else { return connection.noted(Err(Fault::mismatch())) };
        match <[Value; 2]>::try_from(parts) {
            Ok([Value::BulkString(next), Value::Array(found)]) => {
                self.cursor = Some(next).filter(|next| next != b"0");
                Ok(Some(found))
            }
            _ => connection.noted(Err(Fault::mismatch())),
        }
    }
}

/// Whether HSCAN can: the versions that let fields expire.
fn leaves_values_out(connection: &Connection) -> bool {
    connection.expires_fields
}

/// Removes the groups among the keys that match `pattern` for which `is_wanted` holds, given their group and incarnation.
pub(crate) async fn unlink_all(
    connection: &mut Connection,
    layout: &Layout,
    pattern: &str,
    removed: &mut Removed,
    is_wanted: impl Fn(&str, u64) -> bool,
) -> Result<(), Fault> {
    let (mut scan, mut pace) = (Scan::keys(pattern.to_owned()), Pace::start());
    while let Some(found) = scan.next(connection, &mut pace).await? {
        let keys: Vec<String> = found.into_iter().filter_map(text).collect();
        let (groups, keys): (Vec<&str>, Vec<&str>) = keys
            .iter()
            .filter_map(|key| {
                let (group, incarnation) = layout.parse(key)?;
                is_wanted(group, incarnation).then_some((group, key.as_str()))
            })
            .unzip();
        for (group, fields) in groups.into_iter().zip(unlink(connection, &keys).await?) {
            removed.add(group, fields);
        }
    }
    Ok(())
}

/// Removes the keys `groups`, and says how many fields each had.
pub(crate) async fn unlink(connection: &mut Connection, groups: &[&str]) -> Result<Vec<u64>, Fault> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = Pipeline::with_capacity(2 * groups.len());
    for group in groups {
        commands.cmd("HLEN").arg(group);
        commands.cmd("UNLINK").arg(group);
    }
    let said = acknowledged(connection, commands, Instant::now() + STEP).await?;
    Ok(said.into_iter().step_by(2).collect())
}

/// Removes what matches `pattern` from the group `name`, which is kept under `key`.
pub(crate) async fn prune(
    connection: &mut Connection,
    key: &str,
    name: &str,
    pattern: &CachePattern,
    removed: &mut Removed,
    pace: &mut Pace,
) -> Result<(), Fault> {
    let mut scan = Scan::fields(key.to_owned(), field_pattern(name, pattern));
    let step = if leaves_values_out(connection) { 1 } else { 2 };
    while let Some(found) = scan.next(connection, pace).await? {
        let is_covered = |field: &String| match field.as_str() {
            "" => pattern.matches(name),
            rest => pattern.matches(&format!("{name}:{rest}")),
        };
        let fields: Vec<String> =
            found.into_iter().step_by(step).filter_map(text).filter(is_covered).collect();
        if !fields.is_empty() {
            let mut commands = Pipeline::new();
            commands.cmd("HDEL").arg(key).arg(&fields);
            let said = acknowledged(connection, commands, Instant::now() + STEP).await?;
            removed.add(name, said.into_iter().sum());
        }
    }
    Ok(())
}

/// Sends commands that remove and that count what they remove, and gives what each says.
///
/// Every one must have been carried out; a key that is no hash holds nothing that could be served.
pub(crate) async fn acknowledged(
    connection: &mut Connection,
    commands: Pipeline,
    deadline: Instant,
) -> Result<Vec<u64>, Fault> {
    let said = |reply: Value| match reply {
        Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
        Value::ServerError(error) => {
            let error = RedisError::from(error);
            if is_wrong_type(&error) { Ok(0) } else { Err(error.into()) }
        }
        _ => Err(Fault::mismatch()),
    };
    let replies = connection.ask_sealed(commands, deadline).await?;
    connection.noted(replies.into_iter().map(said).collect())
}

/// The pattern for HSCAN that finds at least the fields of the group `name` that `pattern` matches.
fn field_pattern(name: &str, pattern: &CachePattern) -> String {
    let below = pattern.as_str().strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    match below {
        // Redis takes one byte for a '?', this cache one character.
        Some(rest) if pattern.is_glob() => rest.replace('?', "*"),
        Some(rest) => format!("{}*", escaped(rest)),
        None => "*".to_owned(),
    }
}

pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        // What is no text is no key of ours.
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_fields_asks_for_no_less_than_the_pattern_matches() {
        let of = |name: &str, pattern: &str| field_pattern(name, &CachePattern::parse(pattern).unwrap());
        assert_eq!(of("image:5", "image:5:tiles"), "tiles*");
        assert_eq!(of("image:5", "image:5:meta?"), "meta*");
        assert_eq!(of("image:5", "image:5:*"), "*");
        assert_eq!(of("image:5", "image:*:metadata"), "*");
        assert_eq!(of("[r]image:5", "[r]image:5:a*"), "a*");
    }
}
