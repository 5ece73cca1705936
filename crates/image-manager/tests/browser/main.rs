//! The page in a real browser: headless Chromium, driven over the `DevTools` protocol.
//!
//! `CHROMIUM` names the program, else it is found on PATH; `cargo xtask test` installs it where it may. Each test has a
//! server and a browser of its own. Screenshots to be looked at are written to `target/browser/`.
#![cfg(test)]

mod accessibility;
mod changes;
mod chromium;
mod console;
mod hostile_names;
mod metadata;
mod people;
mod samples;
mod screenshots;
mod site;
mod tab;
mod trouble;
mod uploads;

#[expect(dead_code, reason = "the tests over HTTP use more of it")]
#[path = "../http/harness.rs"]
mod harness;
