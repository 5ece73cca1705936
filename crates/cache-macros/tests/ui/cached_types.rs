//! Types that a cached function cannot have.

use std::rc::Rc;

use cache_facade::cached;

struct Db;

#[derive(Debug)]
struct NoClone;

#[cached(family = "user", key = "{id}")]
async fn lends(db: &Db, id: u64) -> u64 {
    let _ = db;
    id
}

#[cached(family = "user", key = "{id}")]
async fn error(id: u64) -> Result<u64, NoClone> {
    Ok(id)
}

#[cached(family = "user", key = "{id}")]
async fn error_of_another_crate(id: u64) -> std::io::Result<u64> {
    Ok(id)
}

#[cached(family = "user", key = "{ids}")]
async fn key(ids: Vec<u64>) -> u64 {
    ids.len() as u64
}

#[cached(family = "user", key = "{id}")]
async fn not_send(id: u64) -> u64 {
    let shared = Rc::new(id);
    std::future::ready(()).await;
    *shared
}

type Answer = Result<u64, String>;

#[cached(family = "user", key = "{id}")]
async fn alias(id: u64) -> Answer {
    Ok(id)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct SearchResult;

#[cached(family = "user", key = "{id}")]
async fn named_like_a_result(id: u64) -> SearchResult {
    let _ = id;
    SearchResult
}

fn main() {}
