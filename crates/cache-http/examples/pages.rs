//! Pages of a small web service, answered from the cache until a change makes them stale.
//!
//! `cargo run -p cache-http --example pages` starts the service, sends a few requests, and ends.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache_facade::{Bytes, Cache, Family};
use tower::ServiceExt;

#[derive(Clone)]
struct App {
    cache: Cache,
    /// Keys `post:7` and so on, which the layer and the changes share.
    posts: Family<u64, Bytes>,
    /// Stands for a database.
    text: Arc<Mutex<String>>,
}

impl App {
    fn read(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The name of the user, which the authorisation leaves in the extensions of the request.
#[derive(Clone)]
struct User(String);

async fn authorise(mut request: Request, next: Next) -> Response {
    // Stands for a check of the session.
    let user = request.headers().get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    let Some(user) = user.map(|name| User(name.to_owned())) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

async fn post(State(app): State<App>, Path(id): Path<u64>) -> String {
    format!("post {id}: {}", app.read())
}

async fn edit(State(app): State<App>, Path(id): Path<u64>, text: String) -> StatusCode {
    let database = Arc::clone(&app.text);
    let change = app.cache.change(app.posts.at(id), async move || {
        *database.lock().unwrap_or_else(PoisonError::into_inner) = text;
        Ok::<_, std::io::Error>(())
    });
    if change.await.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR }
}

async fn profile(axum::Extension(User(name)): axum::Extension<User>) -> String {
    format!("profile of {name}")
}

fn app(cache: Cache) -> cache_facade::Result<Router> {
    let posts: Family<u64, Bytes> = cache.family("post")?;
    let keys = posts.clone();
    let pages = cache_http::layer(&cache)
        .key_with_params(move |_, params| Some(keys.key(params.parse::<u64>("id")?)));
    let own = cache_http::layer(&cache)
        .family("page")?
        .by_path_and_query()
        .per_viewer(|request| Some(request.extensions.get::<User>()?.0.clone()));

    let members = Router::new()
        .route("/profile", get(profile).layer(own))
        // Added later, so that it is outside the layer and runs before it.
        .layer(from_fn(authorise));
    let routes = Router::new().route("/posts/{id}", get(post).layer(pages).put(edit)).merge(members);
    Ok(routes.with_state(App { cache, posts, text: Arc::new(Mutex::new("hello".to_owned())) }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In production `Cache::from_env().await?`, once, at the start.
    let app = app(Cache::memory())?;
    let send = async |method: &str, path: &str, field: Option<(&str, &str)>, body: &'static str| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some((name, value)) = field {
            request = request.header(name, value);
        }
        let (parts, body) = app.clone().oneshot(request.body(Body::from(body))?).await?.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 20).await?.to_vec())?;
        let field = |name: &str| {
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        println!("{method} {path}: {} {text:?} ({})", parts.status, field("cache-status"));
        Ok::<_, Box<dyn std::error::Error>>((text, field("cache-status"), field("etag")))
    };

    send("GET", "/posts/7", None, "").await?;
    let (text, status, etag) = send("GET", "/posts/7", None, "").await?;
    assert_eq!((&*text, &*status), ("post 7: hello", "cache-http; hit"));
    send("GET", "/posts/7", Some(("if-none-match", &etag)), "").await?;
    send("PUT", "/posts/7", None, "changed").await?;
    let (text, ..) = send("GET", "/posts/7", Some(("if-none-match", &etag)), "").await?;
    assert_eq!(text, "post 7: changed");

    for user in ["ada", "bob", "ada"] {
        let (text, ..) = send("GET", "/profile", Some(("authorization", user)), "").await?;
        assert_eq!(text, format!("profile of {user}"));
    }
    send("GET", "/profile", None, "").await?;
    Ok(())
}
