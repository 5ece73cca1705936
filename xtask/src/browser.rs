//! A browser for the tests of the application's page: found, or installed where that is allowed.

use std::env;
use std::path::Path;

use anyhow::{Result, bail};

use crate::audit::on_path;
use crate::debian;

/// The variable that names the program, for the tests too.
const PROGRAM: &str = "CHROMIUM";

/// Returns the browser's program; installs Debian's package where this user may.
///
/// # Errors
/// Says what to install.
pub(crate) fn ensure() -> Result<String> {
    if let Some(program) = find() {
        return Ok(program);
    }
    println!("no chromium, chromium-browser or google-chrome on PATH; installing Debian's package chromium");
    match debian::install("chromium").then(find).flatten() {
        Some(program) => Ok(program),
        None => bail!("a browser is needed: install chromium, or name the program in {PROGRAM}"),
    }
}

/// Finds the program, by its variable or on PATH, as the tests do.
fn find() -> Option<String> {
    let named = env::var(PROGRAM).ok().filter(|program| Path::new(program).is_file());
    let found = || ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path);
    named.or_else(|| Some(found()?.display().to_string()))
}
