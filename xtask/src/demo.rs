//! `cargo xtask demo`: builds the application, starts it on a free port with folders of its own, and walks through it; then
//! two instances of it over one Redis.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{Request, send};
use crate::metadata::Workspace;
use crate::process::{cargo, output, run as run_command, without_settings};
use crate::report::Report;
use crate::{Outcome, demo_sharing, demo_story};

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let keep = match arguments {
        [] => false,
        [flag] if flag == "--keep" => true,
        unknown => return Err(format!("demo takes --keep, not {unknown:?}")),
    };
    run_command(&mut cargo(&["build", "--locked", "--package", "image-manager"]))?;
    let program = Workspace::read()?.target_directory.join("debug/image-manager");
    let folder = Folder::create()?;
    let mut application = Application::start(&program, &folder.path, "alone", &[])?;
    println!(
        "the application serves {}; its log is {}\n",
        application.address(),
        application.log().display()
    );

    let mut report = Report::new("demo");
    let told = demo_story::tell(&mut report, &mut application);
    if report.has_failures() || told.is_err() {
        println!("\nthe application's log:\n{}", fs::read_to_string(application.log()).unwrap_or_default());
    }
    told?;
    if keep {
        println!("\n{} stays until Enter is pressed", application.address());
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| format!("reading from the terminal: {error}"))?;
    }
    report.check("it stops cleanly when asked to", || application.stop());
    demo_sharing::tell(&mut report, &program, &folder.path)?;
    Ok(report)
}

/// A running image-manager.
#[derive(Debug)]
pub(crate) struct Application {
    program: PathBuf,
    folder: PathBuf,
    /// Of this instance: of its cache and its log.
    name: String,
    settings: Vec<(String, String)>,
    child: Child,
    pub(crate) port: u16,
}

impl Application {
    /// Starts it over the data in `folder`, with a cache and a log there that have its `name`.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.collect();
        let (child, port) = spawn(program, folder, name, &settings)?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut application = Self { program, folder, name: name.to_owned(), settings, child, port };
        application.wait_until_it_answers()?;
        Ok(application)
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder of its cache.
    pub(crate) fn cache_folder(&self) -> PathBuf {
        cache_folder(&self.folder, &self.name)
    }

    /// Where it logs.
    pub(crate) fn log(&self) -> PathBuf {
        log(&self.folder, &self.name)
    }

    /// Asks it to stop as Ctrl-C does, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<String, String> {
        output(Command::new("kill").args(["-INT", &self.child.id().to_string()]))?;
        let started = Instant::now();
        let status = self.wait(Duration::from_secs(10))?;
        if status.success() {
            Ok(format!("within {:.1} s", started.elapsed().as_secs_f64()))
        } else {
            Err(format!("it ended with {status}"))
        }
    }

    /// Ends it as a power cut would: nothing of it runs any more.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| format!("cannot kill the application: {error}"))?;
        self.child.wait().map_err(|error| format!("waiting for the application: {error}"))?;
        Ok(())
    }

    /// Starts it again on the same folders.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        (self.child, self.port) = spawn(&self.program, &self.folder, &self.name, &self.settings)?;
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let request = Request { method: "GET", path: "/healthz", user: "", content_type: "", body: &[] };
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let why = match send(self.port, &request) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("/healthz answers {}", answer.status),
                Err(why) => why,
            };
            let ended =
                self.child.try_wait().map_err(|error| format!("waiting for the application: {error}"))?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                return Err(format!("the application does not answer ({why}); its log:\n{log}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() > deadline => {
                    return Err(format!("it still runs after {} s", patience.as_secs()));
                }
                Ok(None) => thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(format!("waiting for the application: {error}")),
            }
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    program: &Path,
    folder: &Path,
    name: &str,
    settings: &[(String, String)],
) -> Result<(Child, u16), String> {
    let failed = |error: std::io::Error| format!("cannot start {}: {error}", program.display());
    let port = free_port().map_err(failed)?;
    let log = File::options().create(true).append(true).open(log(folder, name)).map_err(failed)?;
    let mut command = Command::new(program);
    without_settings(&mut command);
    command
        .current_dir(folder)
        .args(["--bind", &format!("127.0.0.1:{port}")])
        .env("DATA_DIR", folder.join("data"))
        .env("CACHE_DIR", cache_folder(folder, name))
        .env("CACHE_SIZE_MB", demo_story::CACHE_SIZE_MB.to_string())
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    Ok((command.spawn().map_err(failed)?, port))
}

fn cache_folder(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("cache-{name}"))
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("image-manager-{name}.log"))
}

/// A port that was free a moment ago; should someone take it in between, whoever is to listen there says so and ends.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A folder of its own, removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("image-manager-demo-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.path);
    }
}
