//! Rows as people read them.

use crate::row::Row;

/// What the [`cells`] of a row are.
pub const HEADS: [&str; 9] = ["what", "ours", "peer", "peer is", "ratio", "spread", "target", "met", "note"];

/// The rows as a table with one line each.
pub fn table(rows: &[Row]) -> String {
    let lines: Vec<_> = std::iter::once(HEADS.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; HEADS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let padded = |(cell, width): (&String, usize)| format!("{cell:<width$}");
    let line = |line: &[String; 9]| line.iter().zip(widths).map(padded).collect::<Vec<_>>().join("  ");
    lines.iter().flat_map(|cells| [line(cells).trim_end(), "\n"].map(str::to_owned)).collect()
}

/// What a row says, in one short line.
pub fn summary(row: &Row) -> String {
    let [_, ours, of_peer, peer, ratio, spread, target, met, _] = cells(row);
    if row.peer.is_some() && !row.ratio.is_finite() {
        format!("{ours} beside {of_peer} of {peer}, wanted {target}: {met}")
    } else if row.peer.is_some() {
        format!("{ours}, {ratio} x {peer} ({spread}), wanted {target}: {met}")
    } else {
        format!("{ours}, wanted {target}: {met}")
    }
}

/// What a row says, column by column.
pub fn cells(row: &Row) -> [String; 9] {
    let Row {
        group: _,
        name,
        ours,
        peer,
        peer_name,
        unit,
        better,
        ratio,
        spread,
        target,
        target_of,
        met,
        note,
    } = row;
    let bound = if *better == "higher" { "at least" } else { "at most" };
    let none = || "-".to_owned();
    [
        name.clone(),
        format!("{} {unit}", figure(*ours)),
        peer.map_or_else(none, |peer| format!("{} {unit}", figure(peer))),
        peer_name.clone(),
        // Beside nothing there is no ratio.
        peer.filter(|_| ratio.is_finite()).map_or_else(none, |_| figure(*ratio)),
        spread.map_or_else(none, |[low, high]| format!("{}-{}", figure(low), figure(high))),
        match *target_of {
            "ratio" => format!("{bound} {} x", figure(*target)),
            "difference" if *target < 0.0 => format!("{bound} the peer's less {} {unit}", figure(-target)),
            "difference" => format!("{bound} the peer's and {} {unit}", figure(*target)),
            _ => format!("{bound} {} {unit}", figure(*target)),
        },
        if *met { "met" } else { "MISSED" }.to_owned(),
        note.clone(),
    ]
}

/// Writes three significant digits; large figures with a comma at each thousand.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{size:.0}");
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            format!("{}{}", if value < 0.0 { "-" } else { "" }, groups.join(","))
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Unit;

    #[test]
    fn a_miss_is_called_one() {
        let rows = [
            Row::counted("stampede", Unit::LOADS, 2.0, 1.0),
            Row { peer: Some(4.0), spread: Some([0.4, 0.6]), ..Row::counted("get", Unit::Micros, 2.0, 3.0) },
        ];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("stampede") && lines[1].ends_with("MISSED"), "{table}");
        assert!(lines[2].contains("0.40-0.60") && lines[2].ends_with("met"), "{table}");
        assert!(summary(&rows[0]).ends_with("MISSED"));
        let beside_nothing = Row { peer: Some(0.0), ratio: f64::INFINITY, ..rows[0].clone() };
        assert!(summary(&beside_nothing).starts_with("2.00 loads beside 0 loads of"));
    }

    #[test]
    fn figures_have_three_digits_that_say_something() {
        let figures = [0.0, 0.0005, 0.123, 12.34, 123.4, 1000.0, 56_789.1, -1234.0].map(figure);
        assert_eq!(figures, ["0", "0.0005", "0.12", "12.3", "123", "1,000", "56,789", "-1,234"]);
    }
}
