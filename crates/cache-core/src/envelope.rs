//! The one stored header, shared by disk and Redis, byte by byte.
//!
//! All numbers are little-endian. The first 17 bytes are the same in every version, so that any build finds the nonce
//! of what any other stored.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0 | marker: `L` a lease, of which nothing follows the nonce; `V` a value |
//! | 1..17 | nonce, 128 bits; zero on disk |
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
//! The checksum finds accidents, not attackers: whoever can write to the store can write a valid envelope.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64, xxh3_128_with_seed};

use crate::clock::Timestamp;
use crate::codec_id::CodecId;
use crate::entry::Entry;

/// Bytes of the header in front of a payload.
pub const HEADER_LENGTH: usize = 76;

/// Bytes of a lease.
pub const LEASE_LENGTH: usize = 17;

/// The longest payload in bytes, 128 MiB: a longer one is neither stored nor believed.
pub const LARGEST_PAYLOAD: usize = 128 << 20;

const VERSION: u8 = 1;
const LEASE: u8 = b'L';
const VALUE: u8 = b'V';
const HAS_EXPIRY: u8 = 1;
const HAS_FRESHNESS: u8 = 2;

/// Where each field begins; [`HEADER_LENGTH`] is where the last one ends.
mod at {
    pub(super) const MARKER: usize = 0;
    pub(super) const NONCE: usize = 1;
    pub(super) const VERSION: usize = 17;
    pub(super) const CODEC: usize = 18;
    pub(super) const FLAGS: usize = 19;
    pub(super) const STORED_AT: usize = 20;
    pub(super) const EXPIRES_AT: usize = 28;
    pub(super) const FRESH_UNTIL: usize = 36;
    pub(super) const SHAPE: usize = 44;
    pub(super) const KEY_HASH: usize = 52;
    pub(super) const CHECKSUM: usize = 68;
}

/// Why stored bytes are no entry to serve: a miss in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Its time is over, or it was stored in a future that its TTL cannot be trusted in.
    Expired,
    /// Another version of the format, a flag or a codec that this build does not know: another build's, not damage.
    OtherVersion,
    /// Damaged: too short, too long, an unknown marker, or the checksum does not match.
    Corrupt,
    /// A sound entry of another key: counted as corrupt, and on a connection it means that replies were shifted.
    OtherKey,
    /// No value but the permission to store one.
    Lease {
        /// What a fill must bring.
        nonce: u128,
    },
}

/// The hash of a namespace and a full key, by which an entry knows whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(u128);

/// Makes the [`KeyHash`]es of one namespace.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// The hasher of `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self { seed: xxh3_64(namespace.as_bytes()) }
    }

    /// The hash of `key`, a key's full text. Cost: about 10 ns.
    pub fn hash(self, key: &str) -> KeyHash {
        KeyHash(xxh3_128_with_seed(key.as_bytes(), self.seed))
    }
}

/// The header of a stored value, read or to be written.
///
/// ```
/// use cache_core::envelope::{Header, KeyHasher};
/// use cache_core::{NewEntry, Timestamp};
///
/// let (key, now) = (KeyHasher::new("app").hash("image:5:metadata"), Timestamp::from_millis(1));
/// let entry = NewEntry::new("payload").stored_at(now);
/// let header = Header::seal(&entry, key, 0);
///
/// // The store keeps `header.as_bytes()` and the payload, in one piece or in several.
/// let found = Header::parse(header.as_bytes()).unwrap();
/// assert_eq!(found.open(key, entry.payload.clone(), || now), Ok(entry));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LENGTH],
}

impl Header {
    /// The header of `entry` as it is stored under `key`; the nonce is zero on disk.
    pub fn seal(entry: &Entry, key: KeyHash, nonce: u128) -> Self {
        let Entry { payload, codec, shape, stored_at, expires_at, fresh_until } = entry;
        let flags = expires_at.map_or(0, |_| HAS_EXPIRY) | fresh_until.map_or(0, |_| HAS_FRESHNESS);
        let mut header = Self { bytes: [0; HEADER_LENGTH] };
        header.put(at::MARKER, [VALUE]);
        header.put(at::NONCE, nonce.to_le_bytes());
        header.put(at::VERSION, [VERSION]);
        header.put(at::CODEC, [*codec as u8]);
        header.put(at::FLAGS, [flags]);
        header.put(at::STORED_AT, stored_at.as_millis().to_le_bytes());
        header.put(at::EXPIRES_AT, expires_at.map_or(0, Timestamp::as_millis).to_le_bytes());
        header.put(at::FRESH_UNTIL, fresh_until.map_or(0, Timestamp::as_millis).to_le_bytes());
        header.put(at::SHAPE, shape.to_le_bytes());
        header.put(at::KEY_HASH, key.0.to_le_bytes());
        header.put(at::CHECKSUM, header.checksum(xxh3_64(payload)).to_le_bytes());
        header
    }

    /// The bytes to store in front of the payload.
    pub fn as_bytes(&self) -> &[u8; HEADER_LENGTH] {
        &self.bytes
    }

    /// Reads the header at the beginning of `stored`; what follows it is not looked at.
    ///
    /// # Errors
    /// `Lease`, `OtherVersion` or `Corrupt`. Only [`open`](Self::open) and [`verify`](Self::verify) find damage
    /// behind the version.
    pub fn parse(stored: &[u8]) -> Result<Self, Rejected> {
        match stored.first().zip(nonce(stored)) {
            Some((&VALUE, _)) if stored.get(at::VERSION).is_some_and(|&version| version != VERSION) => {
                Err(Rejected::OtherVersion)
            }
            Some((&VALUE, _)) => {
                stored.first_chunk().map(|bytes| Self { bytes: *bytes }).ok_or(Rejected::Corrupt)
            }
            // A later version's lease may say more behind its nonce.
            Some((_, nonce)) => Err(Rejected::Lease { nonce }),
            None => Err(Rejected::Corrupt),
        }
    }

