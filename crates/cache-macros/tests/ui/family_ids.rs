//! Ids of another type than those of the family.

use cache_facade::{CacheGroup, CacheKey, Family};

fn a_text(names: Family<u64, String>) -> CacheKey {
    names.key("Ada")
}

fn a_signed_number(names: Family<u64, String>, id: i64) -> CacheKey {
    names.key(id)
}

fn another_first_part(pages: Family<(u64, u32), String>) -> CacheGroup {
    pages.at("Ada")
}

fn a_list(ids: Vec<u64>) -> CacheGroup {
    CacheGroup::new("user", ids)
}

fn main() {}
