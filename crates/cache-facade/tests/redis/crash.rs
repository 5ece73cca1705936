//! History 25: a process is killed before Redis has received its invalidations.

use std::convert::Infallible;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use cache_facade::{Cache, CacheConfig, ErrorKind, Invalidated, Source};
use testkit::{Mode, RedisServer, TcpProxy};

use crate::support::*;

/// Make a process of this test the one to be killed, with this directory and server.
const VICTIM: &str = "REDIS_CRASH_VICTIM";
const ADDRESS: &str = "REDIS_CRASH_ADDRESS";
const STAGE: &str = "REDIS_CRASH_STAGE";

/// Reads row `id`; the database of this test is a file for each row.
pub(crate) async fn read(cache: &Cache, root: &Path, id: u64) -> (String, Source) {
    let row = root.join(id.to_string());
    let load = async move || Ok::<_, Infallible>(fs::read_to_string(row).unwrap());
    let loaded = cache.get_or_load(&key(id), load).details().await.unwrap();
    (loaded.value, loaded.source)
}

/// Loads row 1, waits for the outage of Redis if there is to be one, changes the row, and then waits.
async fn be_the_victim(root: &Path) {
    let address: SocketAddr = std::env::var(ADDRESS).unwrap().parse().unwrap();
    let cache = connect(config(&root.join("cache"), address)).await;
    read(&cache, root, 1).await;
    read(&cache, root, 2).await;
    eventually("both are kept", async || {
        read(&cache, root, 1).await.1 == Source::Hit && read(&cache, root, 2).await.1 == Source::Hit
    })
    .await;
    println!("\nloaded");
    let row = root.join("1");
    if std::env::var(STAGE).unwrap() == "committed" {
        let commit = async move || {
            fs::write(row, "new").unwrap();
            println!("\ncommitted");
            std::future::pending::<Result<(), Infallible>>().await
        };
        let _never = cache.change(&key(1), commit).await;
        return;
    }
    is_away(&cache).await;
    if std::env::var(STAGE).unwrap() == "lost" {
        fs::remove_dir_all(root.join("cache")).unwrap();
    }
    let commit = async move || {
        fs::write(row, "new").unwrap();
        Ok::<_, Infallible>(())
    };
    let changed = cache.change(&key(1), commit).await.unwrap();
    assert!(matches!(changed.invalidated, Invalidated::Journaled { .. }));
    println!("\njournaled");
    std::future::pending::<()>().await;
}

pub(crate) struct Victim {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    pub(crate) fn start(root: &Path, address: SocketAddr, stage: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).stdout(Stdio::piped());
        command.env(VICTIM, root).env(ADDRESS, address.to_string()).env(STAGE, stage);
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, said }
    }

    pub(crate) fn says(&mut self, word: &str) {
        assert!(self.said.any(|line| line.unwrap() == word), "it ended before it was {word}");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Kills it, as a crash does; it may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const NAME: &str = "crash::after_a_crash_redis_gets_the_pending_invalidations_before_it_is_read";

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_redis_gets_the_pending_invalidations_before_it_is_read() {
    if let Some(root) = std::env::var_os(VICTIM) {
        return be_the_victim(Path::new(&root)).await;
    }
    for stage in ["journaled", "committed"] {
        // Started again: as the same instance, as another that adopts it, while Redis is away, and without its journal.
        for again in ["same", "adopted", "away", "defenceless"] {
            let server = RedisServer::start().unwrap();
            let mut proxy = TcpProxy::start(server.address()).await.unwrap();
            let other = Instance::patient(server.address()).await;
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("1"), "old").unwrap();
            fs::write(root.path().join("2"), "unchanged").unwrap();
            let mut victim = Victim::start(root.path(), proxy.address(), stage);
            tokio::task::block_in_place(|| victim.says("loaded"));
            if stage == "journaled" {
                proxy.set(Mode::Refuse).await;
            }
            tokio::task::block_in_place(|| victim.says(stage));
            drop(victim);
            // The documented window; a lookup that times out on a loaded machine is answered by the database.
            eventually("the old value is read", async || read(&other.cache, root.path(), 1).await.0 == "old")
                .await;

            let directory = root.path().join("cache");
            match again {
                "adopted" => fs::rename(directory.join("instance-0"), directory.join("instance-7")).unwrap(),
                "defenceless" => fs::remove_file(directory.join("instance-0/journal")).unwrap(),
                _ => {}
            }
            proxy.set(if again == "away" { Mode::Refuse } else { Mode::Pass }).await;
            let cache = connect(config(&directory, proxy.address())).await;
            if again == "away" {
                assert_eq!(read(&cache, root.path(), 1).await.0, "new");
                assert!(cache.health().await.journal_depth > 0);
                proxy.set(Mode::Pass).await;
            }
            is_back(&cache).await;
            let expected = if again == "defenceless" { "old" } else { "new" };
            assert_eq!(read(&cache, root.path(), 1).await.0, expected, "{stage}, {again}");
            assert_eq!(read(&other.cache, root.path(), 1).await.0, expected, "{stage}, {again}");
            let unchanged = read(&other.cache, root.path(), 2).await;
            assert_eq!(unchanged, ("unchanged".to_owned(), Source::Hit), "nothing else was removed");
            assert_eq!(cache.health().await.journal_depth, 0);
            assert!(
                !directory.join("instance-7/journal").exists(),
                "an adopted journal goes when it is told"
            );
        }
    }
}

