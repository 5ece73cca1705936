//! `CACHE_DIR`: lost under a running server, and in the way of the data.

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
    assert_eq!(second.get(&image).0, "hit");
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
