//! Handlers of a web application: one reads through the cache, one writes through it.
//!
//! `cargo run -p cache-facade --example axum_handlers` starts the application, sends three requests, and ends.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing};
use cache_facade::{
    Cache, LoadOptions,
    images::{self, ImageChange},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// State of the handlers: clones are cheap, and closures own what they use.
#[derive(Clone)]
struct App {
    cache: Cache,
    /// Stands for a database.
    name: Arc<Mutex<String>>,
}

async fn view(State(app): State<App>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    // Permissions are checked here, before the cache: entries are the same for all users.
    let name = Arc::clone(&app.name);
    let load = async move || name.lock().map(|name| name.clone()).map_err(|_| "poisoned");
    match app.cache.get_or_load_with(&images::image_metadata(id), LoadOptions::new(), load).await {
        Ok(loaded) => Ok(format!("{} ({})", *loaded, loaded.source)),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn rename(State(app): State<App>, Path(id): Path<u64>, new: String) -> Result<String, StatusCode> {
    // From here on the change completes also if the client goes away.
    let change = ImageChange::ImageUpdated { project: 7, image: id };
    let commit = async move || {
        let mut name = app.name.lock().map_err(|_| "poisoned")?;
        *name = new;
        Ok::<_, &str>(())
    };
    let changed = app.cache.change(&change, commit).await;
    changed.map(|_| "renamed".to_owned()).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In production `Cache::from_env().await?`, once, at the start.
    let app = App { cache: Cache::memory(), name: Arc::new(Mutex::new("cat.png".to_owned())) };
    let routes = Router::new().route("/images/{id}", routing::get(view).put(rename)).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let expected = ["cat.png (miss)", "cat.png (hit)", "renamed", "dog.png (miss)"];
    for (request, expected) in ["GET", "GET", "PUT", "GET"].into_iter().zip(expected) {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!("{request} /images/42 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        stream.write_all(format!("{head}content-length: 7\r\n\r\ndog.png").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        println!("{request}: {}", answer.lines().last().unwrap_or_default());
        assert!(answer.ends_with(expected), "{answer}");
    }
    Ok(())
}
