//! The stored header: it keeps every field, and damage never becomes a value.

mod stored;

use std::time::Duration;

use bytes::Bytes;
use cache_core::envelope::{
    self, HEADER_LENGTH, Header, KeyHash, KeyHasher, LARGEST_PAYLOAD, LEASE_LENGTH, Rejected,
};
use cache_core::{CodecId, Entry, NewEntry, Timestamp};
use proptest::prelude::*;
use twox_hash::XxHash3_64;

const NOW: Timestamp = Timestamp::from_millis(1_704_067_200_000);
const NONCE: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

fn key() -> KeyHash {
    KeyHasher::new("app").hash("image:5:metadata")
}

/// An entry that uses every field.
fn sample() -> Entry {
    Entry {
        payload: Bytes::from_static(b"a payload of some length, so that it has a middle"),
        codec: CodecId::Bincode,
        shape: 0x1122_3344_5566_7788,
        stored_at: NOW,
        expires_at: Some(NOW.saturating_add(Duration::from_secs(60))),
        fresh_until: Some(NOW.saturating_add(Duration::from_secs(30))),
    }
}

fn sample_bytes() -> Vec<u8> {
    stored::encode(&sample(), key(), NONCE).to_vec()
}

fn decode(stored: &[u8]) -> Result<Entry, Rejected> {
    stored::decode(&Bytes::copy_from_slice(stored), key(), NOW)
}

fn hex(bytes: &[u8]) -> String {
    let rows: Vec<String> = bytes
        .chunks(16)
        .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    rows.join("\n")
}

#[test]
fn version_1_equals_the_golden_files() {
    assert_eq!(hex(&sample_bytes()), include_str!("golden/value-v1.hex").trim());
    assert_eq!(hex(&envelope::lease(NONCE)), include_str!("golden/lease.hex").trim());
    assert_eq!(decode(&sample_bytes()), Ok(sample()));
}

#[test]
fn no_truncation_is_an_entry() {
    let stored = sample_bytes();
    for length in 0..stored.len() {
        let found = decode(&stored[..length]);
        assert_eq!(found, Err(Rejected::Corrupt), "{length} bytes");
    }
}

#[test]
fn no_flipped_bit_leaves_an_entry() {
    let stored = sample_bytes();
    for bit in 0..stored.len() * 8 {
        let mut damaged = stored.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit / 8 == 17 { Rejected::OtherVersion } else { Rejected::Corrupt };
        assert_eq!(decode(&damaged), Err(expected), "bit {bit}");
    }
}

#[test]
fn bytes_with_one_inserted_or_removed_are_not_an_entry() {
    let stored = sample_bytes();
    for at in 0..=stored.len() {
        let mut longer = stored.clone();
        longer.insert(at, 0);
        assert!(decode(&longer).is_err(), "one more at {at}");
    }
    for at in 0..stored.len() {
        let mut shorter = stored.clone();
        shorter.remove(at);
        assert!(decode(&shorter).is_err(), "one less at {at}");
    }
}

#[test]
fn the_entry_of_another_key_is_not_reported_as_damage() {
    let stored = Bytes::from(sample_bytes());
    for other in [
        KeyHasher::new("app").hash("image:6:metadata"),
        KeyHasher::new("other").hash("image:5:metadata"),
        KeyHasher::new("appimage").hash(":5:metadata"),
        KeyHasher::new("").hash("image:5:metadata"),
    ] {
        assert_eq!(stored::decode(&stored, other, NOW), Err(Rejected::OtherKey));
    }
}

#[test]
fn an_entry_past_its_expiry_or_from_the_future_is_expired() {
    let stored = Bytes::from(sample_bytes());
    let at = |millis: i64| {
        let now = Timestamp::from_millis(NOW.as_millis().saturating_add_signed(millis));
        stored::decode(&stored, key(), now)
    };
    assert!(at(59_999).is_ok() && at(-5_000).is_ok());
    assert_eq!((at(60_000), at(-5_001)), (Err(Rejected::Expired), Err(Rejected::Expired)));
}

#[test]
fn an_unknown_version_codec_or_flag_is_another_version() {
    for (at, byte) in [(17, 2), (17, 0), (18, 3), (18, 255), (19, 0b111), (19, 0b1000_0011)] {
        let mut bytes = sample_bytes();
        bytes[at] = byte;
        seal_again(&mut bytes);
        assert_eq!(decode(&bytes), Err(Rejected::OtherVersion), "byte {at} = {byte}");
    }
    assert_eq!(decode(&[b'V'; 18]), Err(Rejected::OtherVersion));
}

