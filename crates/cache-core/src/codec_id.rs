//! [`CodecId`]: the byte in a stored header that identifies the codec.

/// The codec of a stored payload.
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

impl CodecId {
    /// The codec's name in explanations and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Bincode => "bincode",
            Self::Json => "json",
        }
    }

    /// The codec stored as `byte`; `None` for one this build does not know.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Raw, Self::Bincode, Self::Json].get(usize::from(byte)).copied()
    }
}
