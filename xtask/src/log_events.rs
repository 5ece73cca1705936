//! The messages of log events, which code and documents share.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Error, Result, ensure};

use crate::docs::read;
use crate::source_rules::{Source, product_text, rust_sources};

/// Crates that write log events.
const SPEAKERS: &[&str] = &[
    "crates/cache-core/src",
    "crates/cache-disk/src",
    "crates/cache-facade/src",
    "crates/cache-http/src",
    "crates/cache-redis/src",
    "crates/image-manager/src",
];

/// The log events of the code, from INFO up, are those of the table in docs/reference.md.
pub(crate) fn are_documented(root: &Path) -> Result<String> {
    let sources = speakers(root)?;
    let code = sources.iter().flat_map(|source| events_in_code(&product_text(&source.text))).collect();
    same_events(&code, &events_in_table(&read(root, "docs/reference.md")?)).map_err(Error::msg)
}

/// Every log event of the cache is emitted by the macros of `cache_core::log`: else a subscriber that panics would
/// interrupt the code around it.
pub(crate) fn are_contained(root: &Path) -> Result<String> {
    let sources = speakers(root)?;
    let ours = sources.iter().filter(|source| !source.path.contains("image-manager"));
    let bare: Vec<String> = ours.flat_map(bare_events).collect();
    ensure!(bare.is_empty(), bare.join("\n          "));
    Ok("all of them".to_owned())
}

/// Events that tracing's own macros emit.
fn bare_events(source: &Source) -> Vec<String> {
    let calls = ["trace", "debug", "info", "warn", "error", "event"];
    let is_bare = |line: &&str| calls.iter().any(|call| line.contains(&format!("tracing::{call}!(")));
    let text = product_text(&source.text);
    text.lines().filter(is_bare).map(|line| format!("{}: {}", source.path, line.trim())).collect()
}

/// Every event of the code is in the table, and every line of the table is an event of the code.
fn same_events(code: &BTreeSet<String>, documented: &BTreeSet<String>) -> Result<String, String> {
    if code.is_empty() || documented.is_empty() {
        return Err("found no log events: this check would prove nothing".to_owned());
    }
    let unknown = documented.iter().filter(|event| !code.iter().any(|pattern| says(pattern, event)));
    let missing = code.iter().filter(|pattern| !documented.iter().any(|event| says(pattern, event)));
    let wrong: Vec<String> = missing
        .map(|event| format!("docs/reference.md lacks {event:?}"))
        .chain(unknown.map(|event| format!("the code lacks {event:?}")))
        .collect();
    if wrong.is_empty() { Ok(format!("{} log events", code.len())) } else { Err(wrong.join("\n          ")) }
}

