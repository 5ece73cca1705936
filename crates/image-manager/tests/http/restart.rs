//! The disk cache over restarts, and several instances over one data directory.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use cache_facade::{Cache, CacheConfig};
use image_manager::{Seed, Settings};
use serde_json::json;

use crate::harness::{Server, multipart, png, settings};

async fn disk_cache(directory: std::path::PathBuf, memory_mb: u64) -> Cache {
    let config = CacheConfig::builder().directory(directory).size_mb(32).memory_mb(memory_mb);
    Cache::connect(config.build().unwrap()).await.unwrap()
}

fn start(directory: &Path, settings: Settings) -> Server {
    let cache = directory.join("cache");
    Server::over(settings, async move || disk_cache(cache, 0).await)
}

#[test]
fn with_memory_later_reads_are_answered_from_it_until_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let server = Server::over(settings(directory.path()), async move || disk_cache(cache, 8).await);
    let image = server.upload(&server.project(), "a.png", &png([1, 2, 3]));
    let path = format!("/api/images/{image}");
    let backends = || {
        [(); 3].map(|()| {
            let answer = server.get("ann", &path).expect(200);
            (answer.source().to_owned(), answer.backend().to_owned())
        })
    };
    let expected = [("miss", "disk"), ("hit", "disk"), ("hit", "memory")];
    let expected = expected.map(|(source, backend)| (source.to_owned(), backend.to_owned()));
    assert_eq!(backends(), expected);
    let changed = json!({"changed": "by another"});
    server.send("PUT", "ann", &format!("{path}/metadata"), &changed).expect(200);
    assert_eq!(backends(), expected);
    assert_eq!(server.get("ann", &path).expect(200).json()["metadata"], changed);

    assert_eq!(server.get("ann", "/api/cache/health").expect(200).json()["near"]["state"], "serving");
    assert_eq!(server.get("ann", "/api/cache/stats").expect(200).json()["near"]["hits"], 3);
    server.stop();
}

#[test]
fn a_clean_restart_keeps_the_cache_warm_and_right() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), settings(directory.path()));
    let project = server.project();
    let image = server.upload(&project, "a.png", &png([1, 2, 3]));
    let other = server.upload(&project, "b.png", &png([1, 2, 3]));
    let paths = [
        format!("/api/images/{image}"),
        format!("/api/projects/{project}/images"),
        format!("/api/images/{image}/thumbnail"),
    ];
    let bodies: Vec<_> = paths.iter().map(|path| server.get("ann", path).expect(200).body).collect();
    server.get("ann", &format!("/api/images/{other}")).expect(200);
    let changed = json!({"changed": "just before the stop"});
    server.send("PUT", "ann", &format!("/api/images/{other}/metadata"), &changed).expect(200);
    server.get("ann", &paths[1]).expect(200);
    server.stop();

    let server = start(directory.path(), settings(directory.path()));
    let again: Vec<_> = paths.iter().map(|path| server.get("bob", path).expect(200)).collect();
    for (path, answer) in paths.iter().zip(&again) {
        assert_eq!((answer.source(), answer.backend()), ("hit", "disk"), "{path}");
        server.get("eve", path).expect(403);
    }
    assert_eq!((&again[0].body, &again[2].body), (&bodies[0], &bodies[2]));
    let read = server.get("ann", &format!("/api/images/{other}")).expect(200);
    assert_eq!((read.source(), &read.json()["metadata"]), ("miss", &changed));
    server.stop();
}

#[test]
fn the_first_start_makes_samples_and_no_later_one_does() {
    let directory = tempfile::tempdir().unwrap();
    let seeded = || Settings { seed: Seed::Generated, ..settings(directory.path()) };
    let samples = |server: &Server| {
        let projects = server.get("demo", "/api/projects").expect(200).json();
        let listed = |project: &serde_json::Value| {
            let path = format!("/api/projects/{}/images", project["id"].as_str().unwrap());
            server.get("demo", &path).expect(200).json()["total"].as_u64().unwrap()
        };
        projects["items"].as_array().unwrap().iter().map(listed).collect::<Vec<_>>()
    };
    let server = start(directory.path(), seeded());
    assert_eq!(samples(&server), [4]);
    server.stop();
    let server = start(directory.path(), seeded());
    assert_eq!(samples(&server), [4]);
    server.stop();
}

