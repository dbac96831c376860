//! Rows of text formatted as by psql: aligned, under a heading, with their number below.

/// Rows to be printed together.
pub(super) struct TextTable {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    /// Number of rows printed before.
    shown: usize,
}

impl TextTable {
    pub fn new(names: Vec<String>) -> TextTable {
        TextTable { names, rows: Vec::new(), shown: 0 }
    }

    pub fn row(&mut self, values: Vec<Option<String>>) {
        self.rows.push(values);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Formats the rows so far and removes them.
    pub fn take(&mut self) -> String {
        let text = self.aligned();
        self.shown += self.rows.len();
        self.rows.clear();
        text
    }

    /// Formats the last rows, and the total number of rows.
    pub fn end(mut self) -> String {
        let mut text = if self.shown == 0 || !self.rows.is_empty() { self.take() } else { String::new() };
        text.push_str(&match self.shown {
            1 => "(1 row)\n\n".to_string(),
            n => format!("({n} rows)\n\n"),
        });
        text
    }

    fn aligned(&self) -> String {
        let column = |at: usize| self.rows.iter().filter_map(move |row| row.get(at)?.as_deref());
        let widths: Vec<usize> = self
            .names
            .iter()
            .enumerate()
            .map(|(at, name)| column(at).flat_map(str::lines).chain([name.as_str()]).map(width).max().unwrap_or(0))
            .collect();
        let numeric: Vec<bool> = (0..self.names.len())
            .map(|at| column(at).next().is_some() && column(at).all(|value| value.parse::<f64>().is_ok()))
            .collect();
        let mut text = String::new();
        let heading = self.names.iter().zip(&widths).map(|(name, wide)| {
            let space = wide - width(name);
            format!(" {}{name}{} ", " ".repeat(space / 2), " ".repeat(space - space / 2))
        });
        text.push_str(heading.collect::<Vec<_>>().join("|").trim_end_matches('\n'));
        text.push('\n');
        text.push_str(&widths.iter().map(|wide| "-".repeat(wide + 2)).collect::<Vec<_>>().join("+"));
        text.push('\n');
        for row in &self.rows {
            lines(row, &widths, &numeric, &mut text);
        }
        text
    }
}

/// One row, in as many lines as its tallest value has; `+` marks a value that continues below.
fn lines(row: &[Option<String>], widths: &[usize], numeric: &[bool], text: &mut String) {
    let cells: Vec<Vec<&str>> = row.iter().map(|v| v.as_deref().unwrap_or("").split('\n').collect()).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let parts = cells.iter().enumerate().map(|(at, cell)| {
            let value = cell.get(line).copied().unwrap_or("");
            let space = " ".repeat(widths[at].saturating_sub(width(value)));
            let more = if line + 1 < cell.len() { '+' } else { ' ' };
            if numeric[at] { format!(" {space}{value}{more}") } else { format!(" {value}{space}{more}") }
        });
        let whole = parts.collect::<Vec<_>>().join("|");
        text.push_str(whole.trim_end());
        text.push('\n');
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_table_rows_are_aligned_as_in_psql() {
        let mut table = TextTable::new(vec!["n".into(), "name".into()]);
        table.row(vec![Some("1".into()), Some("a".into())]);
        table.row(vec![Some("10".into()), None]);
        table.row(vec![None, Some("two\nlines".into())]);
        assert_eq!(table.end(), " n  | name  \n----+-------\n  1 | a\n 10 |\n    | two  +\n    | lines\n(3 rows)\n\n");
        assert_eq!(TextTable::new(vec!["a".into()]).end(), " a \n---\n(0 rows)\n\n");
    }

    #[test]
    fn text_table_taken_in_parts_has_a_heading_each_and_one_row_count() {
        let mut table = TextTable::new(vec!["a".into()]);
        table.row(vec![Some("x".into())]);
        assert_eq!(table.take(), " a \n---\n x\n");
        assert_eq!(table.end(), "(1 row)\n\n");
    }
}
