//! The second act of the demonstration: two instances of the application over one data folder and one Redis, which is
//! killed in the middle and comes back.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::demo::Application;
use crate::demo_server::{Server, free_port};
use crate::demo_story::{edit, id_of, sample_project, shown_if, shows_title};
use crate::redis_server;
use crate::report::Report;

/// How long a change of state may take on a crowded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many changes and reads the checks make.
const ROUNDS: u32 = 50;

/// The instances, and what they share.
struct Site {
    redis: Server,
    one: Application,
    two: Application,
    listing: String,
    /// The id of an image, and its path.
    image: String,
    own: String,
}

/// Walks through the second act. Where no server can be found it is skipped, and says so.
pub(crate) fn tell(report: &mut Report, program: &Path, folder: &Path) -> Result<()> {
    let server = match redis_server::ensure() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("\n!! the second act is skipped: {error:#}\n");
            report.skip("two instances share a Redis that is killed and comes back", format!("{error:#}"));
            return Ok(());
        }
    };
    let mut site = Site::start(&server, program, folder)?;
    let (port, [one, two]) = (site.redis.port, site.both().map(Application::address));
    println!("\nwith a Redis on port {port}: {one} and {two}\n");
    sharing(report, &site);
    let told = outage(report, &mut site);
    if report.has_failures() || told.is_err() {
        for application in site.both() {
            println!("\n{}:\n{}", application.log.display(), application.logged());
        }
    }
    told?;
    report.check("both stop cleanly when asked to", || {
        Ok(format!("{}, {}", site.one.stop()?, site.two.stop()?))
    });
    Ok(())
}

impl Site {
    fn start(server: &str, program: &Path, folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(server);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let redis =
            Server::start(command, port, |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())?;
        let port = port.to_string();
        let start = |name: &str| {
            let settings = [("REDIS_ENABLED", "true"), ("REDIS_PORT", port.as_str())];
            Application::start(program, folder, name, &settings)
        };
        // One after the other: the first makes the samples.
        let (one, two) = (start("one")?, start("two")?);
        let listing = format!("/api/projects/{}/images?limit=10", sample_project(&one)?);
        let image = id_of(&one.get(&listing)?.json()?["items"][0])?;
        let own = format!("/api/images/{image}");
        Ok(Self { redis, one, two, listing, image, own })
    }

    fn both(&self) -> [&Application; 2] {
        [&self.one, &self.two]
    }
}

fn sharing(report: &mut Report, site: &Site) {
    let Site { redis: _, one, two, listing, image, own } = site;
    report.check("both instances use Redis, and say so in log and health", || {
        for application in site.both() {
            logs(application, "Using Redis cache backend")?;
            shown_if(state(application)? == "ok, redis", state(application)?)?;
        }
        state(one)
    });
    report.check("what one instance has loaded is a hit in the other", || {
        for path in [listing, own] {
            becomes_a_hit(one, path)?;
            let answer = two.get(path)?;
            let source = format!("{}, {}", answer.header("cache-status"), answer.header("server-timing"));
            let is_redis = answer.header("server-timing").starts_with("cache;desc=\"redis\"");
            shown_if(answer.is_hit() && is_redis, format!("{path}: {source}"))?;
        }
        Ok("hit redis".to_owned())
    });
    report.check("a change through one instance is in the very next read through the other", || {
        for round in 0..ROUNDS {
            let (writer, reader) = if round % 2 == 0 { (one, two) } else { (two, one) };
            becomes_a_hit(reader, own)?;
            becomes_a_hit(reader, listing)?;
            let title = format!("round {round}");
            edit(writer, image, &title)?;
            shows_title(reader, image, &title)?;
            let shown = reader.get(listing)?.text();
            shown_if(shown.contains(&title), format!("{title} is not in the listing"))?;
        }
        Ok(format!("{ROUNDS} of {ROUNDS}"))
    });
    report.check("a stranger gets 403 for what is in the cache, through both", || {
        for application in site.both() {
            becomes_a_hit(application, own)?;
            application.refuses_a_stranger(own)?;
        }
        Ok("403 and 403".to_owned())
    });
}

fn outage(report: &mut Report, site: &mut Site) -> Result<()> {
    becomes_a_hit(&site.two, &site.own)?;
    site.redis.kill()?;
    let Site { one, two, image, own, .. } = &*site;
    report.check(
        "kill -9 of Redis: every request is answered, and each instance sees its own changes",
        || {
            let mut longest = Duration::ZERO;
            for round in 0..ROUNDS {
                let title = format!("outage {round}");
                let began = Instant::now();
                edit(one, image, &title)?;
                shows_title(one, image, &title)?;
                two.get(own)?.expect(200)?;
                longest = longest.max(began.elapsed());
            }
            let (requests, longest) = (3 * ROUNDS, longest.as_millis());
            Ok(format!("{requests} requests; a change and two reads took {longest} ms at most"))
        },
    );
    report.check("the disk stands in, and health says why", || {
        let health = one.get("/api/cache/health")?.json()?;
        let (state, depth) = (state(one)?, &health["journal_depth"]);
        let shown = format!("{state}, {depth} changes wait for Redis: {}", health["cause"]);
        shown_if(state == "degraded, fallback" && *depth != 0, shown)
    });
    site.redis.start_again()?;
    report.check("Redis is found again without a restart", || {
        let began = Instant::now();
        for application in site.both() {
            while state(application)? != "ok, redis" {
                shown_if(began.elapsed() < PATIENCE, state(application)?)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            logs(application, "Redis cache available again")?;
        }
        Ok(format!("{} ms after it answered", began.elapsed().as_millis()))
    });
    report.check("what was changed meanwhile is in the next read through both", || {
        for application in site.both() {
            shows_title(application, &site.image, &format!("outage {}", ROUNDS - 1))?;
        }
        edit(&site.one, &site.image, "afterwards")?;
        shows_title(&site.two, &site.image, "afterwards")
    });
    Ok(())
}

/// Reads until the answer comes from the cache: a load does not wait until its value is stored.
pub(crate) fn becomes_a_hit(application: &Application, path: &str) -> Result<()> {
    let began = Instant::now();
    while !application.get(path)?.expect(200)?.is_hit() {
        shown_if(began.elapsed() < PATIENCE, format!("{path} is never read from the cache"))?;
    }
    Ok(())
}

/// Fails unless the log holds `text`.
pub(crate) fn logs(application: &Application, text: &str) -> Result<()> {
    let log = application.logged();
    shown_if(log.contains(text), format!("no line {text:?} in the log:\n{log}")).map(drop)
}

/// Status and active backend.
pub(crate) fn state(application: &Application) -> Result<String> {
    let health = application.get("/api/cache/health")?.json()?;
    let word = |name: &str| health[name].as_str().unwrap_or("?").to_owned();
    Ok(format!("{}, {}", word("status"), word("active")))
}
