//! What a process that is killed loses: values that were stored, and removals that came undone.

use anyhow::Context;

use super::store::{CACHED, FOYER_ON_INSERTION, FOYER_README, Named, OURS, Place, RAW, RAW_LAZY, SQLITE};
use crate::Outcome;
use crate::case::{Target, Unit};
use crate::child::Child;
use crate::row::Row;
use crate::session::Session;
use crate::stores::directory;
use crate::workload::image_keys;

const PEERS: [Named; 6] = [RAW, RAW_LAZY, SQLITE, FOYER_README, FOYER_ON_INSERTION, CACHED];

/// What a child does until it is killed.
struct Work {
    name: &'static str,
    /// As the child calls it.
    word: &'static str,
    pause_micros: u32,
    /// After how many it is killed, run by run: at different moments of a second.
    kill_after: [u32; 5],
    /// Whether a value that is found afterwards counts as lost: its removal came undone.
    is_lost_if_found: bool,
    /// The most that ours may lose.
    target: f64,
}

const WORKS: [Work; 2] = [
    Work {
        name: "values lost by kill -9, 1,000 sets a second",
        word: "set",
        pause_micros: 1000,
        kill_after: [2100, 2400, 2700, 1900, 2950],
        is_lost_if_found: false,
        target: 1100.0,
    },
    Work {
        name: "removals undone by kill -9, 200 a second",
        word: "remove",
        pause_micros: 5000,
        kill_after: [310, 390, 470, 350, 430],
        is_lost_if_found: true,
        target: 0.0,
    },
];

/// Bytes of a value.
const BYTES: usize = 1024;
/// More than are done before the kill.
const COUNT: usize = 4000;

/// How many of those that a child said it had done were lost.
fn lost(session: &Session, store: &Named, work: &Work, kill_after: u32) -> Outcome<usize> {
    let directory = directory()?;
    let (bytes, pause, count) = (BYTES.to_string(), work.pause_micros.to_string(), COUNT.to_string());
    let path = directory.path().to_str().context("a path is text")?;
    let mut child = Child::start(&["write", work.word, store.name, path, &bytes, &pause, &count])?;
    let mut done = 0;
    let mut is_killed = false;
    while let Some(line) = child.line()? {
        done = line.parse::<usize>()? + 1;
        if !is_killed && done >= kill_after as usize {
            child.kill()?;
            is_killed = true;
        }
    }
    drop(child);
    let place = Place { runtime: &session.runtime, directory: directory.path(), entries: COUNT };
    let mut store = (store.open)(place)?;
    let mut lost = 0;
    for key in image_keys(0, done) {
        lost += usize::from(store.holds(&key)? == work.is_lost_if_found);
    }
    Ok(lost)
}

/// The most of several runs.
fn most_lost(session: &Session, store: &Named, work: &Work) -> Outcome<f64> {
    session.doing(&format!("{}: {}", store.name, work.name));
    let times = if session.quick { 3 } else { work.kill_after.len() };
    let mut most = 0;
    for kill_after in work.kill_after.into_iter().take(times) {
        most = most.max(lost(session, store, work, kill_after).with_context(|| store.name)?);
    }
    Ok(most as f64)
}

/// Measures the rows: the worst of several kills.
pub(super) fn run(session: &mut Session) -> Outcome<()> {
    for work in WORKS {
        let ours = most_lost(session, &OURS, &work)?;
        for peer in PEERS {
            let figure = (peer.name, most_lost(session, &peer, &work)?);
            let row = Row::beside(work.name, Unit::VALUES, Target::Ours(work.target), ours, figure);
            session.keep(row.note(peer.durability));
        }
    }
    Ok(())
}
