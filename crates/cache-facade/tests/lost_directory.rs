//! The cache directory is removed or moved under a running process, and another one starts over the same settings.

#![expect(clippy::unwrap_used, reason = "a panic in a helper fails its test")]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use cache_facade::{Cache, CacheConfig, CacheKey, images::ImageChange};

/// Makes a process of this test a worker, in this directory.
const WORKER: &str = "LOST_DIRECTORY_WORKER";

/// Longer than a check of the directory takes, on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

const NAME: &str = "be_a_worker";

/// The files of a test: the cache directory, and a database of one file for each image.
struct Files {
    root: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { root: tempfile::tempdir().unwrap() };
        files.write(1, "old");
        files.write(2, "old");
        files
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn write(&self, image: u32, value: &str) {
        fs::write(self.root.path().join(image.to_string()), value).unwrap();
    }

    fn lose(&self, way: Way) {
        match way {
            Way::Removed => fs::remove_dir_all(self.cache()).unwrap(),
            Way::Moved => fs::rename(self.cache(), self.moved()).unwrap(),
            Way::MountedOver => {
                fs::rename(self.cache(), self.moved()).unwrap();
                fs::create_dir(self.cache()).unwrap();
            }
            Way::LockRemoved => fs::remove_file(self.cache().join("lock")).unwrap(),
        }
    }

    fn moved(&self) -> PathBuf {
        self.root.path().join("moved")
    }
}

/// How a directory is lost; a mount over it looks like another directory in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Removed,
    Moved,
    MountedOver,
    LockRemoved,
}

const WAYS: [Way; 4] = [Way::Removed, Way::Moved, Way::MountedOver, Way::LockRemoved];

/// A process with a cache.
struct Process {
    child: Child,
    told: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(files: &Files) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(WORKER, files.root.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let told = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, told, said };
        process.wait_for("open");
        process
    }

    /// Waits for a line that begins with `word`, and returns its rest.
    fn wait_for(&mut self, word: &str) -> String {
        loop {
            let line = self.said.next().expect("the process ended").unwrap();
            if let Some(rest) = line.strip_prefix("> ").and_then(|line| line.strip_prefix(word)) {
                return rest.trim().to_owned();
            }
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.told, "{what}").unwrap();
    }

    fn ask(&mut self, what: &str) -> String {
        self.tell(what);
        self.wait_for("")
    }

    /// Whether a read of `image` is a hit, and its value.
    fn read(&mut self, image: u32) -> (String, String) {
        let answer = self.ask(&format!("read {image}"));
        let (source, value) = answer.split_once(' ').unwrap();
        (source.to_owned(), value.to_owned())
    }

    fn is_hit(&mut self, image: u32) -> bool {
        self.read(image).0 == "Hit"
    }

    fn end(mut self) {
        self.tell("end");
        assert!(self.child.wait().unwrap().success());
    }

    fn eventually(&mut self, law: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < SOON, "{law}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(image: u32) -> CacheKey {
    CacheKey::builder("image", image).part("metadata").build().unwrap()
}

/// Follows the commands on standard input, if this process is a worker.
#[tokio::test(flavor = "multi_thread")]
async fn be_a_worker() {
    let Some(root) = std::env::var_os(WORKER).map(PathBuf::from) else { return };
    let config = CacheConfig::builder().directory(root.join("cache")).size_mb(8).build().unwrap();
    let cache = Cache::connect(config).await.unwrap();
    println!("\n> open");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["read", image] => {
                let row = root.join(image);
                let load = async move || Ok::<_, Infallible>(fs::read_to_string(row).unwrap());
                let key = key(image.parse().unwrap());
                let loaded = cache.get_or_load(&key, load).details().await.unwrap();
                println!("\n> {:?} {}", loaded.source, loaded.value);
            }
            ["change", image, value] => println!("\n> {}", change(&cache, &root, image, value, None).await),
            // Prints when the intent is written, and commits when the file `gate` exists.
            ["change", image, value, gate] => {
                println!("\n> {}", change(&cache, &root, image, value, Some(gate)).await);
            }
            // Runs such a change while later commands are followed.
            ["begin", image, value, gate] => {
                let (cache, root) = (cache.clone(), root.clone());
                let [image, value, gate] = [image, value, gate].map(|word| (*word).to_owned());
                tokio::spawn(async move { change(&cache, &root, &image, &value, Some(&gate)).await });
            }
            ["close"] => {
                cache.close().await.unwrap();
                println!("\n> closed");
            }
            ["health"] => {
                let health = cache.health().await;
                println!("\n> {:?} {:?} {:?}", health.status, health.journal, health.cause);
            }
            _ => break,
        }
    }
    cache.close().await.unwrap();
}

