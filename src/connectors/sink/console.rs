//! A sink that shows rows on the standard output of the server.
//!
//! ```text
//! sink "landings", epoch 4
//!     dest  landed
//!   + BER   4
//!   - BER   3
//! ```

use std::{any::Any, io::Write};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;

use super::{Delivery, Mode, Outgoing, Sink, SinkConfig, SinkDef};
use crate::{error::Result, time::Epoch};

/// Rows shown of an epoch, and characters of a value: a person looks at them.
const ROWS_MAX: usize = 20;
const CHARS_MAX: usize = 40;

/// `WITH (connector = 'console')`: it has no other options.
#[derive(Debug)]
pub struct ConsoleOptions;

impl SinkConfig for ConsoleOptions {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Changes, Mode::Complete]
    }

    fn continues(&self, other: &dyn Any) -> bool {
        other.is::<ConsoleOptions>()
    }

    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Console { name: def.name }))
    }
}

#[derive(Debug)]
struct Console {
    name: String,
}

#[async_trait]
impl Sink for Console {
    fn delivery(&self) -> Delivery {
        Delivery::BestEffort
    }

    async fn open(&mut self) -> Result<Epoch> {
        Ok(Epoch(0))
    }

    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        let text = shown(&self.name, epoch, rows)?;
        // Nobody may be looking.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        Ok(())
    }
}

fn shown(name: &str, epoch: Epoch, Outgoing { changes, whole }: &Outgoing) -> Result<String> {
    let rows = changes.rows();
    let options = FormatOptions::default().with_null("NULL");
    let formatters = rows.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let formatters = formatters.collect::<Result<Vec<_>, _>>()?;
    let mut lines = vec![rows.schema().fields().iter().map(|field| cut(field.name())).collect::<Vec<_>>()];
    for row in 0..rows.num_rows().min(ROWS_MAX) {
        let cells = formatters.iter().map(|formatter| Ok(cut(&formatter.value(row).try_to_string()?)));
        lines.push(cells.collect::<Result<_>>()?);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.num_columns()).map(width).collect();
    let what = if *whole { ": the whole answer" } else { "" };
    let mut text = format!("sink \"{name}\", epoch {epoch}{what}\n");
    for (n, line) in lines.iter().enumerate() {
        let sign = match n.checked_sub(1) {
            None => ' ',
            Some(row) if changes.diff(row) < 0 => '-',
            Some(_) => '+',
        };
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(format!("  {sign} {}", cells.join("  ")).trim_end());
        text.push('\n');
    }
    if rows.num_rows() > ROWS_MAX {
        text.push_str(&format!("  … and {} more rows\n", rows.num_rows() - ROWS_MAX));
    }
    Ok(text)
}

/// On one line, and no longer than a person reads.
fn cut(value: &str) -> String {
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX + 1).collect();
    match line.chars().count() > CHARS_MAX {
        true => line.chars().take(CHARS_MAX - 1).chain(['…']).collect(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;
    use crate::changes::Changes;

    fn changes(names: Vec<Option<&str>>, diffs: Vec<i64>) -> Changes {
        let numbers = Arc::new(Int64Array::from_iter_values(0..diffs.len() as i64)) as ArrayRef;
        let names = Arc::new(StringArray::from(names)) as ArrayRef;
        let rows = RecordBatch::try_from_iter_with_nullable([("name", names, true), ("n", numbers, true)]).unwrap();
        Changes::new(rows, Int64Array::from(diffs))
    }

    #[test]
    fn console_sink_aligns_rows_with_their_signs() {
        let long = "two\n".repeat(30);
        let changes = changes(vec![Some("one"), Some(&long), None], vec![1, -1, 1]);
        let text = shown("s", Epoch(7), &Outgoing { changes, whole: false }).unwrap();
        let wide = format!("{}two…", "two ".repeat(9));
        let expected = format!(
            "sink \"s\", epoch 7\n    {:<40}  n\n  + {:<40}  0\n  - {wide}  1\n  + {:<40}  2\n",
            "name", "one", "NULL"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn console_sink_truncates_after_twenty_rows() {
        let all = Outgoing { changes: changes(vec![Some("x"); 1_000], vec![1; 1_000]), whole: true };
        let text = shown("s", Epoch(1), &all).unwrap();
        assert_eq!(text.lines().count(), 23);
        assert!(text.starts_with("sink \"s\", epoch 1: the whole answer\n"));
        assert!(text.ends_with("  + x     19\n  … and 980 more rows\n"), "{text}");
    }
}
