//! How many bytes reach the disk for each byte of a value.

use anyhow::Context;

use super::store::{CACHED, FOYER_ON_INSERTION, Named, OURS, RAW, RAW_LAZY, SQLITE};
use crate::Outcome;
use crate::case::{Target, Unit};
use crate::child::Child;
use crate::disk::{LARGE, SMALL};
use crate::row::Row;
use crate::session::Session;
use crate::stores::directory;

const PEERS: [Named; 5] = [RAW, RAW_LAZY, SQLITE, FOYER_ON_INSERTION, CACHED];

/// By name: bytes of a value, and microseconds between two.
const ROWS: [(&str, usize, u32); 2] = [
    ("bytes written to the disk, sets of 1 KB, 1,000 a second", SMALL, 1000),
    ("bytes written to the disk, sets of 50 KB, 200 a second", LARGE, 5000),
];

/// What the system has counted for a process that stored values and closed the store.
fn written(store: &Named, value_bytes: usize, pause_micros: u32, seconds: u32) -> Outcome<f64> {
    let directory = directory()?;
    let path = directory.path().to_str().context("a path is text")?;
    let count = seconds * 1_000_000 / pause_micros;
    let words = [value_bytes.to_string(), pause_micros.to_string(), count.to_string()];
    let [bytes, pause, count_word] = &words;
    let mut child = Child::start(&["write", "set", store.name, path, bytes, pause, count_word])?;
    for _ in 0..count {
        child.line()?;
    }
    let written = child.figure("written")?;
    child.finish()?;
    Ok(written / (f64::from(count) * value_bytes as f64))
}

/// Measures the rows.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    let seconds = if session.quick { 4 } else { 15 };
    let note = "write_bytes of a process that stores each value once and ends, by the system's own count";
    for (name, value_bytes, pause_micros) in ROWS {
        session.doing(name);
        let ours = written(&OURS, value_bytes, pause_micros, seconds)?;
        for peer in PEERS {
            session.doing(&format!("{}: {name}", peer.name));
            let figure = (peer.name, written(&peer, value_bytes, pause_micros, seconds).context(peer.name)?);
            let row = Row::beside(name, Unit::BYTES_A_BYTE, Target::Ours(1.8), ours, figure);
            session.keep(row.note(note));
        }
    }
    Ok(())
}
