//! The report: one HTML page with the rows and the plots, readable in light and in dark, with nothing to fetch.

mod lines;
mod page;
mod pairs;
mod ratios;
mod scales;

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::session::Session;

/// Writes `index.html` into `folder`, and says where it is.
pub fn write(folder: &Path, session: &Session) -> Outcome<PathBuf> {
    let failed = |error| format!("cannot write the report into {}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = folder.join("index.html");
    std::fs::write(&file, page::text(session.rows(), session.plots(), session.left_out())).map_err(failed)?;
    Ok(file)
}

/// Text as it may stand in HTML and SVG.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
