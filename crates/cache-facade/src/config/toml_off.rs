//! The place of `toml.rs` in a build without the feature `config-file`.

/// Refuses the file.
pub(crate) fn settings(_text: &str) -> Result<Vec<(String, String)>, String> {
    Err("this build of cache-facade reads no TOML; build it with the feature `config-file`".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_about_a_file_names_the_feature() {
        assert!(super::settings("").unwrap_err().contains("`config-file`"));
    }
}
