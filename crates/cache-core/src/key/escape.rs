//! Injective escaping of one part of a key.
//!
//! `:` `%` `*` `?` `[` `]` `{` `}` `\`, white space and control characters become `%XX` for each of their UTF-8 bytes,
//! in upper case. An empty part is `%_` and an absent one `%-`. A part over 200 bytes is `%~` and the first 128 bits of
//! its SHA-256 in hex. No escaped part starts with `%_`, `%-` or `%~`, so no two parts share a text. The rest of a key that is
//! too long becomes such a hash too, of its text and a byte that no text has.

use std::fmt::{Display, Write};

use sha2::{Digest, Sha256};

/// The longest part, in bytes before escaping, that is kept as text.
pub(crate) const LONGEST_PART: usize = 200;

/// The segment of an absent part; no part is escaped to it.
pub(crate) const ABSENT: &str = "%-";

const EMPTY: &str = "%_";
const HASHED: &str = "%~";
const HASH_DIGITS: usize = 32;

/// Appends the text of `part` to `key`, escaped.
pub(crate) fn push_part(key: &mut String, part: &impl Display) {
    let start = key.len();
    write!(key, "{part}").expect("writing to a String cannot fail");
    let text = key.get(start..).unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST_PART || !is_plain(text) {
        let text = text.to_owned();
        key.truncate(start);
        push_escaped(key, &text);
    }
}

/// Replaces the text of `key` from `start` on by its hash, which no part has.
pub(crate) fn hash_rest(key: &mut String, start: usize) {
    let rest = key.split_off(start);
    push_hash(key, Sha256::new().chain_update(rest).chain_update([0xFF]));
}

fn push_hash(key: &mut String, hash: Sha256) {
    key.push_str(HASHED);
    for byte in hash.finalize().iter().take(HASH_DIGITS / 2) {
        write!(key, "{byte:02x}").expect("writing to a String cannot fail");
    }
}

/// Appends `part` to `key`, escaped.
fn push_escaped(key: &mut String, part: &str) {
    if part.is_empty() {
        key.push_str(EMPTY);
        return;
    }
    if part.len() > LONGEST_PART {
        push_hash(key, Sha256::new().chain_update(part));
        return;
    }
    for character in part.chars() {
        if needs_escape(character) {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(key, "%{byte:02X}").expect("writing to a String cannot fail");
            }
        } else {
            key.push(character);
        }
    }
}

/// Returns whether a key can hold `segment`: the escaped form of some part, or [`ABSENT`].
pub(crate) fn is_canonical(segment: &str) -> bool {
    if segment == EMPTY || segment == ABSENT {
        return true;
    }
    if let Some(digits) = segment.strip_prefix(HASHED) {
        return digits.len() == HASH_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    }
    if is_plain(segment) {
        return (1..=LONGEST_PART).contains(&segment.len());
    }
    let Some(part) = unescape(segment) else { return false };
    if part.is_empty() || part.len() > LONGEST_PART {
        return false;
    }
    let mut again = String::with_capacity(segment.len());
    push_escaped(&mut again, &part);
    again == segment
}

/// Returns whether `character` is escaped in keys.
pub(crate) fn needs_escape(character: char) -> bool {
    matches!(character, ':' | '%' | '*' | '?' | '[' | ']' | '{' | '}' | '\\')
        || character.is_whitespace()
        || character.is_control()
}

/// Whether `text` is its own escaped form, apart from its length: what most parts are, and quick to see.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !needs_escape(char::from(byte)))
}

fn unescape(segment: &str) -> Option<String> {
    let mut pieces = segment.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, text) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(text.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(part: &str) -> String {
        let mut out = String::new();
        push_escaped(&mut out, part);
        out
    }

    #[test]
    fn separators_and_glob_characters_are_escaped() {
        assert_eq!(escaped("a:b*c?"), "a%3Ab%2Ac%3F");
        assert_eq!(escaped("{x}[y]\\z 100%"), "%7Bx%7D%5By%5D%5Cz%20100%25");
        assert_eq!(escaped("\u{2003}"), "%E2%80%83");
    }

    #[test]
    fn an_empty_part_differs_from_an_absent_one() {
        assert_eq!(escaped(""), "%_");
        assert_ne!(escaped("%_"), "%_");
        assert_ne!(escaped("%-"), ABSENT);
        assert!(is_canonical(ABSENT));
    }

    #[test]
    fn a_part_of_200_bytes_is_kept_and_one_of_201_is_hashed() {
        assert_eq!(escaped(&"x".repeat(200)).len(), 200);
        let hashed = escaped(&"x".repeat(201));
        assert!(hashed.starts_with("%~") && hashed.len() == 34);
        assert_ne!(hashed, escaped(&"x".repeat(202)));
    }

    #[test]
    fn a_segment_that_escaping_cannot_make_is_not_canonical() {
        for bad in ["", "%", "%3", "%3a", "%41", "a b", "a*", "%~12", "%_x", "%-x", "%FF"] {
            assert!(!is_canonical(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_injective_and_canonical(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(escaped(&a) == escaped(&b), a == b);
            prop_assert!(is_canonical(&escaped(&a)));
        }

        #[test]
        fn an_escaped_part_has_no_special_character(part in any::<String>()) {
            let text = escaped(&part);
            prop_assert!(!text.is_empty() && text != ABSENT);
            prop_assert!(!text.chars().any(|c| c != '%' && needs_escape(c)));
        }
    }
}
