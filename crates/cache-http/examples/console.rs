//! An application that mounts the console behind a guard.
//!
//! `cargo run -p cache-http --features console --example console -- 127.0.0.1:8090` serves it at `http://127.0.0.1:8090/cache`, for
//! the user `operator` with the password `secret`, who may clear entries, and for `viewer` with the password `secret`, who may
//! not. Without an address the example asks the console for its figures, prints them, and ends.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use cache_facade::{Cache, Family};
use tower::ServiceExt;

/// The viewer of a request, as the application's authentication knows it.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Operator,
    Viewer,
}

/// Asks for a name and a password, and tells the console by an extension which role they have.
///
/// An application uses its own sessions here. Passwords do not belong into code.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let role = match header {
        Some(b"Basic b3BlcmF0b3I6c2VjcmV0") => Role::Operator,
        Some(b"Basic dmlld2VyOnNlY3JldA==") => Role::Viewer,
        _ => {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"cache\"")];
            return (StatusCode::UNAUTHORIZED, challenge, "log in to see the cache").into_response();
        }
    };
    request.extensions_mut().insert(role);
    next.run(request).await
}

/// The application, with the console at `/cache`.
fn app(cache: &Cache) -> Router {
    let console = cache_http::console(cache.clone())
        .allow_changes(|request| request.extensions.get() == Some(&Role::Operator))
        .into_router()
        .layer(from_fn(authenticate));
    Router::new().nest("/cache", console)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::memory();
    let prices: Family<u64, String> = cache.family("price")?;
    let pages: Family<(u64, String), String> = cache.family("page")?;
    for product in 0..20 {
        read(&prices, &pages, product).await?;
    }
    if let Some(address) = std::env::args().nth(1) {
        tokio::spawn(traffic(cache.clone(), prices, pages));
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("the console is at http://{}/cache", listener.local_addr()?);
        axum::serve(listener, app(&cache)).await?;
        return Ok(());
    }
    let request = Request::get("/cache/api/v1/overview").header(AUTHORIZATION, "Basic dmlld2VyOnNlY3JldA==");
    let answer = app(&cache).oneshot(request.body(Body::empty())?).await?;
    println!("{}", String::from_utf8_lossy(&to_bytes(answer.into_body(), 1 << 20).await?));
    Ok(())
}

/// Reads the price and the page of a product.
async fn read(
    prices: &Family<u64, String>,
    pages: &Family<(u64, String), String>,
    product: u64,
) -> Result<(), Box<dyn Error>> {
    prices
        .get_or_load(product, async move || {
            tokio::time::sleep(Duration::from_millis(3)).await;
            Ok::<_, std::io::Error>(format!("{product} euro"))
        })
        .await?;
    pages
        .get_or_load((product, "en".to_owned()), async move || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>("a page ".repeat(100))
        })
        .await?;
    Ok(())
}

/// Reads and changes products for as long as the program runs.
async fn traffic(cache: Cache, prices: Family<u64, String>, pages: Family<(u64, String), String>) {
    let mut number: u64 = 7;
    for round in 0_u64.. {
        // A linear congruential generator: most reads are of few products.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = ((number >> 33) % 300, (number >> 45) % 300);
        if read(&prices, &pages, a.min(b)).await.is_err() {
            return;
        }
        if round % 40 == 0 {
            let change = [prices.at(b), pages.at(b)];
            if cache.change(change, async || Ok::<_, std::io::Error>(())).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
}
