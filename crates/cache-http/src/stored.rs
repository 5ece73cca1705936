//! [`Record`]: the bytes that are stored, and what they hold.
//!
//! A record begins with a magic number and its kind. The header of a response follows, and then its body, up to the end:
//! [`Bytes`] from which the body and the values of its fields are cut without a copy.

use bytes::{BufMut, Bytes, BytesMut};
use cache_core::{Clock, Timestamp};
use http::StatusCode;
use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue};

use crate::headers;
use crate::index::Index;

/// Changed with the format: a record of another format is read as damaged.
const MAGIC: &[u8; 4] = b"chr1";

/// Larger headers are not stored.
const LONGEST_HEADER: usize = 64 << 10;

const NEVER_STALE: u8 = 1;
const IS_TIMED: u8 = 2;

/// Where a record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A response, at the key of its page.
    Page = b'p',
    /// A response, at a key that depends on more of the request.
    Variant = b'v',
    /// The index of a page's variants.
    Index = b'i',
    /// Given to callers that wait for a response that is not to be stored. It is not stored either.
    NotStored = b'n',
}

/// What stored bytes hold.
#[derive(Debug)]
pub(crate) enum Record {
    Page(StoredResponse),
    Variant(StoredResponse),
    Index(Index),
    NotStored,
}

/// A stored response.
#[derive(Debug)]
pub(crate) struct StoredResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// When it was stored, where it has a time to live.
    pub(crate) stored_at: Option<Timestamp>,
    /// Whether it must not be served after its time.
    pub(crate) never_stale: bool,
}

/// A response to be stored.
pub(crate) struct NewResponse<'a> {
    pub(crate) kind: Kind,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) never_stale: bool,
    /// The clock, where the response has a time to live. Without one the same response has the same bytes, so that stored
    /// ones can be verified (`CACHE_VERIFY`).
    pub(crate) clock: Option<&'a dyn Clock>,
    pub(crate) body: &'a [Bytes],
}

/// Begins a record.
pub(crate) fn begin(kind: Kind, capacity: usize) -> BytesMut {
    let mut record = BytesMut::with_capacity(MAGIC.len() + 1 + capacity);
    record.put_slice(MAGIC);
    record.put_u8(kind as u8);
    record
}

/// The record of [`Kind::NotStored`].
pub(crate) fn not_stored() -> Bytes {
    Bytes::from_static(b"chr1n")
}

/// Whether `record` is an index.
pub(crate) fn is_index(record: &Bytes) -> bool {
    record.starts_with(b"chr1i")
}

/// Whether `record` may be stored.
pub(crate) fn is_storable(record: &Bytes) -> bool {
    *record != not_stored()
}

impl NewResponse<'_> {
    /// Makes the record; `None` where the header is too large.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        let Self { kind, status, headers, etag, never_stale, clock, body } = self;
        let name = ETAG;
        let fields = || headers::kept(headers).chain(etag.as_ref().map(|etag| (&name, etag)));
        let header: usize = fields().map(|(name, value)| 6 + name.as_str().len() + value.len()).sum();
        if header > LONGEST_HEADER {
            return None;
        }
        let length: usize = body.iter().map(Bytes::len).sum();
        let mut record = begin(*kind, 21 + header + length);
        record.put_u16_le(status.as_u16());
        record.put_u8(u8::from(*never_stale) * NEVER_STALE + u8::from(clock.is_some()) * IS_TIMED);
        record.put_u64_le(clock.map_or(0, |clock| clock.now().as_millis()));
        record.put_u16_le(u16::try_from(fields().count()).ok()?);
        record.put_u64_le(u64::try_from(length).ok()?);
        for (name, value) in fields() {
            record.put_u16_le(u16::try_from(name.as_str().len()).ok()?);
            record.put_u32_le(u32::try_from(value.len()).ok()?);
            record.put_slice(name.as_str().as_bytes());
            record.put_slice(value.as_bytes());
        }
        body.iter().for_each(|chunk| record.put_slice(chunk));
        Some(record.freeze())
    }
}

impl Record {
    /// Decodes stored bytes; `None` where they are damaged or no record.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        match reader.u8()? {
            kind if kind == Kind::Page as u8 => response(reader).map(Self::Page),
            kind if kind == Kind::Variant as u8 => response(reader).map(Self::Variant),
            kind if kind == Kind::Index as u8 => Index::decode(reader).map(Self::Index),
            kind if kind == Kind::NotStored as u8 => Some(Self::NotStored),
            _ => None,
        }
    }
}

