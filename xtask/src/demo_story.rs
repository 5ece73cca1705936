//! What the demonstration does with the running application: each step is a check over real HTTP.

use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use walkdir::WalkDir;

use crate::demo::Application;
use crate::http::{Answer, upload};
use crate::report::Report;

/// The limit that the application runs with.
pub(crate) const CACHE_SIZE_MB: u64 = 32;

/// Walks through the application. An error is a step without which no later one makes sense.
pub(crate) fn tell(report: &mut Report, application: &mut Application) -> Result<()> {
    let project = sample_project(application)?;
    let listing = format!("/api/projects/{project}/images?limit=10");
    let image = id_of(&application.get(&listing)?.json()?["items"][0])?;
    let original = application.get(&format!("/api/images/{image}/content"))?;

    reads(report, application, &listing, &image);
    let uploaded = changes(report, application, &project, &listing, &original)?;
    report.check("a stranger gets 403, also for what is in the cache", || {
        for path in [&listing, &format!("/api/images/{uploaded}")] {
            second_read_is_a_hit(application, path)?;
            application.refuses_a_stranger(path)?;
        }
        Ok("403 and 403".to_owned())
    });
    restarts(report, application, &listing, &uploaded);
    insight(report, application, &listing, &project);
    Ok(())
}

fn reads(report: &mut Report, application: &Application, listing: &str, image: &str) {
    for (what, path) in [
        ("a page of images", format!("{listing}&skip=1")),
        ("an image's metadata", format!("/api/images/{image}")),
        ("a thumbnail", format!("/api/images/{image}/thumbnail?width=64&height=64")),
    ] {
        report.check(format!("{what} is read again from the cache"), || {
            second_read_is_a_hit(application, &path)
        });
    }
    report.check("an analysis is read again from the cache", || {
        let (path, kind) =
            (format!("/api/images/{image}/analyses"), json!({"kind": "histogram"}).to_string());
        let created = application.send("POST", &path, "application/json", kind.as_bytes())?.expect(201)?;
        let analysis = id_of(&created.json()?)?;
        second_read_is_a_hit(application, &format!("/api/analyses/{analysis}/results"))
    });
}

fn changes(
    report: &mut Report,
    application: &Application,
    project: &str,
    listing: &str,
    original: &Answer,
) -> Result<String> {
    second_read_is_a_hit(application, listing)?;
    let before = total(application, listing)?;
    let (content_type, body) = upload("copy.png", original.header("content-type"), &original.body);
    let path = format!("/api/projects/{project}/images");
    let image = id_of(&application.send("POST", &path, &content_type, &body)?.expect(201)?.json()?)?;
    let own = format!("/api/images/{image}");
    let thumbnail = format!("{own}/thumbnail?width=32&height=32");

    report.check("an upload is in the very next listing", || {
        let after = total(application, listing)?;
        shown_if(after == before + 1, format!("{before} images, then {after}"))
    });
    report.check("an edit is in the very next read of a cached image", || {
        second_read_is_a_hit(application, &own)?;
        edit(application, &image, "first")?;
        shows_title(application, &image, "first")
    });
    report.check("a deleted image, its thumbnail and its place in the listing are gone at once", || {
        second_read_is_a_hit(application, &thumbnail)?;
        second_read_is_a_hit(application, listing)?;
        application.call("DELETE", &own)?.expect(204)?;
        application.get(&own)?.expect(404)?;
        application.get(&thumbnail)?.expect(404)?;
        let after = total(application, listing)?;
        shown_if(after == before, format!("404, 404 and {after} images"))
    });
    report.check("a restored image is back at once", || {
        application.call("POST", &format!("{own}/restore"))?.expect(200)?;
        application.get(&own)?.expect(200)?;
        let after = total(application, listing)?;
        shown_if(after == before + 1, format!("{after} images"))
    });
    Ok(image)
}

fn restarts(report: &mut Report, application: &mut Application, listing: &str, image: &str) {
    report.check("after a clean restart the cache is warm", || {
        second_read_is_a_hit(application, listing)?;
        application.stop()?;
        application.server.start_again()?;
        let answer = application.get(listing)?;
        shown_if(answer.is_hit(), answer.header("cache-status").to_owned())
    });
    report.check("kill -9 right after an edit brings nothing old back", || {
        second_read_is_a_hit(application, &format!("/api/images/{image}"))?;
        edit(application, image, "second")?;
        application.server.kill()?;
        application.server.start_again()?;
        shows_title(application, image, "second")
    });
}