async fn change(cache: &Cache, root: &Path, image: &str, value: &str, gate: Option<&str>) -> String {
    let (row, value) = (root.join(image), value.to_owned());
    let gate = gate.map(|gate| root.join(gate));
    let commit = async move || {
        if let Some(gate) = gate {
            println!("\n> noted");
            while !gate.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        fs::write(row, value)
    };
    let what = ImageChange::ImageUpdated { project: 7, image: image.parse::<u32>().unwrap() };
    match cache.change(what, commit).await {
        Ok(_) => "changed".to_owned(),
        Err(error) => format!("failed {error:?}"),
    }
}

#[test]
fn a_change_of_a_process_that_lost_its_directory_reaches_the_process_that_has_it_now() {
    for way in WAYS {
        let files = Files::new();
        let mut first = Process::start(&files);
        assert!(!first.is_hit(1) && first.is_hit(1));
        files.lose(way);
        let mut second = Process::start(&files);
        assert_eq!(second.read(1).1, "old");
        assert!(second.is_hit(1), "{way:?}");
        assert_eq!(first.ask("change 1 new"), "changed", "{way:?}");
        assert_eq!(second.read(1).1, "new", "{way:?}");
        first.end();
        second.eventually("it caches again when the first has ended", |second| second.is_hit(1));
        assert_eq!(second.read(1).1, "new", "{way:?}");
        second.end();
        let mut second = Process::start(&files);
        assert_eq!(second.read(1).1, "new", "{way:?}: also after its restart");
    }
}

#[test]
fn a_commit_during_which_the_directory_is_lost_reaches_the_process_that_has_it_now() {
    for way in WAYS {
        let files = Files::new();
        let mut first = Process::start(&files);
        first.tell("change 1 new gate");
        first.wait_for("noted");
        files.lose(way);
        let mut second = Process::start(&files);
        assert_eq!(second.read(1).1, "old");
        assert!(second.is_hit(1), "{way:?}");
        fs::write(files.root.path().join("gate"), "").unwrap();
        assert_eq!(first.wait_for(""), "changed", "{way:?}");
        assert_eq!(second.read(1).1, "new", "{way:?}");
    }
}

#[test]
fn a_process_that_lost_its_directory_to_another_reports_it_and_serves_no_hits_until_it_has_it_again() {
    let files = Files::new();
    let mut first = Process::start(&files);
    assert!(!first.is_hit(1) && first.is_hit(1));
    files.lose(Way::Removed);
    let mut second = Process::start(&files);
    first.eventually("no hits", |first| !first.is_hit(1));
    assert!(!first.is_hit(1));
    let health = first.ask("health");
    assert!(health.starts_with("Degraded Memory") && health.contains("cache"), "{health}");
    // The first does not see the second's changes.
    assert_eq!(second.ask("change 2 new"), "changed");
    second.end();
    first.eventually("it caches again", |first| first.is_hit(1));
    let health = first.ask("health");
    assert!(health.starts_with("Ok File"), "{health}");
    assert_eq!(first.read(2).1, "new");
}

#[test]
fn a_process_recreates_its_lost_directory_and_writes_its_intents_there() {
    let files = Files::new();
    let mut first = Process::start(&files);
    assert!(!first.is_hit(1) && first.is_hit(1));
    files.lose(Way::Removed);
    assert_eq!(first.ask("change 1 new"), "changed");
    assert_eq!(first.read(1).1, "new");
    assert!(first.is_hit(1), "it caches again");
    first.tell("change 2 new gate");
    first.wait_for("noted");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    files.write(2, "new");
    let mut next = Process::start(&files);
    assert_eq!((next.read(1).1, next.read(2).1), ("new".to_owned(), "new".to_owned()));
}

#[test]
fn a_closed_cache_keeps_the_directory_until_the_last_commit_has_ended() {
    let files = Files::new();
    let mut first = Process::start(&files);
    first.tell("begin 1 new gate");
    first.wait_for("noted");
    first.tell("close");
    first.wait_for("closed");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut second = Process::start(&files);
            let value = second.read(1).1;
            (Instant::now(), value)
        });
        std::thread::sleep(Duration::from_secs(2));
        let opened = Instant::now();
        fs::write(files.root.path().join("gate"), "").unwrap();
        let (started, value) = second.join().unwrap();
        assert!(started > opened, "it started during a commit");
        assert_eq!(value, "new");
    });
}

#[test]
fn a_directory_that_was_moved_and_comes_back_is_not_trusted() {
    let files = Files::new();
    let mut first = Process::start(&files);
    assert!(!first.is_hit(1));
    first.end();
    let mut first = Process::start(&files);
    assert!(first.is_hit(1), "it is on disk");
    files.lose(Way::Moved);
    assert_eq!(first.ask("change 1 new"), "changed");
    first.end();
    fs::remove_dir_all(files.cache()).unwrap();
    fs::rename(files.moved(), files.cache()).unwrap();
    let mut next = Process::start(&files);
    assert_eq!(next.read(1).1, "new");
}

fn signal(process: &Process, name: &str) {
    let id = process.child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

/// History 31, with a process that is stopped for longer than the take-over waits.
#[test]
fn no_change_is_acknowledged_while_another_process_may_serve_what_it_cached() {
    let place = Files::new();
    let mut first = Process::start(&place);
    assert!(!first.is_hit(1) && first.is_hit(1));
    place.lose(Way::Removed);
    let mut second = Process::start(&place);
    assert_eq!(second.read(1).1, "old");
    assert!(second.is_hit(1));
    signal(&second, "-STOP");
    let one = first.ask("change 1 new");
    let began = Instant::now();
    let two = first.ask("change 1 new");
    let took = began.elapsed();
    second.tell("read 1");
    signal(&second, "-CONT");
    let answer = second.wait_for("");
    assert!(one.contains("Locked"), "{one}");
    assert!(two.contains("Locked"), "it says {two} after {took:?}, and the other answers: {answer}");
}

#[test]
fn two_processes_that_both_change_share_a_lost_directory_without_refusing_changes() {
    let place = Files::new();
    let mut first = Process::start(&place);
    place.lose(Way::Removed);
    let mut second = Process::start(&place);
    let change = |process: &mut Process, image: u32| {
        let mut said = Vec::new();
        for turn in 0..8 {
            let began = Instant::now();
            let answer = process.ask(&format!("change {image} v{turn}"));
            said.push((answer, began.elapsed().as_millis()));
        }
        said
    };
    let said = std::thread::scope(|scope| {
        let one = scope.spawn(|| change(&mut first, 1));
        let two = scope.spawn(|| change(&mut second, 2));
        [one.join().unwrap(), two.join().unwrap()]
    });
    assert!(said.iter().flatten().all(|(answer, took)| answer == "changed" && *took < 4_000), "{said:?}");
}