fn response(mut reader: Reader<'_>) -> Option<StoredResponse> {
    let status = StatusCode::from_u16(reader.u16()?).ok()?;
    let flags = reader.u8()?;
    let time = Timestamp::from_millis(reader.u64()?);
    let fields = usize::from(reader.u16()?);
    let length = usize::try_from(reader.u64()?).ok()?;
    // Two more are added when it is served. Damaged bytes must not reserve more than they could fill.
    let mut headers = HeaderMap::try_with_capacity(fields.min(reader.left() / 6) + 2).ok()?;
    for _ in 0..fields {
        let (name, value) = (usize::from(reader.u16()?), usize::try_from(reader.u32()?).ok()?);
        let name = HeaderName::from_bytes(reader.take(name)?).ok()?;
        let value = HeaderValue::from_maybe_shared(reader.cut(value)?).ok()?;
        headers.try_append(name, value).ok()?;
    }
    let body = reader.cut(length)?;
    let stored_at = (flags & IS_TIMED != 0).then_some(time);
    let never_stale = flags & NEVER_STALE != 0;
    (reader.left() == 0).then_some(StoredResponse { status, headers, body, stored_at, never_stale })
}

/// Reads a record from its beginning.
pub(crate) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The number of bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Takes `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// Takes `length` bytes that share the memory of the record.
    fn cut(&mut self, length: usize) -> Option<Bytes> {
        let start = self.at;
        self.take(length)?;
        Some(self.bytes.slice(start..self.at))
    }

    /// Takes an array.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Takes a number.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(fields: &[(String, Vec<u8>)], body: &[Bytes]) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let new = NewResponse {
            kind: Kind::Page,
            status: StatusCode::OK,
            headers: &headers,
            etag: None,
            never_stale: true,
            clock: None,
            body,
        };
        let record = new.encode().unwrap();
        (headers, record)
    }

    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let value = prop::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8, Just(b'\t')], 0..20);
        prop::collection::vec(("x-[a-z]{1,4}", value), 0..20)
    }

    proptest! {
        #[test]
        fn a_response_is_read_as_it_was_stored(fields in fields(), body: Vec<Vec<u8>>) {
            let body: Vec<Bytes> = body.into_iter().map(Bytes::from).collect();
            let (headers, record) = encoded(&fields, &body);
            let Some(Record::Page(found)) = Record::decode(&record) else { panic!("no page") };
            prop_assert_eq!(found.headers, headers);
            prop_assert_eq!(found.body, body.concat());
            prop_assert_eq!((found.status, found.never_stale, found.stored_at), (StatusCode::OK, true, None));
        }

        #[test]
        fn damaged_records_are_refused_or_read_and_nothing_panics(fields in fields(), flip: prop::sample::Index, bit in 0..8) {
            let (_, record) = encoded(&fields, &[Bytes::from_static(b"body")]);
            let mut damaged = record.to_vec();
            *flip.get_mut(&mut damaged) ^= 1_u8 << bit;
            Record::decode(&damaged.into());
        }

        #[test]
        fn a_record_without_its_end_or_with_more_behind_it_is_refused(fields in fields(), at: prop::sample::Index) {
            let (_, record) = encoded(&fields, &[Bytes::from_static(b"body")]);
            prop_assert!(Record::decode(&record.slice(..at.index(record.len()))).is_none());
            prop_assert!(Record::decode(&[&record[..], b"x"].concat().into()).is_none());
        }

        #[test]
        fn foreign_bytes_are_refused(bytes: Vec<u8>, kind in "[pviqn]") {
            let is_foreign = |bytes: Vec<u8>| {
                matches!(Record::decode(&bytes.into()), None | Some(Record::NotStored | Record::Index(_)))
            };
            prop_assert!(is_foreign([b"chr1", kind.as_bytes(), &bytes].concat()) || bytes.len() >= 21);
            prop_assert!(is_foreign(bytes));
        }
    }

    #[test]
    fn the_body_and_the_fields_are_cut_from_the_record() {
        let (_, record) = encoded(&[("x-a".to_owned(), b"value".to_vec())], &[Bytes::from_static(b"body")]);
        let Some(Record::Page(found)) = Record::decode(&record) else { panic!("no page") };
        assert!(record.as_ptr_range().contains(&found.body.as_ptr()));
        assert!(record.as_ptr_range().contains(&found.headers["x-a"].as_bytes().as_ptr()));
    }

    #[test]
    fn a_header_that_is_too_large_is_not_stored() {
        let headers = HeaderMap::from_iter([(
            http::header::LINK,
            HeaderValue::try_from("x".repeat(LONGEST_HEADER)).unwrap(),
        )]);
        let new = NewResponse {
            kind: Kind::Page,
            status: StatusCode::OK,
            headers: &headers,
            etag: None,
            never_stale: false,
            clock: None,
            body: &[],
        };
        assert!(new.encode().is_none());
    }
}
