//! The macros of cache-facade, which exports them with its feature `macros`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cached;
mod invalidates;
mod template;

use std::fmt::Display;

use proc_macro::TokenStream;
use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::{DeriveInput, Error, Ident, parse_macro_input};

/// Implements `Invalidates` for an enum or a struct of changes: `#[invalidates(..)]` above each variant, or above the
/// struct, lists what the change makes stale. With the feature `macros` of cache-facade, without which `Invalidates` is the trait
/// alone.
///
/// ```
/// use cache_facade::{Cache, CacheKey, Invalidates};
///
/// #[derive(Invalidates)]
/// enum BlogChange {
///     #[invalidates("post:{post}", "posts_by:{author}")]
///     PostEdited { post: u64, author: u64 },
///     #[invalidates("posts_by:{0}")]
///     AuthorRenamed(u64),
///     #[invalidates()]
///     PostViewed { post: u64 },
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::memory();
/// let page = CacheKey::builder("posts_by", 7).part("page").part(1).build()?;
/// cache.set(&page, "the posts of author 7").await?;
///
/// let change = BlogChange::PostEdited { post: 1, author: 7 };
/// cache.change(&change, async || Ok::<_, std::io::Error>(())).await?;
/// assert!(!cache.contains(&page).await);
/// # let _ = (BlogChange::AuthorRenamed(7), BlogChange::PostViewed { post: 1 });
/// # Ok(())
/// # }
/// ```
///
/// # Texts
/// A text has segments between colons: first the family, then text, `{placeholder}` or `*`. The number of segments
/// decides what is invalidated:
///
/// | text | invalidates |
/// | --- | --- |
/// | `"posts_by:{author}"` | two segments: the group, which is every key that begins with them |
/// | `"posts_by:{author}:page:{page}"` | more segments: that key alone |
/// | `"posts_by"` | one segment: every key of the family |
/// | `"avatar:*:64x64"` | with `*`: every key that matches, where `*` is any text, of any number of segments |
///
/// A placeholder is the name of a field, or the number of one without a name. Its value becomes one segment, as
/// `KeyBuilder::part` writes it: `:` and `*` in a value are escaped and a value over 200 bytes is hashed, so that no value
/// reaches a key that it does not name. A field is of a type that implements `Display`, a reference to one, or an `Option` of
/// one, which is written as by `KeyBuilder::optional_part`. The macro knows an `Option` by its name: an alias of another
/// name is a compile error. For a field whose type has a type parameter the implementation requires `KeyPart` of it.
///
/// A key that would be longer than 958 bytes is the one that `#[cached]` and `Family` make of the same segments, with a hash
/// behind its group, which no pattern below the group matches. A pattern that would be longer than 1 KiB invalidates the
/// group, or the family, of its first two segments.
///
/// # Compile errors
/// A variant without the attribute, a placeholder that names no field, unbalanced braces, an empty segment, a family or a
/// text that keys would escape, a lone `*`, and an attribute where it has no effect. Errors in a text are at the text.
#[proc_macro_derive(Invalidates, attributes(invalidates))]
pub fn derive_invalidates(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    invalidates::derive(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Caches the value of an async function by its arguments: the body runs on a miss, once for all concurrent callers. With the
/// feature `macros` of cache-facade.
///
/// ```
/// use cache_facade::{Cache, cached};
///
/// #[derive(Clone)]
/// struct Db; // a handle of a database
///
/// #[cached(family = "user", key = "{id}", ttl = "60s", cache = "cache")]
/// async fn user_name(cache: &Cache, db: &Db, id: u64) -> Result<String, String> {
///     // Here the database is read.
///     Ok(format!("user {id}"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::memory();
/// assert_eq!(user_name(&cache, &Db, 7).await?, "user 7");
/// assert!(cache.contains(&user_name_key(7)).await);
///
/// cache.change(user_name_group(7), async || Ok::<_, std::io::Error>(())).await?;
/// assert!(!cache.contains(&user_name_key(7)).await);
/// # Ok(())
/// # }
/// ```
///
/// The macro keeps the function's signature and adds two functions of the same visibility, which take the arguments that
/// they need: `user_name_key(id)` returns the `CacheKey`, and `user_name_group(id)` the `CacheGroup` of the key's first two
/// segments. Methods get them as associated functions:
///
/// ```
/// use cache_facade::{Cache, cached};
///
/// #[derive(Clone)]
/// struct Users {
///     cache: Cache,
/// }
///
/// impl Users {
///     #[cached(family = "email", key = "{id}:{kind}", negative = "10s", cache = "self.cache")]
///     async fn email(&self, id: u64, kind: &str) -> Option<String> {
///         (id == 7).then(|| format!("{kind}@example.org"))
///     }
/// }
///
/// assert_eq!(Users::email_key(7, "work").as_str(), "email:7:work");
/// assert_eq!(Users::email_group(7).as_str(), "email:7");
/// ```
///
/// # Options
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `family = "user"` | the first segment of the key | required |
/// | `key = "{id}:{page}"` | the segments after it: text, or a `{placeholder}` that is the name of an argument | required |
/// | `cache = "cache"` | the argument that is the `Cache`, or an expression such as `self.cache` | `get_cache()` |
/// | `ttl = "60s"` | how long a value may be served | until it is invalidated or evicted |
/// | `stale_while_revalidate = "30s"` | for how long an expired value is served while it is loaded again | off |
/// | `stale_if_error = "10m"` | for how long an expired value is served if the load fails | off |
/// | `negative = "5s"` | how long a `None` may be served, for functions that return an `Option` | as any value |
///
/// A time is a whole number with the unit `s`, `m`, `h` or `d`. A time that is not given is taken from the settings of the
/// family, such as `CACHE_TTL_USER`. Placeholders become segments as in `#[derive(Invalidates)]`. **Name every
/// argument that changes the result in the key.** The others, such as a handle of the database, are only passed to the body.
///
/// Two functions with one key share a value where their types have the same shape, and so do two types for one type parameter: give
/// each a family of its own, or a word in the key, as in `"{id}:email"`.
///
/// # The body
/// It runs in a task of its own, and may outlive a caller that is cancelled. So each argument that is a reference is cloned,
/// `&self` included, and the body sees a reference to the clone (for a `&str` one to a `String`). What it changes through interior
/// mutability reaches the caller only where clones share it, as those of an `Arc` do. `&'static` references are passed as they are.
/// Lend handles that are cheap to clone: each call clones them, also one that finds the value.
/// Arguments and the value are `Send + 'static`, and the value is `Serialize + DeserializeOwned`. A function that calls itself needs
/// a type for its future: let it call a function that returns a boxed one.
///
/// # Errors
/// A function whose return type has a name that ends in `Result` returns the body's error, and stores nothing then. Callers that
/// waited for one load get its error each, which therefore needs `Clone`, or else `From<LoadError<E>>`: three lines for an
/// error type of the application.
///
/// Without `cache` the application opens the cache by `get_cache().await?` when it starts. Otherwise the first call opens it. If
/// that fails, the log says so once, and the functions run their bodies each time, until `get_cache()` has opened the cache.
///
/// # Panics
/// A call panics with the message of a body that panics, and where the body calls the function with the key that it is
/// loading.
///
/// # Where it does not work
/// In implementations of traits, because the two functions are added beside it; and in a crate that depends on cache-facade under
/// another name.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, function: TokenStream) -> TokenStream {
    let expand = || cached::Cached::read(syn::parse(options)?, syn::parse(function.clone())?)?.expand();
    // With the function as it was, so that its callers are no further errors.
    expand().map_or_else(
        |error| [error.into_compile_error().into(), function.clone()].into_iter().collect(),
        Into::into,
    )
}

/// An error at `place`, which says what is wrong and what to do.
fn refuse<T>(place: impl ToTokens, why: impl Display) -> syn::Result<T> {
    Err(Error::new_spanned(place, why))
}

/// Whether `code` contains the identifier `name`, at any depth.
fn mentions(code: &impl ToTokens, name: &Ident) -> bool {
    code.to_token_stream().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(&group.stream(), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

// The code in the README, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
