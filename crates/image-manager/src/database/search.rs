//! [`Search`]: `search_field` and `search_value`, and the two SQL functions that carry it out.

use std::collections::BTreeMap;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use serde_json::value::RawValue;

/// Images whose `field` holds `value`, whatever the case and however an accented letter is encoded.
///
/// Both parts are in the form in which they are compared, so that searches with one result are equal and share one entry
/// of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    /// `filename`, `content_type`, `uploaded_by`, or else a key of the metadata; composed.
    field: String,
    /// Folded.
    value: String,
}

impl Search {
    /// Reads the parameters of a request.
    pub(crate) fn new(field: &str, value: &str) -> Self {
        Self { field: composed(field), value: fold(value) }
    }

    /// Returns the field to search in.
    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    /// Returns the text that the folded field must contain.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// Adds `holds(text, folded)` and `metadata_text(json, composed_key)` to a connection.
///
/// They exist because SQLite's `lower` and `LIKE` fold only ASCII, and `LIKE` takes `%` and `_` for wildcards. Texts are
/// folded row by row: a column of folded texts would be one more thing to keep right, and a substring needs a scan anyway.
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

/// Returns the form in which two texts are compared: equal for texts that are a canonical caseless match (Unicode, D145).
///
/// Composed at the end, so that `e` is not found in `é`.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(text);
    composed(&CaseMapper::new().fold_string(&decomposed))
}

fn composed(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Returns the value of one key as text: a string as it is, anything else as JSON.
fn metadata_text(metadata: &str, key: &str) -> Option<String> {
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(metadata).ok()?;
    let same_key = || object.iter().find(|(name, _)| composed(name) == key).map(|(_, json)| json);
    let json = object.get(key).or_else(same_key)?.get();
    if json.starts_with('"') { serde_json::from_str(json).ok() } else { Some(json.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_values_of_any_kind_have_a_text() {
        let metadata =
            r#"{"camera":"Zei\u00df","iso":400,"tags":["Sea","sky"],"flash":false,"x":0.9215686321258545}"#;
        let text = |key| metadata_text(metadata, key);
        assert_eq!(text("camera").as_deref(), Some("Zeiß"));
        assert_eq!(text("iso").as_deref(), Some("400"));
        assert_eq!(text("tags").as_deref(), Some(r#"["Sea","sky"]"#));
        assert_eq!(text("flash").as_deref(), Some("false"));
        assert_eq!(text("x").as_deref(), Some("0.9215686321258545"));
        assert_eq!(text("lens"), None);
    }

    #[test]
    fn texts_that_differ_in_case_or_encoding_alone_fold_to_one() {
        for (one, other) in [
            ("ΟΔΟΣ", "οδος"),
            ("ΟΔΟΣ", "οδοσ"),
            ("cafe\u{301}", "CAFÉ"),
            ("Straße", "STRASSE"),
            ("ﬁlm", "FILM"),
            ("\u{212B}ngstrom", "ÅNGSTROM"),
            // The marks of a letter in another order.
            ("a\u{323}\u{302}", "A\u{302}\u{323}"),
            // An iota below that becomes a letter of its own.
            ("ᾳ\u{301}", "Α\u{345}\u{301}"),
            ("각", "\u{1100}\u{1161}\u{11A8}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
            assert_eq!(fold(&fold(one)), fold(one), "{one}");
        }
    }

    #[test]
    fn an_accent_makes_another_letter() {
        assert!(!fold("Café").contains(&fold("cafe")));
        assert_ne!(fold("Ärger"), fold("Arger"));
    }

    #[test]
    fn a_key_of_the_metadata_is_found_however_it_is_encoded() {
        let composed = Search::new("prénom", "x");
        assert_eq!(composed, Search::new("pre\u{301}nom", "X"));
        for metadata in ["{\"prénom\": \"Ann\"}", "{\"pre\u{301}nom\": \"Ann\"}"] {
            assert_eq!(metadata_text(metadata, composed.field()).as_deref(), Some("Ann"));
        }
    }
}