/// History 27: the error of another process that opens a disk cache in the directory; its 45 seconds pass at once.
fn refusal(directory: &Path) -> cache_facade::Error {
    let config = CacheConfig::builder().directory(directory).size_mb(8).build().unwrap();
    let connect = move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(Cache::connect(config)).unwrap_err()
    };
    std::thread::spawn(connect).join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_shared_by_processes_on_redis_and_refused_to_one_on_disk() {
    let server = RedisServer::start().unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("1"), "old").unwrap();
    fs::write(root.path().join("2"), "unchanged").unwrap();
    let mut victim = Victim::start(root.path(), server.address(), "committed");
    tokio::task::block_in_place(|| victim.says("committed"));
    let directory = root.path().join("cache");
    let refusal = tokio::task::block_in_place(|| refusal(&directory));
    assert_eq!(refusal.kind(), ErrorKind::Locked);
    let text = refusal.to_string();
    assert!(text.contains(&format!("process {}", victim.process.id())), "{text}");
    assert!(text.contains(&directory.display().to_string()), "{text}");

    let beside = connect(config(&directory, server.address())).await;
    is_back(&beside).await;
    assert_eq!(
        read(&beside, root.path(), 1).await.0,
        "old",
        "the other lives, and has not said anything yet"
    );
    assert!(directory.join("instance-1/journal").exists());
    drop(victim);
    beside.close().await.unwrap();
    let adopting = connect(config(&directory, server.address())).await;
    assert_eq!(read(&adopting, root.path(), 1).await.0, "new");
}

/// The next cache of the same process adopts the journal of a dropped one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_dropped_and_opened_again_has_the_same_pending_invalidations() {
    let server = RedisServer::start().unwrap();
    let mut proxy = TcpProxy::start(server.address()).await.unwrap();
    let other = Instance::patient(server.address()).await;
    let directory = tempfile::tempdir().unwrap();
    let database = Database::new();
    for _ in 0..5 {
        database.read(&other.cache, 1).await;
        proxy.set(Mode::Refuse).await;
        let cache = connect(config(directory.path(), proxy.address())).await;
        assert!(matches!(database.write(&cache, 1).await, Invalidated::Journaled { .. }));
        drop(cache);
        proxy.set(Mode::Pass).await;
        let cache = connect(config(directory.path(), proxy.address())).await;
        is_back(&cache).await;
        let read = database.read(&other.cache, 1).await;
        assert_eq!(
            read.0,
            database.version(1),
            "{read:?} {:?} {:?}",
            other.cache.health().await,
            cache.health().await
        );
        cache.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_journal_counts_as_a_clear() {
    let server = RedisServer::start().unwrap();
    let one = Instance::new(server.address()).await;
    let database = Database::new();
    database.read(&one.cache, 1).await;
    eventually("it is kept", async || database.hits(&one.cache, 1).await).await;
    one.cache.close().await.unwrap();
    let journal = one.directory.path().join("instance-0/journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let again = connect(config(one.directory.path(), server.address())).await;
    assert!(!database.hits(&again, 1).await);
    eventually("it is kept", async || database.hits(&again, 1).await).await;
    again.close().await.unwrap();
    assert!(database.hits(&connect(config(one.directory.path(), server.address())).await, 1).await);
}
