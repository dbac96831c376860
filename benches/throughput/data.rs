//! The rows: a key, a value, and an event time that mostly grows.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use datafusion::{
    arrow::{
        array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray},
        csv, json,
    },
    parquet::arrow::ArrowWriter,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{Arguments, Outcome};

pub const FORMATS: [&str; 3] = ["parquet", "json", "csv"];

/// Rows are a millisecond apart: ten million fill 17 windows of ten minutes.
const STEP_US: i64 = 1_000;
/// How far a row may be out of order.
pub const DISORDER_US: i64 = 5_000_000;
/// 2024-01-01
const FIRST_US: i64 = 1_704_067_200_000_000;

/// A folder for each format, with the same rows in each.
pub struct Data {
    folder: tempfile::TempDir,
}

impl Data {
    /// Writes the files: the same for the same arguments.
    pub fn make(arguments: &Arguments, keys: i64) -> Outcome<Data> {
        let folder = tempfile::tempdir()?;
        let formats: Vec<&str> = FORMATS.into_iter().filter(|format| arguments.wants(format)).collect();
        for format in &formats {
            std::fs::create_dir(folder.path().join(format))?;
        }
        let mut chance = SmallRng::seed_from_u64(7);
        let each = arguments.rows / arguments.files;
        for number in 0..arguments.files {
            let rows = rows((number * each) as i64, each, keys, &mut chance)?;
            for format in &formats {
                let path = folder.path().join(format).join(format!("{number:04}.{format}"));
                write(&path, format, &rows)?;
            }
        }
        Ok(Data { folder })
    }

    pub fn of(&self, format: &str) -> PathBuf {
        self.folder.path().join(format)
    }
}

fn rows(from: i64, count: usize, keys: i64, chance: &mut SmallRng) -> Outcome<RecordBatch> {
    let (mut key, mut value, mut ts) = (Vec::new(), Vec::new(), Vec::new());
    for row in from..from + count as i64 {
        key.push(chance.random_range(0..keys));
        value.push((chance.random_range(0.0..1_000.0_f64) * 100.0).round() / 100.0);
        ts.push(FIRST_US + row * STEP_US + chance.random_range(0..DISORDER_US) / 1_000 * 1_000);
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("key", Arc::new(Int64Array::from(key))),
        ("value", Arc::new(Float64Array::from(value))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(ts))),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn write(path: &Path, format: &str, rows: &RecordBatch) -> Outcome<()> {
    let mut file = BufWriter::new(File::create(path)?);
    match format {
        "csv" => csv::WriterBuilder::new().with_header(true).build(&mut file).write(rows)?,
        "json" => {
            let mut writer = json::LineDelimitedWriter::new(&mut file);
            writer.write(rows)?;
            writer.finish()?;
        }
        _ => {
            let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None)?;
            writer.write(rows)?;
            writer.close()?;
        }
    }
    Ok(file.flush()?)
}
