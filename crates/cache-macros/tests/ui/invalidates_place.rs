//! Attributes that are absent, or where they have no effect.

use cache_facade::Invalidates;

#[derive(Invalidates)]
enum Change {
    Edited { post: u64 },
    Moved(u64),
    Cleared,
}

#[derive(Invalidates)]
struct Renamed {
    id: u64,
}

#[derive(Invalidates)]
#[invalidates("post:1")]
enum OnTheEnum {
    #[invalidates("post:1")]
    Edited,
}

#[derive(Invalidates)]
#[invalidates("post:{id}")]
struct OnAField {
    #[invalidates("post:{id}")]
    id: u64,
}

#[derive(Invalidates)]
enum Syntax {
    #[invalidates]
    NoParentheses,
    #[invalidates = "post:1"]
    Equals,
    #[invalidates(post)]
    NoString,
    #[invalidates("post:1" "post:2")]
    NoComma,
}

#[derive(Invalidates)]
union Union {
    id: u64,
}

fn main() {}
