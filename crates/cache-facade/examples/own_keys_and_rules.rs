//! Families and changes of an application: a blog.
//!
//! `cargo run -p cache-facade --example own_keys_and_rules`

use cache_facade::{Cache, CacheGroup, Family, Invalidates, Invalidation, Result, assert_invalidates};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Post {
    title: String,
    likes: u32,
}

/// What the application caches. The first part of an id is the group, which one change invalidates as a whole.
struct Blog {
    posts: Family<u32, Post>,
    pages: Family<(String, u32), Vec<Post>>,
}

impl Blog {
    fn of(cache: &Cache) -> Result<Self> {
        // Values that are not worth storing are only returned.
        let posts = cache.family("post")?.keep(|post: &Post| post.likes > 0);
        Ok(Self { posts, pages: cache.family("posts_by")? })
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
async fn main() -> Result<()> {
    // A name space of its own: patterns and `clear` stay inside.
    let cache = Cache::memory().scoped("blog")?;
    let Blog { posts, pages } = Blog::of(&cache)?;

    // Invalidations are tested as data, without a value in the cache.
    let edited = BlogChange::Edited { post: 1, author: "ada: countess".to_owned() };
    assert_invalidates(&edited, &[posts.key(1), pages.key(("ada: countess", 3))]);
    let renamed = BlogChange::AuthorRenamed { from: "ada".to_owned(), to: "lovelace".to_owned() };
    assert_invalidates(&renamed, &[pages.key(("ada", 1)), pages.key(("lovelace", 1))]);
    println!("{}", pages.key(("ada: countess", 3)));

    let first = async || Post { title: "On engines".to_owned(), likes: 1 };
    println!("{}", posts.get_or_compute(1, first).await.title);
    cache
        .change(BlogChange::Liked { post: 1 }, async || Ok::<_, std::io::Error>(()))
        .await
        .expect("a commit");
    assert!(!posts.contains(1).await);
    println!("cleared: {:?}", cache.clear_pattern(pages.all()).await?);
    Ok(())
}
