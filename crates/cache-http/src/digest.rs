//! Texts of digests.

/// Appends the first 128 bits of `digest` to `text`, in small hexadecimal letters.
pub(crate) fn push_hex(text: &mut String, digest: &[u8]) {
    for byte in digest.iter().take(16) {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_digest_has_32_digits() {
        let mut text = "x:".to_owned();
        super::push_hex(&mut text, &[0x0f; 20]);
        assert_eq!(text, format!("x:{}", "0f".repeat(16)));
    }
}
