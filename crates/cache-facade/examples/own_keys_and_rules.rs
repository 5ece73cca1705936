//! Keys, groups and changes of an application: a blog.
//!
//! `cargo run -p cache-facade --example own_keys_and_rules`

use cache_facade::{
    Cache, CacheGroup, CacheKey, Invalidates, Invalidation, LoadOptions, Result, assert_invalidates,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Post {
    title: String,
    likes: u32,
}

/// The application's keys in one place. The first two parts are the group, which one change invalidates as a whole.
mod key {
    use super::{CacheKey, Result};

    pub(crate) fn post(id: u32) -> Result<CacheKey> {
        CacheKey::builder("post", id).part("body").build()
    }

    pub(crate) fn posts_of(author: &str, page: u32) -> Result<CacheKey> {
        CacheKey::builder("posts_by", author).part("page").part(page).build()
    }
}

/// The changes of the application, and the entries that they make stale.
enum BlogChange {
    Edited { post: u32, author: String },
    Liked { post: u32 },
    AuthorRenamed { from: String, to: String },
}

impl Invalidates for BlogChange {
    fn invalidations(&self) -> Vec<Invalidation> {
        let post = |id: &u32| CacheGroup::new("post", id).into();
        let posts_of = |author: &String| CacheGroup::new("posts_by", author).into();
        match self {
            Self::Edited { post: id, author } => vec![post(id), posts_of(author)],
            Self::Liked { post: id } => vec![post(id)],
            Self::AuthorRenamed { from, to } => vec![posts_of(from), posts_of(to)],
        }
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // Invalidations are tested as data, without a cache.
    let edited = BlogChange::Edited { post: 1, author: "ada: countess".to_owned() };
    assert_invalidates(&edited, &[key::post(1)?, key::posts_of("ada: countess", 3)?]);
    let renamed = BlogChange::AuthorRenamed { from: "ada".to_owned(), to: "lovelace".to_owned() };
    assert_invalidates(&renamed, &[key::posts_of("ada", 1)?, key::posts_of("lovelace", 1)?]);
    println!("{}", key::posts_of("ada: countess", 3)?);

    // A name space of its own: patterns and `clear` stay inside.
    let cache = Cache::memory().scoped("blog")?;
    let load = async || Ok::<_, std::io::Error>(Post { title: "On engines".to_owned(), likes: 1 });
    // Values that are not worth storing are only returned.
    let options = LoadOptions::new().keep(|post: &Post| post.likes > 0);
    let post = cache.get_or_load_with(&key::post(1)?, options, load).await?;
    println!("{} ({})", post.title, post.source);

    cache.change(BlogChange::Liked { post: 1 }, async || Ok::<_, std::io::Error>(())).await?;
    assert!(!cache.contains(&key::post(1)?).await);
    println!("cleared: {:?}", cache.clear_pattern("posts_by:*").await?);
    Ok(())
}