    /// The entry, if it is sound, this key's and live. Cost: one pass over the payload; reading the clock costs as much as
    /// verifying a small value, so that `now` is asked only where there is a TTL.
    ///
    /// The caller still has to compare the entry's shape, by decoding it.
    ///
    /// # Errors
    /// In this order: `Corrupt`, `OtherVersion`, `OtherKey`, `Expired`.
    pub fn open(
        &self,
        key: KeyHash,
        payload: Bytes,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Entry, Rejected> {
        let codec = self.check(key, payload.len(), || xxh3_64(&payload))?;
        let entry = Entry {
            payload,
            codec,
            shape: self.number(at::SHAPE),
            stored_at: self.stored_at(),
            expires_at: self.expires_at(),
            fresh_until: self.fresh_until(),
        };
        let is_live = entry.expires_at.is_none() || entry.is_live(now());
        if is_live { Ok(entry) } else { Err(Rejected::Expired) }
    }

    /// Whether the payload in `pieces` is sound and `key`'s, without joining them. Time is not looked at.
    ///
    /// # Errors
    /// In this order: `Corrupt`, `OtherVersion`, `OtherKey`.
    pub fn verify<'a, P>(&self, key: KeyHash, pieces: P) -> Result<(), Rejected>
    where
        P: IntoIterator<Item = &'a [u8]>,
    {
        let mut hasher = Xxh3Default::new();
        let mut length = 0_usize;
        for piece in pieces {
            length = length.saturating_add(piece.len());
            hasher.update(piece);
        }
        self.check(key, length, || hasher.digest()).map(drop)
    }

    /// The nonce; zero on disk.
    pub fn nonce(&self) -> u128 {
        u128::from_le_bytes(self.field(at::NONCE))
    }

    /// When the entry was stored; to be believed once it is verified.
    pub fn stored_at(&self) -> Timestamp {
        Timestamp::from_millis(self.number(at::STORED_AT))
    }

    /// From when on the entry is a miss; to be believed once it is verified.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.has(HAS_EXPIRY).then(|| Timestamp::from_millis(self.number(at::EXPIRES_AT)))
    }

    /// Until when the entry is fresh; to be believed once it is verified.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        self.has(HAS_FRESHNESS).then(|| Timestamp::from_millis(self.number(at::FRESH_UNTIL)))
    }

    fn check(
        &self,
        key: KeyHash,
        length: usize,
        payload_hash: impl FnOnce() -> u64,
    ) -> Result<CodecId, Rejected> {
        if length > LARGEST_PAYLOAD || self.number(at::CHECKSUM) != self.checksum(payload_hash()) {
            return Err(Rejected::Corrupt);
        }
        let [codec, flags] = self.field(at::CODEC);
        let codec = CodecId::from_byte(codec)
            .filter(|_| flags & !(HAS_EXPIRY | HAS_FRESHNESS) == 0)
            .ok_or(Rejected::OtherVersion)?;
        if self.field(at::KEY_HASH) != key.0.to_le_bytes() {
            return Err(Rejected::OtherKey);
        }
        Ok(codec)
    }

    /// Hashing the payload on its own leaves its pieces free and the header's hash one short step.
    fn checksum(&self, payload_hash: u64) -> u64 {
        let mut summed = self.bytes;
        if let Some(place) = summed.last_chunk_mut() {
            *place = payload_hash.to_le_bytes();
        }
        xxh3_64(&summed)
    }

    fn has(&self, flag: u8) -> bool {
        let [flags] = self.field(at::FLAGS);
        flags & flag != 0
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.field(at))
    }

    #[inline]
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let field = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        *field.expect("every field lies inside the header")
    }

    #[inline]
    fn put<const N: usize>(&mut self, at: usize, field: [u8; N]) {
        let place = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        *place.expect("every field lies inside the header") = field;
    }
}

/// Header and payload in one piece. Cost: one copy of the payload.
pub fn encode(entry: &Entry, key: KeyHash, nonce: u128) -> Bytes {
    let mut stored = BytesMut::with_capacity(HEADER_LENGTH + entry.payload.len());
    stored.put_slice(Header::seal(entry, key, nonce).as_bytes());
    stored.put_slice(&entry.payload);
    stored.freeze()
}

/// Reads what [`encode`] made; the entry's payload shares the memory of `stored`.
///
/// # Errors
/// See [`Header::parse`] and [`Header::open`].
pub fn decode(stored: &Bytes, key: KeyHash, now: Timestamp) -> Result<Entry, Rejected> {
    let header = Header::parse(stored)?;
    header.open(key, stored.slice(HEADER_LENGTH..), || now)
}

/// The bytes of a lease.
pub fn lease(nonce: u128) -> [u8; LEASE_LENGTH] {
    let mut bytes = [LEASE; LEASE_LENGTH];
    if let Some(place) = bytes.last_chunk_mut() {
        *place = nonce.to_le_bytes();
    }
    bytes
}

/// The nonce of a lease or a value of any version; `None` for what is neither.
pub fn nonce(stored: &[u8]) -> Option<u128> {
    let (marker, rest) = stored.split_first()?;
    let nonce = rest.first_chunk()?;
    matches!(*marker, LEASE | VALUE).then(|| u128::from_le_bytes(*nonce))
}
