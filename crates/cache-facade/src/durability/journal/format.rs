//! The bytes of a journal: a file of 128 KiB in 256 slots of one sector each.
//!
//! A record lies within one slot, and storage writes a sector whole or not at all: a crash leaves the record or nothing, and
//! the end of the file needs no interpretation. All sectors are written once when the file is created: later writes need no
//! space, and syncing them writes nothing else.
//!
//! | slot | bytes | |
//! | --- | --- | --- |
//! | any | 0..8 | xxh3-64 of bytes 8..512, seeded with the slot's number, little-endian |
//! | | 8..10 | length of the text, little-endian |
//! | | 10.. | the text, in UTF-8; zeros follow |
//! | 0 | | the text `cache journal 1` |
//! | 1..256 | | zeros: free; else a record |
//!
//! The text of a record is a line with its reason and target (`intent disk`, `owed redis 3 app`), and a line for each
//! invalidation as it displays itself. A file of another length, or with a slot that is none of these, is damaged:
//! its records are unknown, so everything counts as invalid.

use std::fmt::{self, Display};

use cache_core::{CacheGroup, Invalidation};
use twox_hash::XxHash3_64;

/// Bytes of a slot: the least that storage writes at once.
pub(super) const SLOT_BYTES: usize = 512;

/// Slots of a file; the first is its heading.
pub(super) const SLOTS: usize = 256;

/// Bytes of a file.
pub(super) const FILE_BYTES: usize = SLOT_BYTES * SLOTS;

/// The first slot of ordinary records: the one before it holds `everything`, for records that find no free slot.
pub(super) const FIRST_RECORD: usize = 2;

const TEXT_AT: usize = 10;
const LONGEST_TEXT: usize = SLOT_BYTES - TEXT_AT;
const HEADING: &str = "cache journal 1";

pub(super) type Slot = [u8; SLOT_BYTES];

/// A free slot.
pub(super) const FREE: Slot = [0; SLOT_BYTES];

/// The store that must apply an invalidation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The disk cache in the same directory.
    Disk,
    /// A Redis database.
    Redis {
        /// The number of the database.
        db: u32,
        /// The prefix of all keys.
        namespace: String,
    },
}

/// Why an invalidation was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A change of the database is about to be committed.
    Intent,
    /// The target has not acknowledged it.
    Pending,
}

/// The content of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) reason: Reason,
    pub(crate) target: Target,
    pub(crate) what: Vec<Invalidation>,
}

/// The records of a file, each with the number of its slot.
pub(super) type Records = Vec<(usize, Record)>;

/// Decodes a file into its records, each with the number of its slot; `None` when it is damaged.
pub(super) fn decode(file: &[u8]) -> Option<Records> {
    if file.len() != FILE_BYTES {
        return None;
    }
    let mut records = Vec::new();
    for (number, slot) in file.chunks_exact(SLOT_BYTES).enumerate() {
        if number == 0 {
            text_of(0, slot).filter(|text| *text == HEADING)?;
        } else if slot != FREE {
            records.push((number, text_of(number, slot).and_then(parse)?));
        }
    }
    Some(records)
}

impl Record {
    /// Encodes slot `number` with this record, which is short enough for one.
    pub(super) fn slot(&self, number: usize) -> Slot {
        sealed(number, &texts(self.reason, &self.target, &self.what).concat())
    }
}

/// Encodes a file of `slots`; the others are free.
pub(super) fn encode(slots: &[(usize, Slot)]) -> Vec<u8> {
    let mut file = sealed(0, HEADING).to_vec();
    for number in 1..SLOTS {
        let slot = slots.iter().find(|(at, _)| *at == number);
        file.extend(slot.map_or(FREE, |(_, slot)| *slot));
    }
    file
}

/// Appends the invalidations of `more` to `text`; `None` when they do not fit into one slot.
pub(super) fn joined(text: &str, more: &str) -> Option<String> {
    let (_heading, lines) = more.split_once('\n')?;
    (text.len() + 1 + lines.len() <= LONGEST_TEXT).then(|| format!("{text}\n{lines}"))
}

/// Encodes `what` as the texts of records, each short enough for a slot.
///
/// An invalidation that is too long is replaced by one that covers it: a key or pattern by its group, a group by
/// everything. Duplicates are written once.
pub(super) fn texts(reason: Reason, target: &Target, what: &[Invalidation]) -> Vec<String> {
    let heading = format!("{reason} {target}");
    let fits = |what: &Invalidation| heading.len() + 1 + what.to_string().len() <= LONGEST_TEXT;
    let mut lines: Vec<String> = what.iter().map(|what| covering(what, fits).to_string()).collect();
    let everything = Invalidation::Everything.to_string();
    if lines.contains(&everything) {
        lines = vec![everything];
    }
    lines.sort_unstable();
    lines.dedup();
    let mut texts = Vec::new();
    let mut text = heading.clone();
    for line in lines {
        if text.len() + 1 + line.len() > LONGEST_TEXT {
            texts.push(std::mem::replace(&mut text, heading.clone()));
        }
        text.push('\n');
        text.push_str(&line);
    }
    if text.len() > heading.len() {
        texts.push(text);
    }
    texts
}

