//! The bytes of keys are part of the stored format: a key finds the entry that an older build stored.

use cache_core::{CacheGroup, CacheKey, images};

/// Keys of every builder with every sort of part, in the order of the golden file.
fn samples() -> Vec<String> {
    let long = "x".repeat(201);
    let listing = || images::project_images(42);
    let mut samples = vec![
        CacheKey::builder("report", 42).build(),
        CacheKey::builder("report", 42).part("2026-01").part("euro:net").build(),
        CacheKey::builder("", "").part("").build(),
        CacheKey::builder("a", "b").part("%_").part("%~").part("%-").part("-").part("None").build(),
        CacheKey::builder("a b", "*?[]{}\\").part("é\u{2003}\n").build(),
        CacheKey::builder("numbers", u128::MAX).part(i64::MIN).part(-0.0).part(1.5).part(true).build(),
        CacheKey::builder(&long, &long).part(&long).build(),
        CacheKey::builder("a", "b").optional_part(None::<u8>).optional_part(Some("")).build(),
        CacheKey::builder("a", "b").part("c").build().and_then(|key| key.in_scope("reports")),
        listing().build(),
        listing().skip(1).limit(2).include_deleted(true).deleted_only(true).build(),
        listing().search("filename", "").build(),
        listing().search("file:name", "c a t").filter("b", 2).filter("a", "").filter("a", ":").build(),
    ]
    .into_iter()
    .map(|key| key.expect("the samples are keys").to_string())
    .collect::<Vec<_>>();
    samples.extend([
        images::image_metadata("a:b").to_string(),
        images::thumbnail(7, 640, 480).to_string(),
        images::analysis_results("").to_string(),
        images::project_images_group(42).to_string(),
        images::image_group("").to_string(),
        images::thumbnail_group("a b").to_string(),
        images::analysis_group(&long).to_string(),
        CacheGroup::new("report", "%-").to_string(),
    ]);
    samples
}

#[test]
fn keys_equal_the_golden_file_byte_for_byte() {
    let golden: Vec<&str> = include_str!("golden/keys-v1.txt").lines().collect();
    assert_eq!(samples(), golden);
}

#[test]
fn a_group_is_that_of_the_keys_whose_id_it_is_made_of() {
    for id in [None, Some(""), Some("a:b")] {
        let key = CacheKey::builder("listing", id).part(1).build().unwrap();
        assert_eq!(key.to_group(), CacheGroup::new("listing", id));
        assert_eq!(key, CacheKey::builder("listing", (id, 1)).build().unwrap());
        assert_eq!(key.to_group(), CacheGroup::new("listing", (id, 1)), "the first part names it");
    }
    assert_ne!(CacheGroup::new("listing", None::<&str>), CacheGroup::new("listing", "None"));
}
