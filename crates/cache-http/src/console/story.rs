//! The state of a key in sentences.

use std::time::Duration;

use cache_facade::backend::Timestamp;
use cache_facade::stats::{Explanation, InvalidationEvent, MissCause};

use super::live::origin;

/// Tells the state of a key: where it is, how old it is, why the last lookup missed, and what removed it.
pub(super) fn story(found: &Explanation, event: Option<&InvalidationEvent>, now: Timestamp) -> Vec<String> {
    let mut story = state(found);
    if let Some(cause) = found.last_miss {
        let then =
            if found.found { "The last lookup that missed found that" } else { "The last lookup missed:" };
        story.push(format!("{then} {}.", reason(cause)));
    } else if !found.found {
        story.push("No lookup of it by this process has missed lately.".to_owned());
    }
    match event {
        Some(event) => story.push(invalidated(event, now)),
        None if found.last_miss == Some(MissCause::Invalidated) => {
            story.push("Which invalidation removed it is not known: another instance asked for it, or it is long ago.".to_owned());
        }
        None => {}
    }
    story
}

fn state(found: &Explanation) -> Vec<String> {
    let Explanation { backend, .. } = found;
    if !found.found {
        return vec![format!("It is not in the cache ({backend}): the next read loads it.")];
    }
    let size = found.size_bytes.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
    let codec = found.codec.map(|codec| format!(" as {codec}")).unwrap_or_default();
    let age = found.age_ms.map(|age| format!(", stored {} ago", time(age))).unwrap_or_default();
    let mut story = vec![format!("It is in the cache ({backend}){size}{codec}{age}.")];
    if let Some(is_in_memory) = found.in_memory {
        let sentence = if is_in_memory {
            "A copy in the memory of this process answers reads."
        } else {
            "This process has no copy of it in memory: the next read asks the store."
        };
        story.push(sentence.to_owned());
    }
    story.push(match found.expires_in_ms {
        Some(left) => format!("It expires in {}, unless it is invalidated or evicted before.", time(left)),
        None => "It does not expire: it stays until it is invalidated or evicted.".to_owned(),
    });
    story
}

fn reason(cause: MissCause) -> &'static str {
    match cause {
        MissCause::Absent => "it was absent: never stored, or removed longer ago than this process remembers",
        MissCause::Expired => "it had expired",
        MissCause::Evicted => "it had been evicted to make room for other entries",
        MissCause::Invalidated => "it had been invalidated",
        MissCause::Refused => {
            "its fill had been refused, because the loaded value may have been older than an invalidation"
        }
        MissCause::Corrupt => "its bytes were damaged",
        MissCause::ShapeChanged => "it was stored by another version of its type",
        MissCause::Unavailable => "the store could not be read; the entry may have been there",
        _ => "its cause is not known here",
    }
}

fn invalidated(event: &InvalidationEvent, now: Timestamp) -> String {
    let ago = now.saturating_since(event.at);
    let ago = time(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
    let what = match (event.what.first(), event.count) {
        (Some(only), 1) => only.to_string(),
        (Some(first), count) => format!("{first} and {} more", count - 1),
        (None, _) => "nothing".to_owned(),
    };
    let removed = match &event.outcome {
        Ok(invalidated) => match invalidated.removed() {
            1 => ", which removed 1 entry".to_owned(),
            removed => format!(", which removed {removed} entries"),
        },
        Err(_) => String::new(),
    };
    format!("It was last invalidated {ago} ago {} ({what}){removed}.", origin(event))
}

/// A number of bytes for people.
fn bytes(bytes: u64) -> String {
    let units = [("GB", 30), ("MB", 20), ("KB", 10)];
    let unit = units.into_iter().find(|(_, power)| bytes >> power > 0);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, power)| format!("{:.1} {unit}", bytes as f64 / f64::from(1 << power)),
    )
}

/// Milliseconds for people.
fn time(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_told_in_units_that_fit() {
        assert_eq!(
            [0, 1_023, 1_536, 5 << 20, 3 << 30].map(bytes),
            ["0 bytes", "1023 bytes", "1.5 KB", "5.0 MB", "3.0 GB"]
        );
        assert_eq!(
            [5, 61_000, 600_000, 10_000_000, 900_000_000].map(time),
            ["5 ms", "61 s", "10 min", "2 h", "10 days"]
        );
    }
}