/// Whether an event of the code can say this: the texts around its placeholders stand there in their order.
fn says(pattern: &str, event: &str) -> bool {
    if pattern == event {
        return true;
    }
    let (first, placeholders) = pattern.split_once('{').unwrap_or((pattern, ""));
    // The level alone is no text: such a message could be anything, and is documented as it is written.
    let has_text = first.split_once(' ').is_some_and(|(_, text)| !text.is_empty());
    let Some(mut rest) = event.strip_prefix(first).filter(|_| has_text && !placeholders.is_empty()) else {
        return false;
    };
    let mut texts: Vec<&str> =
        placeholders.split('{').filter_map(|part| part.split_once('}')).map(|(_, text)| text).collect();
    let last = texts.pop().unwrap_or_default();
    for text in texts {
        let Some((_, after)) = rest.split_once(text) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

fn speakers(root: &Path) -> Result<Vec<Source>> {
    rust_sources(root, SPEAKERS)
}

/// Messages of `info!`, `warn!` and `error!`, with their levels.
fn events_in_code(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (call, level) in [("info!(", "INFO"), ("warn!(", "WARN"), ("error!(", "ERROR")] {
        for (start, _) in text.match_indices(call) {
            // `compile_error!` is no log event.
            if text.get(..start).is_some_and(|before| before.ends_with('_')) {
                continue;
            }
            let arguments = text.get(start + call.len()..).unwrap_or_default();
            if let Some(message) = message(arguments) {
                found.insert(format!("{level} {message}"));
            }
        }
    }
    found
}

/// The first string that is an argument of its own: not the value of a field (`= "x"`) nor a target (`: "x"`).
fn message(arguments: &str) -> Option<String> {
    let mut depth = 1_u32;
    let mut before = '(';
    let mut letters = arguments.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let mut text = String::new();
                loop {
                    match letters.next()? {
                        '\\' => match letters.next()? {
                            // A line that goes on in the next one.
                            '\n' => {
                                let rest = letters.as_str().trim_start();
                                letters = rest.chars();
                            }
                            escaped => text.push(escaped),
                        },
                        '"' => break,
                        letter => text.push(letter),
                    }
                }
                if depth == 1 && (before == '(' || before == ',') {
                    return Some(text);
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
        if !letter.is_whitespace() {
            before = letter;
        }
    }
    None
}

/// Rows `| LEVEL | message | ... |` of any table.
fn events_in_table(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.strip_prefix("| ")?.split(" | ");
            let level = columns.next().filter(|level| ["INFO", "WARN", "ERROR"].contains(level))?;
            let message = columns.next()?.trim();
            // A message that holds a backtick itself stands between two of them.
            let message = match message.strip_prefix("`` ").and_then(|inner| inner.strip_suffix(" ``")) {
                Some(inner) => inner,
                None => message.strip_prefix('`')?.strip_suffix('`')?,
            };
            Some(format!("{level} {message}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> BTreeSet<String> {
        text.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn an_event_that_could_interrupt_the_code_around_it_is_found() {
        let source = |text: &str| Source { path: "a.rs".to_owned(), text: text.to_owned() };
        let bare = bare_events(&source("let _ = 1;\ntracing::warn!(%error, \"broken\");\n"));
        assert_eq!(bare, ["a.rs: tracing::warn!(%error, \"broken\");"]);
        assert!(bare_events(&source("log::info!(\"x\");\nlog::warn!(limit: 7, n, \"y\");\n")).is_empty());
    }

    #[test]
    fn the_message_of_an_event_is_told_from_its_fields() {
        let text = "info!(backend = \"disk\", path = %path.display(), \"Using disk\");\n\
                    tracing::warn!(\n    target: \"x\",\n    \"falling \\\n     back to {x}\"\n);\nerror!(%why, \"broken\");";
        assert_eq!(
            events_in_code(text),
            words(&["INFO Using disk", "WARN falling back to {x}", "ERROR broken"])
        );
    }

    #[test]
    fn an_event_with_a_placeholder_is_documented_by_what_it_says() {
        assert!(says("INFO Using {kind} cache", "INFO Using disk cache"));
        assert!(!says("INFO Using {kind} cache", "INFO Using disk caches"));
        assert!(!says("INFO Using {kind} cache", "WARN Using disk cache"));
        // One that could say anything is documented as it is written.
        assert!(!says("WARN {warning}", "WARN whatever"));
        assert!(says("WARN {warning}", "WARN {warning}"));
        let code = words(&["INFO Using {kind} cache"]);
        assert!(same_events(&code, &words(&["INFO Using disk cache"])).is_ok());
        assert!(
            same_events(&code, &words(&["INFO Using disk cache", "INFO gone"])).unwrap_err().contains("gone")
        );
        assert!(same_events(&words(&["INFO new"]), &words(&["INFO old"])).unwrap_err().contains("INFO new"));
    }

    #[test]
    fn events_of_the_table_are_its_first_two_columns() {
        let text = "| level | message |\n| --- | --- |\n| INFO | `Using disk` | all is well |\n\
                    | WARN | `` no `disk` `` | x |\n";
        assert_eq!(events_in_table(text), words(&["INFO Using disk", "WARN no `disk`"]));
    }
}
