//! An instance of the application: its session, its memory tier, and the tasks that read.

use super::{Key, SessionId, Version};
use crate::bounds::KEYS;

/// An instance with a memory tier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Instance {
    /// The id of the session, unless it is over.
    pub(crate) session: Option<SessionId>,
    /// The invalidations that the session has processed.
    pub(crate) processed: u8,
    /// Ticks that are left of the lease of the current session.
    pub(crate) lease: u8,
    /// The request of the session that is under way.
    pub(crate) exchange: Option<Exchange>,
    /// A renewal that was given up and may still be carried out.
    pub(crate) late_renewal: Option<LateRenewal>,
    /// Values whose token stands; any other is as good as gone.
    pub(crate) memory: [Option<Held>; KEYS],
    pub(crate) reader: Reader,
    pub(crate) filler: Filler,
}

/// A request to the server or its reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Exchange {
    /// Ticks that are left of a lease that counts from the sending.
    pub(crate) left: u8,
    pub(crate) sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Sent {
    /// REGISTER is on its way.
    Register,
    /// The server has registered the session; the reply is on its way.
    Registered { session: SessionId, told: u8 },
    /// RENEW is on its way.
    Renew,
    /// The server has looked for the session; the reply is on its way.
    Renewed { is_registered: bool, told: u8 },
    /// The session is registered, but has not processed everything told: it reads the log.
    ReadLog { told: u8 },
    /// The reply with the log is on its way; without entries where one is missing.
    Log { told: u8, entries: Option<LogEntries> },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LogEntries {
    pub(crate) up_to: u8,
    pub(crate) keys: [bool; KEYS],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct LateRenewal {
    pub(crate) session: SessionId,
    pub(crate) acknowledged: u8,
}

/// A session object of this process, as seen from a task that has loaded one.
///
/// With one reader, only one object of the past matters: that which the reader has loaded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Of {
    Current,
    /// The session that the reader has loaded; another one has become current since.
    Former,
}

/// A value in memory whose token is valid in its session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Held {
    pub(crate) version: Version,
    pub(crate) of: Of,
}

/// The task that reads from memory. `floor` is the version acknowledged before the read began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Reader {
    #[default]
    Idle,
    /// It has loaded the session `of` and found its lease valid.
    Leased { key: Key, floor: Version, of: Of },
    /// It has taken a value; the token of the value is still valid in the session.
    Taken { key: Key, floor: Version, version: Version, of: Of },
    /// Only for `Mistake::LeaseOfAnotherSession`: it has loaded the session `of`, and not yet looked at a lease.
    Loaded { key: Key, floor: Version, of: Of },
    /// Only for `Mistake::TokenBeforeLease`: it has compared the token, and has not yet looked at the lease.
    Compared { key: Key, floor: Version, version: Version },
}

/// The task that reads from Redis and puts the value into memory. `token` is `None` once it is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Filler {
    #[default]
    Idle,
    /// It has taken its token; the request is on its way.
    Asked { key: Key, token: Option<Of> },
    /// The reply is on its way.
    Answered { key: Key, token: Option<Of>, version: Version },
}

impl Instance {
    /// Forgets `key`: tokens of the current session that were taken before do not stand any more.
    pub(crate) fn forget(&mut self, key: Key) {
        let memory = &mut self.memory[usize::from(key)];
        *memory = memory.filter(|held| held.of != Of::Current);
        if let Reader::Taken { key: taken, of: Of::Current, .. } = self.reader
            && taken == key
        {
            // It will compare the token, and serve nothing.
            self.reader = Reader::Idle;
        }
        if let Filler::Asked { key: filled, token } | Filler::Answered { key: filled, token, .. } =
            &mut self.filler
            && *filled == key
        {
            *token = token.filter(|of| *of != Of::Current);
        }
    }

    pub(crate) fn forget_each(&mut self, keys: [bool; KEYS]) {
        for (key, _) in (0..).zip(keys).filter(|(_, is_named)| *is_named) {
            self.forget(key);
        }
    }

    /// Makes a new session object, with fresh epochs, the current one.
    ///
    /// Tokens name their session. So no read that starts from here on serves what was put into memory before, or what a
    /// read puts there that has begun before.
    pub(crate) fn begin_session(&mut self) {
        let loaded = match self.reader {
            Reader::Loaded { of, .. } | Reader::Leased { of, .. } => Some(of),
            Reader::Idle | Reader::Taken { .. } | Reader::Compared { .. } => None,
        };
        // The reader still compares with the session it has loaded. No other task has loaded that one.
        let after = |of: Of| (loaded == Some(of)).then_some(Of::Former);
        for memory in &mut self.memory {
            *memory = memory.and_then(|held| Some(Held { of: after(held.of)?, ..held }));
        }
        if let Filler::Asked { token, .. } | Filler::Answered { token, .. } = &mut self.filler {
            *token = token.and_then(after);
        }
        match &mut self.reader {
            Reader::Loaded { of, .. } | Reader::Leased { of, .. } | Reader::Taken { of, .. } => {
                *of = Of::Former;
            }
            // The lease of the session that it has loaded is over.
            Reader::Compared { .. } => self.reader = Reader::Idle,
            Reader::Idle => {}
        }
    }
}
