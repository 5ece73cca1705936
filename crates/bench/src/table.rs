//! Rows as people read them.

use crate::row::Row;

/// The rows as a table with one line each.
pub fn table(rows: &[Row]) -> String {
    let heads =
        ["what", "ours", "peer", "unit", "peer is", "ratio", "spread", "target", "met"].map(str::to_owned);
    let lines: Vec<[String; 9]> = std::iter::once(heads).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            // Figures to the right, words to the left.
            let cell = if matches!(column, 1 | 2 | 5) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// What a row says, in one short line.
pub fn summary(row: &Row) -> String {
    let [_, ours, _, unit, peer, ratio, spread, target, met] = cells(row);
    if row.peer.is_some() {
        format!("{ours} {unit}, {ratio} x {peer} ({spread}), wanted {target}: {met}")
    } else {
        format!("{ours} {unit}, wanted {target}: {met}")
    }
}

fn cells(row: &Row) -> [String; 9] {
    let Row { group: _, name, ours, peer, peer_name, unit, better, ratio, spread, target, target_of, met } =
        row;
    let bound = if *better == "higher" { ">=" } else { "<=" };
    [
        name.clone(),
        figure(*ours),
        peer.map_or_else(|| "-".to_owned(), figure),
        (*unit).to_owned(),
        peer_name.clone(),
        if peer.is_some() { format!("{ratio:.2}") } else { "-".to_owned() },
        spread.map_or_else(|| "-".to_owned(), |[low, high]| format!("{low:.2}-{high:.2}")),
        match *target_of {
            "ratio" => format!("{bound} {target:.2} x"),
            "difference" if *target < 0.0 => format!("{bound} peer - {} {unit}", figure(-target)),
            "difference" => format!("{bound} peer + {} {unit}", figure(*target)),
            _ => format!("{bound} {} {unit}", figure(*target)),
        },
        if *met { "yes" } else { "MISSED" }.to_owned(),
    ]
}

/// Three digits that say something.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Unit;

    #[test]
    fn a_miss_is_called_one() {
        let rows = [
            Row::counted("stampede", Unit::Loads, 2.0, 1.0),
            Row { peer: Some(4.0), spread: Some([0.4, 0.6]), ..Row::counted("get", Unit::Micros, 2.0, 3.0) },
        ];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("stampede") && lines[1].ends_with("MISSED"), "{table}");
        assert!(lines[2].contains("0.40-0.60") && lines[2].ends_with("yes"), "{table}");
        assert!(summary(&rows[0]).ends_with("MISSED"));
    }

    #[test]
    fn figures_have_three_digits_that_say_something() {
        assert_eq!([0.123, 12.34, 123.4, 56_789.1].map(figure), ["0.12", "12.3", "123", "56789"]);
    }
}
