//! Settings in a TOML file.

use config::{File, FileFormat, Source, Value, ValueKind};

/// Reads the settings in `text`: `cache_dir = "x"`, or `dir = "x"` in the table `cache`.
///
/// # Errors
/// The position of the problem, without the text there, which may hold a password.
pub(crate) fn settings(text: &str) -> Result<Vec<(String, String)>, String> {
    let tables = File::from_str(text, FileFormat::Toml).collect().map_err(|error| {
        // The parser's message quotes the text; its first line has the position alone.
        position_of(&error.to_string()).unwrap_or("it is not TOML".to_owned())
    })?;
    Ok(tables.into_iter().flat_map(|(name, value)| flatten(&name, value)).collect())
}

/// The position in the message of a TOML parser.
fn position_of(message: &str) -> Option<String> {
    let after = message.split_once("at line ")?.1;
    let (line, rest) = after.split_once(", column ")?;
    let column = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let (line, column): (u32, u32) = (line.parse().ok()?, column.parse().ok()?);
    Some(format!("not TOML at line {line}, column {column}"))
}

/// The settings of a table: their names are joined with `_`.
fn flatten(name: &str, value: Value) -> Vec<(String, String)> {
    match value.kind {
        ValueKind::Table(table) => {
            table.into_iter().flat_map(|(inner, value)| flatten(&format!("{name}_{inner}"), value)).collect()
        }
        kind => vec![(name.to_uppercase(), kind.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_settings_flat_or_in_tables() {
        let text = "cache_dir = \"x\"\n[cache]\nsize_mb = 64\nclear_on_start = true\n[cache.ttl]\nthumbnail = 60\n[redis]\nhost = \"h\"\n";
        let mut pairs = settings(text).unwrap();
        pairs.sort();
        let expected = [
            ("CACHE_CLEAR_ON_START", "true"),
            ("CACHE_DIR", "x"),
            ("CACHE_SIZE_MB", "64"),
            ("CACHE_TTL_THUMBNAIL", "60"),
            ("REDIS_HOST", "h"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn text_that_is_no_toml_is_named_by_line_and_never_shown() {
        let problem = settings("[redis]\nhost = \"h\"\npassword = hunter2\n").unwrap_err();
        assert!(problem.contains("line 3"), "{problem}");
        assert!(!problem.contains("hunter2"));
    }
}
