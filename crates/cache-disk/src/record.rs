//! How an entry lies in rows of one page each.
//!
//! Row 0: payload length (u32), key length (u16), the envelope's header, the full key, the start of the payload. Further
//! rows hold the rest of the payload. Rows of at most 4,080 bytes fill exactly one page of the B-tree, so that any freed
//! page serves any row: the file cannot fragment.

use bytes::Bytes;
use cache_core::envelope::{HEADER_LENGTH, Header, KeyHash, Rejected};
use cache_core::{Entry, Timestamp};

/// The longest row in bytes.
pub(crate) const ROW_BYTES: usize = 4080;

const LENGTHS: usize = 6;
const KEY_AT: usize = LENGTHS + HEADER_LENGTH;

/// Bytes of the record of a key and a payload, over all rows.
pub(crate) fn record_bytes(key: &str, payload: &[u8]) -> usize {
    KEY_AT + key.len() + payload.len()
}

/// A record to be written.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    first: Vec<u8>,
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// Lays `entry` of `key` out.
    pub(crate) fn new(key: &str, key_hash: KeyHash, entry: &'a Entry) -> Self {
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
        Self { first, rest }
    }

    /// Its rows in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&*self.first).chain(self.rest.chunks(ROW_BYTES))
    }
}

/// Row 0 of a record, as it was found; every field may be damaged.
#[derive(Debug)]
pub(crate) struct FirstRow<'a> {
    key: &'a [u8],
    header: &'a [u8],
    payload_length: usize,
    payload: &'a [u8],
}

impl<'a> FirstRow<'a> {
    /// Takes a row apart; `None` where its lengths contradict each other.
    pub(crate) fn parse(row: &'a [u8]) -> Option<Self> {
        let (payload_length, rest) = row.split_first_chunk()?;
        let (key_length, rest) = rest.split_first_chunk()?;
        let (header, rest) = rest.split_at_checked(HEADER_LENGTH)?;
        let (key, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*key_length)))?;
        let payload_length = u32::from_le_bytes(*payload_length) as usize;
        (payload.len() <= payload_length).then_some(Self { key, header, payload_length, payload })
    }

    /// The key it says it has; `None` if that is no text.
    pub(crate) fn key(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok()
    }

    /// The stored value, with its payload joined from this row and the rows that follow.
    pub(crate) fn into_stored<E>(
        self,
        mut following: impl Iterator<Item = Result<impl AsRef<[u8]>, E>>,
    ) -> Result<Stored, E> {
        let header = Header::parse(self.header);
        if self.payload.len() == self.payload_length {
            return Ok(Stored { header, payload: Bytes::copy_from_slice(self.payload) });
        }
        // The length is not verified yet: what is reserved for it is bounded by what a store can hold.
        let mut payload = Vec::with_capacity(self.payload_length.min(cache_core::envelope::LARGEST_PAYLOAD));
        payload.extend_from_slice(self.payload);
        while payload.len() < self.payload_length {
            let Some(row) = following.next() else { break };
            payload.extend_from_slice(row?.as_ref());
        }
        Ok(Stored { header, payload: payload.into() })
    }
}

/// What was stored, not verified yet.
#[derive(Debug)]
pub(crate) struct Stored {
    header: Result<Header, Rejected>,
    payload: Bytes,
}

impl Stored {
    /// The entry, if it is sound, this key's and live.
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

    fn round_trip(rows: &[Vec<u8>], key: &str) -> Option<Result<Entry, Rejected>> {
        let first = FirstRow::parse(rows.first()?)?;
        let stored = first.into_stored(rows.iter().skip(1).map(Ok::<_, ()>)).unwrap();
        Some(stored.open(hash(key), || Timestamp::from_millis(5)))
    }

    #[test]
    fn records_of_every_size_around_a_row_come_back_and_no_row_is_too_long() {
        let key = "image:1:metadata";
        for size in [0, 1, 3981, 3982, 3983, 8061, 8062, 8063, 100_000] {
            let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
            let entry = NewEntry::new(payload).stored_at(Timestamp::from_millis(5));
            let record = Record::new(key, hash(key), &entry);
            let rows: Vec<Vec<u8>> = record.rows().map(<[u8]>::to_vec).collect();
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
        let rows: Vec<Vec<u8>> = Record::new(key, hash(key), &entry).rows().map(<[u8]>::to_vec).collect();
        for (at, row) in rows.iter().enumerate() {
            for byte in (0..row.len()).step_by(if at == 0 { 1 } else { 97 }) {
                let mut damaged = rows.clone();
                damaged[at][byte] ^= 0x10;
                match round_trip(&damaged, key) {
                    None | Some(Err(_)) => {}
                    // The key's text in row 0 serves deletion; whose value it is, the header's hash says.
                    Some(Ok(found)) => assert_eq!((found, at), (entry.clone(), 0)),
                }
            }
        }
        assert!(matches!(round_trip(&rows[..2], key), Some(Err(Rejected::Corrupt))));
    }
}
