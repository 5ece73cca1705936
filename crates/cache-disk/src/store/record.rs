//! The layout of an entry in rows of one page each.
//!
//! Row 0: payload length (u32), key length (u16), the envelope's header, the full key, the start of the payload. Further
//! rows hold the rest of the payload. A row of at most 4,080 bytes fills exactly one page of the B-tree, so that any freed
//! page fits any row: the file cannot fragment.

use bytes::Bytes;
use cache_core::envelope::{HEADER_LENGTH, Header, KeyHash, Rejected};
use cache_core::{Entry, Timestamp};

/// The longest row, in bytes.
pub(crate) const ROW_BYTES: usize = 4080;

const LENGTHS: usize = 6;
const KEY_AT: usize = LENGTHS + HEADER_LENGTH;

/// Bytes of the record of `key` and `payload`, over all rows.
pub(crate) fn record_bytes(key: &str, payload: &[u8]) -> usize {
    KEY_AT + key.len() + payload.len()
}

/// Lays out `entry` of `key` in rows: returns the first row, and the payload of the following ones.
pub(super) fn lay_out<'a>(key: &str, key_hash: KeyHash, entry: &'a Entry) -> (Vec<u8>, &'a [u8]) {
    let payload = &*entry.payload;
    let here = payload.len().min(ROW_BYTES - KEY_AT - key.len());
    let (start, rest) = payload.split_at(here);
    let mut first = Vec::with_capacity(KEY_AT + key.len() + here);
    let payload_length =
        u32::try_from(payload.len()).expect("a record is at most 65,536 rows of 4,080 bytes");
    let key_length = u16::try_from(key.len()).expect("a key has at most 1 KiB");
    first.extend_from_slice(&payload_length.to_le_bytes());
    first.extend_from_slice(&key_length.to_le_bytes());
    first.extend_from_slice(Header::seal(entry, key_hash, 0).as_bytes());
    first.extend_from_slice(key.as_bytes());
    first.extend_from_slice(start);
    (first, rest)
}

/// Row 0 of a record as it was read; every field may be damaged.
#[derive(Debug)]
pub(super) struct FirstRow<'a> {
    key: &'a [u8],
    header: &'a [u8],
    payload_length: usize,
    payload: &'a [u8],
}

impl<'a> FirstRow<'a> {
    /// Parses a row; `None` if its lengths contradict each other.
    pub(super) fn parse(row: &'a [u8]) -> Option<Self> {
        let (payload_length, rest) = row.split_first_chunk()?;
        let (key_length, rest) = rest.split_first_chunk()?;
        let (header, rest) = rest.split_at_checked(HEADER_LENGTH)?;
        let (key, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_length)))?;
        let payload_length = u32::from_le_bytes(*payload_length) as usize;
        (payload.len() <= payload_length).then_some(Self { key, header, payload_length, payload })
    }

    /// The key in the row; `None` if it is no text.
    pub(super) fn key(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok()
    }

    /// Joins the payload from this row and the following ones; `next_row` appends one of them, and returns whether there
    /// was one.
    pub(super) fn into_stored<E>(
        self,
        mut next_row: impl FnMut(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<Stored, E> {
        let header = Header::parse(self.header);
        if self.payload.len() == self.payload_length {
            return Ok(Stored { header, payload: Bytes::copy_from_slice(self.payload) });
        }
        // The length is not verified yet: the reservation is bounded by the largest payload.
        let mut payload = Vec::with_capacity(self.payload_length.min(cache_core::envelope::LARGEST_PAYLOAD));
        payload.extend_from_slice(self.payload);
        while payload.len() < self.payload_length && next_row(&mut payload)? {}
        Ok(Stored { header, payload: payload.into() })
    }
}

/// A stored value that is not verified yet.
#[derive(Debug)]
pub(crate) struct Stored {
    header: Result<Header, Rejected>,
    payload: Bytes,
}

impl Stored {
    /// Returns the entry if it is sound, live, and the one of `key`.
    pub(crate) fn open(self, key: KeyHash, now: impl FnOnce() -> Timestamp) -> Result<Entry, Rejected> {
        self.header?.open(key, self.payload, now)
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

    fn rows(key: &str, entry: &Entry) -> Vec<Vec<u8>> {
        let (first, rest) = lay_out(key, hash(key), entry);
        std::iter::once(first).chain(rest.chunks(ROW_BYTES).map(<[u8]>::to_vec)).collect()
    }

    fn round_trip(rows: &[Vec<u8>], key: &str) -> Option<Result<Entry, Rejected>> {
        let first = FirstRow::parse(rows.first()?)?;
        let mut following = rows.iter().skip(1);
        let next = |payload: &mut Vec<u8>| {
            let row = following.next();
            payload.extend(row.into_iter().flatten());
            Ok::<_, ()>(row.is_some())
        };
        let stored = first.into_stored(next).unwrap();
        Some(stored.open(hash(key), || Timestamp::from_millis(5)))
    }

    #[test]
    fn records_of_every_size_around_a_row_come_back_and_no_row_is_too_long() {
        let key = "image:1:metadata";
        for size in [0, 1, 3981, 3982, 3983, 8061, 8062, 8063, 100_000] {
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            let entry = NewEntry::new(payload).stored_at(Timestamp::from_millis(5));
            let rows = rows(key, &entry);
            assert!(rows.iter().all(|row| row.len() <= ROW_BYTES));
            assert_eq!(rows.iter().map(Vec::len).sum::<usize>(), record_bytes(key, &entry.payload));
            assert_eq!(round_trip(&rows, key), Some(Ok(entry)));
            assert_eq!(round_trip(&rows, "image:2:metadata"), Some(Err(Rejected::OtherKey)));
        }
    }

    #[test]
    fn no_damaged_or_missing_row_gives_a_value() {
        let key = "image:1:metadata";
        let entry = NewEntry::new(vec![7; 9000]).stored_at(Timestamp::from_millis(5));
        let rows = rows(key, &entry);
        for (at, row) in rows.iter().enumerate() {
            for byte in (0..row.len()).step_by(if at == 0 { 1 } else { 97 }) {
                let mut damaged = rows.clone();
                damaged[at][byte] ^= 0x10;
                match round_trip(&damaged, key) {
                    None | Some(Err(_)) => {}
                    // The text of the key in row 0 is for deletion only; the hash in the header identifies the key.
                    Some(Ok(found)) => assert_eq!((found, at), (entry.clone(), 0)),
                }
            }
        }
        assert!(matches!(round_trip(&rows[..2], key), Some(Err(Rejected::Corrupt))));
    }
}
