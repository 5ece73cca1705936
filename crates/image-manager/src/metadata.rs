//! [`Metadata`]: a user's notes about an image, a JSON object.

mod text;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::ApiError;

/// Longest metadata of one image, as JSON text: a page holds up to a thousand of them.
pub(crate) const METADATA_MAX_BYTES: usize = 16 * 1024;

/// A JSON object of at most [`METADATA_MAX_BYTES`], as text, so that it is answered as it was sent, digit by digit.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct Metadata(Box<RawValue>);

impl Metadata {
    /// Checks and normalises the text of a client.
    ///
    /// # Errors
    /// 413 if it is too long, 422 unless it is an object that names each member once, 400 for what common readers of JSON
    /// refuse: see [`text::canonical`].
    pub(crate) fn new(sent: &RawValue) -> Result<Self, ApiError> {
        let sent = sent.get();
        if sent.len() > METADATA_MAX_BYTES {
            return Err(ApiError::too_large(format!("metadata may take {METADATA_MAX_BYTES} bytes")));
        }
        if !sent.starts_with('{') {
            return Err(ApiError::invalid("metadata must be a JSON object"));
        }
        let text = text::canonical(sent)?;
        Self::from_text(text).map_err(|error| ApiError::internal("rewriting metadata", error))
    }

    /// Reads the text that [`as_text`](Self::as_text) returned.
    ///
    /// # Errors
    /// When the text is no JSON.
    pub(crate) fn from_text(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// Returns the object as JSON text.
    pub(crate) fn as_text(&self) -> &str {
        self.0.get()
    }
}

impl Default for Metadata {
    /// Returns an object without members.
    fn default() -> Self {
        Self::from_text("{}".to_owned()).expect("an empty object is JSON")
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.as_text() == other.as_text()
    }
}

#[cfg(test)]
impl Metadata {
    /// Creates metadata from a valid value.
    pub(crate) fn of(value: serde_json::Value) -> Self {
        Self::new(&serde_json::from_value::<Box<RawValue>>(value).unwrap()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sent: &str) -> Option<u16> {
        let sent: &RawValue = serde_json::from_str(sent).unwrap();
        Metadata::new(sent).err().map(|error| error.status().as_u16())
    }

    #[test]
    fn only_an_object_is_metadata() {
        assert_eq!(status(r#" {"a": [1, null]} "#), None);
        for other in ["[]", "\"a\"", "null", "1"] {
            assert_eq!(status(other), Some(422));
        }
    }

    #[test]
    fn metadata_has_a_limit() {
        let sized = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
        assert_eq!(status(&sized(METADATA_MAX_BYTES)), None);
        assert_eq!(status(&sized(METADATA_MAX_BYTES + 1)), Some(413));
    }

    #[test]
    fn in_json_it_is_the_object_itself() {
        let text = r#"{"b":1.10,"a":{"c":null},"$serde_json::private::RawValue":"[1]"}"#;
        let metadata = Metadata::from_text(text.to_owned()).unwrap();
        assert_eq!(serde_json::to_string(&[&metadata]).unwrap(), format!("[{text}]"));
    }
}
