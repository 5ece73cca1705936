//! JSON by `serde_json`, watched while it is written: JSON has one `null` for several values.

mod parts;
mod watched;

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::watched::Watched;
use super::Written;

/// How deep arrays and objects may be nested: as deep as `serde_json` reads them.
const DEEPEST: u32 = 127;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Written> {
    let watch = Watch::default();
    let mut bytes = Vec::with_capacity(128);
    value.serialize(Watched::new(&mut serde_json::Serializer::new(&mut bytes), &watch))?;
    Ok(Written {
        bytes,
        shape: 0,
        seen: watch.seen.get(),
        kinds: watch.kinds.get(),
        doubt: watch.doubt.get(),
    })
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes)
}

/// What was seen of a value while it was written.
#[derive(Debug, Default)]
struct Watch {
    /// A bit for each sort of part.
    seen: Cell<u128>,
    /// The sum of all parts' tokens, which does not depend on the order of a hash map.
    kinds: Cell<u64>,
    doubt: Cell<Option<&'static str>>,
}

impl Watch {
    #[inline]
    fn saw(&self, token: u64) {
        self.seen.set(self.seen.get() | 1 << (token >> 57));
        self.kinds.set(self.kinds.get().wrapping_add(token));
    }

    #[cold]
    fn doubt(&self, why: &'static str) {
        self.doubt.set(Some(why));
    }
}
