//! Whether the server lets this user run every command that the cache needs: known at the start, not at the first fill.

use cache_core::{Error, ErrorKind, Result};
use redis::{Cmd, ErrorKind as RedisKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::time::Instant;

use crate::error::Fault;
use crate::layout::Layout;
use crate::manager::Connection;
use crate::script::{EXPIRE, FILL, LEASE, STAGED};

/// Runs each command once, on a key that nothing else uses.
///
/// # Errors
/// `Configuration`, naming the command, where one is renamed, disabled or not allowed. What a full or busy server says is
/// for those to see who want to store something.
pub(crate) async fn check(
    connection: &mut Connection,
    layout: &Layout,
    deadline: Instant,
    address: &str,
) -> Result<()> {
    let trials = trials(&layout.check());
    let mut commands = Pipeline::with_capacity(trials.len());
    for (_, command) in &trials {
        commands.add_command(command.clone());
    }
    let replies = connection.ask_all(&commands, deadline).await.map_err(|fault| fault.into_error(address))?;
    for ((name, _), reply) in trials.iter().zip(replies) {
        let Value::ServerError(error) = reply else { continue };
        let fault = Fault::from(RedisError::from(error));
        // That is how EXEC itself is refused: there was nothing in the transaction.
        let is_exec = fault.cause.kind() == RedisKind::Server(ServerErrorKind::ExecAbort);
        if fault.kind == ErrorKind::Configuration || is_exec {
            let message = format!(
                "Redis at {address}: the cache needs {name}, and the server refuses it: {}",
                fault.cause
            );
            return Err(Error::new(ErrorKind::Configuration, message).with_source(fault.cause));
        }
    }
    Ok(())
}

/// Commands and what to call them. The last one removes what the others left.
fn trials(key: &str) -> Vec<(&'static str, Cmd)> {
    let command = |name: &'static str, arguments: &[&str]| {
        let mut command = redis::cmd(name);
        command.arg(arguments);
        (name, command)
    };
    let script = |mut call: Cmd, arguments: &[&str]| {
        call.arg(arguments);
        (
            "EVAL and what its scripts call (HGET, HMGET, HSET, HDEL, HLEN, PTTL, PEXPIRE, PERSIST, UNLINK, RENAME)",
            call,
        )
    };
    vec![
        script(LEASE.in_full(&[key]), &["1000", "0", "field", "lease"]),
        script(FILL.in_full(&[key]), &["0", "field", "other lease", "value", "0"]),
        script(STAGED.in_full(&[key, key]), &["first", "1", "field", "lease"]),
        script(STAGED.in_full(&[key, key]), &["last", "0", "1", "0"]),
        command("HSET", &[key, "field", "value"]),
        script(EXPIRE.in_full(&[key]), &["1000", "0", "field"]),
        ("EVALSHA", {
            let mut call = FILL.by_hash(&[key]);
            call.arg("0");
            call
        }),
        command("PERSIST", &[key]),
        command("HGET", &[key, "field"]),
        command("HMGET", &[key, "field"]),
        command("HLEN", &[key]),
        command("HSTRLEN", &[key, "field"]),
        command("HSCAN", &[key, "0"]),
        command("SCAN", &["0", "COUNT", "1"]),
        command("HDEL", &[key, "field"]),
        command("ECHO", &["here"]),
        command("MULTI", &[]),
        command("EXEC", &[]),
        command("UNLINK", &[key]),
    ]
}
