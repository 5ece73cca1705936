//! The stored header: what it keeps, and that damage never becomes a value.

use std::time::Duration;

use bytes::Bytes;
use cache_core::envelope::{
    self, HEADER_LENGTH, Header, KeyHash, KeyHasher, LARGEST_PAYLOAD, LEASE_LENGTH, Rejected,
};
use cache_core::{CodecId, Entry, NewEntry, Timestamp};
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

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
        expires_at: Some(NOW.saturating_add(Duration::from_mins(1))),
        fresh_until: Some(NOW.saturating_add(Duration::from_secs(30))),
    }
}

fn stored() -> Vec<u8> {
    envelope::encode(&sample(), key(), NONCE).to_vec()
}

fn decode(stored: &[u8]) -> Result<Entry, Rejected> {
    envelope::decode(&Bytes::copy_from_slice(stored), key(), NOW)
}

fn hex(bytes: &[u8]) -> String {
    let rows: Vec<String> = bytes
        .chunks(16)
        .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    rows.join("\n")
}

#[test]
fn version_1_is_written_and_read_as_the_golden_files_say() {
    assert_eq!(hex(&stored()), include_str!("golden/value-v1.hex").trim());
    assert_eq!(hex(&envelope::lease(NONCE)), include_str!("golden/lease.hex").trim());
    assert_eq!(decode(&stored()), Ok(sample()));
}

#[test]
fn every_truncation_is_no_entry() {
    let stored = stored();
    for length in 0..stored.len() {
        let found = decode(&stored[..length]);
        assert_eq!(found, Err(Rejected::Corrupt), "{length} bytes");
    }
}

#[test]
fn every_flipped_bit_is_no_entry() {
    let stored = stored();
    for bit in 0..stored.len() * 8 {
        let mut damaged = stored.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit / 8 == 17 { Rejected::OtherVersion } else { Rejected::Corrupt };
        assert_eq!(decode(&damaged), Err(expected), "bit {bit}");
    }
}

