//! The second act of the demonstration: two instances of the application over one data folder and one Redis, which is
//! killed in the middle and comes back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::demo::Application;
use crate::demo_redis::RedisProcess;
use crate::demo_story::{call, edit, expect, get, id_of, sample_project, shows_title, told_if};
use crate::json::field;
use crate::redis_server;
use crate::report::Report;

/// How long what must come about may take on a crowded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many changes and reads the checks make.
const ROUNDS: u32 = 50;

/// The instances, and what they share.
struct Site {
    redis: RedisProcess,
    one: Application,
    two: Application,
    listing: String,
    image: String,
}

/// Walks through the second act. Where no server can be found it is skipped, and says so.
pub(crate) fn tell(report: &mut Report, program: &Path, folder: &Path) -> Result<(), String> {
    let server = match redis_server::ensure() {
        Ok(server) => server,
        Err(why) => {
            eprintln!("\n!! the second act is skipped: {why}\n");
            report.skip("two instances share a Redis that is killed and comes back", why);
            return Ok(());
        }
    };
    let mut site = Site::start(&server, program, folder)?;
    println!(
        "\nwith a Redis on port {}: {} and {}\n",
        site.redis.port,
        site.one.address(),
        site.two.address()
    );
    sharing(report, &site);
    let told = outage(report, &mut site);
    if report.has_failures() || told.is_err() {
        for application in [&site.one, &site.two] {
            println!("\n{}:\n{}", application.log().display(), read_log(application));
        }
    }
    told?;
    report.check("both stop cleanly when asked to", || {
        Ok(format!("{}, {}", site.one.stop()?, site.two.stop()?))
    });
    Ok(())
}

impl Site {
    fn start(server: &str, program: &Path, folder: &Path) -> Result<Self, String> {
        let redis = RedisProcess::start(server, folder)?;
        let port = redis.port.to_string();
        let start = |name: &str| {
            let settings = [("REDIS_ENABLED", "true"), ("REDIS_PORT", port.as_str())];
            Application::start(program, folder, name, &settings)
        };
        // One after the other: the first makes the samples.
        let (one, two) = (start("one")?, start("two")?);
        let listing = format!("/api/projects/{}/images?limit=10", sample_project(&one)?);
        let first = get(&one, &listing)?.json()?;
        let image = id_of(field(&first, "items").get(0).unwrap_or(&Value::Null))?;
        Ok(Self { redis, one, two, listing, image })
    }

    fn both(&self) -> [&Application; 2] {
        [&self.one, &self.two]
    }
}

fn sharing(report: &mut Report, site: &Site) {
    let Site { redis: _, one, two, listing, image } = site;
    let own = format!("/api/images/{image}");
    report.check("both instances use Redis, and say so in log and health", || {
        for application in site.both() {
            let log = read_log(application);
            told_if(
                log.contains("Using Redis cache backend"),
                format!("no line about Redis in the log:\n{log}"),
            )?;
            told_if(state(application)? == "ok, redis", state(application)?)?;
        }
        state(one)
    });
    report.check("what one instance has loaded is a hit in the other", || {
        for path in [listing, &own] {
            becomes_a_hit(one, path)?;
            let answer = get(two, path)?;
            let source = format!("{} {}", answer.header("x-cache"), answer.header("x-cache-backend"));
            told_if(source == "hit redis", format!("{path}: {source}"))?;
        }
        Ok("hit redis".to_owned())
    });
    report.check("a change through one instance is in the very next read through the other", || {
        for round in 0..ROUNDS {
            let (writer, reader) = if round % 2 == 0 { (one, two) } else { (two, one) };
            becomes_a_hit(reader, &own)?;
            becomes_a_hit(reader, listing)?;
            let title = format!("round {round}");
            edit(writer, image, &title)?;
            shows_title(reader, image, &title)?;
            let page = get(reader, listing)?;
            let shown = String::from_utf8_lossy(&page.body);
            told_if(shown.contains(&title), format!("{title} is not in the listing"))?;
        }
        Ok(format!("{ROUNDS} of {ROUNDS}"))
    });
    report.check("a stranger gets 403 for what is in the cache, through both", || {
        for application in site.both() {
            becomes_a_hit(application, &own)?;
            expect(&call(application, "GET", &own, "mallory", "", &[])?, 403)?;
        }
        Ok("403 and 403".to_owned())
    });
}

fn outage(report: &mut Report, site: &mut Site) -> Result<(), String> {
    becomes_a_hit(&site.two, &format!("/api/images/{}", site.image))?;
    site.redis.kill()?;
    let Site { one, two, image, .. } = &*site;
    report.check(
        "kill -9 of Redis: every request is answered, and each instance sees its own changes",
        || {
            let mut longest = Duration::ZERO;
            for round in 0..ROUNDS {
                let title = format!("outage {round}");
                let began = Instant::now();
                edit(one, image, &title)?;
                shows_title(one, image, &title)?;
                expect(&get(two, &format!("/api/images/{image}"))?, 200)?;
                longest = longest.max(began.elapsed());
            }
            Ok(format!(
                "{} requests; a change and two reads took {} ms at most",
                3 * ROUNDS,
                longest.as_millis()
            ))
        },
    );
    report.check("the disk stands in, and health says why", || {
        let health = get(one, "/api/cache/health")?.json()?;
        let shown = format!(
            "{}, {} changes wait for Redis: {}",
            state(one)?,
            field(&health, "journal_depth"),
            field(&health, "cause")
        );
        told_if(state(one)? == "degraded, fallback" && field(&health, "journal_depth") != 0, shown)
    });
    site.redis.start_again()?;
    let Site { one, image, .. } = &*site;
    report.check("Redis is found again without a restart", || {
        let began = Instant::now();
        for application in site.both() {
            while state(application)? != "ok, redis" {
                told_if(began.elapsed() < PATIENCE, state(application)?)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            let log = read_log(application);
            told_if(log.contains("Redis cache available again"), format!("the log does not say so:\n{log}"))?;
        }
        Ok(format!("{} ms after it answered", began.elapsed().as_millis()))
    });
    report.check("what was changed meanwhile is in the next read through both", || {
        for application in site.both() {
            shows_title(application, image, &format!("outage {}", ROUNDS - 1))?;
        }
        edit(one, image, "afterwards")?;
        shows_title(&site.two, image, "afterwards")
    });
    Ok(())
}

/// Whoever loads does not wait until the value is stored: it is there a moment later.
fn becomes_a_hit(application: &Application, path: &str) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let answer = get(application, path)?;
        expect(&answer, 200)?;
        if answer.header("x-cache") == "hit" {
            return Ok(());
        }
        told_if(began.elapsed() < PATIENCE, format!("{path} is never read from the cache"))?;
    }
}

/// Status and active backend.
fn state(application: &Application) -> Result<String, String> {
    let health = get(application, "/api/cache/health")?.json()?;
    let word = |name| field(&health, name).as_str().unwrap_or("?").to_owned();
    Ok(format!("{}, {}", word("status"), word("active")))
}

fn read_log(application: &Application) -> String {
    fs::read_to_string(application.log()).unwrap_or_default()
}
