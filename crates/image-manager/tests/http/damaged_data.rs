//! What is removed from the data directory while the server runs.

use std::fs;
use std::path::Path;

use cache_facade::Cache;
use serde_json::json;

use crate::harness::{Server, png, settings};

fn start(directory: &Path) -> (std::path::PathBuf, Server) {
    let settings = settings(directory);
    let data = settings.data_directory.clone();
    (data, Server::over(settings, async || Cache::memory()))
}

#[test]
fn uploads_make_the_folders_that_were_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (data, server) = start(directory.path());
    let project = server.project();
    for folders in [&["incoming"][..], &["originals"], &["incoming", "originals"]] {
        server.upload(&project, "a.png", &png([1, 2, 3]));
        for folder in folders {
            fs::remove_dir_all(data.join(folder)).unwrap();
        }
        let picture = png([4, 5, 6]);
        let image = server.upload(&project, "b.png", &picture);
        assert_eq!(server.get("ann", &format!("/api/images/{image}/content")).expect(200).body, picture);
    }
}

#[test]
fn an_image_whose_file_is_missing_is_gone_until_a_file_is_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let (data, server) = start(directory.path());
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let collection = format!("/api/images/{image}/analyses");
    let analysis = server.send("POST", "ann", &collection, &json!({"kind": "histogram"})).expect(201).json();
    fs::remove_dir_all(data.join("originals")).unwrap();
    let paths = [
        format!("/api/images/{image}/content"),
        format!("/api/images/{image}/thumbnail"),
        format!("/api/analyses/{}/results", analysis["id"].as_str().unwrap()),
    ];
    for path in &paths {
        assert_eq!(server.get("ann", path).expect(410).code(), "original_missing", "{path}");
    }
    server.get("ann", &format!("/api/images/{image}")).expect(200);
    let file = format!("/api/images/{image}/file");
    server.form("PUT", "ann", &file, &[("file", None, &png([7, 8, 9]))]).expect(200);
    for path in &paths {
        server.get("ann", path).expect(200);
    }
}

#[test]
fn a_database_that_was_removed_is_not_written_to_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (data, server) = start(directory.path());
    let project = server.project();
    server.get("ann", "/readyz").expect(200);
    let (file, aside) = (data.join("image-manager.sqlite3"), data.join("aside"));
    fs::rename(&file, &aside).unwrap();
    server.get("ann", "/readyz").expect(503);
    server.get("ann", "/healthz").expect(200);
    server.send("POST", "ann", "/api/projects", &json!({"name": "lost"})).expect(500);
    server.get("ann", &format!("/api/projects/{project}")).expect(500);
    assert!(!file.exists());
    fs::rename(&aside, &file).unwrap();
    server.get("ann", &format!("/api/projects/{project}")).expect(200);
    server.get("ann", "/readyz").expect(200);
}

#[test]
fn a_data_directory_that_is_gone_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let (data, server) = start(directory.path());
    fs::rename(&data, directory.path().join("aside")).unwrap();
    assert_eq!(server.get("ann", "/readyz").expect(503).code(), "not_ready");
    server.get("ann", "/healthz").expect(200);
}
