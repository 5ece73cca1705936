//! A Redis server for the tests and the demonstration: found, or installed where that is allowed.

use std::env;
use std::path::Path;
use std::process::Command;

/// The variable that names the server's program.
const PROGRAM: &str = "REDIS_SERVER_BIN";

/// Makes certain that a server's program can be started; installs Debian's package where this user may, without starting
/// its service. The tests start their own servers, on free ports of 127.0.0.1.
///
/// # Errors
/// A message that says what to install.
pub(crate) fn ensure() -> Result<String, String> {
    if let Some(program) = find() {
        return Ok(program);
    }
    println!("no redis-server or valkey-server on PATH; installing Debian's package redis-server");
    if install()
        && let Some(program) = find()
    {
        return Ok(program);
    }
    Err(format!(
        "a Redis server is needed: install redis-server or valkey-server, or name the program in {PROGRAM}"
    ))
}

/// The server's program, by its variable or on PATH.
pub(crate) fn find() -> Option<String> {
    let named = env::var(PROGRAM).ok().filter(|program| Path::new(program).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = || {
        let folders: Vec<_> = env::split_paths(&path).collect();
        let programs = ["redis-server", "valkey-server"].into_iter();
        programs
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|program| program.is_file())
    };
    named.or_else(|| on_path().map(|program| program.display().to_string()))
}

fn install() -> bool {
    // A policy that forbids starting services: the package would start one of its own.
    let script = "set -e; policy=/usr/sbin/policy-rc.d; made=; \
                  if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod +x $policy; made=1; fi; \
                  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; \
                  if [ -n \"$made\" ]; then rm $policy; fi";
    Command::new("sh").args(["-c", script]).status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_named_must_be_there() {
        assert!(find().is_none_or(|program| Path::new(&program).is_file()));
    }
}
