//! The log on the standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::SettingsError;

/// Which events are logged, and how: `RUST_LOG` and `LOG_FORMAT`.
#[derive(Debug)]
pub struct LogSettings {
    filter: EnvFilter,
    is_json: bool,
}

impl LogSettings {
    /// Reads the settings from `variable`, which gives a variable's value by its name.
    ///
    /// # Errors
    /// [`SettingsError`] names the variable and what it takes.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let filter = EnvFilter::try_new(variable("RUST_LOG").as_deref().unwrap_or("info"));
        let takes = "levels by module, such as info or warn,image_manager=debug";
        let filter = filter.map_err(|_| SettingsError { name: "RUST_LOG", takes })?;
        let format = variable("LOG_FORMAT").map(|format| format.trim().to_ascii_lowercase());
        let is_json = match format.as_deref() {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(_) => return Err(SettingsError { name: "LOG_FORMAT", takes: "text or json" }),
        };
        Ok(Self { filter, is_json })
    }

    /// Logs to the standard error from now on.
    ///
    /// # Panics
    /// When the process logs already.
    pub fn install(self) {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(self.filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            // A line that cannot be written is lost: an error about it on the same stream would panic.
            .log_internal_errors(false);
        if self.is_json { subscriber.json().flatten_event(true).init() } else { subscriber.init() }
    }
}
