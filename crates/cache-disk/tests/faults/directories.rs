//! Directories that are in use, hostile or read-only.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use cache_core::{CacheBackend, Error, ErrorKind};
use cache_disk::DiskBackend;

use super::kill::Victim;
use super::support::{config, on_disk, open, runtime};
use super::world::World;

/// The environment variable with the directory that a child of another user must be refused.
const FOREIGN: &str = "CACHE_DISK_FOREIGN_DIRECTORY";
const OTHER_USER: u32 = 65534;

async fn refusal(directory: &Path) -> Error {
    DiskBackend::open(config(directory)).await.expect_err("the directory must be refused")
}

#[test]
fn a_directory_in_use_by_another_process_is_refused_by_path_and_process_until_that_ends() {
    let (root, world) = (on_disk(), World::new());
    let mut victim = Victim::start(root.path(), &world, 1);
    victim.wait_until_open();
    let directory = root.path().join("cache");
    runtime().block_on(async {
        for _ in 0..3 {
            let error = refusal(&directory).await;
            assert_eq!(error.kind(), ErrorKind::Locked);
            let text = error.to_string();
            let path = directory.display().to_string();
            assert!(text.contains(&path) && text.contains(&victim.id().to_string()), "{text}");
        }
        victim.kill(std::time::Duration::ZERO, &world);
        let cache = open(&directory).await;
        world.look_at_all(&cache).await;
        cache.close().await.unwrap();
    });
}

#[test]
fn a_directory_in_use_by_this_process_is_refused() {
    let root = on_disk();
    runtime().block_on(async {
        let cache = open(root.path()).await;
        let error = refusal(root.path()).await;
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        cache.close().await.unwrap();
        open(root.path()).await.close().await.unwrap();
    });
}

#[test]
fn links_and_files_in_the_way_are_refused_by_their_paths_and_left_alone() {
    let root = on_disk();
    let victim = root.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let in_the_way = |name: &str, make: &dyn Fn(&Path)| {
        let directory = root.path().join(name);
        fs::create_dir(&directory).unwrap();
        let path = directory.join(name);
        make(&path);
        (directory, path)
    };
    let cases = [
        in_the_way("cache.redb", &|path| symlink(&victim, path).unwrap()),
        in_the_way("cache.lock", &|path| symlink(&victim, path).unwrap()),
    ];
    runtime().block_on(async {
        for (directory, path) in &cases {
            let text = refusal(directory).await.to_string();
            assert!(text.contains(&path.display().to_string()), "{text}");
        }
        for path in [victim.clone(), root.path().join("link")] {
            let _ = symlink(root.path().join("cache.redb"), &path);
            let error = refusal(&path).await;
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_database_that_is_a_directory_is_refused() {
    let root = on_disk();
    fs::create_dir(root.path().join("cache.redb")).unwrap();
    let error = runtime().block_on(refusal(root.path()));
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("cache.redb"), "{error}");
}

/// A damaged file does not keep the application from starting.
#[test]
fn a_damaged_file_that_cannot_be_set_aside_is_removed() {
    let (root, world) = (on_disk(), World::new());
    fs::create_dir(root.path().join("cache.redb.bad")).unwrap();
    fs::write(root.path().join("cache.redb"), "no database").unwrap();
    runtime().block_on(async {
        let cache = open(root.path()).await;
        world.read(&cache, 0, 100).await.unwrap();
        assert!(world.read(&cache, 0, 100).await.unwrap());
        cache.close().await.unwrap();
    });
}

#[test]
fn files_and_directories_of_other_users_are_refused_and_left_alone() {
    let root = on_disk();
    let (directory, file) = (root.path().join("theirs"), root.path().join("cache.redb"));
    fs::create_dir(&directory).unwrap();
    fs::write(&file, "theirs").unwrap();
    if chown(&directory, Some(OTHER_USER), None).and_then(|()| chown(&file, Some(OTHER_USER), None)).is_err()
    {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    runtime().block_on(async {
        for directory in [directory.as_path(), root.path()] {
            let error = refusal(directory).await;
            assert!(error.to_string().contains("another user"), "{error}");
        }
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "theirs");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused_by_its_path() {
    if let Ok(directory) = std::env::var(FOREIGN) {
        let error = runtime().block_on(refusal(Path::new(&directory)));
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&directory), "{error}");
        println!("refused as it should be");
        return;
    }
    // Root can write to every directory: another user runs a copy of this program.
    let root = on_disk();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = root.path().join("faults");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let parent = root.path().join("parent");
    let directory = parent.join("cache");
    fs::create_dir_all(&directory).unwrap();
    for path in [&directory, &parent] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let _ = chown(&directory, Some(OTHER_USER), None);
    let id = OTHER_USER.to_string();
    for tried in [directory.clone(), parent.join("new")] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(&program);
        command
            .args(["directories::a_directory_that_cannot_be_written_to_is_refused_by_its_path", "--exact"]);
        let output = match command.arg("--nocapture").env(FOREIGN, &tried).output() {
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("setpriv: ") => {
                eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr).trim());
                return;
            }
            Ok(output) => output,
            Err(error) => {
                eprintln!("SKIPPED: setpriv cannot be run: {error}");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("refused as it should be"), "{output:?}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}
