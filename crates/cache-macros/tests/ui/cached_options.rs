//! Options of `#[cached]` that are wrong.

use cache_facade::{Cache, cached};

#[cached]
async fn no_options(id: u64) -> u64 {
    id
}

#[cached(family = "user")]
async fn no_key(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", expire = "60s")]
async fn unknown_option(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", key = "{id}")]
async fn twice(id: u64) -> u64 {
    id
}

#[cached(family = "user:profile", key = "{id}")]
async fn family_of_two_segments(id: u64) -> u64 {
    id
}

#[cached(family = "{id}", key = "{id}")]
async fn family_of_an_argument(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{user}")]
async fn unknown_argument(db: u32, id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}:*")]
async fn star(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", ttl = 60)]
async fn number(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", ttl = "60")]
async fn no_unit(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", stale_if_error = "1 week")]
async fn unknown_unit(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", ttl = "0s")]
async fn no_time(id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", negative = "10s")]
async fn no_option(id: u64) -> Result<u64, String> {
    Ok(id)
}

#[cached(family = "user", key = "{id}", cache = "cahce")]
async fn unknown_cache(cache: &Cache, id: u64) -> u64 {
    id
}

#[cached(family = "user", key = "{id}", cache = "id")]
async fn no_cache(id: u64) -> u64 {
    id
}

fn main() {}
