//! [`Metadata`]: whatever the user wants to note about an image, as a JSON object.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Longest metadata of one image, as JSON text: a page holds up to a thousand of them.
pub(crate) const METADATA_MAX_BYTES: usize = 16 * 1024;

/// A JSON object of at most [`METADATA_MAX_BYTES`].
///
/// In JSON it is that object. In the cache's binary codec, which cannot describe a value's type, it is the object's text.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Metadata(Map<String, Value>);

impl Metadata {
    /// Takes what a client sent.
    ///
    /// # Errors
    /// 422 unless it is an object, 413 if it is too long.
    pub(crate) fn new(value: Value) -> Result<Self, ApiError> {
        let Value::Object(object) = value else {
            return Err(ApiError::invalid("metadata must be a JSON object"));
        };
        let metadata = Self(object);
        if metadata.to_text().len() > METADATA_MAX_BYTES {
            return Err(ApiError::too_large(format!("metadata may take {METADATA_MAX_BYTES} bytes")));
        }
        Ok(metadata)
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub(crate) fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The object as JSON text.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(&self.0).expect("a JSON object made of JSON values has a text")
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else {
            serializer.serialize_str(&self.to_text())
        }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Map::deserialize(deserializer).map(Self)
        } else {
            let text = String::deserialize(deserializer)?;
            Self::from_text(&text).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_object_is_metadata() {
        assert!(Metadata::new(json!({"a": [1, null]})).is_ok());
        for other in [json!([]), json!("a"), json!(null), json!(1)] {
            assert_eq!(Metadata::new(other).unwrap_err().status().as_u16(), 422);
        }
    }

    #[test]
    fn metadata_has_a_limit() {
        let fits = json!({ "a": "x".repeat(METADATA_MAX_BYTES - 8) });
        assert!(Metadata::new(fits).is_ok());
        let over = json!({ "a": "x".repeat(METADATA_MAX_BYTES - 7) });
        assert_eq!(Metadata::new(over).unwrap_err().status().as_u16(), 413);
    }

    #[test]
    fn in_json_it_is_the_object_itself() {
        let metadata = Metadata::new(json!({"b": 1, "a": {"c": null}})).unwrap();
        assert_eq!(serde_json::to_value(&metadata).unwrap(), json!({"b": 1, "a": {"c": null}}));
        assert_eq!(Metadata::from_text(&metadata.to_text()).unwrap(), metadata);
    }
}
