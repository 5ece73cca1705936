//! The layout of a record: payload length (u32), key length (u16), the envelope's header, the full key, the payload.

use std::io::IoSlice;

use bytes::Bytes;
use cache_core::envelope::{self, HEADER_LENGTH, Header, KeyHash, Rejected};
use cache_core::{Entry, Timestamp};

const LENGTHS: usize = 6;
const KEY_AT: usize = LENGTHS + HEADER_LENGTH;

/// Bytes at the beginning of a record that hold all of its key.
pub(super) const HEAD_AND_KEY: usize = KEY_AT + 1024;

/// The length of the record of `key` and `payload`, in bytes.
pub(crate) fn record_bytes(key: &str, payload: &[u8]) -> usize {
    KEY_AT + key.len() + payload.len()
}

/// A record that is to be written.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Everything before the payload.
    head: Vec<u8>,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn new(key: &str, key_hash: KeyHash, id: u64, entry: &'a Entry) -> Self {
        let payload = &*entry.payload;
        let mut head = Vec::with_capacity(KEY_AT + key.len());
        let payload_length = u32::try_from(payload.len()).expect("a payload has at most 128 MiB");
        let key_length = u16::try_from(key.len()).expect("a key has at most 1 KiB");
        head.extend_from_slice(&payload_length.to_le_bytes());
        head.extend_from_slice(&key_length.to_le_bytes());
        head.extend_from_slice(Header::seal(entry, key_hash, id.into()).as_bytes());
        head.extend_from_slice(key.as_bytes());
        Self { head, payload }
    }

    /// The first `length` bytes.
    pub(crate) fn start(&self, length: usize) -> [IoSlice<'_>; 2] {
        let of_head = length.min(self.head.len());
        let head = self.head.get(..of_head).unwrap_or_default();
        let payload = self.payload.get(..length - of_head).unwrap_or(self.payload);
        [IoSlice::new(head), IoSlice::new(payload)]
    }

    /// The last `length` bytes.
    pub(super) fn end(&self, length: usize) -> Vec<u8> {
        let of_payload = length.min(self.payload.len());
        let (_, payload) = self.payload.split_at(self.payload.len() - of_payload);
        let (_, head) = self.head.split_at(self.head.len() - (length - of_payload).min(self.head.len()));
        [head, payload].concat()
    }
}

/// A record as it was read; every field may be damaged.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    key: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    /// Whether the payload has the length that the record names.
    is_whole: bool,
}

impl<'a> Parsed<'a> {
    /// Parses a record or its beginning; `None` if its lengths contradict each other, or it was never written.
    pub(super) fn of(record: &'a [u8]) -> Option<Self> {
        let (payload_length, rest) = record.split_first_chunk()?;
        let (key_length, rest) = rest.split_first_chunk()?;
        let (header, rest) = rest.split_at_checked(HEADER_LENGTH)?;
        let (key, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_length)))?;
        // The blocks of a hole are zeros.
        if header.iter().all(|byte| *byte == 0) {
            return None;
        }
        let is_whole = payload.len() == u32::from_le_bytes(*payload_length) as usize;
        Some(Self { key, header, payload, is_whole })
    }

    /// The key; `None` if it is no text.
    pub(super) fn key(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok()
    }

    fn header(&self) -> Result<Header, Rejected> {
        if self.is_whole { Header::parse(self.header) } else { Err(Rejected::Corrupt) }
    }
}

/// A stored value that is not verified yet.
#[derive(Debug)]
pub(crate) struct Stored {
    header: Result<Header, Rejected>,
    payload: Bytes,
}

impl Stored {
    /// A value that cannot be read.
    pub(super) fn unreadable() -> Self {
        Self { header: Err(Rejected::Corrupt), payload: Bytes::new() }
    }

    /// Parses a whole record, whose payload is copied.
    pub(super) fn copied_from(record: &[u8]) -> Option<Self> {
        let parsed = Parsed::of(record)?;
        Some(Self { header: parsed.header(), payload: Bytes::copy_from_slice(parsed.payload) })
    }

    /// Parses a whole record, whose payload is shared.
    pub(super) fn shared_from(record: Vec<u8>) -> Option<Self> {
        let parsed = Parsed::of(&record)?;
        let (header, at) = (parsed.header(), record.len() - parsed.payload.len());
        Some(Self { header, payload: Bytes::from(record).slice(at..) })
    }

    /// Returns the entry if it is sound, live, and the one of `key` with this `id`.
    ///
    /// Blocks that were never written hold what another file, or an earlier record of the key, had there, on a file system that
    /// does not order data and metadata and lost its power.
    pub(crate) fn open(
        self,
        key: KeyHash,
        id: u64,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Entry, Rejected> {
        let header = self.header?;
        if envelope::nonce(header.as_bytes()) != Some(id.into()) {
            return Err(Rejected::Corrupt);
        }
        header.open(key, self.payload, now)
    }
}

#[cfg(test)]
mod tests {
    use cache_core::NewEntry;
    use cache_core::envelope::KeyHasher;

    use super::*;

    fn hash(key: &str) -> KeyHash {
        KeyHasher::new("app").hash(key)
    }

    fn bytes(key: &str, entry: &Entry) -> Vec<u8> {
        let record = Record::new(key, hash(key), 7, entry);
        let length = record_bytes(key, &entry.payload);
        let at = length / 3;
        let mut bytes: Vec<u8> = record.start(at).iter().flat_map(|part| part.to_vec()).collect();
        bytes.extend(record.end(length - at));
        bytes
    }

    fn open(record: &[u8], key: &str) -> Option<Result<Entry, Rejected>> {
        let now = || Timestamp::from_millis(5);
        let copied = Stored::copied_from(record).map(|stored| stored.open(hash(key), 7, now));
        let shared = Stored::shared_from(record.to_vec()).map(|stored| stored.open(hash(key), 7, now));
        assert_eq!(copied, shared);
        copied
    }

    #[test]
    fn a_record_in_two_parts_comes_back() {
        let key = "image:1:metadata";
        for size in [0, 1, 100, 3981, 100_000] {
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            let entry = NewEntry::new(payload).stored_at(Timestamp::from_millis(5));
            let record = bytes(key, &entry);
            assert_eq!(record.len(), record_bytes(key, &entry.payload));
            assert_eq!(open(&record, key), Some(Ok(entry)));
            assert_eq!(open(&record, "image:2:metadata"), Some(Err(Rejected::OtherKey)));
        }
    }

    #[test]
    fn no_damaged_or_cut_record_gives_a_value() {
        let key = "image:1:metadata";
        let entry = NewEntry::new(vec![7; 9000]).stored_at(Timestamp::from_millis(5));
        let record = bytes(key, &entry);
        for byte in (0..200).chain((200..record.len()).step_by(97)) {
            let mut damaged = record.clone();
            damaged[byte] ^= 0x10;
            match open(&damaged, key) {
                None | Some(Err(_)) => {}
                // The text of the key is for deletion only; the hash in the header identifies the key.
                Some(Ok(found)) => assert_eq!(found, entry),
            }
        }
        assert!(matches!(open(&record[..9000], key), Some(Err(Rejected::Corrupt))));
        assert!(open(&vec![0; 9000], key).is_none());
        let mut torn = record;
        torn[4096..].fill(0);
        assert!(matches!(open(&torn, key), Some(Err(Rejected::Corrupt))));
    }
}
