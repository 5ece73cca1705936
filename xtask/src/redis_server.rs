//! A Redis server for the tests and the demonstration: found, or installed where that is allowed.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use crate::audit::on_path;
use crate::debian;

/// The variable that names the server's program.
const PROGRAM: &str = "REDIS_SERVER_BIN";

/// Returns a server's program; installs Debian's package where this user may, without starting its service.
///
/// The tests start their own servers, on free ports of 127.0.0.1.
///
/// # Errors
/// Says what to install.
pub(crate) fn ensure() -> Result<String> {
    if let Some(program) = find() {
        return Ok(program);
    }
    println!("no redis-server or valkey-server on PATH; installing Debian's package redis-server");
    match debian::install("redis-server").then(find).flatten() {
        Some(program) => Ok(program),
        None => bail!(
            "a Redis server is needed: install redis-server or valkey-server, or name the program in {PROGRAM}"
        ),
    }
}

/// Finds the server's program, by its variable or on PATH.
pub(crate) fn find() -> Option<String> {
    let named = env::var(PROGRAM).ok().filter(|program| Path::new(program).is_file());
    let found = || on_path("redis-server").or_else(|| on_path("valkey-server"));
    named.or_else(|| Some(found()?.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_named_must_be_there() {
        assert!(find().is_none_or(|program| Path::new(&program).is_file()));
    }
}
