//! The report: one HTML page with the rows and the plots, with nothing to fetch.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Outcome;
use crate::plot::Plot;
use crate::row::Row;
use crate::session::Session;
use crate::table::{HEADS, cells};

/// Writes `index.html` into `folder`, and returns its path; `about` names the day, the commit and the machine.
pub fn write(folder: &Path, session: &Session, about: &str) -> Outcome<PathBuf> {
    let failed = || format!("cannot write the report into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    let file = folder.join("index.html");
    let text = text(&session.rows, &session.plots, &session.left_out, about)?;
    std::fs::write(&file, text).with_context(failed)?;
    Ok(file)
}

fn text(rows: &[Row], plots: &[Plot], left_out: &[String], about: &str) -> Outcome<String> {
    let missed: Vec<&str> = rows.iter().filter(|row| !row.met).map(|row| row.name.as_str()).collect();
    let met = rows.len() - missed.len();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Benchmarks</title><style>{STYLE}</style></head>\
         <body><h1>Benchmarks</h1><p>{met} of {} targets are met; missed: {}.</p><p>{}</p>",
        rows.len(),
        if missed.is_empty() { "none".to_owned() } else { escaped(&missed.join(", ")) },
        escaped(about)
    );
    for line in left_out {
        let _ = write!(page, "<p>{}</p>", escaped(line));
    }
    page.push_str(
        "<h2>Ours beside its peers</h2><p>The bar shows how many times as good as the peer ours is, measured in turns in one \
         run: right of the line in the middle ours is better, the next lines are 10 and 100 times. The dot is the median, the \
         bar goes from the lowest to the highest round, the black mark is a target for the ratio.</p><table><tr>",
    );
    page.extend(HEADS.into_iter().chain([""]).flat_map(|head| ["<th>", head, "</th>"]));
    for row in rows {
        page.push_str(if row.met { "</tr>\n<tr>" } else { "</tr>\n<tr class=\"missed\">" });
        page.extend(cells(row).map(|cell| format!("<td>{}</td>", escaped(&cell))));
        let _ = write!(page, "<td class=\"ratio\">{}</td>", bar(row));
    }
    page.push_str("</tr></table>");
    for plot in plots {
        let (title, note) = (escaped(&plot.title), escaped(&plot.note));
        let _ = write!(page, "<h2>{title}</h2><p>{note}</p>{}", plot.svg()?);
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

/// The ratio of a row on a logarithmic axis from 1/100 to 100; empty for a row without a peer, or beside nothing.
fn bar(row: &Row) -> String {
    if row.peer.is_none() || !row.ratio.is_finite() {
        return String::new();
    }
    // Always so that more is better.
    let at = |ratio: f64| {
        let times = if row.better == "lower" { 1.0 / ratio } else { ratio };
        (50.0 + times.log10() * 25.0).clamp(0.0, 100.0)
    };
    let mut bar = String::new();
    if let Some(ends) = row.spread {
        let [one, other] = ends.map(at);
        let _ =
            write!(bar, "<i style=\"left:{:.1}%;width:{:.1}%\"></i>", one.min(other), (one - other).abs());
    }
    if row.target_of == "ratio" {
        let _ = write!(bar, "<s style=\"left:{:.1}%\"></s>", at(row.target));
    }
    let _ = write!(bar, "<b style=\"left:{:.1}%\"></b>", at(row.ratio));
    bar
}

/// Text as it may stand in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
body { margin: 2rem auto; max-width: 1200px; padding: 0 1rem; background: white; color: #1f2430; font: 15px/1.5 sans-serif; }
h2 { margin-top: 2.5rem; } table { border-collapse: collapse; font-size: 12px; --mark: #1d5fd1; }
th, td { text-align: left; padding: 2px 8px; white-space: nowrap; } .missed { --mark: #c81e3a; } td:nth-child(8) { color: var(--mark); }
td:nth-child(9) { white-space: normal; min-width: 200px; }
.ratio { position: relative; min-width: 260px; background: linear-gradient(#bbb, #bbb) 50% 0/1px 100% no-repeat,
  linear-gradient(90deg, #e3e6eb 1px, transparent 1px) 0 0/25% 100%; }
.ratio > * { position: absolute; top: 20%; height: 60%; background: var(--mark); } .ratio i { opacity: .35; min-width: 4px; }
.ratio s { width: 2px; background: black; } .ratio b { width: 9px; height: 9px; border-radius: 5px; top: 30%; margin-left: -5px; }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Target, Unit};
    use crate::plot::Axis;

    #[test]
    fn the_page_holds_every_plot_and_says_what_was_missed_and_left_out() {
        let rows =
            [Row::counted("stampede", Unit::LOADS, 2.0, 1.0), Row::counted("fine", Unit::LOADS, 1.0, 1.0)];
        let lines = vec![("ours".to_owned(), vec![(1.0, 2.0)])];
        let (x, y) = (Axis::Log("keys"), Axis::Linear("us"));
        let plot = Plot { title: "Clearing".to_owned(), note: "a < b".to_owned(), x, y, lines };
        let page = text(&rows, &[plot], &["left out: Redis: no server".to_owned()], "monday").unwrap();
        assert!(
            page.contains("1 of 2 targets are met; missed: stampede.") && page.contains("monday"),
            "{page}"
        );
        assert!(page.contains("<h2>Clearing</h2><p>a &lt; b</p>") && page.contains("left out: Redis"));
        assert_eq!((page.matches("<svg").count(), page.matches("</svg>").count()), (1, 1));
    }

    #[test]
    fn half_the_time_lies_as_far_to_the_right_as_half_the_throughput_to_the_left() {
        let row = |unit| Row::beside("x", unit, Target::Ratio(0.25), 2.0, ("peer", 4.0));
        let faster = bar(&row(Unit::Micros));
        assert!(
            faster.contains("<b style=\"left:57.5%\">") && faster.contains("<s style=\"left:65.1%\">"),
            "{faster}"
        );
        assert!(bar(&row(Unit::PerSecond)).contains("<b style=\"left:42.5%\">"));
        assert!(bar(&Row::counted("alone", Unit::LOADS, 1.0, 1.0)).is_empty());
    }
}
