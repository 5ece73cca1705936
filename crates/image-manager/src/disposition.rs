//! The header `Content-Disposition` of one field of a form: the field's name, and the name of the file in it.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_DISPOSITION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

/// The names in a field's header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// The field's name.
    pub(crate) name: Option<String>,
    /// The file's name as the client sent it.
    pub(crate) filename: Option<String>,
}

impl Disposition {
    /// Reads the header of a field.
    ///
    /// RFC 7578 wants a form's file names as plain UTF-8 in `filename`. Clients that keep to the older rules of mail and of
    /// downloads send `filename*` (RFC 8187), which counts first, or an encoded word (RFC 2047); .NET sends both.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(header) = headers.get(CONTENT_DISPOSITION) else { return Self::default() };
        let (mut name, mut plain, mut extended) = (None, None, None);
        for (parameter, value) in parameters(&String::from_utf8_lossy(header.as_bytes())) {
            match parameter.as_str() {
                "name" => name = name.or(Some(value)),
                "filename" => plain = plain.or(Some(value)),
                "filename*" => extended = extended.or_else(|| extended_value(&value)),
                _ => {}
            }
        }
        let plain = plain.map(|value| encoded_word(&value).unwrap_or(value));
        Self { name, filename: extended.or(plain) }
    }
}

/// Returns the parameters of a header such as `form-data; name="file"; filename=a.png`, with their names in lower case.
///
/// A backslash escapes a quotation mark only: some clients send whole paths of Windows as they are.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, parameters)| parameters);
    while let Some((name, value)) = rest.split_once('=') {
        // A parameter without a value is skipped.
        let name = name.rsplit(';').next().unwrap_or(name).trim().to_ascii_lowercase();
        let value = value.trim_start();
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            unquoted(quoted)
        } else {
            let (value, after) = value.split_once(';').unwrap_or((value, ""));
            (value.trim_end().to_owned(), after)
        };
        found.push((name, value));
        rest = after;
    }
    found
}

/// Splits a string at its closing quotation mark.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            _ => value.push(char),
        }
    }
    (value, "")
}

/// Decodes `UTF-8''%C3%B6.png` (RFC 8187, 3.2). None for another character set, and for what is not in it.
fn extended_value(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decode_str(encoded);
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => bytes.decode_utf8().ok().map(Into::into),
        "iso-8859-1" => Some(bytes.map(char::from).collect()),
        _ => None,
    }
}

/// Decodes `=?utf-8?B?w7YucG5n?=` (RFC 2047 in the one form that .NET writes).
fn encoded_word(value: &str) -> Option<String> {
    let mut parts = value.strip_prefix("=?")?.strip_suffix("?=")?.split('?');
    let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
    let is_known = charset.eq_ignore_ascii_case("utf-8") && encoding.eq_ignore_ascii_case("B");
    if !is_known || parts.next().is_some() {
        return None;
    }
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filename(header: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DISPOSITION, axum::http::HeaderValue::from_bytes(header).unwrap());
        let Disposition { name, filename } = Disposition::of(&headers);
        assert_eq!(name.as_deref(), Some("file"));
        filename
    }

    #[test]
    fn a_file_name_is_read_however_it_is_sent() {
        for (header, expected) in [
            ("form-data; name=\"file\"; filename=\"ö.png\"", "ö.png"),
            ("form-data; name=file; filename=a.png", "a.png"),
            ("Form-Data; Name = \"file\" ; FileName = \"a.png\" ", "a.png"),
            ("form-data; filename=\"a;b=c.png\"; name=\"file\"", "a;b=c.png"),
            ("form-data; name=\"file\"; filename=\"a\\\"b.png\"", "a\"b.png"),
            ("form-data; name=\"file\"; filename=\"C:\\Users\\a.png\"", "C:\\Users\\a.png"),
            ("form-data; name=\"file\"; filename=\"a.png", "a.png"),
            ("form-data; flag; name=\"file\"; filename=\"a.png\"", "a.png"),
            // curl, Python's requests, .NET: the extended form counts, wherever it stands.
            ("form-data; name=file; filename*=UTF-8''%C3%B6%20%22.png", "ö \".png"),
            ("form-data; name=file; filename*=utf-8'en'a.png; filename=b.png", "a.png"),
            ("form-data; name=file; filename=\"=?utf-8?B?w7YucG5n?=\"; filename*=utf-8''%C3%B6.png", "ö.png"),
            ("form-data; name=file; filename=\"=?utf-8?B?w7YucG5n?=\"", "ö.png"),
            ("form-data; name=file; filename*=iso-8859-1''%F6.png", "ö.png"),
            // What cannot be read leaves the other.
            ("form-data; name=file; filename=a.png; filename*=UTF-8''%FF.png", "a.png"),
            ("form-data; name=file; filename=a.png; filename*=koi8-r''%C1.png", "a.png"),
            ("form-data; name=file; filename=a.png; filename*=nonsense", "a.png"),
            ("form-data; name=file; filename=\"=?utf-8?B?!?=\"", "=?utf-8?B?!?="),
            ("form-data; name=file; filename=\"=?what?=\"", "=?what?="),
        ] {
            assert_eq!(filename(header.as_bytes()).as_deref(), Some(expected), "{header}");
        }
    }

    #[test]
    fn a_name_in_another_encoding_is_a_name_with_marks() {
        let header = b"form-data; name=\"file\"; filename=\"\xF6.png\"";
        assert_eq!(filename(header).as_deref(), Some("\u{FFFD}.png"));
    }

    #[test]
    fn a_field_that_is_no_file_has_no_file_name() {
        assert_eq!(filename(b"form-data; name=\"file\""), None);
        assert_eq!(filename(b"form-data; name=\"file\"; x-filename=\"a.png\""), None);
        assert_eq!(Disposition::of(&HeaderMap::new()), Disposition::default());
    }
}
