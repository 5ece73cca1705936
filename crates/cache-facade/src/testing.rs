//! Helpers for the tests of applications.

use cache_core::{CacheKey, Invalidates};

/// Asserts that `change` makes every one of `keys` stale.
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
        .filter(|key| !stale.iter().any(|what| what.matches(key.as_str())))
        .map(CacheKey::as_str)
        .collect();
    let stale: Vec<_> = stale.iter().map(ToString::to_string).collect();
    assert!(left.is_empty(), "the change leaves {left:?} in the cache; it invalidates {stale:?}");
}

#[cfg(test)]
mod tests {
    use cache_core::images::{self, ImageChange};

    use super::*;

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
