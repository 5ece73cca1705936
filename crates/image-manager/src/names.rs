//! Names that clients give to files, projects and users: which characters they may have.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, VariationSelector};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Longest name of a file, in characters.
const FILENAME_MAX_CHARS: usize = 255;

/// Returns whether a character may be part of a name: not if it is invisible or changes how its neighbours are shown.
///
/// Those are control characters, separators of lines and paragraphs, the controls of writing direction (U+202E makes
/// `gpj.exe` look like `exe.jpg`), and everything of no width, with which two names could look the same.
pub(crate) fn is_shown(char: char) -> bool {
    let is_hidden = matches!(
        CodePointMapData::<GeneralCategory>::new().get(char),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    );
    // A variation selector shows: it makes the character before it an emoji.
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(char)
        && !CodePointSetData::new::<VariationSelector>().contains(char);
    !is_hidden && !is_ignorable
}

/// Removes blanks around a name, and variation selectors at its beginning, which have no character to select.
fn trimmed(name: &str) -> &str {
    let is_blank = |char: char| char.is_whitespace() || char == '\u{2800}';
    let selectors = CodePointSetData::new::<VariationSelector>();
    name.trim_start_matches(|char| is_blank(char) || selectors.contains(char)).trim_end_matches(is_blank)
}

/// Returns the last part of a path without the characters that are not [shown](is_shown), if that leaves a name.
pub(crate) fn clean_filename(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let shown: String = name.chars().filter(|char| is_shown(*char)).collect();
    let short: String = trimmed(&shown).chars().take(FILENAME_MAX_CHARS).collect();
    let name = trimmed(&short);
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

/// Returns a name as it is compared and stored, without blanks around it.
///
/// None for an empty name, for `.` and `..`, and for one with characters that are not
/// [shown](is_shown).
pub(crate) fn checked_name(name: &str) -> Option<String> {
    let name = trimmed(name);
    (!matches!(name, "" | "." | "..") && name.chars().all(is_shown)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind that is not shown.
    const HIDDEN: [char; 19] = [
        '\0',
        '\n',
        '\u{7F}',
        '\u{85}',
        '\u{AD}',
        '\u{34F}',
        '\u{61C}',
        '\u{115F}',
        '\u{180E}',
        '\u{200B}',
        '\u{200D}',
        '\u{200F}',
        '\u{2028}',
        '\u{2029}',
        '\u{202E}',
        '\u{2060}',
        '\u{2066}',
        '\u{FEFF}',
        '\u{E0041}',
    ];

    #[test]
    fn a_filename_is_never_a_path() {
        assert_eq!(clean_filename("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(clean_filename("C:\\Users\\me\\cät 1.png").as_deref(), Some("cät 1.png"));
        assert_eq!(clean_filename("dir/"), None);
        for name in [".", "..", "a/..", "a\\.", " .. ", ".\u{200B}.", "\u{3000}\u{202E}"] {
            assert_eq!(clean_filename(name), None, "{name:?}");
        }
        assert_eq!(clean_filename("...").as_deref(), Some("..."));
    }

    #[test]
    fn what_is_not_shown_is_in_no_name() {
        for hidden in HIDDEN {
            assert_eq!(
                clean_filename(&format!("{hidden}a{hidden}b.png")).as_deref(),
                Some("ab.png"),
                "{hidden:?}"
            );
            assert_eq!(checked_name(&format!("a{hidden}b")), None, "{hidden:?}");
        }
    }

    #[test]
    fn a_name_of_blanks_and_selectors_alone_is_none() {
        for name in ["\u{FE0F}", "\u{2800}", "\u{3000}\u{FE00} ", "\u{2800}\u{E0100}"] {
            assert_eq!(clean_filename(name), None, "{name:?}");
            assert_eq!(checked_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn names_of_all_scripts_are_kept() {
        for name in
            ["cät 1.png", "写真.jpg", "صورة.png", "ह\u{93F}न\u{94D}द\u{940}", "❤\u{FE0F} 2026", "e\u{301}"]
        {
            assert_eq!(clean_filename(name).as_deref(), Some(name));
            assert_eq!(checked_name(name).as_deref(), Some(name));
        }
        assert_eq!(checked_name(" Summer ").as_deref(), Some("Summer"));
    }

    #[test]
    fn a_filename_has_a_limit() {
        assert_eq!(clean_filename("ö".repeat(300).as_str()).map(|name| name.chars().count()), Some(255));
        assert_eq!(clean_filename(&format!("{} b", "a".repeat(254))), Some("a".repeat(254)));
    }
}
