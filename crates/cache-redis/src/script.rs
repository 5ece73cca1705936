//! The scripts that run in the server, and how they are called.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// How a script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    ByHash,
    InFull,
}

/// A script: called by its hash, and in full where the server does not know it (any more).
pub(crate) struct Lua {
    source: &'static str,
    script: LazyLock<Script>,
}

macro_rules! lua {
    ($name:ident, $($file:literal),+) => {
        pub(crate) static $name: Lua = Lua {
            source: concat!($(include_str!(concat!("lua/", $file))),+),
            script: LazyLock::new(|| Script::new(concat!($(include_str!(concat!("lua/", $file))),+))),
        };
    };
}

lua!(LEASE, "coded.lua", "lease.lua");
lua!(FILL, "coded.lua", "replaced.lua", "outlive.lua", "fill.lua");
lua!(STAGED, "coded.lua", "replaced.lua", "outlive.lua", "staged.lua");
lua!(EXPIRE, "outlive.lua", "expire.lua");
lua!(INCREMENT, "coded.lua", "increment.lua");

impl Lua {
    pub(crate) fn call(&self, how: Call, keys: &[&str]) -> Cmd {
        match how {
            Call::ByHash => self.by_hash(keys),
            Call::InFull => self.in_full(keys),
        }
    }

    /// A call by hash: `NOSCRIPT` where the server does not know it.
    pub(crate) fn by_hash(&self, keys: &[&str]) -> Cmd {
        call("EVALSHA", self.script.get_hash(), keys)
    }

    /// A call in full, which cannot fail so; the server knows the script from then on.
    pub(crate) fn in_full(&self, keys: &[&str]) -> Cmd {
        call("EVAL", self.source, keys)
    }
}

fn call(name: &str, script: &str, keys: &[&str]) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(script).arg(keys.len()).arg(keys);
    cmd
}
