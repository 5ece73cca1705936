//! A web service over users and posts: `handlers.rs` is all that knows of the cache.
//!
//! `cargo run -p cache-facade --example axum_service` starts the service, sends a few requests, and ends.

mod database;
mod handlers;

use cache_facade::Cache;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In production `Cache::from_env().await?`, once, at the start.
    let cache = Cache::memory();
    let routes = handlers::app(database::Database::in_memory()?, cache.clone())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });

    for (request, body, expected) in [
        ("GET /users/7", "", "Ada"),
        ("PUT /users/7", "Grace", ""),
        ("GET /users/7", "", "Grace"),
        ("GET /users/7/posts", "", "[]"),
        ("POST /users/7/posts", "On engines", ""),
        ("GET /users/7/posts", "", r#"["On engines"]"#),
        ("GET /users/7/posts", "", r#"["On engines"]"#),
        ("GET /users/8", "", "there is no user 8"),
    ] {
        let head =
            format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/plain");
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, answer) = answer.split_once("\r\n\r\n").unwrap_or_default();
        println!("{request}: {answer}");
        assert_eq!(answer, expected);
    }
    println!("{}", cache.stats().await?);
    Ok(())
}
