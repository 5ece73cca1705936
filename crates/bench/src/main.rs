//! `cargo run --release -p bench -- [--quick] [--only GROUP] [--trace FILE] [--json FILE] [--report FOLDER]`; see the library's documentation.

use std::process::ExitCode;

use bench::options::{Group, Options, USAGE};
use bench::session::Session;
use bench::{Outcome, disk, facade, peers, redis, report, table, trace, workloads};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the rows of a group.
type Run<'a> = &'a dyn Fn(&mut Session) -> Outcome<()>;

fn run() -> Outcome<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    if cfg!(debug_assertions) {
        return Err(
            format!("measuring a debug build says nothing: cargo run --release -p bench -- {USAGE}").into()
        );
    }
    // A bad file is said now, not after minutes.
    let traced = options.trace.as_deref().map(trace::read).transpose()?;
    let mut session = Session::new(options.plan(), options.quick)?;
    let groups: [(Group, &'static str, Run<'_>); 5] = [
        (Group::Disk, "disk", &disk::run),
        (Group::Facade, "facade", &facade::run),
        (Group::Redis, "redis", &redis::run),
        (Group::Peers, "peers", &peers::run),
        (Group::Workloads, "workloads", &|session| workloads::run(session, traced.as_ref())),
    ];
    let mut failed = Vec::new();
    for (group, name, run) in groups {
        session.begin(name);
        // What one group stumbles over does not lose the others' figures.
        if options.wants(group)
            && let Err(why) = run(&mut session)
        {
            session.leave_out(name, &format!("FAILED: {why}"));
            failed.push(name);
        }
    }
    println!("{}", table::table(session.rows()));
    for line in session.left_out() {
        println!("{line}");
    }
    if let Some(folder) = &options.report {
        let page = report::write(folder, &session)?;
        println!("report: {}", page.display());
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(session.rows())?)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}