/// Encodes the text of a record of everything.
pub(super) fn everything(reason: Reason, target: &Target) -> String {
    texts(reason, target, &[Invalidation::Everything]).concat()
}

/// Encodes slot `number` with a text of [`texts`].
#[expect(clippy::indexing_slicing, reason = "a text is shorter than a slot by more than its prefix")]
pub(super) fn sealed(number: usize, text: &str) -> Slot {
    let mut slot = FREE;
    let length = u16::try_from(text.len()).expect("a text is shorter than a slot");
    slot[8..TEXT_AT].copy_from_slice(&length.to_le_bytes());
    slot[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
    let checksum = checksum(number, &slot);
    slot[..8].copy_from_slice(&checksum.to_le_bytes());
    slot
}

/// Returns `what` if it fits, else the narrowest invalidation that covers it and fits.
fn covering(what: &Invalidation, fits: impl Fn(&Invalidation) -> bool) -> Invalidation {
    if fits(what) {
        return what.clone();
    }
    let group = match what {
        Invalidation::Key(key) => Some(key.to_group()),
        Invalidation::Pattern(pattern) => pattern.group().and_then(|group| CacheGroup::parse(group).ok()),
        Invalidation::Group(_) | Invalidation::Everything => None,
    };
    group.map(Invalidation::Group).filter(fits).unwrap_or(Invalidation::Everything)
}

fn text_of(number: usize, slot: &[u8]) -> Option<&str> {
    let (sum, rest) = slot.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*sum) != checksum(number, slot) {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<2>()?;
    std::str::from_utf8(rest.get(..usize::from(u16::from_le_bytes(*length)))?).ok()
}

fn checksum(number: usize, slot: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(number as u64, slot.get(8..).unwrap_or_default())
}

fn parse(text: &str) -> Option<Record> {
    let mut lines = text.lines();
    let (reason, target) = lines.next()?.split_once(' ')?;
    let reason = match reason {
        "intent" => Reason::Intent,
        "owed" => Reason::Pending,
        _ => return None,
    };
    let what = lines.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Record { reason, target: Target::parse(target)?, what })
}