#[test]
fn bytes_appended_or_removed_inside_are_no_entry() {
    let stored = stored();
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
fn another_keys_entry_is_told_from_damage() {
    let stored = Bytes::from(stored());
    for other in [
        KeyHasher::new("app").hash("image:6:metadata"),
        KeyHasher::new("other").hash("image:5:metadata"),
        KeyHasher::new("appimage").hash(":5:metadata"),
        KeyHasher::new("").hash("image:5:metadata"),
    ] {
        assert_eq!(envelope::decode(&stored, other, NOW), Err(Rejected::OtherKey));
    }
}

#[test]
fn an_expired_entry_is_expired_and_one_from_the_future_too() {
    let stored = Bytes::from(stored());
    let at = |millis: i64| {
        let now = Timestamp::from_millis(NOW.as_millis().saturating_add_signed(millis));
        envelope::decode(&stored, key(), now)
    };
    assert!(at(59_999).is_ok() && at(-5_000).is_ok());
    assert_eq!((at(60_000), at(-5_001)), (Err(Rejected::Expired), Err(Rejected::Expired)));
}

#[test]
fn what_a_later_build_may_write_is_another_version() {
    for (at, byte) in [(17, 2), (17, 0), (18, 3), (18, 255), (19, 0b111), (19, 0b1000_0011)] {
        let mut bytes = stored();
        bytes[at] = byte;
        seal_again(&mut bytes);
        assert_eq!(decode(&bytes), Err(Rejected::OtherVersion), "byte {at} = {byte}");
    }
    assert_eq!(decode(&[b'V'; 18]), Err(Rejected::OtherVersion));
}

/// Makes the checksum right by the format's definition, written down here a second time.
fn seal_again(bytes: &mut [u8]) {
    let (header, payload) = bytes.split_at_mut(76);
    let (fields, checksum) = header.split_at_mut(68);
    let summed = [&*fields, &xxh3_64(payload).to_le_bytes()].concat();
    checksum.copy_from_slice(&xxh3_64(&summed).to_le_bytes());
}

#[test]
fn a_value_and_a_lease_of_any_version_have_a_nonce_and_nothing_else_has() {
    let lease = envelope::lease(NONCE);
    assert_eq!(lease.len(), LEASE_LENGTH);
    assert_eq!(decode(&lease), Err(Rejected::Lease { nonce: NONCE }));
    let mut other_version = stored();
    other_version[17] = 9;
    for bytes in [&lease[..], &stored(), &other_version, &stored()[..17]] {
        assert_eq!(envelope::nonce(bytes), Some(NONCE));
    }
    for bytes in [&b""[..], &lease[..16], &stored()[..16], &[0; 40], b"a text of somebody else's"] {
        assert_eq!(envelope::nonce(bytes), None, "{bytes:?}");
    }
}

#[test]
fn the_payload_shares_the_stored_memory() {
    let stored = envelope::encode(&sample(), key(), 0);
    let entry = envelope::decode(&stored, key(), NOW).unwrap();
    assert_eq!(entry.payload.as_ptr(), stored[HEADER_LENGTH..].as_ptr());
}

#[test]
fn a_payload_over_the_cap_is_corrupt_before_it_is_hashed() {
    let header = Header::seal(&sample(), key(), 0);
    let piece = vec![0; 1 << 20];
    let pieces = std::iter::repeat_n(&piece[..], LARGEST_PAYLOAD / piece.len() + 1);
    assert_eq!(header.verify(key(), pieces), Err(Rejected::Corrupt));
}

#[test]
fn a_hundred_thousand_random_strings_are_no_entry() {
    // SplitMix64: the same strings in every run.
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    for round in 0..100_000 {
        let length = usize::try_from(next() % 200).unwrap();
        let mut bytes: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        // Half of them begin like a value of this version, so that they get further.
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
    fn every_entry_comes_back_as_it_was_or_is_over(entry in entries(), nonce: u128, now: u64) {
        let (key, now) = (key(), Timestamp::from_millis(now));
        let stored = envelope::encode(&entry, key, nonce);
        prop_assert_eq!(envelope::nonce(&stored), Some(nonce));
        prop_assert_eq!(Header::parse(&stored).unwrap().nonce(), nonce);
        let expected = if entry.is_live(now) { Ok(entry) } else { Err(Rejected::Expired) };
        prop_assert_eq!(envelope::decode(&stored, key, now), expected);
    }

    #[test]
    fn a_payload_in_pieces_is_verified_as_one_in_one_piece(
        entry in entries(), cuts in prop::collection::vec(0_usize..600, 0..6), flip: Option<usize>,
    ) {
        let header = Header::seal(&entry, key(), 0);
        let mut payload = entry.payload.to_vec();
        let damaged = flip.filter(|_| !payload.is_empty()).map(|at| at % payload.len());
        if let Some(at) = damaged {
            payload[at] ^= 1;
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
        ends.extend([0, payload.len()]);
        ends.sort_unstable();
        let pieces = ends.windows(2).map(|ends| &payload[ends[0]..ends[1]]);
        let expected = if damaged.is_some() { Err(Rejected::Corrupt) } else { Ok(()) };
        prop_assert_eq!(header.verify(key(), pieces), expected);
    }

    #[test]
    fn damage_in_several_places_is_no_entry(
        entry in entries(), damage in prop::collection::vec((any::<usize>(), 1_u8..), 1..8),
    ) {
        let stored = envelope::encode(&entry, key(), NONCE);
        let mut damaged = stored.to_vec();
        for (at, with) in damage {
            let at = at % damaged.len();
            damaged[at] ^= with;
        }
        prop_assume!(damaged != stored);
        prop_assert!(decode(&damaged).is_err());
    }

    #[test]
    fn what_new_entries_become_survives(payload: Vec<u8>, millis in 1_u64..1 << 40) {
        let entry = NewEntry::new(payload).expires_in(Duration::from_millis(millis)).stored_at(NOW);
        let stored = envelope::encode(&entry, key(), 0);
        prop_assert_eq!(envelope::decode(&stored, key(), NOW), Ok(entry));
    }
}
