//! The page around the pictures.

use std::fmt::Write;

use super::{escaped, lines, pairs, ratios};
use crate::plot::{Marks, Plot};
use crate::row::Row;
use crate::table;

/// Where who starts the run says what the page should say of machine, day and commit.
const ABOUT: &str = "BENCH_ABOUT";

/// The whole page.
pub(super) fn text(rows: &[Row], plots: &[Plot], left_out: &[String]) -> String {
    let missed: Vec<&str> = rows.iter().filter(|row| !row.met).map(|row| row.name.as_str()).collect();
    let verdict = match missed.len() {
        0 => format!("All {} targets are met.", rows.len()),
        some => {
            format!("{} of {} targets are met; missed: {}.", rows.len() - some, rows.len(), missed.join(", "))
        }
    };
    let about = std::env::var(ABOUT).unwrap_or_default();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Benchmarks</title><style>{STYLE}</style></head><body>\
         <h1>Benchmarks</h1><p>{}</p><p>{}</p>",
        escaped(&verdict),
        escaped(&about)
    );
    for line in left_out {
        let _ = write!(page, "<p>{}</p>", escaped(line));
    }
    let ratios = ratios::svg(rows);
    if !ratios.is_empty() {
        figure(
            &mut page,
            "Ours beside its peers",
            "How many times as good, measured in turns in one run: right of 1 x ours is better. Where no target is marked, it is \
             a time or a number, in the table below.",
            &ratios,
        );
    }
    for Plot { title, note, marks } in plots {
        let svg = match marks {
            Marks::Lines { x, y, lines } => lines::svg(x, y, lines),
            Marks::Pairs { x, peer, pairs } => pairs::svg(x, peer, pairs),
        };
        figure(&mut page, title, note, &svg);
    }
    let _ = writeln!(page, "<h2>All figures</h2><pre>{}</pre></body></html>", escaped(&table::table(rows)));
    page
}

fn figure(page: &mut String, title: &str, note: &str, svg: &str) {
    let _ = write!(
        page,
        "<figure><h2>{}</h2><figcaption>{}</figcaption>{svg}</figure>",
        escaped(title),
        escaped(note)
    );
}

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #ffffff; --text: #1f2430; --soft: #5b6472; --grid: #e3e6eb; --even: #8b93a1;
        --ours: #1d5fd1; --peer: #c4570a; --other: #7a4fb3; --limit: #c81e3a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171d; --text: #e6e9ef; --soft: #a3acba; --grid: #2a303a; --even: #727c8c;
          --ours: #6ea8ff; --peer: #f2a35e; --other: #bf9bf0; --limit: #ff7287; } }
body { margin: 2rem auto; max-width: 900px; padding: 0 1rem; background: var(--ground); color: var(--text);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 0; }
figure { margin: 2.5rem 0; } figcaption { color: var(--soft); margin-bottom: .6rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--text); font-size: 13px; }
svg text.axis { fill: var(--soft); } svg text.group { font-weight: 600; } svg text.name { font-weight: 600; }
.grid { stroke: var(--grid); } .even { stroke: var(--even); stroke-width: 1.5; }
polyline { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
polyline.ours, line.ours { stroke: var(--ours); } polyline.peer { stroke: var(--peer); }
polyline.other { stroke: var(--other); } polyline.limit, line.limit { stroke: var(--limit); }
polyline.limit { stroke-dasharray: 7 5; }
circle.ours, svg text.name.ours { fill: var(--ours); } circle.peer, svg text.name.peer { fill: var(--peer); }
circle.other, svg text.name.other { fill: var(--other); } circle.limit, svg text.name.limit { fill: var(--limit); }
circle.ring { fill: none; stroke: var(--peer); stroke-width: 2.2; }
line.spread { stroke-width: 5; stroke-linecap: round; opacity: .35; } line.wanted { stroke: var(--text); stroke-width: 2; }
/* The table is wider than the text: in the middle of the window, and scrolled where that is narrow. */
pre { overflow-x: auto; font-size: 12px; line-height: 1.45; width: max-content; max-width: calc(100vw - 2rem);
      position: relative; left: 50%; transform: translateX(-50%); }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Unit;
    use crate::plot::{Axis, Pair};

    #[test]
    fn the_page_holds_every_plot_and_says_what_was_missed_and_left_out() {
        let rows =
            [Row::counted("stampede", Unit::Loads, 2.0, 1.0), Row::counted("fine", Unit::Loads, 1.0, 1.0)];
        let pairs = vec![Pair { name: "Zipf".to_owned(), ours: 50.0, peer: 51.0 }];
        let marks = Marks::Pairs { x: Axis::linear("hits"), peer: "LRU".to_owned(), pairs };
        let plot = Plot { title: "Hit ratio".to_owned(), note: "note".to_owned(), marks };
        let page = text(&rows, &[plot], &["left out: Redis: no server".to_owned()]);
        assert!(page.contains("1 of 2 targets are met; missed: stampede."), "{page}");
        assert!(page.contains("<h2>Hit ratio</h2>") && page.contains("left out: Redis"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
