//! Helpers for the tests of applications.

use cache_core::{CacheKey, Invalidates};

/// Asserts that `change` makes every one of `keys` stale. What the change names without a scope counts for the keys of every
/// scope, because a [scoped](crate::Cache::scoped) cache puts it into its own.
///
/// ```
/// use cache_facade::{assert_invalidates, images::{self, ImageChange}};
///
/// let change = ImageChange::ImageUpdated { project: 7, image: 42 };
/// assert_invalidates(&change, &[images::image_metadata(42), images::project_images(7).build()?]);
/// # Ok::<(), cache_facade::Error>(())
/// ```
///
/// # Panics
/// Naming the keys that it leaves, and what it does invalidate.
#[track_caller]
pub fn assert_invalidates(change: &(impl Invalidates + ?Sized), keys: &[CacheKey]) {
    let stale = change.invalidations();
    let left: Vec<_> = keys
        .iter()
        .filter(|key| !stale.iter().any(|what| what.matches(key.as_str()) || what.matches(key.path())))
        .map(CacheKey::as_str)
        .collect();
    let stale: Vec<_> = stale.iter().map(ToString::to_string).collect();
    assert!(left.is_empty(), "the change leaves {left:?} in the cache; it invalidates {stale:?}");
}

#[cfg(test)]
mod tests {
    use cache_core::images::{self, ImageChange};

    use super::*;
    use crate::{Cache, CacheGroup, Family};

    fn sums(scope: &str) -> Family<u32, u32> {
        Cache::memory().scoped(scope).and_then(|cache| cache.family("sum")).unwrap()
    }

    #[test]
    fn a_rule_without_a_scope_covers_the_keys_of_every_scope_and_one_of_a_family_those_of_its_own() {
        let (own, other) = (sums("reports"), sums("drafts"));
        assert_invalidates(&CacheGroup::new("sum", 1), &[own.key(1), other.key(1)]);
        assert_invalidates(&own.at(1), &[own.key(1)]);
    }

    #[test]
    #[should_panic(expected = r#"leaves ["[drafts]sum:1"] in the cache"#)]
    fn a_key_of_another_scope_is_named() {
        assert_invalidates(&sums("reports").at(1), &[sums("drafts").key(1)]);
    }

    #[test]
    #[should_panic(
        expected = r#"leaves ["thumbnail:5:64x64"] in the cache; it invalidates ["key image:5:metadata""#
    )]
    fn a_key_that_a_change_leaves_is_named() {
        assert_invalidates(
            &ImageChange::ImageUpdated { project: 1, image: 5 },
            &[images::thumbnail(5, 64, 64)],
        );
    }
}
