//! Clients over connections: each gets the whole body, while others go away in the middle of it or read slowly.
#![cfg(test)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use cache_facade::Cache;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PAGES: usize = 4;
const CLIENTS: usize = 60;
const PARTS: usize = 40;
/// A body is more than the buffers of a connection hold.
const PART_BYTES: usize = 64 << 10;
const BUFFER_BYTES: u32 = 4 << 10;

/// Sends a request for a page, and returns the connection once the response has begun.
async fn begun(server: SocketAddr, page: usize) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
    let mut connection = socket.connect(server).await.unwrap();
    // An older version of HTTP has no chunks between the parts, and ends the body with the connection.
    connection
        .write_all(format!("GET /{page} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::with_capacity(1 << 10);
    connection.read_buf(&mut answer).await.unwrap();
    (connection, answer)
}

/// Reads the rest of a response, and returns the length of its body.
async fn body_length((mut connection, mut answer): (TcpStream, Vec<u8>)) -> usize {
    connection.read_to_end(&mut answer).await.unwrap();
    let header = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    answer.len() - header
}

// Law: a client that goes away ends the answer of no other, and one that reads slowly holds no other up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_one_page_get_the_whole_body_while_others_go_away_or_do_not_read() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let parts = stream::iter(0..PARTS).then(async |_| {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Bytes::from(vec![b'#'; PART_BYTES]))
        });
        Body::from_stream(parts)
    };
    let pages = cache_http::layer(&Cache::memory()).family("page").unwrap().by_path_and_query();
    let pages = pages.max_body(PARTS * PART_BYTES).body_timeout(Duration::from_hours(1));
    let app = Router::new().route("/{page}", get(handler)).layer(pages);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    // The first clients of a page, whose requests call the handler, are of the first two kinds.
    let slow = join_all((0..PAGES).map(|page| begun(server, page)));
    let (gone, slow) = tokio::join!(join_all((0..PAGES).map(|page| begun(server, page))), slow);
    drop(gone);
    let clients = (0..CLIENTS).map(|client| async move {
        let response = begun(server, client % PAGES).await;
        if client % 3 != 0 {
            assert_eq!(body_length(response).await, PARTS * PART_BYTES);
        }
    });
    join_all(clients).await;
    for length in join_all(slow.into_iter().map(body_length)).await {
        assert_eq!(length, PARTS * PART_BYTES);
    }
    serving.abort();
    assert_eq!(calls.load(Ordering::SeqCst), PAGES, "one call for each page");
}
