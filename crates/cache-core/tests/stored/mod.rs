//! Entries with their header in one piece.

use bytes::Bytes;
use cache_core::envelope::{HEADER_LENGTH, Header, KeyHash, Rejected};
use cache_core::{Entry, Timestamp};

pub(crate) fn encode(entry: &Entry, key: KeyHash, nonce: u128) -> Bytes {
    [Header::seal(entry, key, nonce).as_bytes(), &*entry.payload].concat().into()
}

pub(crate) fn decode(stored: &Bytes, key: KeyHash, now: Timestamp) -> Result<Entry, Rejected> {
    Header::parse(stored)?.open(key, stored.slice(HEADER_LENGTH..), || now)
}
