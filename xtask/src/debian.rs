//! Packages of Debian, installed where that is allowed.

use std::process::Command;

/// Installs a package without starting its service. Returns whether that worked: as root, with apt-get, and with a network.
pub(crate) fn install(package: &str) -> bool {
    // A policy that forbids starting services: a package may start one of its own.
    let script = "set -e; policy=/usr/sbin/policy-rc.d; made=; \
                  if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod +x $policy; made=1; fi; \
                  apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \"$0\" >/dev/null; \
                  if [ -n \"$made\" ]; then rm $policy; fi";
    Command::new("sh").args(["-c", script, package]).status().is_ok_and(|status| status.success())
}
