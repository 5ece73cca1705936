//! (being written) Codecs.

/// How a payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum CodecId {
    /// The caller's own bytes.
    Raw = 0,
    /// bincode 2, standard configuration.
    Bincode = 1,
    /// JSON.
    Json = 2,
}
