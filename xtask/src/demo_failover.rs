//! The third act of the demonstration: an instance behind Sentinels, whose master is killed and replaced.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use fs_err as fs;

use crate::demo::Application;
use crate::demo_server::{Server, free_port};
use crate::demo_sharing::{PATIENCE, becomes_a_hit, logs, state};
use crate::demo_story::{edit, id_of, sample_project, shown_if, shows_title};
use crate::redis_server;
use crate::report::Report;

const SENTINELS: usize = 3;

/// A master with a replica, and the Sentinels that watch them.
struct Group {
    master: Server,
    _replica: Server,
    _sentinels: Vec<Server>,
    /// The value of `REDIS_SENTINELS`.
    addresses: String,
}

/// Walks through the third act. Where no server can be found it is skipped, and says so.
pub(crate) fn tell(report: &mut Report, program: &Path, folder: &Path) -> Result<()> {
    let server = match redis_server::ensure() {
        Ok(server) => server,
        Err(error) => {
            report.skip("a master of Redis is killed and replaced", format!("{error:#}"));
            return Ok(());
        }
    };
    let mut group = Group::start(&server, folder)?;
    let settings = [("REDIS_ENABLED", "true"), ("REDIS_SENTINELS", group.addresses.as_str())];
    let mut application = Application::start(program, folder, "sentinels", &settings)?;
    println!("\nbehind the Sentinels {}: {}\n", group.addresses, application.address());
    let told = failover(report, &mut group, &application);
    if report.has_failures() || told.is_err() {
        println!("\n{}:\n{}", application.log.display(), application.logged());
    }
    told?;
    report.check("it stops cleanly when asked to", || application.stop());
    Ok(())
}

impl Group {
    fn start(server: &str, folder: &Path) -> Result<Self> {
        let data = |port: u16, more: &[&str]| {
            let mut command = Command::new(server);
            command.args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ]);
            command.args(["--repl-diskless-sync-delay", "0"]).args(more);
            run(command, port, folder)
        };
        let (master, replica) = (free_port()?, free_port()?);
        let port = master.to_string();
        let (master, replica) = (data(master, &[])?, data(replica, &["--replicaof", "127.0.0.1", &port])?);
        let (mut sentinels, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..SENTINELS {
            let own = free_port()?;
            let file = folder.join(format!("sentinel-{number}.conf"));
            fs::write(
                &file,
                format!(
                    "bind 127.0.0.1\nport {own}\nsentinel monitor mymaster 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
                ),
            )?;
            let mut command = Command::new(server);
            command.arg(&file).arg("--sentinel");
            sentinels.push(run(command, own, folder)?);
            addresses.push(format!("127.0.0.1:{own}"));
        }
        // Until the Sentinels have found each other and the replica, which they are told once a second.
        thread::sleep(Duration::from_secs(4));
        Ok(Self { master, _replica: replica, _sentinels: sentinels, addresses: addresses.join(",") })
    }
}

fn run(mut command: Command, port: u16, folder: &Path) -> Result<Server> {
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    Server::start(command, port, |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
}

fn failover(report: &mut Report, group: &mut Group, application: &Application) -> Result<()> {
    let listing = format!("/api/projects/{}/images?limit=10", sample_project(application)?);
    let image = id_of(&application.get(&listing)?.json()?["items"][0])?;
    let own = format!("/api/images/{image}");
    report.check("the master that the Sentinels name is used", || {
        logs(application, "Using Redis cache backend")?;
        becomes_a_hit(application, &own)?;
        state(application)
    });
    group.master.kill()?;
    let killed = Instant::now();
    report.check("kill -9 of the master: every request is answered, with the latest change", || {
        let (mut requests, mut longest) = (0, Duration::ZERO);
        loop {
            let title = format!("failover {requests}");
            let began = Instant::now();
            edit(application, &image, &title)?;
            shows_title(application, &image, &title)?;
            longest = longest.max(began.elapsed());
            requests += 2;
            if requests > 100 && state(application)? == "ok, redis" {
                let (after, longest) = (killed.elapsed().as_millis(), longest.as_millis());
                return Ok(format!(
                    "{requests} requests, a change and a read took {longest} ms at most; its successor was used {after} ms \
                     after the kill"
                ));
            }
            shown_if(killed.elapsed() < PATIENCE, state(application)?)?;
            thread::sleep(Duration::from_millis(5));
        }
    });
    report.check("what was changed meanwhile is read from the successor", || {
        edit(application, &image, "afterwards")?;
        becomes_a_hit(application, &own)?;
        shows_title(application, &image, "afterwards")
    });
    Ok(())
}