fn insight(report: &mut Report, application: &Application, listing: &str, project: &str) {
    report.check("health says that all is well", || {
        let health = application.get("/api/cache/health")?.json()?;
        let shown = format!("status {}, active {}", health["status"], health["active"]);
        shown_if(health["status"] == "ok", shown)
    });
    report.check("statistics name the backend and its limit", || {
        let stats = application.get("/api/cache/stats")?.json()?;
        let shown = format!("{} of {} MB, {} entries", stats["size_mb"], stats["limit_mb"], stats["count"]);
        shown_if(stats["backend"] == "disk" && stats["limit_mb"] == CACHE_SIZE_MB, shown)
    });
    report.check("metrics are served for Prometheus", || {
        let metrics = application.get("/metrics")?.expect(200)?.text();
        let lines = metrics.lines().filter(|line| line.starts_with("cache_")).count();
        shown_if(lines > 0, format!("{lines} lines of the cache"))
    });
    report.check("the cache's folder stays within its limit", || {
        // Space as `du` counts it: blocks of 512 bytes.
        let mut bytes = 0;
        for entry in WalkDir::new(&application.cache_folder) {
            bytes += entry?.metadata()?.blocks() * 512;
        }
        shown_if(bytes <= CACHE_SIZE_MB << 20, format!("{} KB of {CACHE_SIZE_MB} MB", bytes / 1024))
    });
    report.check("clearing a project's pages clears them, an empty pattern is refused", || {
        second_read_is_a_hit(application, listing)?;
        let pattern = format!("/api/cache?pattern=project_images:{project}");
        application.call("DELETE", &pattern)?.expect(200)?;
        let answer = application.get(listing)?;
        application.call("DELETE", "/api/cache?pattern=")?.expect(400)?;
        let shown = format!("{}, then 400", answer.header("cache-status"));
        shown_if(!answer.is_hit(), shown)
    });
}

/// The id of the project with the sample images.
pub(crate) fn sample_project(application: &Application) -> Result<String> {
    let projects = application.get("/api/projects")?.expect(200)?.json()?;
    let mut items = projects["items"].as_array().into_iter().flatten();
    let sample = items.find(|project| project["name"] == "Samples");
    id_of(sample.with_context(|| format!("no project Samples: {projects}"))?)
}
/// Reads twice: the second answer comes from the cache, and both are the same.
fn second_read_is_a_hit(application: &Application, path: &str) -> Result<String> {
    let first = application.get(path)?.expect(200)?;
    let second = application.get(path)?.expect(200)?;
    let caches = format!("{}, then {}", first.header("cache-status"), second.header("cache-status"));
    ensure!(second.is_hit(), "{path}: {caches}");
    ensure!(first.body == second.body, "{path}: the second answer differs from the first");
    Ok(format!("{caches} ({})", second.header("server-timing")))
}

/// Changes the title of an image.
pub(crate) fn edit(application: &Application, image: &str, title: &str) -> Result<()> {
    let body = json!({"title": title}).to_string();
    let path = format!("/api/images/{image}/metadata");
    application.send("PUT", &path, "application/json", body.as_bytes())?.expect(200).map(drop)
}

/// Fails unless a read of the image shows this title.
pub(crate) fn shows_title(application: &Application, image: &str, title: &str) -> Result<String> {
    let shown = application.get(&format!("/api/images/{image}"))?.json()?;
    let shown = &shown["metadata"]["title"];
    shown_if(shown == title, format!("title {shown}"))
}

fn total(application: &Application, listing: &str) -> Result<u64> {
    let page = application.get(listing)?.expect(200)?.json()?;
    page["total"].as_u64().with_context(|| format!("{listing}: no total"))
}

/// The `id` of an object.
pub(crate) fn id_of(value: &Value) -> Result<String> {
    match &value["id"] {
        Value::String(id) => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        _ => bail!("no id in {value}"),
    }
}

/// Returns the text as the note of a check that passed, or as the error of one that failed.
pub(crate) fn shown_if(passed: bool, text: String) -> Result<String> {
    if passed { Ok(text) } else { bail!(text) }
}
