//! The header of stored values, byte by byte, for disk and Redis.
//!
//! All numbers are little-endian. The first 17 bytes are the same in every version: a build finds the nonce of a value
//! that any other build stored.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | marker: `L` a lease, of which nothing follows the nonce; `V` a value |
//! | 1..17 | nonce, 128 bits; on disk the id of the entry |
//! | 17 | version: 1 |
//! | 18 | codec: 0 raw, 1 bincode, 2 JSON |
//! | 19 | flags: bit 0 `expires_at` is set, bit 1 `fresh_until` is set; others zero |
//! | 20..28 | stored at, milliseconds since 1970-01-01 UTC |
//! | 28..36 | expires at, likewise; zero without its flag |
//! | 36..44 | fresh until, likewise; zero without its flag |
//! | 44..52 | shape hash of the value's type; zero for raw bytes |
//! | 52..68 | xxh3-128 of the full key, seeded with xxh3-64 of the namespace |
//! | 68..76 | xxh3-64 of bytes 0..68 and the xxh3-64 of the payload |
//! | 76.. | the payload |
//!
//! The checksum detects accidental damage only: an attacker with access to the store can write a valid envelope.

use bytes::{BufMut, Bytes};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::clock::Timestamp;
use crate::codec_id::CodecId;
use crate::entry::Entry;

/// Bytes of the header in front of a payload.
pub const HEADER_LENGTH: usize = 76;

/// Bytes of a lease.
pub const LEASE_LENGTH: usize = 17;

/// The longest payload in bytes, 128 MiB: a longer one is not stored, and counts as damaged when read.
pub const LARGEST_PAYLOAD: usize = 128 << 20;

const VERSION: u8 = 1;
const LEASE: u8 = b'L';
const VALUE: u8 = b'V';
const HAS_EXPIRY: u8 = 1;
const HAS_FRESHNESS: u8 = 2;

/// Offsets of fields; the last one ends at [`HEADER_LENGTH`].
mod at {
    pub(super) const VERSION: usize = 17;
    /// The codec, and then the flags.
    pub(super) const CODEC: usize = 18;
    pub(super) const STORED_AT: usize = 20;
    pub(super) const EXPIRES_AT: usize = 28;
    pub(super) const FRESH_UNTIL: usize = 36;
    pub(super) const SHAPE: usize = 44;
    pub(super) const KEY_HASH: usize = 52;
    pub(super) const CHECKSUM: usize = 68;
}

/// Why stored bytes cannot be served: a miss in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It has expired, or was stored so far in the future that its TTL cannot be trusted.
    Expired,
    /// It has a version, a flag or a codec that this build does not know: another build stored it.
    OtherVersion,
    /// It is damaged: too short, too long, an unknown marker, or a wrong checksum.
    Corrupt,
    /// It is a sound entry of another key: counted as corrupt. On a connection it means that replies were shifted.
    OtherKey,
    /// It is not a value but a lease: the permission to store one.
    Lease {
        /// The nonce that a fill must bring.
        nonce: u128,
    },
}

/// The hash of a namespace and a full key, stored with an entry to identify its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(u128);

/// Makes the [`KeyHash`]es of one namespace.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher(u64);

impl KeyHasher {
    /// Makes the hasher of `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self(XxHash3_64::oneshot(namespace.as_bytes()))
    }

    /// Hashes `key`, the full text of a key. Cost: about 10 ns.
    pub fn hash(self, key: &str) -> KeyHash {
        KeyHash(XxHash3_128::oneshot_with_seed(self.0, key.as_bytes()))
    }
}

/// The header of a stored value, read or to be written.
///
/// ```
/// use cache_core::envelope::{Header, KeyHasher};
/// use cache_core::{NewEntry, Timestamp};
///
/// let (key, now) = (KeyHasher::new("app").hash("user:5:profile"), Timestamp::from_millis(1));
/// let entry = NewEntry::new("payload").stored_at(now);
/// let header = Header::seal(&entry, key, 0);
///
/// // The store keeps `header.as_bytes()` and the payload, in one piece or in several.
/// let found = Header::parse(header.as_bytes()).unwrap();
/// assert_eq!(found.open(key, entry.payload.clone(), || now), Ok(entry));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header([u8; HEADER_LENGTH]);