#[test]
fn samples_that_failed_at_the_first_start_are_made_up_for() {
    for broken in [256, 128, 64] {
        let directory = tempfile::tempdir().unwrap();
        let seeded = || Settings { seed: Seed::Generated, ..settings(directory.path()) };
        let originals = settings(directory.path()).data_directory.join("originals");
        std::fs::create_dir_all(&originals).unwrap();
        // Where the folder of a file should be there is something else.
        let in_the_way: Vec<_> = (0..broken).map(|number| originals.join(format!("{number:02x}"))).collect();
        for path in &in_the_way {
            std::fs::write(path, "").unwrap();
        }
        start(directory.path(), seeded()).stop();
        for path in &in_the_way {
            let _ = std::fs::remove_file(path);
        }
        for _ in 0..2 {
            let server = start(directory.path(), seeded());
            let projects = server.get("demo", "/api/projects").expect(200).json();
            assert_eq!(projects["items"].as_array().unwrap().len(), 1);
            let path = format!("/api/projects/{}/images", projects["items"][0]["id"].as_str().unwrap());
            assert_eq!(server.get("demo", &path).expect(200).json()["total"], 4);
            server.stop();
        }
    }
}

#[test]
fn a_seed_folder_gives_its_pictures_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("pictures");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    std::fs::write(folder.join("b.png"), png([1, 2, 3])).unwrap();
    std::fs::write(folder.join("a.png"), png([4, 5, 6])).unwrap();
    std::fs::write(folder.join("notes.txt"), "no picture").unwrap();
    let server =
        start(directory.path(), Settings { seed: Seed::Folder(folder), ..settings(directory.path()) });
    let projects = server.get("demo", "/api/projects").expect(200).json();
    assert_eq!(projects["items"][0]["name"], "Samples");
    let path = format!("/api/projects/{}/images", projects["items"][0]["id"].as_str().unwrap());
    let page = server.get("demo", &path).expect(200).json();
    assert_eq!(page["total"], 2);
    assert_eq!(
        (&page["items"][0]["filename"], &page["items"][1]["filename"]),
        (&json!("a.png"), &json!("b.png"))
    );
}

#[test]
fn instances_share_a_data_directory_and_each_has_its_own_cache() {
    let directory = tempfile::tempdir().unwrap();
    let instance = |name: &str| {
        let cache = directory.path().join(name);
        Server::over(settings(directory.path()), async move || disk_cache(cache, 0).await)
    };
    let (one, two) = (instance("one"), instance("two"));
    let project = one.project();
    let images: Vec<String> = std::thread::scope(|scope| {
        let uploads: Vec<_> = [&one, &two, &one, &two]
            .into_iter()
            .map(|server| scope.spawn(|| server.upload(&project, "a.png", &png([1, 2, 3]))))
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    for server in [&one, &two] {
        let page = server.get("bob", &format!("/api/projects/{project}/images")).expect(200).json();
        assert_eq!(page["total"], 4);
        for image in &images {
            server.get("bob", &format!("/api/images/{image}/thumbnail")).expect(200);
        }
    }
    // Permissions are in the database, and so at once equal for all instances.
    one.send("PUT", "ann", &format!("/api/projects/{project}/members"), &json!({"members": ["ann"]}))
        .expect(200);
    for path in [
        format!("/api/images/{}/thumbnail", images[0]),
        format!("/api/images/{}", images[0]),
        format!("/api/projects/{project}/images"),
    ] {
        two.get("bob", &path).expect(403);
    }
    one.delete("ann", &format!("/api/images/{}", images[0])).expect(204);
    two.get("ann", &format!("/api/images/{}/thumbnail", images[0])).expect(404);
}

#[test]
fn a_request_that_runs_when_the_server_stops_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start(directory.path(), settings(directory.path()));
    let project = server.project();
    let body = multipart(&[("file", Some("a.png"), &png([1, 2, 3]))]);
    let mut sending = TcpStream::connect(server.address()).unwrap();
    write!(
        sending,
        "POST /api/projects/{project}/images HTTP/1.1\r\nhost: localhost\r\nx-user: ann\r\nexpect: 100-continue\r\n\
         content-type: multipart/form-data; boundary=frontier\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut answer = BufReader::new(sending.try_clone().unwrap()).lines().map(Result::unwrap);
    // The handler is reading: the request runs.
    assert_eq!(answer.next().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(answer.next().unwrap(), "");

    server.begin_to_stop();
    sending.write_all(&body).unwrap();
    assert_eq!(answer.next().unwrap(), "HTTP/1.1 201 Created");
    server.stop();

    let server = start(directory.path(), settings(directory.path()));
    let page = server.get("ann", &format!("/api/projects/{project}/images")).expect(200).json();
    assert_eq!(page["total"], 1);
}
