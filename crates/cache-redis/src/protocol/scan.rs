//! Scans that are throttled and sealed, and the removals built on them.

use std::time::Duration;

use cache_core::CachePattern;
use redis::{Pipeline, RedisError, Value};
use tokio::time::{Instant, sleep};

use super::layout::{Layout, escaped};
use crate::connection::Connection;
use crate::error::{Fate, Fault};

/// How long one step may take.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(1);
/// About how many keys one step looks at.
const KEYS_PER_STEP: usize = 500;
/// About how many fields one step looks at; they may bring large values with them.
const FIELDS_PER_STEP: usize = 100;
/// How long scans work before they pause: less is not worth a timer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// Throttles scans: they pause for as long as they worked, so that other clients get at least half of the server's time.
/// Nested scans share one.
#[derive(Debug)]
pub(crate) struct Throttle {
    since: Instant,
}

impl Throttle {
    pub(crate) fn start() -> Self {
        Self { since: Instant::now() }
    }

    async fn pause(&mut self) {
        let worked = self.since.elapsed();
        if worked > SHORTEST_PAUSE {
            sleep(worked).await;
            self.since = Instant::now();
        }
    }
}

/// What happens to a key that the node does not hold, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// The removal fails.
    Fail,
    /// It is left out: another node is asked for it.
    Skip,
}

impl Elsewhere {
    fn is_skipped(self, fault: &Fault) -> bool {
        self == Self::Skip && matches!(fault.fate, Fate::Moved | Fate::Moving)
    }
}

/// Iterates over all keys, or over the fields of one hash, that match a pattern.
///
/// Redis promises to return what is there from the first step to the last. That is enough for a removal: what is stored
/// later was loaded later, unless it was stored by the token of a lease that was there all along.
#[derive(Debug)]
pub(crate) struct Scan {
    hash: Option<String>,
    pattern: String,
    elsewhere: Elsewhere,
    cursor: Option<Vec<u8>>,
}

impl Scan {
    pub(crate) fn keys(pattern: String) -> Self {
        Self { hash: None, pattern, elsewhere: Elsewhere::Fail, cursor: Some(b"0".to_vec()) }
    }

    /// Scans the fields of the hash `key`. Each is followed by its value where the server cannot omit values.
    pub(crate) fn fields(key: String, pattern: String, elsewhere: Elsewhere) -> Self {
        Self { hash: Some(key), elsewhere, ..Self::keys(pattern) }
    }

    /// Returns the next few matches; `None` after the last.
    async fn next(
        &mut self,
        connection: &mut Connection,
        throttle: &mut Throttle,
    ) -> Result<Option<Vec<Value>>, Fault> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        throttle.pause().await;
        let mut commands = Pipeline::new();
        match &self.hash {
            None => commands.cmd("SCAN").arg(cursor).arg("COUNT").arg(KEYS_PER_STEP),
            Some(hash) => commands.cmd("HSCAN").arg(hash).arg(cursor).arg("COUNT").arg(FIELDS_PER_STEP),
        };
        commands.arg("MATCH").arg(&self.pattern);
        // The versions in which fields expire can omit values.
        if self.hash.is_some() && connection.expires_fields {
            commands.arg("NOVALUES");
        }
        let mut replies = connection.ask_sealed(commands, Instant::now() + STEP_TIMEOUT).await?;
        let reply = match connection.succeeded(replies.pop().unwrap_or(Value::Nil)) {
            // The key is no hash: it holds no fields of ours.
            Err(fault)
                if self.hash.is_some() && (fault.is_wrong_type() || self.elsewhere.is_skipped(&fault)) =>
            {
                return Ok(None);
            }
            reply => reply?,
        };
        if let Value::Array(parts) = reply
            && let Ok([Value::BulkString(next), Value::Array(found)]) = <[Value; 2]>::try_from(parts)
        {
            self.cursor = Some(next).filter(|next| next != b"0");
            return Ok(Some(found));
        }
        connection.noted(Err(Fault::mismatch()))
    }

    /// Returns the next few keys as text; `None` after the last.
    pub(crate) async fn next_keys(
        &mut self,
        connection: &mut Connection,
        throttle: &mut Throttle,
    ) -> Result<Option<Vec<String>>, Fault> {
        let found = self.next(connection, throttle).await?;
        Ok(found.map(|found| found.into_iter().filter_map(text).collect()))
    }
}

impl Scan {
    /// Returns the next few fields of the group `name` that `pattern` matches, as text; `None` after the last.
    pub(crate) async fn next_fields(
        &mut self,
        connection: &mut Connection,
        throttle: &mut Throttle,
        name: &str,
        pattern: &CachePattern,
    ) -> Result<Option<Vec<String>>, Fault> {
        let step = if connection.expires_fields { 1 } else { 2 };
        let is_covered = |field: &String| match field.as_str() {
            "" => pattern.matches(name),
            rest => pattern.matches(&format!("{name}:{rest}")),
        };
        let found = self.next(connection, throttle).await?;
        Ok(found.map(|found| found.into_iter().step_by(step).filter_map(text).filter(is_covered).collect()))
    }
}

