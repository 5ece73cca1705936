//! Lua scripts that run in the server.

use std::sync::LazyLock;

use redis::{Cmd, Script};

/// How a script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `EVALSHA`: fails with `NOSCRIPT` where the server does not know the script.
    ByHash,
    /// `EVAL`, after which the server knows the script.
    InFull,
}

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
lua!(NEAR_REGISTER, "near_registry.lua", "near_register.lua");
lua!(NEAR_RENEW, "near_renew.lua");
lua!(NEAR_ANNOUNCE, "near_registry.lua", "near_announce.lua");
lua!(NEAR_REMOVE, "near_remove.lua");

impl Lua {
    pub(crate) fn call(&self, how: Call, keys: &[&str]) -> Cmd {
        let (name, script) = match how {
            Call::ByHash => ("EVALSHA", self.script.get_hash()),
            Call::InFull => ("EVAL", self.source),
        };
        let mut cmd = redis::cmd(name);
        cmd.arg(script).arg(keys.len()).arg(keys);
        cmd
    }
}
