//! Checks that the application's directories and the cache's are apart.

use std::path::{Component, Path, PathBuf};

use cache_facade::CacheConfig;

use crate::settings::Settings;

/// Refuses a `CACHE_DIR` that is `DATA_DIR` or lies above it: deleting the cache, which is always safe, would delete the
/// data.
///
/// # Errors
/// The sentence to show to the operator.
pub fn check_directories(settings: &Settings, config: &CacheConfig) -> Result<(), String> {
    let (data, cache) = (resolved(&settings.data_directory), resolved(config.directory()));
    if !data.starts_with(&cache) {
        return Ok(());
    }
    let relation = if data == cache { "is" } else { "holds" };
    Err(format!(
        "CACHE_DIR ({}) {relation} DATA_DIR ({}), which deleting the cache would delete; set CACHE_DIR to a directory of \
         its own, such as _cache",
        cache.display(),
        data.display()
    ))
}

/// Returns `path` without links and `..`, also where it does not exist yet, so that two ways to one directory compare
/// equal.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.components().fold(PathBuf::new(), |mut resolved, component| {
        if component == Component::ParentDir {
            // `resolved` is without links already.
            resolved.pop();
        } else {
            resolved.push(component);
        }
        resolved.canonicalize().unwrap_or(resolved)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &Path, cache: &Path) -> Result<(), String> {
        let mut settings = Settings::read(|_| None).unwrap();
        settings.data_directory = data.to_owned();
        check_directories(&settings, &CacheConfig::builder().directory(cache).build().unwrap())
    }

    #[test]
    fn a_cache_directory_that_is_the_datas_or_above_it_is_refused_whatever_the_way_to_it() {
        let root = tempfile::tempdir().unwrap();
        let (data, link) = (root.path().join("data"), root.path().join("link"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        for (data, cache) in [
            (data.clone(), data.clone()),
            (data.clone(), root.path().to_owned()),
            (data.clone(), link.clone()),
            (link.join("below/it"), data.clone()),
            (data.join("not/there"), data.join("not")),
            (data.join("not"), data.join("not/../not")),
        ] {
            let refused = check(&data, &cache).unwrap_err();
            assert!(refused.contains("set CACHE_DIR"), "{refused}");
        }
        for cache in ["data/_cache", "_cache", "data_cache"] {
            assert_eq!(check(&data, &root.path().join(cache)), Ok(()));
        }
    }
}
