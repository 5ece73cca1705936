//! History 6: a process is killed between the commit of a change and its invalidation.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a helper fails its test")]

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use cache_facade::{Cache, CacheConfig, CacheKey, ErrorKind, Source, images::ImageChange};
use tokio::sync::Barrier;

/// Says to a process of this test that it is the one to be killed, and where it runs.
const VICTIM: &str = "CRASH_CHANGE_VICTIM";

fn config(root: &Path) -> CacheConfig {
    CacheConfig::builder().directory(root.join("cache")).size_mb(8).build().unwrap()
}

async fn open(root: &Path) -> Cache {
    Cache::connect(config(root)).await.unwrap()
}

fn key(image: u32) -> CacheKey {
    CacheKey::builder("image", image).part("metadata").build().unwrap()
}

/// What a reader gets; the database of this test is a file for each image.
async fn read(cache: &Cache, root: &Path, image: u32) -> (String, Source) {
    let row = root.join(image.to_string());
    let load = async move || Ok::<_, Infallible>(fs::read_to_string(row).unwrap());
    let loaded = cache.get_or_load(&key(image), load).details().await.unwrap();
    (loaded.value, loaded.source)
}

/// The images that are changed, all at once, and those that are not.
const CHANGED: std::ops::RangeInclusive<u32> = 1..=50;
const UNCHANGED: std::ops::RangeInclusive<u32> = 51..=55;

fn images() -> impl Iterator<Item = u32> {
    CHANGED.chain(UNCHANGED)
}

/// Loads all images, changes some, and stands still when the changes are committed and not invalidated.
async fn be_the_victim(root: &Path) {
    let cache = open(root).await;
    for image in images() {
        read(&cache, root, image).await;
    }
    // Fills are lazy; what was closed is on disk, and there the old values are when the process dies.
    cache.close().await.unwrap();
    let cache = open(root).await;
    for image in images() {
        assert_eq!(read(&cache, root, image).await, ("old".to_owned(), Source::Hit));
    }
    let committed = Arc::new(Barrier::new(CHANGED.count() + 1));
    for image in CHANGED {
        let (cache, committed, row) = (cache.clone(), Arc::clone(&committed), root.join(image.to_string()));
        tokio::spawn(async move {
            let change = ImageChange::ImageUpdated { project: 7, image };
            let commit = async move || {
                fs::write(row, "new").unwrap();
                committed.wait().await;
                std::future::pending::<Result<(), Infallible>>().await
            };
            cache.change(change, commit).await
        });
    }
    committed.wait().await;
    println!("\ncommitted");
    std::future::pending::<()>().await;
}

fn spawn_victim(root: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME, "--nocapture"]).env(VICTIM, root).stdout(Stdio::piped());
    let mut victim = command.spawn().unwrap();
    let mut said = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "committed"), "the victim ended before it committed");
    victim
}

/// What another process is told that wants the directory while the victim has it; its ten seconds pass at once.
fn refusal(root: &Path) -> cache_facade::Error {
    let config = config(root);
    let connect = move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(Cache::connect(config)).unwrap_err()
    };
    std::thread::spawn(connect).join().unwrap()
}

const NAME: &str = "changes_that_were_committed_and_not_invalidated_are_made_up_for_before_the_first_read";

#[tokio::test]
async fn changes_that_were_committed_and_not_invalidated_are_made_up_for_before_the_first_read() {
    if let Some(root) = std::env::var_os(VICTIM) {
        return be_the_victim(Path::new(&root)).await;
    }
    let root = tempfile::tempdir().unwrap();
    for image in images() {
        fs::write(root.path().join(image.to_string()), "old").unwrap();
    }
    let mut victim = spawn_victim(root.path());
    let refusal = refusal(root.path());
    assert_eq!(refusal.kind(), ErrorKind::Locked);
    assert!(refusal.to_string().contains(&format!("process {}", victim.id())), "{refusal}");
    victim.kill().unwrap();
    victim.wait().unwrap();

    // With the journal off the old values come back: without this the rest would pass with a cache that lost everything.
    let defenceless = tempfile::tempdir().unwrap();
    copy(root.path(), defenceless.path());
    let journal = defenceless.path().join("cache/instance-0/journal");
    let mut emptied = fs::read(&journal).unwrap();
    emptied[512..].fill(0);
    fs::write(&journal, emptied).unwrap();
    let cache = open(defenceless.path()).await;
    for image in CHANGED {
        assert_eq!(read(&cache, defenceless.path(), image).await, ("old".to_owned(), Source::Hit));
    }

    let cache = open(root.path()).await;
    for image in CHANGED {
        assert_eq!(read(&cache, root.path(), image).await, ("new".to_owned(), Source::Loaded));
    }
    for image in UNCHANGED {
        assert_eq!(read(&cache, root.path(), image).await, ("old".to_owned(), Source::Hit));
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
