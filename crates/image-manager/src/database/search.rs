//! The two SQL functions behind `search_field` and `search_value`.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use serde_json::Value;

/// Adds `holds(text, folded)` and `metadata_text(json, key)` to a connection.
///
/// They exist because SQLite's `lower` and `LIKE` fold only ASCII, and `LIKE` takes `%` and `_` for wildcards.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("holds", 2, flags, |arguments| {
        let text: Option<String> = arguments.get(0)?;
        let folded: String = arguments.get(1)?;
        Ok(text.is_some_and(|text| fold(&text).contains(&folded)))
    })?;
    connection.create_scalar_function("metadata_text", 2, flags, |arguments| {
        let metadata: String = arguments.get(0)?;
        let key: String = arguments.get(1)?;
        Ok(metadata_text(&metadata, &key))
    })
}

/// The form in which two texts are compared without regard to case.
pub(super) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// The value of one key as text: a string as it is, anything else as JSON.
fn metadata_text(metadata: &str, key: &str) -> Option<String> {
    let object: Value = serde_json::from_str(metadata).ok()?;
    match object.get(key)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_values_of_any_kind_have_a_text() {
        let metadata = r#"{"camera": "Zeiß", "iso": 400, "tags": ["Sea", "sky"], "flash": false}"#;
        let text = |key| metadata_text(metadata, key);
        assert_eq!(text("camera").as_deref(), Some("Zeiß"));
        assert_eq!(text("iso").as_deref(), Some("400"));
        assert_eq!(text("tags").as_deref(), Some(r#"["Sea","sky"]"#));
        assert_eq!(text("flash").as_deref(), Some("false"));
        assert_eq!(text("lens"), None);
    }
}
