//! One text for each JSON value, in which numbers keep the digits they were sent with.

use std::collections::HashSet;

use crate::error::ApiError;

/// How deep metadata may be nested. A page of images adds three levels, and common readers stop at 127.
pub(super) const DEEPEST: usize = 120;

/// Rewrites a valid JSON text: without white space, each string escaped in one way, numbers digit by digit and members in
/// their order as they are.
///
/// Any `serde_json::Value` on the way would round numbers to doubles and sort the members.
///
/// # Errors
/// A text that readers refuse, with the page that contains it, or read as different values: 422 for an object that names a
/// member twice; 400 for a number beyond a double's range, half a surrogate pair, or nesting deeper than [`DEEPEST`].
pub(super) fn canonical(json: &str) -> Result<String, ApiError> {
    let mut text = String::with_capacity(json.len());
    // The names of the members so far, of each array and object that is open.
    let mut open: Vec<HashSet<String>> = Vec::new();
    let mut string = String::new();
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at_checked(length(first, rest)).unwrap_or((rest, ""));
        rest = after;
        match first {
            ' ' | '\t' | '\r' | '\n' => continue,
            '"' => {
                string = serde_json::from_str(token)
                    .map_err(|_| ApiError::bad_request("metadata hold a string that is not Unicode"))?;
                text.push_str(&escaped(&string));
                continue;
            }
            '{' | '[' => {
                open.push(HashSet::new());
                if open.len() > DEEPEST {
                    return Err(ApiError::bad_request(format!(
                        "metadata may be nested {DEEPEST} levels deep"
                    )));
                }
            }
            '}' | ']' => drop(open.pop()),
            ':' => {
                let name = std::mem::take(&mut string);
                let message = format!("metadata name the member {} twice", escaped(&name));
                if !open.last_mut().is_some_and(|names| names.insert(name)) {
                    return Err(ApiError::invalid(message));
                }
            }
            '-' | '0'..='9' if !token.parse::<f64>().is_ok_and(f64::is_finite) => {
                return Err(ApiError::bad_request("metadata hold a number that is out of range"));
            }
            _ => {}
        }
        text.push_str(token);
    }
    Ok(text)
}

/// Returns the length of the token at the beginning of `rest`, which begins with `first`.
fn length(first: char, rest: &str) -> usize {
    match first {
        '"' => {
            let mut is_escaped = false;
            let is_end = |character: char| {
                let ends = character == '"' && !is_escaped;
                is_escaped = character == '\\' && !is_escaped;
                ends
            };
            1 + rest.get(1..).and_then(|inside| inside.find(is_end)).map_or(rest.len(), |end| end + 1)
        }
        '-' | '0'..='9' | 'a'..='z' => {
            rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len())
        }
        _ => 1,
    }
}

fn escaped(string: &str) -> String {
    serde_json::to_string(string).expect("every string has a JSON text")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_text_says_what_was_sent_without_white_space() {
        for (sent, kept) in [
            (" { } ", "{}"),
            ("{\"b\" : [ 1 , 2.50 ] ,\n\t\"a\":null}", r#"{"b":[1,2.50],"a":null}"#),
            (r#"{"\u0061\/\"\\\n":"\u00e9\ud83d\ude00 , : ]"}"#, "{\"a/\\\"\\\\\\n\":\"é😀 , : ]\"}"),
            (r#"{"":{"":[[],{},true,false]}}"#, r#"{"":{"":[[],{},true,false]}}"#),
            (r#"{"x":-0,"y":-0.0,"z":1E+5,"w":1e-999}"#, r#"{"x":-0,"y":-0.0,"z":1E+5,"w":1e-999}"#),
            (r#"{"a":{"a":1},"b":{"a":1}}"#, r#"{"a":{"a":1},"b":{"a":1}}"#),
        ] {
            assert_eq!(canonical(sent).unwrap(), kept);
        }
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(canonical(&nested(DEEPEST)).is_ok());
        for (sent, status) in [
            (r#"{"a":1,"\u0061":1}"#, 422),
            (r#"{"b":[{"a":1,"c":2,"a":1}]}"#, 422),
            (r#"{"a":1e999}"#, 400),
            (r#"{"a":"\ud800"}"#, 400),
            (&nested(DEEPEST + 1), 400),
        ] {
            assert_eq!(canonical(sent).unwrap_err().status().as_u16(), status, "{sent}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\\\\"{}\\[\\],: ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a\\\\\" :]{0,3}", inner, 0..5).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_has_one_text_however_it_is_indented(value in value()) {
            let compact = value.to_string();
            prop_assert_eq!(canonical(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), compact.clone());
            prop_assert_eq!(canonical(&compact).unwrap(), compact);
        }
    }
}
