//! Random hostile bytes, keys and patterns: no bytes are taken for an entry, none causes a panic, and no two lists of parts
//! give one key.
//!
//! `RELIABILITY_TIMES=50 cargo test -p cache-core --test bad_inputs` tries fifty times as many.

mod stored;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use cache_core::envelope::KeyHasher;
use cache_core::{CacheKey, CachePattern, Codec, CodecId, Entry, ErrorKind, KeyBuilder, Timestamp};
use testkit::reliability::{Tally, seed, times};

const ROW: &str = "bad inputs";
const INPUTS: usize = 20_000;
const NOW: Timestamp = Timestamp::from_millis(1_704_067_200_000);
/// Texts with a meaning in keys, patterns, Redis, shells, paths or terminals.
const SIGNS: [&str; 24] = [
    ":",
    "*",
    "?",
    "[",
    "]",
    "{",
    "}",
    "\\",
    "%",
    "%3A",
    "\0",
    "\r\n",
    " ",
    "\"",
    "'",
    "/",
    "..",
    "\u{202e}",
    "é",
    "e\u{301}",
    "\u{1b}[2J",
    "a",
    "1",
    "",
];

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014 (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).expect("63 bits fit") % end
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("it is below 256")
    }

    fn text(&mut self) -> String {
        (0..self.below(5)).filter_map(|_| SIGNS.get(self.below(SIGNS.len()))).copied().collect()
    }

    /// Damages a copy: truncated, extended, with changed bytes or bits, or entirely random.
    fn damaged(&mut self, sound: &[u8]) -> Vec<u8> {
        let mut bytes = sound.to_vec();
        match self.below(6) {
            0 => bytes.truncate(self.below(sound.len())),
            1 => {
                let (at, bit) = (self.below(sound.len()), self.below(8));
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2 => bytes.insert(self.below(sound.len()), self.byte()),
            3 => drop(bytes.remove(self.below(sound.len()))),
            4 => (0..self.below(200)).for_each(|_| bytes.push(self.byte())),
            _ => bytes = (0..self.below(300)).map(|_| self.byte()).collect(),
        }
        bytes
    }
}

fn begin(own: u64) -> (Dice, Tally) {
    (Dice(seed(own)), Tally::new(ROW, seed(own)))
}

#[test]
fn no_damaged_bytes_are_an_entry() {
    let (mut dice, tally) = begin(1);
    let key = KeyHasher::new("app").hash("image:5:metadata");
    let entry = Entry {
        payload: Bytes::from_static(b"a payload of some length, so that it has a middle"),
        codec: CodecId::Bincode,
        shape: 7,
        stored_at: NOW,
        expires_at: None,
        fresh_until: None,
    };
    let sound = stored::encode(&entry, key, 9);
    assert_eq!(stored::decode(&sound, key, NOW), Ok(entry), "undamaged bytes are an entry");
    for _ in 0..times(INPUTS) {
        tally.attempt();
        let damaged = Bytes::from(dice.damaged(&sound));
        let found = stored::decode(&damaged, key, NOW);
        assert!(damaged == sound || found.is_err(), "{damaged:?} is {found:?}");
    }
}

type Record = BTreeMap<String, (u64, Option<Vec<(u8, String)>>)>;

#[test]
fn no_damaged_payload_panics_or_is_another_kind_of_error() {
    let (mut dice, tally) = begin(2);
    let record: Record =
        [("one".to_owned(), (1, None)), ("two".to_owned(), (2, Some(vec![(3, "x".repeat(20))])))].into();
    let sound = Codec::Bincode.encode(&record).expect("it encodes");
    for _ in 0..times(INPUTS) {
        tally.attempt();
        let damaged = dice.damaged(&sound.payload);
        if let Err(error) = Codec::Bincode.decode::<Record>(&damaged, sound.shape) {
            assert_eq!(error.kind(), ErrorKind::Decode, "{damaged:?}");
        }
        let other = Codec::Bincode.decode::<Vec<(String, u32)>>(&damaged, sound.shape);
        assert!(other.is_err(), "a value of another type was read: {other:?}");
    }
}

#[test]
fn no_two_lists_of_parts_are_one_key_and_no_key_reaches_another_group() {
    let (mut dice, tally) = begin(3);
    let mut known: HashMap<CacheKey, Vec<String>> = HashMap::new();
    for _ in 0..times(INPUTS) {
        tally.attempt();
        let parts: Vec<String> = (0..=dice.below(4)).map(|_| dice.text()).collect();
        let (id, rest) = parts.split_first().expect("there is one at least");
        let key = rest.iter().fold(CacheKey::builder("image", id), KeyBuilder::part);
        let key = key.build().expect("they are short");
        assert_eq!(CacheKey::parse(key.as_str()).expect("a key's text is a key"), key);
        let (family, id) = key.group().split_once(':').expect("a group has two parts");
        assert!(
            family == "image" && !id.contains([':', '*', '?', '[', '{', '\r', '\n', ' ']),
            "{parts:?}: {key}"
        );
        let group = key.to_group();
        assert!(group.contains(key.as_str()));
        if let Some(other) = known.get(&key) {
            assert_eq!(*other, parts, "both are {key}");
        }
        known.insert(key, parts);
    }
    assert!(known.len() > INPUTS / 10, "only {} keys differed", known.len());
}

#[test]
fn no_text_panics_as_a_key_or_as_a_pattern() {
    let (mut dice, tally) = begin(4);
    for _ in 0..times(INPUTS) {
        tally.attempt();
        let text: String = (0..dice.below(6)).map(|_| dice.text()).collect();
        if let Ok(pattern) = CachePattern::parse(&text) {
            pattern.matches(&text);
            pattern.matches("image:5:metadata");
        }
        if let Ok(key) = CacheKey::parse(&text) {
            assert_eq!(key.as_str(), text, "a parsed key has its text");
        }
    }
}
