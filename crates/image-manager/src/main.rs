//! The command `image-manager`: serves, or checks the settings.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cache_facade::{Cache, CacheConfig, config::Environment};
use image_manager::{
    App, LogSettings, Seed, Settings, StopSignals, check_directories, doctor, install_metrics, near_misses,
    parse_address, seed, serve, variables,
};
use tokio::net::TcpListener;

const USAGE: &str = "\
Usage: image-manager [--bind ADDRESS:PORT] [--seed FOLDER]
       image-manager doctor

  --bind ADDRESS:PORT   where to listen (default: BIND, else 127.0.0.1:8080)
  --seed FOLDER         at the first start, upload the folder's pictures into a project \"Samples\"
  doctor                print the settings and check the way to the cache

Environment: BIND, DATA_DIR, MAX_UPLOAD_MB, DECODE_MEMORY_MB, ADMIN_USERS, ALLOWED_HOSTS, DIAGNOSTICS,
CONSOLE, MAX_CONNECTIONS, CLIENT_TIMEOUT_SECONDS, SHUTDOWN_DELAY_SECONDS, SHUTDOWN_TIMEOUT_SECONDS,
RUST_LOG, LOG_FORMAT, and the cache's CACHE_* and REDIS_*.
";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Serve { bind: Option<String>, seed: Option<PathBuf> },
    Doctor,
    Help,
    Version,
}

/// How long blocking work may go on after the end of serving: a transaction that is being committed.
const LAST_WORK: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let command = match parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(wrong) => {
            say(format_args!("{wrong}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            say(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to the standard error. If that fails, the exit code is all there is.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "doctor").is_some() {
        return match arguments.next() {
            None => Ok(Command::Doctor),
            Some(other) => Err(format!("doctor takes no argument such as {other:?}")),
        };
    }
    let (mut bind, mut seed) = (None, None);
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value = || value.clone().or_else(|| arguments.next()).ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--bind" => bind = Some(value()?),
            "--seed" => seed = Some(value()?.into()),
            "-h" | "--help" => return Ok(Command::Help),
            "-V" | "--version" => return Ok(Command::Version),
            _ => return Err(format!("unknown argument {name:?}")),
        }
    }
    Ok(Command::Serve { bind, seed })
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Help => write!(std::io::stdout(), "{USAGE}")?,
        Command::Version => writeln!(std::io::stdout(), "image-manager {}", env!("CARGO_PKG_VERSION"))?,
        Command::Doctor => {
            let healthy = runtime.block_on(doctor::examine(&mut std::io::stdout().lock()))?;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Serve { bind, seed } => {
            let served = runtime.block_on(serve_until_stopped(bind, seed));
            // Blocking work, such as decoding a picture, cannot be cut off, and no request waits for it any more.
            runtime.shutdown_timeout(LAST_WORK);
            served?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_stopped(bind: Option<String>, folder: Option<PathBuf>) -> Result<(), Failure> {
    let environment = Environment::read()?;
    let variable = variables(&environment)?;
    LogSettings::read(&variable)?.install();
    for (name, meant) in near_misses(&environment) {
        tracing::warn!("{name} is no setting of the application; {meant} is");
    }
    let cache_config = CacheConfig::from_environment(&environment)?;
    let settings = settings(&variable, bind, folder)?;
    check_directories(&settings, &cache_config)?;

    let mut signals = StopSignals::listen()?;
    // A start may have to wait for the cache's directory: a signal ends it as well.
    let started = tokio::select! {
        started = start(settings, cache_config) => started,
        () = signals.next() => {
            tracing::info!("told to stop before the start was over");
            return Ok(());
        }
    };
    let (app, listener) = started?;
    serve(app, listener, async || signals.next().await).await?;
    Ok(())
}

async fn start(settings: Settings, cache_config: CacheConfig) -> Result<(App, TcpListener), Failure> {
    let listener = TcpListener::bind(settings.bind)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}; set BIND or --bind", settings.bind))?;
    install_metrics();
    let cache = Cache::connect(cache_config).await?;
    let app = App::open(settings, cache)?;
    Box::pin(seed(&app)).await?;
    let tidying = app.clone();
    tokio::spawn(async move { tidying.tidy().await });

    tracing::info!("serving http://{}", listener.local_addr()?);
    Ok((app, listener))
}

fn settings(
    variable: impl Fn(&str) -> Option<String>,
    bind: Option<String>,
    folder: Option<PathBuf>,
) -> Result<Settings, Failure> {
    let bind = bind.map(|address| parse_address(&address, "--bind")).transpose()?;
    // Defaults that depend on the address, such as the admins, must depend on the one that is served.
    let mut settings = Settings::read(|name| match bind {
        Some(address) if name == "BIND" => Some(address.to_string()),
        _ => variable(name),
    })?;
    if let Some(folder) = folder {
        if !folder.is_dir() {
            return Err(format!("--seed takes a folder, which {} is not", folder.display()).into());
        }
        settings.seed = Seed::Folder(folder);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn arguments_are_understood() {
        assert_eq!(parsed(&[]), Ok(Command::Serve { bind: None, seed: None }));
        let both = Ok(Command::Serve { bind: Some("[::1]:1".to_owned()), seed: Some("a=b".into()) });
        assert_eq!(parsed(&["--bind", "[::1]:1", "--seed", "a=b"]), both);
        assert_eq!(parsed(&["--seed=a=b", "--bind=[::1]:1"]), both);
        assert_eq!(parsed(&["doctor"]), Ok(Command::Doctor));
        assert_eq!(parsed(&["--help"]), Ok(Command::Help));
        assert_eq!(parsed(&["-V"]), Ok(Command::Version));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, named) in [
            (&["--bnid", "x"][..], "--bnid"),
            (&["--bind"], "--bind"),
            (&["doctor", "now"], "now"),
            (&["serve"], "serve"),
        ] {
            assert!(parsed(arguments).unwrap_err().contains(named));
        }
    }

    #[test]
    fn the_default_admins_depend_on_the_address_of_the_command_line() {
        let public = settings(|_| None, Some("0.0.0.0:80".to_owned()), None).unwrap();
        assert!(public.admin_users.is_empty());
        let unset = |name: &str| (name == "BIND").then(|| "nonsense".to_owned());
        assert!(settings(unset, Some("127.0.0.1:1".to_owned()), None).is_ok());
        assert!(settings(unset, None, None).is_err());
    }

    #[test]
    fn a_seed_must_be_a_folder() {
        let error = settings(|_| None, None, Some("no/such/folder".into())).unwrap_err();
        assert!(error.to_string().contains("no/such/folder"));
    }
}
