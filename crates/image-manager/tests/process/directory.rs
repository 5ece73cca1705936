//! `CACHE_DIR`: lost under a running server, and in the way of the data.

use std::path::Path;

use serde_json::json;

use super::{Process, command, run};

#[test]
fn a_change_through_a_server_whose_cache_directory_is_gone_is_seen_by_the_one_that_began_anew() {
    let directory = tempfile::tempdir().unwrap();
    let first = Process::start(directory.path());
    let image = first.sample();
    first.get(&image);
    std::fs::remove_dir_all(directory.path().join("_cache")).unwrap();
    let second = Process::start(directory.path());
    second.get(&image);
    assert!(second.get(&image).0);
    first.put(&format!("{image}/metadata"), &json!({ "version": "new" }));
    assert_eq!(second.get(&image).1["metadata"], json!({ "version": "new" }));
    drop(first);
    assert_eq!(second.get(&image).1["metadata"], json!({ "version": "new" }));
}

#[test]
fn a_cache_directory_that_is_the_datas_or_above_it_is_refused_by_the_start_and_by_the_doctor() {
    let directory = tempfile::tempdir().unwrap();
    for cache in ["data", "./data/../data", "."] {
        for argument in [None, Some("doctor")] {
            let (output, text) = run(command(directory.path()).env("CACHE_DIR", cache).args(argument));
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("CACHE_DIR") && text.contains("DATA_DIR"), "{text}");
        }
    }
    assert!(!directory.path().join("data").exists());
}

#[test]
fn what_the_start_refuses_the_doctor_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let (elsewhere, link) = (directory.path().join("elsewhere"), directory.path().join("link"));
    std::fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    for argument in [None, Some("doctor")] {
        let (output, text) = run(command(directory.path()).env("CACHE_DIR", "link").args(argument));
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("is a symbolic link"), "{text}");
    }
}

#[test]
fn what_ends_a_start_is_wrong_to_the_doctor() {
    type Prepare = fn(&Path);
    let nothing: Prepare = |_| {};
    let file: Prepare = |data| std::fs::write(data.join("originals"), "x").unwrap();
    let newer: Prepare = |data| {
        let database = rusqlite::Connection::open(data.join("image-manager.sqlite3")).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
    };
    for (setting, prepare, says) in [
        (("LOG_FORMAT", "xml"), nothing, "LOG_FORMAT takes"),
        (("RUST_LOG", "image_manager=foo"), nothing, "RUST_LOG takes"),
        (("ALLOWED_HOSTS", "images.example:443"), nothing, "ALLOWED_HOSTS takes"),
        (("RUST_LOG", "info"), file, "DATA_DIR"),
        (("RUST_LOG", "info"), newer, "newer version"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        prepare(&data);
        for argument in [Some("doctor"), None] {
            let (output, text) = run(command(directory.path()).env(setting.0, setting.1).args(argument));
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(says), "{says}: {text}");
        }
    }
}

#[test]
fn the_doctor_leaves_a_stopped_servers_data_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path());
    process.signal(rustix::process::Signal::TERM);
    process.child.wait().unwrap();
    let files = || {
        let entries = std::fs::read_dir(directory.path().join("data")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let (output, text) = run(command(directory.path()).arg("doctor"));
    assert!(output.status.success() && text.contains("4 images"), "{text}");
    assert_eq!(files(), before);
}

#[test]
fn a_setting_that_lacks_its_end_is_named() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "SHUTDOWN_TIMEOUT=5\n").unwrap();
    let (_, text) = run(command(directory.path()).env("ALLOWED_HOST", "x").arg("doctor"));
    for (name, meant) in [("ALLOWED_HOST", "ALLOWED_HOSTS"), ("SHUTDOWN_TIMEOUT", "SHUTDOWN_TIMEOUT_SECONDS")]
    {
        assert!(text.contains(&format!("{name} is no setting of the application; {meant} is")), "{text}");
    }
}
