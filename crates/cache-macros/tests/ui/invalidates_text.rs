//! Texts that name no group, key or pattern.

use cache_facade::Invalidates;

#[derive(Invalidates)]
enum Change {
    #[invalidates("post:{pots}", "posts_by:{author}")]
    UnknownField { post: u64, author: u64 },
    #[invalidates("post:{1}")]
    UnknownPosition(u64),
    #[invalidates("posts:{id}")]
    NoFields,
    #[invalidates("")]
    Empty,
    #[invalidates("post:")]
    EmptySegment,
    #[invalidates("post:{id")]
    Unbalanced { id: u64 },
    #[invalidates("post:{id:?}")]
    Format { id: u64 },
    #[invalidates("post:{}")]
    NoName { id: u64 },
    #[invalidates("post:{id.0}")]
    Nested { id: (u64,) },
    #[invalidates("page:{id}-{page}")]
    Joined { id: u64, page: u64 },
    #[invalidates("*")]
    BareStar,
    #[invalidates("avatar:64x*")]
    PartOfASegment,
    #[invalidates("{family}:1")]
    FamilyOfAField { family: String },
    #[invalidates("my posts:{id}")]
    BadFamily { id: u64 },
    #[invalidates("[scope]post:{id}")]
    Scope { id: u64 },
    #[invalidates("post:?")]
    QuestionMark,
}

fn main() {}
