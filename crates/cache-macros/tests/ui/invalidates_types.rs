//! Fields that cannot be part of a key.

use cache_facade::Invalidates;

struct NoDisplay;

type Alias = Option<u64>;

#[derive(Invalidates)]
enum Change {
    #[invalidates("post:{id}")]
    NoDisplay { id: NoDisplay },
    #[invalidates("post:{ids}")]
    List { ids: Vec<u64> },
    #[invalidates("post:{id}")]
    OptionOfAnOption { id: Option<Option<u64>> },
    #[invalidates("post:{id}")]
    AliasOfAnOption { id: Alias },
}

#[derive(Invalidates)]
#[invalidates("post:{id}")]
struct Generic<Id> {
    id: Id,
}

fn is_a_change(_: impl Invalidates) {}

fn main() {
    is_a_change(Generic { id: NoDisplay });
}