impl Target {
    /// Parses what it displays.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let target = match words.next()? {
            "disk" => Self::Disk,
            "redis" => Self::Redis { db: words.next()?.parse().ok()?, namespace: words.next()?.to_owned() },
            _ => return None,
        };
        words.next().is_none().then_some(target)
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intent => "intent",
            Self::Pending => "owed",
        })
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk"),
            Self::Redis { db, namespace } => write!(f, "redis {db} {namespace}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{CacheKey, CachePattern};

    use super::*;

    fn group(id: impl cache_core::KeyPart) -> Invalidation {
        CacheGroup::new("image", id).into()
    }

    fn file_with(texts: &[String]) -> Vec<u8> {
        let mut file = encode(&[]);
        for (index, text) in texts.iter().enumerate() {
            let at = (index + 1) * SLOT_BYTES;
            file[at..at + SLOT_BYTES].copy_from_slice(&sealed(index + 1, text));
        }
        file
    }

    fn read_back(reason: Reason, target: &Target, what: &[Invalidation]) -> Vec<Invalidation> {
        let texts = texts(reason, target, what);
        let records = decode(&file_with(&texts)).unwrap();
        assert!(records.iter().all(|(_, record)| record.reason == reason && record.target == *target));
        records.into_iter().flat_map(|(_, record)| record.what).collect()
    }

    /// The bytes of a slot before the zeros at its end, in hexadecimal.
    fn hex(slot: &[u8]) -> String {
        let end = slot.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let digits =
            |byte: &u8| [byte >> 4, byte & 15].map(|four| char::from_digit(four.into(), 16).unwrap());
        slot[..end].iter().flat_map(digits).collect()
    }

    #[test]
    fn a_journal_is_written_and_read_as_the_golden_file_says() {
        let key = CacheKey::builder("image", 5).part("metadata").build().unwrap();
        let pattern = CachePattern::parse("image:*").unwrap();
        let redis = Target::Redis { db: 3, namespace: "app".to_owned() };
        let record = |reason, target, what| Record { reason, target, what };
        let records = [
            (1, record(Reason::Pending, redis, vec![Invalidation::Everything])),
            (2, record(Reason::Intent, Target::Disk, vec![group(5), key.into(), pattern.into()])),
        ];
        let slots = [0, 1].map(|at: usize| (records[at].0, records[at].1.slot(records[at].0)));
        let file = encode(&slots);
        let lines: Vec<_> = file.chunks_exact(SLOT_BYTES).take(3).map(hex).collect();
        assert_eq!(lines.join("\n"), include_str!("../../../tests/golden/journal.hex").trim());
        assert_eq!(decode(&file).unwrap(), records);
    }

    #[test]
    fn records_are_read_back_for_every_target_and_reason() {
        let key = CacheKey::builder("image", 1).part("metadata").build().unwrap();
        let pattern = CachePattern::parse("[r]thumbnail:*").unwrap();
        let what = vec![group(1), key.into(), pattern.into()];
        let redis = Target::Redis { db: 3, namespace: "a-b.c".to_owned() };
        for target in [Target::Disk, redis] {
            for reason in [Reason::Intent, Reason::Pending] {
                let back = read_back(reason, &target, &what);
                assert!(back.len() == 3 && what.iter().all(|what| back.contains(what)), "{back:?}");
            }
        }
        assert!(texts(Reason::Intent, &Target::Disk, &[]).is_empty());
    }

    #[test]
    fn many_invalidations_share_few_slots_and_none_is_lost() {
        let what: Vec<_> = (0..1000).map(group).collect();
        let twice = [what.clone(), what.clone()].concat();
        let texts = texts(Reason::Intent, &Target::Disk, &twice);
        assert!(texts.len() < 40, "{} slots", texts.len());
        let back = read_back(Reason::Intent, &Target::Disk, &twice);
        assert!(back.len() == 1000 && what.iter().all(|what| back.contains(what)));
    }

    #[test]
    fn an_invalidation_too_long_for_a_slot_is_covered_by_a_shorter_one() {
        let part = || "é".repeat(100);
        let covered = |what: Invalidation| {
            let back = read_back(Reason::Intent, &Target::Disk, &[what]);
            assert_eq!(back.len(), 1);
            back[0].to_string()
        };
        let long_key = (0..3).fold(CacheKey::builder("image", 1), |key, _| key.part(part())).build().unwrap();
        assert!(long_key.as_str().len() > 600);
        assert_eq!(covered(long_key.clone().into()), "group image:1");
        let pattern = CachePattern::parse(&format!("{}*", long_key.as_str())).unwrap();
        assert_eq!(covered(pattern.into()), "group image:1");
        let scope = "s".repeat(64);
        let long_group = CacheGroup::new(part(), ":".repeat(190)).in_scope(&scope).unwrap();
        assert_eq!(covered(long_group.clone().into()), "everything");
        assert_eq!(
            covered(CachePattern::parse(&format!("{}*", "x".repeat(600))).unwrap().into()),
            "everything"
        );
        let longest_that_fits = CacheGroup::new("x".repeat(200), "y".repeat(200));
        assert_eq!(covered(longest_that_fits.clone().into()), format!("group {longest_that_fits}"));
    }

    #[test]
    fn everything_is_written_alone() {
        let texts = texts(Reason::Pending, &Target::Disk, &[group(1), Invalidation::Everything, group(2)]);
        assert_eq!(texts, ["owed disk\neverything"]);
    }

    #[test]
    fn a_file_cut_anywhere_is_damaged() {
        let file = file_with(&texts(Reason::Intent, &Target::Disk, &[group(1)]));
        for length in 0..FILE_BYTES {
            assert_eq!(decode(&file[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(&[&file[..], &[0]].concat()), None);
        assert_eq!(decode(&file).unwrap().len(), 1);
    }

    #[test]
    fn a_bit_flipped_anywhere_is_damage() {
        let mut file =
            file_with(&texts(Reason::Intent, &Target::Disk, &(0..100).map(group).collect::<Vec<_>>()));
        let sound = decode(&file).unwrap();
        assert!(sound.len() > 1);
        // Every bit of the heading, the records and one free slot behind them; a bit of each byte of the rest.
        for at in 0..FILE_BYTES {
            for bit in if at < SLOT_BYTES * 4 { 0..8 } else { 3..4 } {
                file[at] ^= 1 << bit;
                assert!(read_slots_around(&file, at), "byte {at} bit {bit}");
                file[at] ^= 1 << bit;
            }
        }
        assert_eq!(decode(&file).unwrap(), sound);
    }

    /// Whether `file` reads as damaged. Reads the whole file for some bytes and one slot for the others, because
    /// a hundred thousand readings of a whole file take minutes.
    fn read_slots_around(file: &[u8], at: usize) -> bool {
        if at.is_multiple_of(101) {
            return decode(file).is_none();
        }
        let number = at / SLOT_BYTES;
        let slot = &file[number * SLOT_BYTES..][..SLOT_BYTES];
        slot != FREE && text_of(number, slot).is_none()
    }

    #[test]
    fn a_sector_in_the_wrong_place_is_damage() {
        let mut file = file_with(&texts(Reason::Intent, &Target::Disk, &[group(1)]));
        file.copy_within(SLOT_BYTES..2 * SLOT_BYTES, 3 * SLOT_BYTES);
        assert_eq!(decode(&file), None);
    }
}
