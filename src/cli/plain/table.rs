//! Aligned columns without lines, as `ip` and `ss` print them.

use comfy_table::{CellAlignment, Table, presets};

/// A table; a heading that begins with `>` is of a column of numbers.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.map(|h| h.trim_start_matches('>')));
    for (index, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, if index + 1 == N { 0 } else { 2 }));
            if heading.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    table.add_rows(rows);
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names and values, one a line.
pub(super) fn pairs(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}").trim_end().to_owned() + "\n").collect()
}