/// Removes the groups that match the SCAN pattern `pattern` and for whose name `is_wanted` holds. Reports the name of each and
/// how many fields it had to `removed`.
pub(crate) async fn unlink_groups(
    connection: &mut Connection,
    layout: &Layout,
    pattern: String,
    removed: &(impl Fn(&str, u64) + Sync),
    is_wanted: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    let (mut scan, mut throttle) = (Scan::keys(pattern), Throttle::start());
    while let Some(keys) = scan.next_keys(connection, &mut throttle).await? {
        let wanted = |key: &&String| layout.parse(key).is_some_and(&is_wanted);
        let keys: Vec<&str> = keys.iter().filter(wanted).map(String::as_str).collect();
        for (key, fields) in keys.iter().zip(unlink(connection, &keys).await?) {
            if let Some(group) = layout.parse(key) {
                removed(group, fields);
            }
        }
    }
    Ok(())
}

/// Removes the groups at `keys`. Returns how many fields each had.
pub(crate) async fn unlink(connection: &mut Connection, keys: &[&str]) -> Result<Vec<u64>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = Pipeline::with_capacity(2 * keys.len());
    for key in keys {
        commands.cmd("HLEN").arg(key);
        commands.cmd("UNLINK").arg(key);
    }
    let deadline = Instant::now() + STEP_TIMEOUT;
    let counts = acknowledged(connection, commands, Elsewhere::Skip, deadline).await?;
    Ok(counts.into_iter().step_by(2).collect())
}

/// Removes the fields that match `pattern` from the group `name`, which is stored at `key`. Reports how many to `removed`.
pub(crate) async fn prune(
    connection: &mut Connection,
    key: &str,
    name: &str,
    pattern: &CachePattern,
    removed: &(impl Fn(&str, u64) + Sync),
    elsewhere: Elsewhere,
    throttle: &mut Throttle,
) -> Result<(), Fault> {
    let mut scan = Scan::fields(key.to_owned(), field_pattern(name, pattern), elsewhere);
    while let Some(fields) = scan.next_fields(connection, throttle, name, pattern).await? {
        if !fields.is_empty() {
            let mut commands = Pipeline::new();
            commands.cmd("HDEL").arg(key).arg(fields.as_slice());
            let deadline = Instant::now() + STEP_TIMEOUT;
            let counts = acknowledged(connection, commands, elsewhere, deadline).await?;
            removed(name, counts.into_iter().sum());
        }
    }
    Ok(())
}

/// Sends commands that remove something or count. Returns the number that each replied.
///
/// Every command must have been executed. A key that is no hash counts as empty: it holds nothing that could be served.
async fn acknowledged(
    connection: &mut Connection,
    commands: Pipeline,
    elsewhere: Elsewhere,
    deadline: Instant,
) -> Result<Vec<u64>, Fault> {
    let replies = connection.ask_sealed(commands, deadline).await?;
    counts(connection, replies, elsewhere)
}

/// Parses the replies to commands that remove something or count.
pub(crate) fn counts(
    connection: &Connection,
    replies: Vec<Value>,
    elsewhere: Elsewhere,
) -> Result<Vec<u64>, Fault> {
    let count = |reply: Value| match reply {
        Value::Int(count) => Ok(u64::try_from(count).unwrap_or(0)),
        Value::ServerError(error) => {
            let fault = Fault::from(RedisError::from(error));
            if fault.is_wrong_type() || elsewhere.is_skipped(&fault) { Ok(0) } else { Err(fault) }
        }
        _ => Err(Fault::mismatch()),
    };
    connection.noted(replies.into_iter().map(count).collect())
}

/// Returns an HSCAN pattern that finds at least the fields of the group `name` that `pattern` matches.
pub(crate) fn field_pattern(name: &str, pattern: &CachePattern) -> String {
    let below = pattern.as_str().strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
    match below {
        // Redis matches one byte with '?', this cache one character.
        Some(rest) if pattern.is_glob() => rest.replace('?', "*"),
        Some(rest) => format!("{}*", escaped(rest)),
        None => "*".to_owned(),
    }
}

/// Returns the text of a key or field; `None` for one that is not UTF-8, and so none of ours.
fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_fields_finds_all_that_the_pattern_matches() {
        let of = |name: &str, pattern: &str| field_pattern(name, &CachePattern::parse(pattern).unwrap());
        assert_eq!(of("image:5", "image:5:tiles"), "tiles*");
        assert_eq!(of("image:5", "image:5:meta?"), "meta*");
        assert_eq!(of("image:5", "image:5:*"), "*");
        assert_eq!(of("image:5", "image:*:metadata"), "*");
        assert_eq!(of("[r]image:5", "[r]image:5:a*"), "a*");
    }
}
