//! `cargo xtask demo`: builds the application, starts it on a free port with folders of its own, and walks through it; then
//! two instances of it over one Redis, and one behind Sentinels.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fs_err as fs;
use pico_args::Arguments;

use crate::demo_server::{Server, free_port};
use crate::http::{Answer, send};
use crate::metadata::Workspace;
use crate::process::{cargo, output, run as run_command, without_settings};
use crate::report::Report;
use crate::{Outcome, demo_failover, demo_sharing, demo_story, no_more};

/// Runs the command.
pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let keep = arguments.contains("--keep");
    no_more(arguments)?;
    run_command(&mut cargo("build --locked --package image-manager"))?;
    let target = Workspace::read()?.target_directory;
    let program = target.join("debug/image-manager");
    let folder = target.join(format!("xtask/demo-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut application = Application::start(&program, &folder, "alone", &[])?;
    println!("the application serves {}; its log is {}\n", application.address(), application.log.display());

    let mut report = Report::new("demo");
    let told = demo_story::tell(&mut report, &mut application);
    if report.has_failures() || told.is_err() {
        println!("\nthe application's log:\n{}", application.logged());
    }
    told?;
    if keep {
        println!("\n{} stays until Enter is pressed", application.address());
        std::io::stdin().read_line(&mut String::new())?;
    }
    report.check("it stops cleanly when asked to", || application.stop());
    demo_sharing::tell(&mut report, &program, &folder)?;
    demo_failover::tell(&mut report, &program, &folder)?;
    fs::remove_dir_all(&folder)?;
    Ok(report)
}

/// A running image-manager.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) server: Server,
    pub(crate) cache_folder: PathBuf,
    pub(crate) log: PathBuf,
}

impl Application {
    /// Starts it over the data in `folder`, with a cache and a log there that have its `name`.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let (port, cache_folder) = (free_port()?, folder.join(format!("cache-{name}")));
        let log = folder.join(format!("image-manager-{name}.log"));
        let file = fs::File::options().create(true).append(true).open(&log)?.into_parts().0;
        let mut command = Command::new(program);
        without_settings(&mut command);
        command
            .current_dir(folder)
            .args(["--bind", &format!("127.0.0.1:{port}")])
            .env("DATA_DIR", folder.join("data"))
            .env("CACHE_DIR", &cache_folder)
            .env("CACHE_SIZE_MB", demo_story::CACHE_SIZE_MB.to_string())
            .envs(settings.iter().copied())
            .stdout(file.try_clone()?)
            .stderr(file);
        let is_healthy =
            |port| send(port, "GET", "/healthz", "", ("", b"")).is_ok_and(|answer| answer.status == 200);
        let server = Server::start(command, port, is_healthy)
            .with_context(|| format!("its log:\n{}", fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(Self { server, cache_folder, log })
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// What it has logged so far.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop as Ctrl-C does, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<String> {
        let child = &mut self.server.child;
        output(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            ensure!(started.elapsed() < Duration::from_secs(10), "it still runs after 10 s");
            thread::sleep(Duration::from_millis(20));
        }
        let status = child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(format!("within {:.1} s", started.elapsed().as_secs_f64()))
    }

    /// Sends a request without a body, as the default user.
    pub(crate) fn call(&self, method: &str, path: &str) -> Result<Answer> {
        send(self.server.port, method, path, "", ("", b""))
    }

    /// Reads a path as the default user; any status is an answer.
    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.call("GET", path)
    }

    /// Sends a body of this content type as the default user.
    pub(crate) fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        send(self.server.port, method, path, "", (content_type, body))
    }

    /// Fails unless a user without rights gets 403.
    pub(crate) fn refuses_a_stranger(&self, path: &str) -> Result<Answer> {
        send(self.server.port, "GET", path, "mallory", ("", b""))?.expect(403)
    }
}