/// Corrects the checksum by the definition of the format, which is repeated here.
fn seal_again(bytes: &mut [u8]) {
    let (header, payload) = bytes.split_at_mut(76);
    let (fields, checksum) = header.split_at_mut(68);
    let summed = [&*fields, &XxHash3_64::oneshot(payload).to_le_bytes()].concat();
    checksum.copy_from_slice(&XxHash3_64::oneshot(&summed).to_le_bytes());
}

#[test]
fn values_and_leases_of_any_version_have_a_nonce_and_other_bytes_have_none() {
    let lease = envelope::lease(NONCE);
    assert_eq!(lease.len(), LEASE_LENGTH);
    assert_eq!(decode(&lease), Err(Rejected::Lease { nonce: NONCE }));
    let mut other_version = sample_bytes();
    other_version[17] = 9;
    for bytes in [&lease[..], &sample_bytes(), &other_version, &sample_bytes()[..17]] {
        assert_eq!(envelope::nonce(bytes), Some(NONCE));
    }
    for bytes in [&b""[..], &lease[..16], &sample_bytes()[..16], &[0; 40], b"a text of another program"] {
        assert_eq!(envelope::nonce(bytes), None, "{bytes:?}");
    }
}

#[test]
fn the_payload_shares_the_stored_memory() {
    let stored = stored::encode(&sample(), key(), 0);
    let entry = stored::decode(&stored, key(), NOW).unwrap();
    assert_eq!(entry.payload.as_ptr(), stored[HEADER_LENGTH..].as_ptr());
}

#[test]
fn a_payload_over_the_cap_is_corrupt_before_it_is_hashed() {
    let header = Header::seal(&sample(), key(), 0);
    let payload = Bytes::from(vec![0; LARGEST_PAYLOAD + 1]);
    assert_eq!(header.open(key(), payload, || NOW), Err(Rejected::Corrupt));
}

#[test]
fn none_of_a_hundred_thousand_random_strings_is_an_entry() {
    // SplitMix64, for equal strings in every run.
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    for round in 0..100_000 {
        let length = usize::try_from(next() % 200).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        // Half of them begin like a value of this version, to reach the later checks.
        if round % 2 == 0 && length > 17 {
            (bytes[0], bytes[17]) = (b'V', 1);
        }
        assert!(decode(&bytes).is_err(), "{bytes:?}");
    }
}

prop_compose! {
    fn entries()(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        codec in prop::sample::select(vec![CodecId::Raw, CodecId::Bincode, CodecId::Json]),
        shape: u64,
        stored_at: u64,
        expires_at: Option<u64>,
        fresh_until: Option<u64>,
    ) -> Entry {
        Entry {
            payload: payload.into(),
            codec,
            shape,
            stored_at: Timestamp::from_millis(stored_at),
            expires_at: expires_at.map(Timestamp::from_millis),
            fresh_until: fresh_until.map(Timestamp::from_millis),
        }
    }
}

proptest! {
    #[test]
    fn every_entry_reads_back_unchanged_or_is_expired(entry in entries(), nonce: u128, now: u64) {
        let (key, now) = (key(), Timestamp::from_millis(now));
        let stored = stored::encode(&entry, key, nonce);
        prop_assert_eq!(envelope::nonce(&stored), Some(nonce));
        let expected = if entry.is_live(now) { Ok(entry) } else { Err(Rejected::Expired) };
        prop_assert_eq!(stored::decode(&stored, key, now), expected);
    }

    #[test]
    fn bytes_damaged_in_several_places_are_not_an_entry(
        entry in entries(), damage in prop::collection::vec((any::<usize>(), 1_u8..), 1..8),
    ) {
        let stored = stored::encode(&entry, key(), NONCE);
        let mut damaged = stored.to_vec();
        for (at, with) in damage {
            let at = at % damaged.len();
            damaged[at] ^= with;
        }
        prop_assume!(damaged != stored);
        prop_assert!(decode(&damaged).is_err());
    }

    #[test]
    fn every_new_entry_reads_back(payload: Vec<u8>, millis in 1_u64..1 << 40) {
        let entry = NewEntry::new(payload).expires_in(Duration::from_millis(millis)).stored_at(NOW);
        let stored = stored::encode(&entry, key(), 0);
        prop_assert_eq!(stored::decode(&stored, key(), NOW), Ok(entry));
    }
}