impl Header {
    /// Makes the header of `entry` as it is stored under `key`; on disk the nonce is the id of the entry.
    pub fn seal(entry: &Entry, key: KeyHash, nonce: u128) -> Self {
        let Entry { payload, codec, shape, stored_at, expires_at, fresh_until } = entry;
        let flags = expires_at.map_or(0, |_| HAS_EXPIRY) | fresh_until.map_or(0, |_| HAS_FRESHNESS);
        let mut bytes = [0; HEADER_LENGTH];
        let mut fields = bytes.as_mut_slice();
        fields.put_u8(VALUE);
        fields.put_u128_le(nonce);
        fields.put_u8(VERSION);
        fields.put_u8(*codec as u8);
        fields.put_u8(flags);
        fields.put_u64_le(stored_at.as_millis());
        fields.put_u64_le(expires_at.map_or(0, Timestamp::as_millis));
        fields.put_u64_le(fresh_until.map_or(0, Timestamp::as_millis));
        fields.put_u64_le(*shape);
        fields.put_u128_le(key.0);
        Self(with_last(bytes, Self(bytes).checksum(payload)))
    }

    /// The bytes to store in front of the payload.
    pub fn as_bytes(&self) -> &[u8; HEADER_LENGTH] {
        &self.0
    }

    /// Reads the header at the beginning of `stored` and ignores the rest.
    ///
    /// # Errors
    /// `Lease`, `OtherVersion` or `Corrupt`. Damage after the version is only found by [`open`](Self::open).
    pub fn parse(stored: &[u8]) -> Result<Self, Rejected> {
        match stored.first().zip(nonce(stored)) {
            Some((&VALUE, _)) if stored.get(at::VERSION).is_some_and(|&version| version != VERSION) => {
                Err(Rejected::OtherVersion)
            }
            Some((&VALUE, _)) => stored.first_chunk().map(|bytes| Self(*bytes)).ok_or(Rejected::Corrupt),
            // The lease of a later version may be longer.
            Some((_, nonce)) => Err(Rejected::Lease { nonce }),
            None => Err(Rejected::Corrupt),
        }
    }

    /// Verifies the payload and returns the entry, if it is sound, of this key and not expired.
    ///
    /// The shape of the value is not checked: decoding does that. Cost: one pass over the payload. Reading the clock costs
    /// as much as verifying a small value: `now` is only called for an entry with a TTL.
    ///
    /// # Errors
    /// In this order: `Corrupt`, `OtherVersion`, `OtherKey`, `Expired`.
    pub fn open(
        &self,
        key: KeyHash,
        payload: Bytes,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Entry, Rejected> {
        if payload.len() > LARGEST_PAYLOAD
            || self.field(at::CHECKSUM) != self.checksum(&payload).to_le_bytes()
        {
            return Err(Rejected::Corrupt);
        }
        let [codec, flags] = self.field(at::CODEC);
        let codec = CodecId::from_byte(codec)
            .filter(|_| flags & !(HAS_EXPIRY | HAS_FRESHNESS) == 0)
            .ok_or(Rejected::OtherVersion)?;
        if self.field(at::KEY_HASH) != key.0.to_le_bytes() {
            return Err(Rejected::OtherKey);
        }
        let number = |at| u64::from_le_bytes(self.field(at));
        let time = |flag, at| (flags & flag != 0).then(|| Timestamp::from_millis(number(at)));
        let entry = Entry {
            payload,
            codec,
            shape: number(at::SHAPE),
            stored_at: Timestamp::from_millis(number(at::STORED_AT)),
            expires_at: time(HAS_EXPIRY, at::EXPIRES_AT),
            fresh_until: time(HAS_FRESHNESS, at::FRESH_UNTIL),
        };
        let is_live = entry.expires_at.is_none() || entry.is_live(now());
        if is_live { Ok(entry) } else { Err(Rejected::Expired) }
    }

    fn checksum(&self, payload: &[u8]) -> u64 {
        XxHash3_64::oneshot(&with_last(self.0, XxHash3_64::oneshot(payload)))
    }

    #[inline]
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = self.0.get(at..).and_then(<[u8]>::first_chunk);
        *field.expect("every field lies inside the header")
    }
}

/// The header with `number` as its last field.
fn with_last(mut header: [u8; HEADER_LENGTH], number: u64) -> [u8; HEADER_LENGTH] {
    if let Some(last) = header.last_chunk_mut() {
        *last = number.to_le_bytes();
    }
    header
}

/// Writes a lease.
pub fn lease(nonce: u128) -> [u8; LEASE_LENGTH] {
    let mut bytes = [LEASE; LEASE_LENGTH];
    if let Some(place) = bytes.last_chunk_mut() {
        *place = nonce.to_le_bytes();
    }
    bytes
}

/// Returns the nonce of a lease or value of any version; `None` for other bytes.
pub fn nonce(stored: &[u8]) -> Option<u128> {
    let (marker, rest) = stored.split_first()?;
    let nonce = rest.first_chunk()?;
    matches!(*marker, LEASE | VALUE).then(|| u128::from_le_bytes(*nonce))
}
