//! Functions that cannot be cached.

use cache_facade::cached;

#[cached(family = "user", key = "{id}")]
fn not_async(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}")]
async fn no_value(id: u64) {
    let _ = id;
}

#[cached(family = "user", key = "{id}")]
async fn pattern((id, _): (u64, u64)) -> u64 {
    id
}

#[cached(family = "user", key = "{id}")]
async fn changes(names: &mut Vec<String>, id: u64) -> u64 {
    names.clear();
    id
}

#[cached(family = "user", key = "{name}")]
async fn borrows_inside(name: Option<&str>) -> u64 {
    name.map_or(0, str::len) as u64
}

#[cached(family = "user", key = "{id}")]
struct NoFunction;

fn main() {}
