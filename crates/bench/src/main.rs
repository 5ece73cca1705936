//! `cargo run --profile bench -p bench -- [ARGUMENTS]`; see [`USAGE`] and the library's documentation.

use anyhow::{Context, bail, ensure};
use bench::options::{GROUPS, Options, USAGE};
use bench::row::Row;
use bench::session::Session;
use bench::{
    Outcome, application, child, disk, facade, http, page, peers, redis, report, table, trace, workloads,
};
use serde::Serialize;

/// The variable in which the caller passes a description of the machine, the day and the commit.
const ABOUT: &str = "BENCH_ABOUT";

/// An object of the JSON.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// The row in one line.
    summary: String,
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((child::WORD, words)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return child::work(words);
    }
    let options = Options::parse(pico_args::Arguments::from_env())?;
    if cfg!(debug_assertions) {
        bail!("a debug build is not worth measuring: cargo run --profile bench -p bench -- {USAGE}");
    }
    // A bad file is reported now, not after minutes.
    let traced = options.trace.as_deref().map(trace::read).transpose()?;
    let mut session = Session::new(options.plan(), options.quick)?;
    let mut failed = Vec::new();
    for group in GROUPS.into_iter().filter(|group| options.wants(group)) {
        session.begin(group);
        let done = match group {
            "disk" => disk::run(&mut session),
            "facade" => facade::run(&mut session),
            "redis" => redis::run(&mut session),
            "peers" => peers::run(&mut session),
            "http" => http::run(&mut session),
            "application" => application::run(&mut session),
            _ => workloads::run(&mut session, traced.as_ref()),
        };
        // A group that fails does not lose the others' figures.
        if let Err(error) = done {
            session.leave_out(group, &format!("FAILED: {error:#}"));
            failed.push(group);
        }
    }
    println!("{}", table::table(&session.rows));
    for line in &session.left_out {
        println!("{line}");
    }
    let about = std::env::var(ABOUT).unwrap_or_default();
    if let Some(folder) = &options.report {
        println!("report: {}", report::write(folder, &session, &about)?.display());
    }
    // A quick run and one of a user's own trace are not the project's figures.
    if let Some(file) = options.page.as_ref().filter(|_| !options.quick && traced.is_none()) {
        page::write(file, &session.rows, &about)?;
    }
    if let Some(file) = &options.json {
        let objects = session.rows.iter().map(|row| Object { row, summary: table::summary(row) });
        let text = serde_json::to_string_pretty(&objects.collect::<Vec<_>>())?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
