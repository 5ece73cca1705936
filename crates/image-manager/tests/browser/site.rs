//! [`Site`]: a server with a directory of its own, and a tab that shows its page.

use std::path::{Path, PathBuf};

use cache_facade::{Cache, CacheConfig};
use image::ImageFormat;
use image_manager::{Seed, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Answer, Server, file, plain, settings};
use crate::tab::Tab;

/// The user of a browser that names none.
pub(crate) const DEMO: &str = "demo";

/// What the tests wait for: a gallery whose pictures within the window are shown.
pub(crate) const PICTURES_ARE_SHOWN: &str = "document.querySelectorAll('#gallery li').length > 0
    && !document.querySelector('#gallery[aria-busy]')
    && [...document.querySelectorAll('#gallery li:not(.deleted) .thumbnail')]
        .filter((it) => it.getBoundingClientRect().top < innerHeight && it.getBoundingClientRect().bottom > 0)
        .every((it) => it.querySelector('img')?.complete && it.querySelector('img').naturalWidth > 0)";

/// A server, and a browser on it.
pub(crate) struct Site {
    pub(crate) tab: Tab,
    pub(crate) server: Option<Server>,
    pub(crate) directory: TempDir,
}

impl Site {
    /// Starts a server with the generated samples, and opens its page.
    pub(crate) fn with_samples() -> Self {
        let mut site = Self::start(Seed::Generated, async |_| Cache::memory());
        site.open("/");
        site
    }

    /// Starts a server without any project. The page is not opened yet.
    pub(crate) fn empty() -> Self {
        Self::start(Seed::Nothing, async |_| Cache::memory())
    }

    /// Starts a server with the samples, whose Redis is away, and opens its page.
    pub(crate) fn without_redis() -> Self {
        let mut site = Self::start(Seed::Generated, async |directory: PathBuf| {
            let pairs = [
                ("REDIS_ENABLED", "true"),
                ("REDIS_HOST", "127.0.0.1"),
                ("REDIS_PORT", "1"),
                ("CACHE_SIZE_MB", "16"),
                ("CACHE_DIR", directory.to_str().unwrap()),
            ];
            Cache::connect(CacheConfig::from_pairs(pairs).unwrap()).await.unwrap()
        });
        site.open("/");
        site
    }

    fn start<F>(seed: Seed, cache: F) -> Self
    where
        F: AsyncFnOnce(PathBuf) -> Cache + Send + 'static,
    {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { seed, ..settings(directory.path()) };
        let at = directory.path().join("cache");
        let server = Server::over(settings, async move || cache(at).await);
        Self { tab: Tab::new(), server: Some(server), directory }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("a server that runs")
    }

    /// Opens a path of the server.
    pub(crate) fn open(&mut self, path: &str) {
        let address = format!("http://{}{path}", self.server().address());
        self.tab.open(&address);
    }

    /// Makes a project of the browser's user; its id.
    pub(crate) fn project(&self, name: &str) -> String {
        let answer = self.server().send("POST", DEMO, "/api/projects", &json!({ "name": name }));
        id(&answer.expect(201).json())
    }

    /// Uploads a picture as the browser's user; its id.
    pub(crate) fn upload(&self, project: &str, filename: &str, picture: &[u8]) -> String {
        let path = format!("/api/projects/{project}/images");
        let answer = self.server().form("POST", DEMO, &path, &[("file", Some(filename), picture)]);
        id(&answer.expect(201).json())
    }

    pub(crate) fn put(&self, path: &str, value: &Value) -> Answer {
        self.server().send("PUT", DEMO, path, value).expect(200)
    }

    /// Writes a file to be uploaded by the browser.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let folder: &Path = self.directory.path();
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// A PNG of one colour, larger than a thumbnail.
pub(crate) fn picture(colour: [u8; 3]) -> Vec<u8> {
    file(&plain(640, 400, colour), ImageFormat::Png)
}
