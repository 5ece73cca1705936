//! A server in this process on a free port, and a client that says what it got.

use std::io::Cursor;
use std::path::Path;
use std::thread::JoinHandle;

use cache_facade::Cache;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use image_manager::{App, Seed, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use ureq::http;

/// A running server. Dropping it stops it and waits for it.
pub(crate) struct Server {
    base: String,
    agent: ureq::Agent,
    stop: mpsc::UnboundedSender<()>,
    /// Whether the server needs no further word to stop.
    is_stopping: bool,
    thread: Option<JoinHandle<()>>,
    runtime: Handle,
    /// The data directory, unless it is the test's own.
    keeper: Option<TempDir>,
}

/// One field of a form: its name, a filename if it is a file, and its bytes.
pub(crate) type Field<'a> = (&'a str, Option<&'a str>, &'a [u8]);

/// What a request got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// A server with an empty data directory and a cache in memory.
    pub(crate) fn start() -> Self {
        Self::with_cache(Cache::memory())
    }

    /// Starts a server with another cache.
    pub(crate) fn with_cache(cache: Cache) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let mut server = Self::over(settings, async || cache);
        server.keeper = Some(directory);
        server
    }

    /// A server over anything.
    pub(crate) fn over<F>(settings: Settings, cache: F) -> Self
    where
        F: AsyncFnOnce() -> Cache + Send + 'static,
    {
        let (stop, mut asked_to_stop) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let app = App::open(settings, cache().await).unwrap();
                Box::pin(image_manager::seed(&app)).await.unwrap();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send((listener.local_addr().unwrap(), Handle::current())).unwrap();
                let stop = async || match asked_to_stop.recv().await {
                    Some(()) => {}
                    None => std::future::pending().await,
                };
                image_manager::serve(app, listener, stop).await.unwrap();
            });
        });
        let (address, runtime) = started.recv().expect("the server starts");
        let base = format!("http://{address}");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { base, agent, stop, is_stopping: false, thread: Some(thread), runtime, keeper: None }
    }

    /// One request with any headers; a body only where the method has one.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap(),
        }
    }

    pub(crate) fn get(&self, user: &str, path: &str) -> Answer {
        self.request("GET", path, &[("x-user", user)], None)
    }

    pub(crate) fn delete(&self, user: &str, path: &str) -> Answer {
        self.request("DELETE", path, &[("x-user", user)], None)
    }

    /// POST or PUT of JSON.
    pub(crate) fn send(&self, method: &str, user: &str, path: &str, body: &Value) -> Answer {
        let headers = [("x-user", user), ("content-type", "application/json")];
        self.request(method, path, &headers, Some(body.to_string().as_bytes()))
    }

    /// POST without a body.
    pub(crate) fn post(&self, user: &str, path: &str) -> Answer {
        self.request("POST", path, &[("x-user", user)], Some(b""))
    }

    /// POST or PUT of a multipart form.
    pub(crate) fn form(&self, method: &str, user: &str, path: &str, fields: &[Field<'_>]) -> Answer {
        let headers = [("x-user", user), ("content-type", "multipart/form-data; boundary=frontier")];
        self.request(method, path, &headers, Some(&multipart(fields)))
    }

    /// A project of `ann` and `bob`; its id.
    pub(crate) fn project(&self) -> String {
        let answer = self.send("POST", "ann", "/api/projects", &json!({"name": "P", "members": ["bob"]}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// An image that `ann` uploads; its id.
    pub(crate) fn upload(&self, project: &str, filename: &str, file: &[u8]) -> String {
        let path = format!("/api/projects/{project}/images");
        let answer = self.form("POST", "ann", &path, &[("file", Some(filename), file)]);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// How many tasks the server runs now: connections, requests, changes.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// The server's database, to be read past it.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        let directory = self.keeper.as_ref().expect("a server with a data directory of its own");
        let path = settings(directory.path()).data_directory.join("image-manager.sqlite3");
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// Tells the server to stop, and returns once it accepts no connection any more.
    pub(crate) fn begin_to_stop(&mut self) {
        self.tell_to_stop();
        self.is_stopping = true;
        while std::net::TcpStream::connect(self.address()).is_ok() {
            std::thread::yield_now();
        }
    }

    /// Asks the server to stop, once more if it was asked before.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.send(()).unwrap();
    }

    /// Stops the server and waits until it has closed its cache.
    pub(crate) fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            let _ = self.stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header's text, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where the answer came from, by `Cache-Status`; empty if the cache was not asked.
    pub(crate) fn source(&self) -> &'static str {
        match self.header("cache-status").strip_prefix("cache-http; ") {
            None => "",
            Some(status) if status.starts_with("hit") => "hit",
            Some(status) if status.starts_with("fwd=bypass") => "bypass",
            Some(_) => "miss",
        }
    }

    /// The backend that answered the lookup, by `Server-Timing`.
    pub(crate) fn backend(&self) -> &str {
        let timing = self.header("server-timing").strip_prefix("cache;desc=\"");
        timing.and_then(|timing| timing.split_once('"')).map_or("", |(backend, _)| backend)
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert!(json["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Insists on a status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} {:?}", String::from_utf8_lossy(&self.body), self.headers);
        self
    }
}

/// Settings over `directory`, without samples.
pub(crate) fn settings(directory: &Path) -> Settings {
    Settings {
        data_directory: directory.join("data"),
        max_upload_bytes: 1024 * 1024,
        seed: Seed::Nothing,
        ..Settings::read(|_| None).unwrap()
    }
}

pub(crate) fn multipart(fields: &[Field<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, bytes) in fields {
        body.extend(format!("--frontier\r\nContent-Disposition: form-data; name=\"{name}\"").bytes());
        if let Some(filename) = filename {
            body.extend(format!("; filename=\"{filename}\"").bytes());
        }
        body.extend(b"\r\n\r\n");
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}

/// A picture whose every pixel has one colour.
pub(crate) fn plain(width: u32, height: u32, colour: [u8; 3]) -> DynamicImage {
    RgbImage::from_pixel(width, height, Rgb(colour)).into()
}

/// A picture as a file.
pub(crate) fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A small PNG of one colour.
pub(crate) fn png(colour: [u8; 3]) -> Vec<u8> {
    file(&plain(64, 48, colour), ImageFormat::Png)
}
