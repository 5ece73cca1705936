//! What the demonstration does with the running application: each step is a check over real HTTP.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::demo::Application;
use crate::http::{Answer, Request, send, upload};
use crate::json::{field, list};
use crate::report::Report;

/// The limit that the application runs with.
pub(crate) const CACHE_SIZE_MB: u64 = 32;

/// Walks through the application. An error is a step without which no later one makes sense.
pub(crate) fn tell(report: &mut Report, application: &mut Application) -> Result<(), String> {
    let project = sample_project(application)?;
    let listing = format!("/api/projects/{project}/images?limit=10");
    let first = get(application, &listing)?.json()?;
    let image = id_of(field(&first, "items").get(0).unwrap_or(&Value::Null))?;
    let original = get(application, &format!("/api/images/{image}/content"))?;

    reads(report, application, &listing, &image);
    let uploaded = changes(report, application, &project, &listing, &original)?;
    rights(report, application, &listing, &uploaded);
    restarts(report, application, &listing, &uploaded);
    insight(report, application, &listing);
    Ok(())
}

fn reads(report: &mut Report, application: &Application, listing: &str, image: &str) {
    report.check("a page of images is read again from the cache", || {
        second_read_is_a_hit(application, &format!("{listing}&skip=1"))
    });
    report.check("an image's metadata is read again from the cache", || {
        second_read_is_a_hit(application, &format!("/api/images/{image}"))
    });
    report.check("a thumbnail is read again from the cache", || {
        second_read_is_a_hit(application, &format!("/api/images/{image}/thumbnail?width=64&height=64"))
    });
    report.check("an analysis is read again from the cache", || {
        let created =
            post_json(application, &format!("/api/images/{image}/analyses"), &json!({"kind": "histogram"}))?;
        expect(&created, 201)?;
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
) -> Result<String, String> {
    second_read_is_a_hit(application, listing)?;
    let before = total(application, listing)?;
    let (content_type, body) = upload("copy.png", original.header("content-type"), &original.body);
    let path = format!("/api/projects/{project}/images");
    let answer = call(application, "POST", &path, "", &content_type, &body)?;
    expect(&answer, 201)?;
    let image = id_of(&answer.json()?)?;
    let own = format!("/api/images/{image}");
    let thumbnail = format!("{own}/thumbnail?width=32&height=32");

    report.check("an upload is in the very next listing", || {
        let after = total(application, listing)?;
        told_if(after == before + 1, format!("{before} images, then {after}"))
    });
    report.check("an edit is in the very next read of a cached image", || {
        second_read_is_a_hit(application, &own)?;
        edit(application, &image, "first")?;
        shows_title(application, &image, "first")
    });
    report.check("a deleted image, its thumbnail and its place in the listing are gone at once", || {
        second_read_is_a_hit(application, &thumbnail)?;
        second_read_is_a_hit(application, listing)?;
        expect(&call(application, "DELETE", &own, "", "", &[])?, 204)?;
        expect(&get(application, &own)?, 404)?;
        expect(&get(application, &thumbnail)?, 404)?;
        let after = total(application, listing)?;
        told_if(after == before, format!("404, 404 and {after} images"))
    });
    report.check("a restored image is back at once", || {
        expect(&call(application, "POST", &format!("{own}/restore"), "", "", &[])?, 200)?;
        expect(&get(application, &own)?, 200)?;
        let after = total(application, listing)?;
        told_if(after == before + 1, format!("{after} images"))
    });
    Ok(image)
}

fn rights(report: &mut Report, application: &Application, listing: &str, image: &str) {
    report.check("a stranger gets 403, also for what is in the cache", || {
        for path in [listing.to_owned(), format!("/api/images/{image}")] {
            second_read_is_a_hit(application, &path)?;
            expect(&call(application, "GET", &path, "mallory", "", &[])?, 403)?;
        }
        Ok("403 and 403".to_owned())
    });
}

fn restarts(report: &mut Report, application: &mut Application, listing: &str, image: &str) {
    report.check("after a clean restart the cache is warm", || {
        second_read_is_a_hit(application, listing)?;
        application.stop()?;
        application.start_again()?;
        let answer = get(application, listing)?;
        told_if(answer.header("x-cache") == "hit", format!("X-Cache: {}", answer.header("x-cache")))
    });
    report.check("kill -9 right after an edit brings nothing old back", || {
        second_read_is_a_hit(application, &format!("/api/images/{image}"))?;
        edit(application, image, "second")?;
        application.kill()?;
        application.start_again()?;
        shows_title(application, image, "second")
    });
}

fn insight(report: &mut Report, application: &Application, listing: &str) {
    report.check("health says that all is well", || {
        let health = get(application, "/api/cache/health")?.json()?;
        told_if(
            field(&health, "status") == "ok",
            format!("status {}, active {}", field(&health, "status"), field(&health, "active")),
        )
    });
    report.check("statistics name the backend and its limit", || {
        let stats = get(application, "/api/cache/stats")?.json()?;
        let shown = format!(
            "{} of {} MB, {} entries",
            field(&stats, "size_mb"),
            field(&stats, "limit_mb"),
            field(&stats, "count")
        );
        told_if(field(&stats, "backend") == "disk" && field(&stats, "limit_mb") == CACHE_SIZE_MB, shown)
    });
    report.check("metrics are served for Prometheus", || {
        let metrics = get(application, "/metrics")?;
        expect(&metrics, 200)?;
        let lines =
            String::from_utf8_lossy(&metrics.body).lines().filter(|line| line.starts_with("cache_")).count();
        told_if(lines > 0, format!("{lines} lines of the cache"))
    });
    report.check("the cache's folder stays within its limit", || {
        let bytes = space_used(&application.cache_folder())?;
        told_if(bytes <= CACHE_SIZE_MB << 20, format!("{} KB of {CACHE_SIZE_MB} MB", bytes / 1024))
    });
    report.check("clearing a project's pages clears them, an empty pattern is refused", || {
        let project = listing.split('/').nth(3).unwrap_or_default();
        second_read_is_a_hit(application, listing)?;
        expect(
            &call(
                application,
                "DELETE",
                &format!("/api/cache?pattern=project_images:{project}"),
                "",
                "",
                &[],
            )?,
            200,
        )?;
        let answer = get(application, listing)?;
        expect(&call(application, "DELETE", "/api/cache?pattern=", "", "", &[])?, 400)?;
        told_if(
            answer.header("x-cache") == "miss",
            format!("X-Cache: {}, then 400", answer.header("x-cache")),
        )
    });
}

pub(crate) fn sample_project(application: &Application) -> Result<String, String> {
    let answer = get(application, "/api/projects")?;
    expect(&answer, 200)?;
    let projects = answer.json()?;
    let sample = list(field(&projects, "items")).iter().find(|project| field(project, "name") == "Samples");
    id_of(sample.ok_or_else(|| format!("no project Samples: {projects}"))?)
}

/// Reads twice: the second answer comes from the cache, and both are the same.
fn second_read_is_a_hit(application: &Application, path: &str) -> Result<String, String> {
    let first = get(application, path)?;
    let second = get(application, path)?;
    expect(&first, 200)?;
    expect(&second, 200)?;
    let caches = format!("{}, then {}", first.header("x-cache"), second.header("x-cache"));
    if second.header("x-cache") != "hit" {
        return Err(format!("{path}: {caches}"));
    }
    if first.body != second.body {
        return Err(format!("{path}: the second answer differs from the first"));
    }
    Ok(format!("{caches} ({})", second.header("server-timing")))
}

pub(crate) fn edit(application: &Application, image: &str, title: &str) -> Result<(), String> {
    let path = format!("/api/images/{image}/metadata");
    let body = json!({"title": title}).to_string();
    expect(&call(application, "PUT", &path, "", "application/json", body.as_bytes())?, 200)
}

pub(crate) fn shows_title(application: &Application, image: &str, title: &str) -> Result<String, String> {
    let metadata = get(application, &format!("/api/images/{image}"))?.json()?;
    told_if(
        field(field(&metadata, "metadata"), "title") == title,
        format!("title {}", field(field(&metadata, "metadata"), "title")),
    )
}

fn total(application: &Application, listing: &str) -> Result<u64, String> {
    let answer = get(application, listing)?;
    expect(&answer, 200)?;
    field(&answer.json()?, "total").as_u64().ok_or_else(|| format!("{listing}: no total"))
}

pub(crate) fn id_of(value: &Value) -> Result<String, String> {
    match field(value, "id") {
        Value::String(id) => Ok(id.clone()),
        Value::Number(id) => Ok(id.to_string()),
        _ => Err(format!("no id in {value}")),
    }
}

pub(crate) fn told_if(right: bool, what: String) -> Result<String, String> {
    if right { Ok(what) } else { Err(what) }
}

pub(crate) fn expect(answer: &Answer, status: u16) -> Result<(), String> {
    if answer.status == status {
        return Ok(());
    }
    Err(format!("expected {status}, got {}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

pub(crate) fn get(application: &Application, path: &str) -> Result<Answer, String> {
    call(application, "GET", path, "", "", &[])
}

fn post_json(application: &Application, path: &str, body: &Value) -> Result<Answer, String> {
    call(application, "POST", path, "", "application/json", body.to_string().as_bytes())
}

pub(crate) fn call(
    application: &Application,
    method: &str,
    path: &str,
    user: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Answer, String> {
    send(application.port, &Request { method, path, user, content_type, body })
}

/// Space as `du` counts it: blocks of 512 bytes.
fn space_used(path: &Path) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            bytes += space_used(&entry.map_err(failed)?.path())?;
        }
    }
    Ok(bytes)
}
