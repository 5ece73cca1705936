//! `#[derive(Invalidates)]`.

use cache_facade::{
    Cache, CacheGroup, CacheKey, CachePattern, Invalidates, Invalidation, KeyPart, assert_invalidates,
};

#[derive(Invalidates)]
enum BlogChange {
    #[invalidates("post:{post}", "posts_by:{author}")]
    Edited { post: u64, author: u64 },
    #[invalidates("posts_by:{author}")]
    AuthorRenamed { author: u64 },
    #[invalidates("feed:{0}:page:{1}")]
    FeedChanged(String, u32),
    #[invalidates("feed:*:page:{0}")]
    PageChanged(String),
    #[invalidates("feed")]
    #[invalidates("settings:site")]
    FeedsMoved,
    #[invalidates()]
    Viewed(#[expect(dead_code, reason = "nothing depends on it")] u64),
}

/// The text forms of what `change` makes stale.
fn stale(change: &impl Invalidates) -> Vec<String> {
    change.invalidations().iter().map(ToString::to_string).collect()
}

#[test]
fn two_segments_are_a_group_more_a_key_and_one_or_a_star_a_pattern() {
    assert_eq!(stale(&BlogChange::Edited { post: 1, author: 7 }), ["group post:1", "group posts_by:7"]);
    assert_eq!(stale(&BlogChange::AuthorRenamed { author: 7 }), ["group posts_by:7"]);
    assert_eq!(stale(&BlogChange::FeedChanged("en".into(), 3)), ["key feed:en:page:3"]);
    assert_eq!(stale(&BlogChange::PageChanged("3".into())), ["pattern feed:*:page:3"]);
    assert_eq!(stale(&BlogChange::FeedsMoved), ["pattern feed", "group settings:site"]);
    assert_eq!(stale(&BlogChange::Viewed(1)), [""; 0]);
}

#[test]
fn what_is_derived_is_what_the_builders_give() {
    let texts = ["", "a", "a:b", "*", "a*", "?", "%", "%-", "None", "[x]", "a b", "ä", &"x".repeat(201)];
    for text in texts {
        let group = CacheGroup::new("feed", text);
        let key = CacheKey::builder("feed", text).part("page").part(3).build().unwrap();
        let change = BlogChange::FeedChanged(text.to_owned(), 3);
        assert_eq!(change.invalidations(), [Invalidation::Key(key)]);
        assert_eq!(Session { user: text }.invalidations(), [CacheGroup::new("session", text).into()]);
        assert!(group.contains(change.invalidations()[0].to_string().strip_prefix("key ").unwrap()));
    }
}

#[derive(Invalidates)]
#[invalidates("session:{user}")]
struct Session<'a> {
    user: &'a str,
}

#[derive(Invalidates)]
#[invalidates("tile:{0}:*:{1}")]
struct Tile(&'static str, &'static str);

/// A value must not reach a key that a builder would not give it.
#[test]
fn a_value_never_widens_a_group_a_key_or_a_pattern() {
    let key = |first: &str, last: &str| {
        CacheKey::builder("tile", first).part("x").part(last).build().unwrap().as_str().to_owned()
    };
    let hits = |change: Tile, key: &str| change.invalidations().iter().any(|what| what.matches(key));
    for hostile in ["*", "?", "a:*", "*:b", "a:b", "%2A", "a*", "", "[x]*", "**", "\\*"] {
        assert!(hits(Tile(hostile, hostile), &key(hostile, hostile)), "{hostile:?}");
        for other in ["a", "b", "ab", "a:x", "z"] {
            assert!(!hits(Tile(hostile, other), &key(other, other)), "{hostile:?} reached {other:?}");
            assert!(!hits(Tile(other, hostile), &key(other, other)), "{hostile:?} reached {other:?}");
            let group = Session { user: hostile }.invalidations();
            assert!(!group[0].matches(CacheGroup::new("session", other).as_str()));
            let page = BlogChange::PageChanged(hostile.to_owned()).invalidations();
            assert!(!page[0].matches(&format!("feed:en:page:{other}")), "{hostile:?} reached {other:?}");
        }
    }
}

/// A `*` covers any number of segments, a value exactly one.
#[test]
fn a_pattern_that_is_too_long_covers_its_group() {
    let (wide, long) = (":".repeat(200), ":".repeat(199));
    let wide: &'static str = wide.leak();
    let long: &'static str = long.leak();
    let change = Tile(wide, long);
    assert_eq!(change.invalidations(), [CacheGroup::new("tile", wide).into()]);
}

#[derive(Invalidates)]
enum Several<'a, Id, T: ?Sized>
where
    Id: Copy,
{
    #[invalidates("a:{id}:{label}:{nothing}")]
    Options { id: Id, label: Option<&'a str>, nothing: &'a Option<u32> },
    #[invalidates("b:{0}:{1}", "b:{1}:{0}")]
    Pair(&'a T, Option<Id>),
    #[invalidates("c:{type}")]
    Raw { r#type: u8 },
}

#[test]
fn options_references_generics_and_raw_names_are_parts() {
    type Change = Several<'static, u8, str>;

    let change = Change::Options { id: 7, label: Some(""), nothing: &None };
    let key = CacheKey::builder("a", 7).part("").optional_part(None::<u32>).build().unwrap();
    assert_eq!(change.invalidations(), [key.into()]);
    let absent = Change::Pair("None", None);
    assert_eq!(stale(&absent), ["key b:None:%-", "key b:%-:None"]);
    assert_eq!(stale(&Change::Raw { r#type: 1 }), ["group c:1"]);
}

#[derive(Invalidates)]
#[invalidates("thing:{id}")]
struct ThingChanged<Id: KeyPart> {
    id: Id,
}

#[derive(Invalidates)]
enum Impossible {}

#[test]
fn bounds_of_the_type_are_kept_and_an_enum_may_be_empty() {
    fn of_any(id: impl KeyPart) -> Vec<String> {
        stale(&ThingChanged { id })
    }
    assert_eq!(of_any("a:b"), ["group thing:a%3Ab"]);
    let none: Option<Impossible> = None;
    assert!(none.is_none_or(|change| change.invalidations().is_empty()));
}

#[tokio::test]
async fn a_derived_change_makes_the_cache_load_again() {
    let cache = Cache::memory();
    let (page, other) =
        (CacheKey::builder("posts_by", 7).part("page").part(1), CacheKey::builder("posts_by", 70));
    let (page, other) = (page.build().unwrap(), other.build().unwrap());
    cache.set(&page, &1).await.unwrap();
    cache.set(&other, &1).await.unwrap();
    let change = BlogChange::Edited { post: 1, author: 7 };
    assert_invalidates(&change, std::slice::from_ref(&page));
    cache.change(&change, async || Ok::<_, std::io::Error>(())).await.unwrap();
    assert!(!cache.contains(&page).await && cache.contains(&other).await);
    let _ = cache.invalidate(&CachePattern::parse("posts_by").unwrap()).await.unwrap();
    assert!(!cache.contains(&other).await);
}
