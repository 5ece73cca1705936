//! `cargo xtask help`.

/// Prints the commands and their arguments.
pub(crate) fn print() {
    println!("{TEXT}");
}

const TEXT: &str = "\
cargo xtask COMMAND

  test [--list] [STEP..]    every test: unit, conformance, property, model, documentation, the application over
                            HTTP, examples, schedules, planted bugs. STEP, CHECK: only those whose name contains it
  lint [CHECK..]            format, clippy and rustdoc without a warning on every feature set, house rules, documents
  features [CHECK..]        builds every feature set; proves the invariants of docs/architecture.md
  audit [--db DIR]          licences, sources, banned crates (cargo-deny) and advisories (cargo-audit);
                            DIR or ADVISORY_DB: the RustSec database as a folder
  demo [--keep]             starts the application on a free port and walks through it over HTTP; then two instances
                            over a Redis that is killed and comes back;
                            --keep: leaves it running until Enter is pressed
  bench [--quick] [--only disk|facade|redis|peers|workloads] [--trace FILE] [--json FILE]
                            measures ours beside its peers in one run; rows also as JSON, plots in
                            target/bench-report/index.html; FILE of lookups to repeat: time,key,size
  reliability [--minutes N] [--seed N] [--only ROW]
                            what is survived, counted: kill -9, lost power, damage, faults of Redis, schedules, planted
                            bugs ...; writes docs/reliability.md; 15 minutes, or about as many as are given
  ci [--db DIR]             lint, test, features, audit, demo: what .ci/run runs

Each command ends with a table and `N passed, N failed, N skipped`, and fails if anything failed.";
